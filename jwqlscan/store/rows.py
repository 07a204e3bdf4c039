"""What the tables hold of a snapshot, and history out of their rows; no SQL, no database."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jwqlscan.model.history import (
    CentralColumns,
    FilesystemColumns,
    GeneralColumns,
    ProductColumns,
    RunColumns,
    Samples,
)
from jwqlscan.model.snapshot import ALL, AreaSnapshot, Capacity, Snapshot
from jwqlscan.model.tally import COUNTERS, Product, Tally
from jwqlscan.store import MONITOR_NAME
from jwqlscan.system.capacities import same_room
from jwqlscan.text import escape, escape_controls, path_fields
from jwqlscan.units import TIB_BYTES, tib

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


def general_columns(rows: Iterable[Sequence[Any]]) -> GeneralColumns:
    """Return the rows of `filesystem_general`, ascending by date, as columns.

    A row whose sizes are no numbers (NaN, Infinity) is left out: a gap.
    """
    known = [
        (date, files, size, fits_files, fits_size, *finite_room(used, available))
        for date, files, size, fits_files, fits_size, used, available in rows
        if finite(size) is not None and finite(fits_size) is not None
    ]
    return GeneralColumns(*_columns(known, 7))


def central_columns(rows: Iterable[Sequence[Any]]) -> dict[str, CentralColumns]:
    """Return rows (area, date, size, used, available), ascending by date, as columns an area.

    A row of which `used` is no number (NaN, Infinity) is left out: a gap.
    """
    areas: dict[str, list[Sequence[Any]]] = {}
    for area, date, size, used, available in rows:
        if finite(used) is not None:
            free = finite(available) if size else None  # of size 0, its room is not known
            areas.setdefault(area, []).append((date, finite(size) or None, used, free))
    return {area: CentralColumns(*_columns(values, 4)) for area, values in areas.items()}


def product_columns(
    rows: Iterable[tuple[datetime, Iterable[str], Iterable[str], Iterable[int], Iterable[float]]],
) -> dict[Product, ProductColumns]:
    """Return rows (date, instruments, filetypes, counts, sizes), ascending, as columns a product.

    A row of a date has a place for each product in each of its lists.
    """
    products: dict[tuple[str, str], ProductColumns] = {}
    for date, *lists in rows:
        for instrument, filetype, count, size in zip(*lists, strict=True):
            key = (instrument, filetype)
            columns = products.get(key)
            if columns is None:
                columns = products[key] = ProductColumns()
            columns.date.append(date)
            columns.count.append(count)
            columns.size.append(size)
    return {Product(*key): columns for key, columns in sorted(products.items())}


def merge_products(
    products: Mapping[Product, ProductColumns], others: Mapping[Product, ProductColumns]
) -> dict[Product, ProductColumns]:
    """Return the products of both, each ascending by date; no date of a product is in both."""
    merged = {}
    for product in sorted(products.keys() | others.keys()):
        one, other = products.get(product), others.get(product)
        if one is None or other is None:
            merged[product] = one or other or ProductColumns()
            continue
        rows = sorted(
            (
                *zip(one.date, one.count, one.size, strict=True),
                *zip(other.date, other.count, other.size, strict=True),
            )
        )
        merged[product] = ProductColumns(*_columns(rows, 3))
    return merged


def finite(size_tib: float | None) -> float | None:
    """Return a size of JWQL's tables; None if it is no number of bytes (NaN, Infinity)."""
    known = size_tib is not None and math.isfinite(size_tib * TIB_BYTES)
    return size_tib if known else None


def finite_room(
    used_tib: float | None, available_tib: float | None
) -> tuple[float | None, float | None]:
    """Return what df called used and available; None of a filesystem that reports no size.

    JWQL's column takes no NULL: 0 of 0 is stored there.
    """
    used, available = finite(used_tib), finite(available_tib)
    return (None, None) if used == 0 and available == 0 else (used, available)


def run_columns(rows: Iterable[Sequence[Any]]) -> RunColumns:
    """Return `scan_run` joined with its groups' `scan_area`, ascending by date, as columns.

    A run has a row for each group; its counts are added here.
    """
    columns = RunColumns()
    for date, status, reasons, suspicions, host, version, reader, seconds, *area in rows:
        if not columns.date or columns.date[-1] != date:
            doubts = json.loads(suspicions)
            columns.date.append(date)
            columns.status.append("suspect" if doubts else status)
            columns.reasons.append([*json.loads(reasons), *doubts])
            columns.host.append(host)
            columns.version.append(version)
            columns.reader.append(reader)
            columns.seconds.append(seconds)
            counts = (columns.files, columns.directories, columns.vanished, columns.unrecognized)
            for column in counts:
                column.append(0)
            columns.errors.append({})
            columns.skipped.append({})
        if area[0] is None:
            continue  # a run without areas
        for column, number in zip(counts, area[:4], strict=True):
            column[-1] += number
        for kinds, text in ((columns.errors[-1], area[4]), (columns.skipped[-1], area[5])):
            for kind, number in json.loads(text).items():
                kinds[kind] = kinds.get(kind, 0) + number
    return columns


def incomplete_dates(runs: RunColumns) -> frozenset[datetime]:
    """Return the dates of runs that are anything but complete."""
    return frozenset(
        date for date, status in zip(runs.date, runs.status, strict=True) if status != "complete"
    )


def filesystem_columns(rows: Iterable[Sequence[Any]]) -> dict[str, FilesystemColumns]:
    """Return what df printed for the areas as columns a filesystem, by its mount point.

    Directories of one filesystem that have quotas of their own are one each, named after the areas.

    Parameters
    ----------
    rows : iterable of (target, source, fstype, date, size, used, available, group, area)
        Ascending by date.
    """
    by_target: dict[str, list[Sequence[Any]]] = {}
    newest = None
    for row in rows:
        by_target.setdefault(row[0], []).append(row)
        newest = row[3]
    found: dict[str, FilesystemColumns] = {}
    for target, mine in by_target.items():
        rooms: list[list[Sequence[Any]]] = []
        for row in mine:
            if row[3] == mine[-1][3]:
                known = [room for room in rooms if same_room(room[0][4:6], row[4:6])]
                if known:
                    known[0].append(row)
                else:
                    rooms.append([row])
        for room in rooms:
            labels = sorted({f"{group} {area}" for *_, group, area in room})
            name = target if len(rooms) == 1 else f"{target} ({', '.join(labels)})"
            dates: dict[Any, tuple[int, ...]] = {}
            for row in mine:
                if len(rooms) == 1 or f"{row[7]} {row[8]}" in labels:
                    # Areas in one filesystem differ by what was written between two df.
                    dates[row[3]] = tuple(map(max, row[4:7], dates.get(row[3], row[4:7])))
            columns = _columns([(date, *numbers) for date, numbers in dates.items()], 4)
            now = labels if room[0][3] == newest else []
            found[name] = FilesystemColumns(room[-1][1], room[-1][2], now, *columns)
    return found


def samples(rows: Iterable[Sequence[str]]) -> Samples:
    """Return the names that `scan_area` keeps as samples of what went wrong in a run."""
    found = Samples()
    for unrecognized, errors in rows:
        found.unrecognized.extend(one["path"] for one in json.loads(unrecognized).values())
        found.errors.extend(
            (str(one["kind"]), str(one["operation"]), str(one["path"]))
            for one in json.loads(errors)
        )
    return found


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


def _columns(rows: Iterable[Sequence[Any]], count: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]
