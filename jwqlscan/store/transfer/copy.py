"""Copying one store into another: row by row the same, again and again without harm.

What is copied follows from the tables that there are: those with a ``run_id`` go with their run,
JWQL's and failed runs by their dates. A chunk of some thousand rows is one transaction, so that a
copy which was cut off goes on where it was; and before the first of them everything is compared, so
that a conflict changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from jwqlscan.errors import StoreError, StoreUnavailableError
from jwqlscan.store import Store
from jwqlscan.store.invalid_rows import SPAN, date_gaps, dated
from jwqlscan.store.jwql_columns import Column
from jwqlscan.store.rows import Row, TableRows
from jwqlscan.store.transfer.copy_insight import INSIGHT_TABLES, copy_insight
from jwqlscan.store.transfer.rows import (
    FAILURES,
    KEYS,
    LEFT_OUT,
    MONITOR,
    RUNS,
    ConflictError,
    columns_in_both,
    date_column,
    dated_rows,
    missing_rows,
    neutral,
    neutral_rows,
)

# Of one transaction: a second's work, and 30 MB of memory.
CHUNK_ROWS = 30_000

# Of one question for the rows of runs: below the least that SQLite takes as parameters.
_RUNS_A_QUESTION = 500

Catalog = Mapping[str, Mapping[str, Column]]


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy or an import did.

    Attributes
    ----------
    source, target : str
        Where, without any password.
    runs : int
        Runs written.
    present : int
        Runs that were there before.
    rows : dict of str to int
        Rows written, by table.
    warnings : tuple of str
        Rows that the target's tables could not take.
    notes : tuple of str
        What a reader must know of the rows.
    """

    source: str
    target: str
    runs: int
    present: int
    rows: dict[str, int]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Layout:
    """The tables that both stores have, and the columns that are copied of each."""

    columns: dict[str, tuple[str, ...]]
    of_runs: tuple[str, ...]
    dated: tuple[str, ...] = (*KEYS, MONITOR, FAILURES)


@dataclass(slots=True)
class _Chunk:
    """Some of the source: the runs of a span of time, and the span itself."""

    first: str
    last: str
    runs: list[Row] = field(default_factory=list)


async def copy(
    source: Store, target: Store, progress: Callable[[int, int], None] | None = None
) -> Copied:
    """Copy every row that the target lacks.

    Parameters
    ----------
    source, target : Store
        Both entered.
    progress : callable, optional
        Told how many chunks are done, and of how many.

    Raises
    ------
    ConflictError
        If the target has another run or other numbers at the same date; nothing was written.
    """
    if await source.identity() == await target.identity():
        raise ConflictError(f"{source.location}: is copied to itself: name another store")
    layout = layout_of(await source.catalog(), await target.catalog())
    runs, present = await _compare_runs(source, target, layout)
    chunks = await _chunks(source, layout, runs)
    for chunk in chunks:
        await _dated_rows(source, target, layout, chunk)
    written: Counter[str] = Counter()
    warnings = Counter(await date_gaps(source, await source.catalog()))
    for number, chunk in enumerate(chunks):
        if progress is not None:
            progress(number, len(chunks))
        try:
            async with target.exclusive():
                tables = await _run_rows(source, layout, chunk)
                tables += await _dated_rows(source, target, layout, chunk)
                if any(wanted.rows for wanted in tables):
                    warnings.update(await target.write(tables))
        except StoreUnavailableError as error:
            raise StoreUnavailableError(f"{error}; then copy again: it goes on here") from error
        for wanted in tables:
            written[wanted.table] += len(wanted.rows)
    try:
        written += await copy_insight(source, target, layout.columns)
    except StoreUnavailableError as error:
        raise StoreUnavailableError(f"{error}; then copy again: it goes on here") from error
    return Copied(
        source.location,
        target.location,
        runs=written[RUNS],
        present=present,
        rows={table: count for table, count in written.items() if count},
        warnings=tuple(warnings),
    )


def layout_of(source: Catalog, target: Catalog) -> _Layout:
    """Return what is copied and how; a table that nobody thought of is an error, not forgotten."""
    tables = [name for name in target if name not in LEFT_OUT]
    known = {RUNS, MONITOR, FAILURES, *KEYS, *INSIGHT_TABLES}
    children = tuple(name for name in tables if "run_id" in target[name] and name not in known)
    if unknown := set(tables) - {*known, *children}:
        raise StoreError(
            f"no rule how to copy {', '.join(sorted(unknown))}: a bug, please report it"
        )
    return _Layout(
        {table: columns_in_both(table, source, target) for table in tables if table in source},
        children,
    )


