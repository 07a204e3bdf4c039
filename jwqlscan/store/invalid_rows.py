"""Rows of JWQL's tables that hold no number (NaN, Infinity) or no date (`infinity`): gaps.

Every reader leaves such values out; what is left out is reported from here, with the statement that
removes the rows. Nothing of ours writes any.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jwqlscan.errors import LastingWarning
from jwqlscan.store import Store
from jwqlscan.store.jwql_columns import Column
from jwqlscan.store.rows import EARLIEST
from jwqlscan.system.clock import LATEST

NUMBERS = {
    "filesystem_general": ("total_file_size", "fits_file_size", "used", "available"),
    "filesystem_instrument": ("size",),
    "central_storage": ("size", "used", "available"),
}
DATES = {**dict.fromkeys(NUMBERS, ("date",)), "monitor": ("start_time", "end_time")}

Catalog = Mapping[str, Mapping[str, Column]]


def dated(columns: Sequence[str], first: int) -> str:
    """Return the condition that dates can be read, with parameters from a number on: `SPAN`.

    asyncpg can't decode a date beyond the year 9999.
    """
    return " AND ".join(
        f"({{date:{column}}} IS NULL OR"
        f" {{date:{column}}} BETWEEN {{date:${first}}} AND {{date:${first + 1}}})"
        for column in columns
    )


SPAN = (EARLIEST, LATEST)


async def number_gaps(store: Store, catalog: Catalog) -> list[str]:
    """Return a line for each table with rows whose sizes are no numbers."""
    lines = []
    for table, columns in NUMBERS.items():
        if not set(columns) <= catalog.get(table, {}).keys():
            continue
        # In PostgreSQL NaN is larger than any number.
        question = " OR ".join(f"abs({column}) >= $1" for column in columns)
        infinite = "9e999" if catalog[table][columns[0]].type_name == "real" else "'Infinity'"
        lines += await _line(
            store,
            table,
            "sizes that are no numbers (NaN, Infinity)",
            question,
            (math.inf,),
            " OR ".join(f"abs({column}) >= {infinite}" for column in columns),
        )
    return lines


async def date_gaps(store: Store, catalog: Catalog) -> list[str]:
    """Return a line for each table with rows whose dates are no dates."""
    lines = []
    first, last = (date.date().isoformat() for date in SPAN)
    for table, columns in DATES.items():
        if not set(columns) <= catalog.get(table, {}).keys():
            continue
        lines += await _line(
            store,
            table,
            "dates that are none (infinity, beyond the year 9998)",
            f"NOT ({dated(columns, 1)})",
            SPAN,
            " OR ".join(f"{column} NOT BETWEEN '{first}' AND '{last}'" for column in columns),
        )
    return lines


async def gaps(store: Store) -> list[str]:
    """Return a line for each table with rows that are read as gaps; it reads the whole tables."""
    catalog = await store.catalog()
    return [*await number_gaps(store, catalog), *await date_gaps(store, catalog)]


async def jwql_gaps(store: Store) -> list[str]:
    """Return `gaps` of tables that JWQL made; our own tables need no check each night."""
    catalog = await store.catalog()
    date = catalog.get("filesystem_general", {}).get("date")
    return await gaps(store) if date is not None and date.type_name == "timestamp" else []


async def _line(
    store: Store,
    table: str,
    problem: str,
    question: str,
    values: Sequence[object],
    condition: str,
) -> list[str]:
    asked = f"SELECT count(*), min(id) FROM {table} WHERE {question}"  # noqa: S608 - names of our own
    [(count, first)] = await store.select(asked, *values)
    if not count:
        return []
    text = (
        f"{store.location}: {table}: rows with {problem}: {count:,}, such as id {first}: left out"  # noqa: S608 - printed
        f" as gaps; correct them, or remove them: DELETE FROM {table} WHERE {condition}"
    )
    return [LastingWarning(text)]
