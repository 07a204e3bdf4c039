"""What the tables hold of a snapshot, and history out of their rows; no SQL, no database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from jwqlscan.model.snapshot import ALL, AreaSnapshot, Capacity, Snapshot
from jwqlscan.model.tally import COUNTERS, Tally
from jwqlscan.store import MONITOR_NAME
from jwqlscan.text import escape, escape_controls, path_fields
from jwqlscan.units import tib

ARCHIVE = "archive"


CENTRAL = "central"


JWQL_TABLES = ("filesystem_general", "filesystem_instrument", "central_storage", "monitor")


# Before every date that can be read: what `since` is when history is wanted from its start. Not
# 0001-01-01, which asyncpg takes for -infinity; and with room for every time zone.
EARLIEST = datetime(1, 1, 3, tzinfo=UTC)


_INT64_MAX = 2**63 - 1


_CAPACITY_NUMBERS = (
    "size_bytes",
    "used_bytes",
    "available_bytes",
    "inodes",
    "inodes_used",
    "inodes_available",
)


_CAPACITY_TEXTS = ("source", "fstype", "target")


Value = str | int | float | datetime | None


Row = tuple[Value, ...]


class TableRows(NamedTuple):
    """Rows for one table, without the id that the database gives them."""

    table: str
    columns: tuple[str, ...]
    rows: Sequence[Row]


def date_text(date: datetime) -> str:
    """Return UTC text of fixed width, so that text order is time order."""
    utc = date.astimezone(UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='microseconds')}Z"


def run_rows(snapshot: Snapshot) -> TableRows:
    """Return the one row of `scan_run`: the run's identity, provenance and quality."""
    run: dict[str, Value] = {
        "run_id": snapshot.run_id,
        "date": snapshot.timestamp,
        "started": snapshot.timestamp,
        "ended": snapshot.ended,
        "host": escape(snapshot.host),
        "version": escape(snapshot.version),
        "reader": escape(snapshot.reader),
        "workers": snapshot.workers,
        "seconds": snapshot.seconds,
        "status": "complete" if snapshot.status == "complete" else "incomplete",
        "incomplete_reasons": _json(
            [
                escape_controls(line)
                for line in (*snapshot.incomplete_reasons, *snapshot.missing_areas)
            ]
        ),
        "sample": snapshot.sample,
        "log_file": escape(snapshot.log_file),
        "suspicions": _json([escape_controls(line) for line in snapshot.suspicions]),
        "accepted": snapshot.accepted,
    }
    return TableRows("scan_run", tuple(run), [tuple(run.values())])


def jwql_rows(snapshot: Snapshot) -> list[TableRows]:
    """Return the rows of the four JWQL tables: what the old monitor's plots read.

    The archive's row in `filesystem_general` is left out where its capacity is unknown, for its
    columns have no unknown; the run is incomplete then. So is that of an area of which nothing
    could be read: JWQL's readers would take it for an empty one. In `central_storage` `used` is, as
    ever, the bytes of the files below the area, not df's.
    """
    archive = snapshot.area(ARCHIVE, ALL)
    if archive is not None and _is_unknown(archive):
        archive = None
    date = snapshot.timestamp
    return [
        TableRows(
            "filesystem_general",
            (
                "date",
                "total_file_count",
                "total_file_size",
                "fits_file_count",
                "fits_file_size",
                "used",
                "available",
            ),
            [] if archive is None else _general_rows(date, archive.tally, archive.capacity),
        ),
        TableRows(
            "filesystem_instrument",
            ("date", "instrument", "filetype", "count", "size"),
            []
            if archive is None
            else [
                (date, *product, amount.count, tib(amount.bytes))
                for product, amount in sorted(archive.tally.products.items())
            ],
        ),
        TableRows(
            "central_storage",
            ("date", "area", "size", "used", "available"),
            [
                _central_row(date, area)
                for area in snapshot.areas
                if area.group == CENTRAL and not _is_unknown(area)
            ],
        ),
        monitor_rows(snapshot.timestamp, snapshot.ended, "SUCCESS", snapshot.log_file),
    ]


