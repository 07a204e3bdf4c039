"""The rows of JWQL's own monitor, taken into a store: local dates become UTC, numbers stay.

JWQL writes what the clock of its host shows, without a zone. Twice a year that is no longer a
moment: an hour comes twice, and another does not come at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from jwqlscan.errors import ConfigError, StoreError
from jwqlscan.store import OLD_MONITOR_NAME, Store
from jwqlscan.store.invalid_rows import DATES, SPAN, date_gaps, dated
from jwqlscan.store.jwql_columns import Column
from jwqlscan.store.rows import JWQL_TABLES, TableRows, date_text
from jwqlscan.store.transfer.copy import CHUNK_ROWS, Copied
from jwqlscan.store.transfer.rows import (
    FAILURES,
    MONITOR,
    RUNS,
    ConflictError,
    by_dates,
    columns_in_both,
    date_column,
    dated_rows,
    missing_rows,
    neutral_rows,
)
from jwqlscan.units import counted

# What the numbers mean, as JWQL's `monitor_filesystem` counted them.
MEANING = (
    "files and bytes in filesystem_general and filesystem_instrument are twice what there was in"
    " rows from mid 2021 to January 2022: until version 1.1.0 JWQL walked everything once for"
    " public and once for proprietary",
    "files at the ends of symbolic links are counted too",
    "filesystem_instrument has of a directory only what came before its first unknown FITS name;"
    " suffixes were matched by their beginning, so calints is counted as cal, ami-oi, amimulti-oi"
    " and amilg as ami, and aminorm-oi as aminorm",
    "used and available are the df of public and proprietary added up, which is twice the"
    " filesystem where it is one",
    "area 'all' of central_storage includes areas outside the central directory, lacks the files"
    " directly in it, and has nested areas twice",
)

# No clock is put back by more.
_TRANSITION = timedelta(hours=3)


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone of the IANA database.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise _no_zone(name) from error
    except KeyError as error:
        raise _no_zone(name) from error


def _no_zone(name: str) -> ConfigError:
    return ConfigError(
        f"--time-zone: no zone is called {name!r}: write it as America/New_York or UTC (and install"
        " tzdata if this host has none)"
    )


async def import_jwql(source: Store, target: Store, zone: ZoneInfo) -> Copied:
    """Take every row of JWQL's four tables that the target lacks, in one transaction.

    Parameters
    ----------
    source : Store
        A JWQL database, entered with its tables left as they are; it is only read.
    target : Store
        Entered.
    zone : ZoneInfo
        Where the clock was that wrote the dates.

    Raises
    ------
    StoreError
        If the source has none of the tables, or the target other numbers at the same moment;
        nothing was written.
    """
    if await source.identity() == await target.identity():
        raise ConflictError(
            f"{source.location}: is the store itself, where JWQL's rows are used as they are: give"
            " another store with --database"
        )
    catalog, into = await source.catalog(), await target.catalog()
    found = [table for table in JWQL_TABLES if table in catalog]
    if not found:
        raise StoreError(
            f"{source.location}: has no table {', '.join(JWQL_TABLES)}: name JWQL's database"
        )
    notes = [f"no table {table} there" for table in JWQL_TABLES if table not in catalog]
    ours = await _own_dates(source, catalog)
    tables, skipped = [], 0
    clock = _Clock(zone)
    for table in found:
        wanted, left = await _rows(source, table, catalog, into, ours, clock)
        skipped += left
        tables.append(wanted)
    written = []
    for wanted in tables:
        more = []
        for first, last, chunk in by_dates(wanted, CHUNK_ROWS):
            there = await dated_rows(target, wanted.table, wanted.columns, first, last)
            more += missing_rows(chunk, there, source.location, target.location)
        written.append(wanted._replace(rows=more))
    async with target.exclusive():
        warnings = [*await date_gaps(source, catalog), *await target.write(written)]
    if skipped:
        notes.append(
            f"{counted(skipped, 'row')} of jwqlscan's own runs, which are UTC, left out: `jwqlscan"
            " db copy` takes them"
        )
    return Copied(
        source.location,
        target.location,
        runs=0,
        present=sum(len(w.rows) for w in tables) - sum(len(w.rows) for w in written),
        rows={wanted.table: len(wanted.rows) for wanted in written if wanted.rows},
        warnings=tuple(warnings),
        notes=(*notes, *clock.notes(), *MEANING),
    )


async def _own_dates(source: Store, catalog: Mapping[str, object]) -> frozenset[str]:
    """Return the dates of the rows that runs of ours wrote: JWQL's tables do not show it.

    A run that failed has no row in `scan_run`.
    """
    dates: set[str] = set()
    for table, column in ((RUNS, "date"), (FAILURES, "started")):
        if table in catalog:
            rows = await source.select(f"SELECT {column} FROM {table}")  # noqa: S608 - names of our own
            dates.update(str(date) for (date,) in neutral_rows(rows))
    return frozenset(dates)


async def _rows(
    source: Store,
    table: str,
    catalog: Mapping[str, Mapping[str, Column]],
    into: Mapping[str, Mapping[str, object]],
    ours: frozenset[str],
    clock: _Clock,
) -> tuple[TableRows, int]:
    """Return a table's rows with their dates in UTC, and how many of our own were passed over."""
    columns = columns_in_both(table, catalog, into)
    if missing := set(into[table]) - {*columns, "id"}:
        raise StoreError(f"{source.location}: {table} has no {', '.join(sorted(missing))}")
    question = (
        f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - names of our own
        f" WHERE {dated(DATES[table], 1)} ORDER BY id"
    )
    places_dated = [place for place, name in enumerate(columns) if name.endswith(("date", "_time"))]
    when = columns.index(date_column(table))
    rows: list[Sequence[Any]] = []
    skipped = 0
    clock.start()
    for row in await source.select(question, *SPAN):
        values = list(row)
        moment = date_text(values[when].replace(tzinfo=values[when].tzinfo or UTC))
        monitor = values[columns.index("monitor_name")] if table == MONITOR else ""
        if moment in ours or monitor == OLD_MONITOR_NAME:
            skipped += 1
            continue
        for place in places_dated:
            if values[place] is not None:
                values[place] = clock.utc(values[place], monitor)
        rows.append(values)
    return TableRows(table, columns, neutral_rows(rows)), skipped