async def _compare_runs(source: Store, target: Store, layout: _Layout) -> tuple[list[Row], int]:
    """Return the rows of `scan_run` that the target lacks, the oldest first; how many it has."""
    columns = layout.columns[RUNS]
    question = f"SELECT {', '.join(columns)} FROM {RUNS} ORDER BY date"  # noqa: S608 - names of our own
    place, date = columns.index("run_id"), columns.index("date")
    there = neutral_rows(await target.select(question))
    by_id = {row[place]: row for row in there}
    by_date = {row[date]: row for row in there}
    new = []
    here = neutral_rows(await source.select(question))
    for row in here:
        other = by_id.get(row[place], by_date.get(row[date]))
        if other is None:
            new.append(row)
        elif other != row:
            what = (
                "another run" if other[place] != row[place] else "the same run with other numbers"
            )
            raise ConflictError(
                f"{target.location}: has {what} at {row[date]}, nothing is copied: copy into"
                " another store, or remove the one that is wrong"
            )
    return new, len(here) - len(new)


async def _chunks(source: Store, layout: _Layout, runs: Sequence[Row]) -> list[_Chunk]:
    """Cut the source's time into spans of about `CHUNK_ROWS` rows; the oldest first."""
    columns = layout.columns[RUNS]
    place, date = columns.index("run_id"), columns.index("date")
    weights: Counter[str] = Counter()
    dates = {str(row[place]): str(row[date]) for row in runs}
    for table in layout.of_runs:
        question = f"SELECT {{text:run_id}}, count(*) FROM {table} GROUP BY run_id"  # noqa: S608 - names of our own
        for run_id, count in await source.select(question):
            if run_id in dates:
                weights[dates[run_id]] += count
    for table in layout.dated:
        column = date_column(table)
        question = (
            f"SELECT {column}, count(*) FROM {table}"  # noqa: S608 - names of our own
            f" WHERE {dated((column,), 1)} GROUP BY {column}"
        )
        for value, count in await source.select(question, *SPAN):
            weights[str(neutral(value))] += count
    for moment in dates.values():
        weights[moment] += 1
    chunks: list[_Chunk] = []
    size = CHUNK_ROWS
    for moment, count in sorted(weights.items()):
        if size + count > CHUNK_ROWS:
            chunks.append(_Chunk(moment, moment))
            size = 0
        chunks[-1].last = moment
        size += count
    new = iter(runs)
    run = next(new, None)
    for chunk in chunks:
        while run is not None and str(run[date]) <= chunk.last:
            chunk.runs.append(run)
            run = next(new, None)
    return chunks


async def _run_rows(source: Store, layout: _Layout, chunk: _Chunk) -> list[TableRows]:
    """Return the rows of a chunk's runs, those of `scan_run` first."""
    columns = layout.columns[RUNS]
    ids = [str(row[columns.index("run_id")]) for row in chunk.runs]
    tables = [TableRows(RUNS, columns, chunk.runs)]
    for table in layout.of_runs:
        rows: list[Row] = []
        for start in range(0, len(ids), _RUNS_A_QUESTION):
            some = ids[start : start + _RUNS_A_QUESTION]
            marks = ", ".join(f"${number}" for number, _ in enumerate(some, 1))
            names = ", ".join(layout.columns[table])
            question = f"SELECT {names} FROM {table} WHERE run_id IN ({marks})"  # noqa: S608 - names of our own
            rows += neutral_rows(await source.select(question, *some))
        tables.append(TableRows(table, layout.columns[table], rows))
    return tables


async def _dated_rows(
    source: Store, target: Store, layout: _Layout, chunk: _Chunk
) -> list[TableRows]:
    """Return the dated rows that the target lacks in a chunk's span of time."""
    tables = []
    for table in layout.dated:
        columns = layout.columns[table]
        here = await dated_rows(source, table, columns, chunk.first, chunk.last)
        there = await dated_rows(target, table, columns, chunk.first, chunk.last)
        wanted = TableRows(table, columns, here)
        rows = missing_rows(wanted, there, source.location, target.location)
        tables.append(wanted._replace(rows=rows))
    return tables