def scan_rows(snapshot: Snapshot) -> list[TableRows]:
    """Return the rows of our own tables that hang on the run: areas and products, exact."""
    return [
        TableRows(
            "scan_area",
            (
                *("run_id", "area_group", "area", "path", "state"),
                *COUNTERS,
                *("errors", "error_samples", "skipped", "unrecognized_samples"),
                *_CAPACITY_NUMBERS,
                *_CAPACITY_TEXTS,
                *("mounts", "note"),
            ),
            [_area_row(snapshot.run_id, area) for area in snapshot.areas],
        ),
        TableRows(
            "scan_product",
            ("run_id", "area_group", "area", "instrument", "filetype", "count", "bytes"),
            [
                (
                    snapshot.run_id,
                    area.group,
                    escape(area.name),
                    *product,
                    amount.count,
                    min(amount.bytes, _INT64_MAX),
                )
                for area in snapshot.areas
                for product, amount in sorted(area.tally.products.items())
            ],
        ),
    ]


def monitor_rows(started: datetime, ended: datetime, status: str, log_file: str) -> TableRows:
    """Return the one row of `monitor` that every run leaves, ``SUCCESS`` or ``FAILURE``."""
    columns = ("monitor_name", "start_time", "end_time", "status", "log_file")
    return TableRows("monitor", columns, [(MONITOR_NAME, started, ended, status, escape(log_file))])


def _is_unknown(area: AreaSnapshot) -> bool:
    return area.state != "complete" and not area.tally.files


def _general_rows(date: datetime, tally: Tally, capacity: Capacity | None) -> list[Row]:
    if capacity is None:
        return []
    return [
        (
            date,
            tally.files,
            tib(tally.apparent_bytes),
            tally.fits_files,
            tib(tally.fits_bytes),
            tib(capacity.used_bytes),
            tib(capacity.available_bytes),
        )
    ]


def _central_row(date: datetime, area: AreaSnapshot) -> Row:
    size = available = None
    if area.capacity is not None and area.capacity.has_size:
        size = tib(area.capacity.size_bytes)
        available = tib(area.capacity.available_bytes)
    return (date, escape(area.name), size, tib(area.tally.apparent_bytes), available)


def _area_row(run_id: str, area: AreaSnapshot) -> Row:
    tally, capacity = area.tally, area.capacity
    capacity_values: list[Value] = [None] * (len(_CAPACITY_NUMBERS) + len(_CAPACITY_TEXTS))
    if capacity is not None:
        unknown = () if capacity.has_size else ("size_bytes", "used_bytes", "available_bytes")
        capacity_values = [
            *(
                None if name in unknown else _int64(getattr(capacity, name))
                for name in _CAPACITY_NUMBERS
            ),
            *(escape(getattr(capacity, name)) for name in _CAPACITY_TEXTS),
        ]
    errors = [{**error._asdict(), **path_fields(error.path)} for error in tally.error_samples]
    samples = {
        escape(shape): path_fields(path) for shape, path in tally.unrecognized_samples.items()
    }
    return (
        run_id,
        area.group,
        escape(area.name),
        escape(area.path),
        area.state,
        *(min(getattr(tally, name), _INT64_MAX) for name in COUNTERS),
        _json(tally.errors),
        _json(errors),
        _json(tally.skipped),
        _json(samples),
        *capacity_values,
        _json({escape(path): escape(fstype) for path, fstype in sorted(tally.mounts.items())}),
        escape(area.note),
    )


def _int64(value: int | None) -> int | None:
    # Some network and FUSE filesystems report 2**64 - 1 where there is no limit.
    return None if value is None or value > _INT64_MAX else value


def _json(data: object) -> str:
    # ASCII only: a file name from the archive must not fail a run where the database's encoding
    # is not UTF-8.
    return json.dumps(data, separators=(",", ":"))