class _Clock:
    """Turns what the clock showed into moments; rows come in the order they were written in.

    Of the `monitor` table that holds for each monitor's rows: several run at a time.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._twice: set[datetime] = set()
        self._never: set[datetime] = set()
        self._known: dict[tuple[str, datetime], datetime] = {}
        self._last: dict[str, datetime] = {}
        self._second: dict[str, bool] = {}

    def start(self) -> None:
        """Begin with the rows of another table."""
        for known in (self._known, self._last, self._second):
            known.clear()

    def utc(self, shown: datetime, sequence: str) -> datetime:
        """Return the moment at which the clock showed that, in a sequence of rows."""
        if shown.tzinfo is not None:
            return shown
        known = self._known.get((sequence, shown))
        if known is None:
            known = self._known[sequence, shown] = self._moment(shown, sequence)
        return known

    def _moment(self, shown: datetime, sequence: str) -> datetime:
        first = shown.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
        second = shown.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        if first > second:  # the clock was put forward over this hour
            self._never.add(shown)
        if first >= second:
            return first
        # An hour that comes twice: once the clock has gone back, it is the second time.
        self._twice.add(shown)
        last = self._last.get(sequence, datetime.min)
        if shown - last > _TRANSITION:
            self._second[sequence] = False
        elif shown < last:
            self._second[sequence] = True
        self._last[sequence] = shown
        return second if self._second.get(sequence) else first

    def notes(self) -> list[str]:
        """Return what had to be decided, one line each."""
        found = []
        if self._twice:
            found.append(
                f"{counted(len(self._twice), 'date lies', 'dates lie')} in an hour that"
                f" {self._zone} has twice, such as {min(self._twice)}: taken as the first"
                " time, and as the second once the clock had gone back"
            )
        if self._never:
            found.append(
                f"{counted(len(self._never), 'date lies', 'dates lie')} in an hour that"
                f" {self._zone} never had, such as {min(self._never)}: read as if the"
                " clock had not been put forward; is it the right zone?"
            )
        return found
