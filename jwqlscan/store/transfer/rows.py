"""Rows on their way from one store to another: the same values whatever the dialect."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from jwqlscan.errors import StoreError
from jwqlscan.store import Store
from jwqlscan.store.invalid_rows import DATES, SPAN, dated
from jwqlscan.store.rows import Row, TableRows, Value, date_text

# The key of a JWQL table. `monitor` has none: there equal rows are counted.
KEYS = {
    "filesystem_general": ("date",),
    "filesystem_instrument": ("date", "instrument", "filetype"),
    "central_storage": ("date", "area"),
}
MONITOR = "monitor"
RUNS = "scan_run"
FAILURES = "scan_failure"

# The keys of all tables whose rows are copied by date.
_KEYS = {**KEYS, FAILURES: ("run_id",)}

# A store's own book-keeping, which has no meaning elsewhere.
LEFT_OUT = ("scan_schema",)


class ConflictError(StoreError):
    """Two stores have different rows for the same time: a person has to decide."""


def date_column(table: str) -> str:
    """Return the column by which the rows of a table without a reference to runs are dated."""
    return {MONITOR: "start_time", FAILURES: "started"}.get(table, "date")


def neutral(value: object) -> Value:
    """Return a value as SQLite has it: dates as text in UTC, no booleans, no NaN or Infinity."""
    if isinstance(value, datetime):
        return date_text(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(type(value).__name__)


def neutral_rows(rows: Iterable[Sequence[object]]) -> list[Row]:
    """Return rows of neutral values; equal texts are one object."""
    texts: dict[Value, Value] = {}
    return [
        tuple(
            texts.setdefault(one, one) if isinstance(one, str) else one for one in map(neutral, row)
        )
        for row in rows
    ]


async def dated_rows(
    store: Store, table: str, columns: Sequence[str], first: str, last: str
) -> list[Row]:
    """Return a table's rows from one date to another, both included; the oldest first."""
    date = date_column(table)
    order = date if table == FAILURES else "id"
    question = (
        f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - names of our own
        f" WHERE {{date:{date}}} >= {{date:$1}} AND {{date:{date}}} <= {{date:$2}}"
        f" AND {dated(DATES.get(table, (date,)), 3)} ORDER BY {order}"
    )
    span = (datetime.fromisoformat(first), datetime.fromisoformat(last))
    return neutral_rows(await store.select(question, *span, *SPAN))


def columns_in_both(
    table: str,
    source: Mapping[str, Mapping[str, object]],
    target: Mapping[str, Mapping[str, object]],
) -> tuple[str, ...]:
    """Return what is copied of a table: not the ids, which each store gives its own rows."""
    return tuple(name for name in target[table] if name != "id" and name in source[table])


def missing_rows(wanted: TableRows, present: Sequence[Row], source: str, target: str) -> list[Row]:
    """Return the rows that are not there yet.

    Raises
    ------
    ConflictError
        If a row is there with other numbers, or the source itself has two that differ.
    """
    if wanted.table == MONITOR:
        there = Counter(present)
        more = []
        for row in wanted.rows:
            if there[row] > 0:
                there[row] -= 1
            else:
                more.append(row)
        return more
    places = [wanted.columns.index(name) for name in _KEYS[wanted.table]]
    known = {tuple(row[place] for place in places): row for row in present}
    of_target = set(known)
    rows = []
    for row in wanted.rows:
        key = tuple(row[place] for place in places)
        other = known.setdefault(key, row)
        if other is row:
            rows.append(row)
        elif other != row:
            name = " ".join(str(part) for part in key)
            where = f"{target} has other numbers" if key in of_target else "there are two rows"
            raise ConflictError(
                f"{source}: {wanted.table} at {name}: {where}: remove the row that is wrong"
            )
    return rows


def by_dates(wanted: TableRows, limit: int) -> Iterator[tuple[str, str, TableRows]]:
    """Split rows into chunks of about that size, never within a date; with first and last date."""
    place = wanted.columns.index(date_column(wanted.table))
    rows = sorted(wanted.rows, key=lambda row: str(row[place]))
    start = 0
    while start < len(rows):
        end = min(start + limit, len(rows))
        while end < len(rows) and rows[end][place] == rows[end - 1][place]:
            end += 1
        chunk = rows[start:end]
        yield str(chunk[0][place]), str(chunk[-1][place]), wanted._replace(rows=chunk)
        start = end
