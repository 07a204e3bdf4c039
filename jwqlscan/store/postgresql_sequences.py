"""Sequences that are behind the rows of their tables, as after a restore of the rows alone.

The ids of JWQL's tables and of `scan_series` come from sequences. One that gives ids that rows
have already is advanced with nextval(): that needs no right that storing does not need, it never
goes back, and JWQL's own monitor, which shares the sequence, goes on as well.
"""

from __future__ import annotations

import re

from jwqlscan.store import rows as table_rows
from jwqlscan.store.postgresql_errors import set_sequence
from jwqlscan.store.postgresql_queries import Connection

# 10 million calls of nextval() take some 3 s. A sequence that is further behind is for its owner.
MAX_STEPS = 10_000_000

_DEFAULTS = """
SELECT c.relname::text, quote_ident(a.attname),
       pg_get_serial_sequence(c.oid::regclass::text, a.attname), pg_get_expr(d.adbin, d.adrelid)
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE pg_table_is_visible(c.oid) AND c.relname = ANY ($1::text[])
AND (a.attidentity <> '' OR d.adbin IS NOT NULL)
ORDER BY c.relname
"""


async def advance_sequences(connection: Connection, location: str) -> list[str]:
    """Advance each sequence that is behind the rows of its table.

    Returns
    -------
    list of str
        A line for each that was behind: what was done or, where it is too far behind, the
        statement that sets it.
    """
    lines = []
    tables = [*table_rows.JWQL_TABLES, "scan_series"]
    for table, column, owned, default in await connection.fetch(_DEFAULTS, tables):
        sequence = owned or _of_default(default)
        if not sequence:
            continue
        highest = await connection.fetchval(f"SELECT max({column}) FROM {table}")  # noqa: S608 - names out of the catalog
        given = await connection.fetchval("SELECT nextval($1::text::regclass)", sequence)
        if highest is None or given > highest:
            continue
        behind = f"{location}: the sequence {sequence} was behind the rows of {table}"
        if highest - given > MAX_STEPS:
            remedy = set_sequence(table, column, sequence)
            lines.append(f"{behind} by {highest - given:,} and is not advanced: {remedy}")
            continue
        await connection.fetchval(
            "SELECT max(nextval($1::text::regclass)) FROM generate_series(1, $2::bigint)",
            sequence,
            highest - given,
        )
        lines.append(f"{behind} and is advanced: ids up to {highest} were taken")
    return lines


def _of_default(expression: str | None) -> str:
    # nextval('public."a name"'::regclass): of a sequence that no column owns.
    found = re.match(r"nextval\('((?:[^']|'')+)'::regclass\)", expression or "")
    return found[1].replace("''", "'") if found else ""
