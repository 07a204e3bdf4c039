"""The rights that storing a run needs, and which of them this user lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jwqlscan.store import rows as table_rows
from jwqlscan.store.jwql_columns import Column
from jwqlscan.store.postgresql_queries import Connection

# What a run inserts into is every table of ours and JWQL's. It never writes here:
_READ_ONLY = frozenset(("scan_schema",))
_UPDATED = frozenset(("scan_value",))
_DELETED = frozenset(("scan_value", "scan_series", "scan_insight"))

# A right on some columns does: asyncpg names the columns.
_TABLES = """
SELECT t.name, has_any_column_privilege(c.oid, 'SELECT'), has_any_column_privilege(c.oid, 'INSERT'),
       has_any_column_privilege(c.oid, 'UPDATE'), has_table_privilege(c.oid, 'DELETE')
FROM unnest($1::text[]) AS t (name)
JOIN pg_class c ON c.relname = t.name AND pg_table_is_visible(c.oid)
ORDER BY t.name
"""
# An identity column needs no right on its sequence.
_SEQUENCES = """
SELECT s.oid::regclass::text FROM pg_class t
JOIN pg_depend d ON d.refobjid = t.oid AND d.deptype = 'a' AND d.refobjsubid > 0
JOIN pg_class s ON s.oid = d.objid
WHERE t.relname = ANY ($1::text[]) AND pg_table_is_visible(t.oid)
AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') ELSE false END
ORDER BY 1
"""


async def missing_rights(
    connection: Connection, catalog: Mapping[str, Mapping[str, Column]]
) -> list[str]:
    """Return the statement that grants what is missing; a line for each right.

    Parameters
    ----------
    connection : Connection
    catalog : mapping of str to mapping
        The tables there are.
    """
    lacking: dict[str, list[str]] = {"SELECT": [], "INSERT": [], "UPDATE": [], "DELETE": []}
    tables = sorted({*table_rows.JWQL_TABLES, *catalog})
    for name, *rights in await connection.fetch(_TABLES, tables):
        needed = (
            True,
            name not in _READ_ONLY,
            name in _UPDATED,
            name in _DELETED,
        )
        for right, has, needs in zip(lacking, rights, needed, strict=True):
            if needs and not has:
                lacking[right].append(name)
    role = await connection.fetchval("SELECT quote_ident(current_user)")
    lines = [_grant(right, names, role) for right, names in lacking.items() if names]
    sequences = [name for (name,) in await connection.fetch(_SEQUENCES, tables)]
    if sequences:
        lines.append(_grant("USAGE", sequences, role, "SEQUENCE "))
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        lines.append("the server is a standby, which can't be written: name the primary server")
    return lines


def _grant(right: str, names: Sequence[str], role: str, kind: str = "") -> str:
    return f"{right} is missing: GRANT {right} ON {kind}{', '.join(names)} TO {role}"
