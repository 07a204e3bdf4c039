"""What is asked of a store besides the history for the report; one wording for both dialects.

Every question has a limit or a date, so none reads a whole table. Parameters are written ``$1``;
``{date}`` and ``{text}`` stand for a column as each dialect gives it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from jwqlscan.model.baseline import COMPLETE, JWQLSCAN
from jwqlscan.model.snapshot import area_label
from jwqlscan.store.columns import finite, finite_room
from jwqlscan.store.rows import EARLIEST
from jwqlscan.system.clock import LATEST, latest_date
from jwqlscan.units import TIB_BYTES


class Asked(Protocol):
    """The part of a store that answers questions."""

    async def select(self, question: str, *values: object) -> list[Sequence[Any]]:
        """Return the rows of a question of this module."""
        ...


@dataclass(frozen=True, slots=True)
class AreaRow:
    """The numbers of an area in a stored run; sizes in bytes, None where df gave no answer."""

    run_id: str
    group: str
    name: str
    path: str
    state: str
    files: int
    apparent_bytes: int
    allocated_bytes: int
    directories: int
    fits_files: int
    fits_bytes: int
    unrecognized: int
    vanished: int
    errors: dict[str, int]
    skipped: dict[str, int]
    size_bytes: int | None
    used_bytes: int | None
    available_bytes: int | None
    inodes: int | None
    inodes_available: int | None

    @property
    def label(self) -> str:
        """``archive``, ``archive/public``, ``central/logs``: as `history --area` takes it."""
        return area_label(self.group, self.name)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A stored run that was no sample.

    Attributes
    ----------
    status : str
        ``complete``; anything else, ``incomplete`` or ``suspect``, is not to be relied on.
    incomplete_reasons : tuple of str
        Why it is not complete; of a complete run, which areas were missing, as was accepted.
    accepted : bool
        The operator accepted its totals as they are, however far they fell.
    areas : tuple of AreaRow
        The archive's first, and each group's whole before its parts.
    """

    run_id: str
    date: datetime
    ended: datetime
    host: str
    version: str
    seconds: float
    status: str
    incomplete_reasons: tuple[str, ...]
    accepted: bool = False
    areas: tuple[AreaRow, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything was read, and the totals are plausible."""
        return self.status == COMPLETE

    @property
    def origin(self) -> str:
        """As `jwqlscan.model.baseline` has it: these are runs of ours."""
        return JWQLSCAN

    def area(self, group: str, name: str = "all") -> AreaRow | None:
        """Return one area; None if the run did not measure it."""
        return next((a for a in self.areas if (a.group, a.name) == (group, name)), None)


class Point(NamedTuple):
    """A filesystem or area at a date, in bytes; None where a row has no number."""

    date: datetime
    status: str
    files: int | None = None
    bytes: int | None = None
    fits_files: int | None = None
    fits_bytes: int | None = None
    size_bytes: int | None = None
    used_bytes: int | None = None
    available_bytes: int | None = None


_RUN_COLUMNS = (
    "{text:run_id}, {date:date}, {date:ended}, host, version, seconds,"
    " CASE WHEN suspicions = '[]' THEN status ELSE 'suspect' END, incomplete_reasons, suspicions,"
    " accepted"
)
# The ids apart: a LIMIT within IN (...) is fine for both dialects, and the index on date serves it.
_LAST_RUNS = (
    f"SELECT {_RUN_COLUMNS} FROM scan_run"  # noqa: S608 - names of our own
    " WHERE NOT sample AND date <= {date:$2} ORDER BY date DESC LIMIT $1"
)
_LAST_COMPLETE = (
    f"SELECT {_RUN_COLUMNS} FROM scan_run"  # noqa: S608 - names of our own
    " WHERE NOT sample AND status = 'complete' AND date <= {date:$2}"
    " ORDER BY date DESC LIMIT $1"
)
_AREAS = (
    "SELECT {text:run_id}, area_group, area, path, state, files, apparent_bytes, allocated_bytes,"
    " directories, fits_files, fits_bytes, unrecognized, vanished, errors, skipped, size_bytes,"
    " used_bytes, available_bytes, inodes, inodes_available FROM scan_area WHERE run_id IN"
    " (SELECT run_id FROM scan_run WHERE NOT sample AND date <= {date:$2}"
    " ORDER BY date DESC LIMIT $1)"
    " ORDER BY area_group, CASE area WHEN 'all' THEN 0 ELSE 1 END, area"
)

# What a row's run was; "" is a row that JWQL itself wrote.
_ORIGIN = (
    "CASE WHEN r.sample THEN 'sample' WHEN r.suspicions <> '[]' THEN 'suspect'"
    " ELSE coalesce(r.status, '') END"
)
# JWQL's columns can't take every row of ours (an unknown capacity, a count beyond INTEGER): that is
# read from our own table then.
_NOT_IN = (
    "scan_area a JOIN scan_run r USING (run_id) WHERE (a.state = 'complete' OR a.files > 0)"
    " AND NOT EXISTS (SELECT 1 FROM {table} g WHERE {date:g.date} = r.date"
)
_TIB = f"{TIB_BYTES}.0"
GENERAL = (
    (
        "SELECT date, origin, total_file_count, total_file_size, fits_file_count, fits_file_size,"  # noqa: S608 - names of our own
        " used, available FROM (SELECT {date:t.date} AS date, {origin} AS origin, total_file_count,"
        " total_file_size, fits_file_count, fits_file_size, used, available"
        " FROM filesystem_general t LEFT JOIN scan_run r ON r.date = {date:t.date}"
        f" UNION ALL SELECT r.date, {{origin}}, a.files, a.apparent_bytes / {_TIB}, a.fits_files,"
        f" a.fits_bytes / {_TIB}, a.used_bytes / {_TIB}, a.available_bytes / {_TIB} FROM {_NOT_IN})"
        " AND a.area_group = 'archive' AND a.area = 'all') AS rows"
        " WHERE date BETWEEN {date:$1} AND {date:$2} ORDER BY date"
    )
    .replace("{origin}", _ORIGIN)
    .replace("{table}", "filesystem_general")
)
CENTRAL = (
    (
        "SELECT date, origin, area, size, used, available FROM (SELECT {date:t.date} AS date,"  # noqa: S608 - names of our own
        " {origin} AS origin, {text:t.area} AS area, size, used, available FROM central_storage t"
        " LEFT JOIN scan_run r ON r.date = {date:t.date}"
        f" UNION ALL SELECT r.date, {{origin}}, a.area, a.size_bytes / {_TIB},"
        f" a.apparent_bytes / {_TIB}, a.available_bytes / {_TIB} FROM {_NOT_IN}"
        " AND {text:g.area} = a.area) AND a.area_group = 'central') AS rows"
        " WHERE date BETWEEN {date:$1} AND {date:$2} AND ($3 = '' OR area = $3) ORDER BY date"
    )
    .replace("{origin}", _ORIGIN)
    .replace("{table}", "central_storage")
)
# JWQL's rows too: its clock may have been wrong as well. A limit, as a wrong import has thousands.
_FUTURE = (
    "SELECT {date:date} FROM scan_run WHERE date > {date:$1}"
    " UNION SELECT {date:date} FROM filesystem_general WHERE {date:date} > {date:$1}"
    " AND {date:date} <= {date:$2} ORDER BY 1 DESC LIMIT $3"
)
_ARCHIVE_AREA = (
    "SELECT {date:r.date},"
    " {origin},"
    " files, apparent_bytes, fits_files, fits_bytes,"
    " size_bytes, used_bytes, available_bytes FROM scan_area a JOIN scan_run r USING (run_id)"
    " WHERE area_group = 'archive' AND area = $2 AND r.date >= {date:$1} ORDER BY 1"
).replace("{origin}", _ORIGIN)
# Products of our runs are in our own table even where JWQL's could not take them.
_PRODUCT = (
    "SELECT date, min(origin), CAST(sum(count) AS BIGINT), sum(size) FROM ("
    "SELECT {date:t.date} AS date, '' AS origin, {text:t.instrument} AS instrument,"
    " {text:t.filetype} AS filetype, t.count, t.size FROM filesystem_instrument t"
    " WHERE {date:t.date} BETWEEN {date:$1} AND {date:$2}"
    " AND NOT EXISTS (SELECT 1 FROM scan_run r WHERE r.date = {date:t.date})"
    " UNION ALL SELECT r.date, {origin}, p.instrument, p.filetype, p.count,"
    " p.bytes / 1099511627776.0 FROM scan_run r JOIN scan_product p USING (run_id)"
    " WHERE p.area_group = 'archive' AND p.area = 'all' AND r.date BETWEEN {date:$1} AND {date:$2}"
    ") AS rows WHERE ($3 = '' OR instrument = $3) AND ($4 = '' OR filetype = $4)"
    " GROUP BY date ORDER BY date"
).replace("{origin}", _ORIGIN)

_LAST_PRODUCTS = (
    "SELECT {text:instrument}, {text:filetype} FROM filesystem_instrument"
    " WHERE date = (SELECT date FROM filesystem_instrument WHERE {date:date} <= {date:$1}"
    " ORDER BY date DESC LIMIT 1)"
    " UNION SELECT instrument, filetype FROM scan_product WHERE area_group = 'archive'"
    " AND area = 'all' AND run_id = (SELECT run_id FROM scan_run WHERE date <= {date:$1}"
    " ORDER BY date DESC LIMIT 1) ORDER BY 1, 2"
)


async def last_runs(store: Asked, count: int, until: datetime | None = None) -> list[RunRow]:
    """Return the newest runs that are not in the future, the newest first, with their areas.

    Parameters
    ----------
    store : Asked
    count : int
        At most this many.
    until : datetime, optional
        Not those dated later; default: `jwqlscan.system.clock.latest_date`.
    """
    until = until or latest_date()
    runs = [_run(row) for row in await store.select(_LAST_RUNS, count, until)]
    areas: dict[str, list[AreaRow]] = {run.run_id: [] for run in runs}
    for row in await store.select(_AREAS, count, until):
        area = _area(row)
        areas.get(area.run_id, []).append(area)  # a run stored between the two questions has none
    return [replace(run, areas=tuple(areas[run.run_id])) for run in runs]


async def last_products(store: Asked) -> list[tuple[str, str]]:
    """Return the instruments and filetypes of JWQL's newest date, and of our newest run."""
    return [(row[0], row[1]) for row in await store.select(_LAST_PRODUCTS, LATEST)]


async def last_complete_run(store: Asked, until: datetime | None = None) -> RunRow | None:
    """Return the newest complete run that is not in the future, without its areas."""
    rows = await store.select(_LAST_COMPLETE, 1, until or latest_date())
    return _run(rows[0]) if rows else None


async def future_dates(store: Asked, until: datetime | None = None) -> list[datetime]:
    """Return the dates of rows that are dated in the future, the newest first, at most 1,000."""
    rows = await store.select(_FUTURE, until or latest_date(), LATEST, 1000)
    return [as_date(date) for (date,) in rows]


# What follows has no row that is dated `infinity`, or beyond the year 9999.
async def archive_points(store: Asked, since: datetime | None = None) -> list[Point]:
    """Return the archive over time, JWQL's rows among them; ascending by date."""
    rows = await store.select(GENERAL, since or EARLIEST, LATEST)
    return [
        Point(
            as_date(date),
            status,
            files,
            as_bytes(size),
            fits_files,
            as_bytes(fits_size),
            None,
            *map(as_bytes, finite_room(*room)),
        )
        for date, status, files, size, fits_files, fits_size, *room in rows
    ]


async def central_points(store: Asked, area: str, since: datetime | None = None) -> list[Point]:
    """Return an area of central storage over time, JWQL's rows among them."""
    rows = await store.select(CENTRAL, since or EARLIEST, LATEST, area)
    return [
        Point(
            as_date(date),
            status,
            bytes=as_bytes(used),
            size_bytes=as_bytes(size) or None,  # 0: the filesystem reports no size
            available_bytes=as_bytes(available) if size else None,
        )
        for date, status, _, size, used, available in rows
    ]


async def archive_area_points(
    store: Asked, area: str, since: datetime | None = None
) -> list[Point]:
    """Return an area of the archive over time; JWQL has no rows of it."""
    rows = await store.select(_ARCHIVE_AREA, since or EARLIEST, area)
    return [Point(as_date(date), *values) for date, *values in rows]


async def product_points(
    store: Asked, instrument: str = "", filetype: str = "", since: datetime | None = None
) -> list[Point]:
    """Return the files of an instrument, of a filetype, or of both, over time; "" is any."""
    rows = await store.select(_PRODUCT, since or EARLIEST, LATEST, instrument, filetype)
    return [
        Point(as_date(date), status, count, as_bytes(size)) for date, status, count, size in rows
    ]


def _run(row: Sequence[Any]) -> RunRow:
    run_id, date, ended, host, version, seconds, run_status, reasons, suspicions, accepted = row
    return RunRow(
        run_id=run_id,
        date=as_date(date),
        ended=as_date(ended),
        host=host,
        version=version,
        seconds=seconds,
        status=run_status,
        incomplete_reasons=(*json.loads(reasons), *json.loads(suspicions)),
        accepted=bool(accepted),
    )


def _area(row: Sequence[Any]) -> AreaRow:
    run_id, *values = row
    values[12:14] = (json.loads(values[12]), json.loads(values[13]))
    area = AreaRow(run_id, *values)
    if area.size_bytes == 0:  # stored by older versions: no size is reported
        return replace(area, size_bytes=None, used_bytes=None, available_bytes=None)
    return area


def as_date(value: datetime | str) -> datetime:
    """Return a date of either dialect, aware."""
    date = datetime.fromisoformat(value) if isinstance(value, str) else value
    return date.astimezone(UTC)


def as_bytes(size_tib: float | None) -> int | None:
    """Return bytes out of a JWQL column: exact below 8 PiB; None for NaN and Infinity."""
    known = finite(size_tib)
    return None if known is None else round(known * TIB_BYTES)
