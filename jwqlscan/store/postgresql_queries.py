"""What the PostgreSQL store asks and writes within a transaction; asyncpg is not imported here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from jwqlscan.model.history import FilesystemColumns, History
from jwqlscan.model.snapshot import Snapshot
from jwqlscan.store import columns, validity
from jwqlscan.store import rows as table_rows
from jwqlscan.store.jwql_columns import Column, storable_rows
from jwqlscan.store.queries import CENTRAL, GENERAL
from jwqlscan.store.rows import TableRows, Value

# The aggregate of five years needs 20 MB: with PostgreSQL's default of 4 MB it spills to disk and
# takes twice as long.
_HISTORY_WORK_MEM = "64MB"

IDENTITY = (
    "SELECT pg_postmaster_start_time()::text || ' ' || oid FROM pg_database"
    " WHERE datname = current_database()"
)

_NEWEST = "(SELECT run_id FROM scan_run WHERE date BETWEEN $1 AND $2 ORDER BY date DESC LIMIT 1)"


class Connection(Protocol):
    """What is used of an asyncpg connection."""

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement; several at once if there are no arguments."""
        ...

    async def executemany(self, command: str, args: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row."""
        ...

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """Return the rows."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:  # noqa: ANN401 - what a column has
        """Return the first value of the first row, None if there is none."""
        ...

    async def copy_records_to_table(
        self, table_name: str, *, columns: Sequence[str], records: Iterable[Sequence[object]]
    ) -> str:
        """Insert rows with COPY."""
        ...


async def schema_version(connection: Connection) -> int:
    """Return the newest version applied; 0 where our tables are not there yet."""
    # A query of pg_class, not to_regclass(): that answers from a cache which does not learn what
    # another session did while this one waited for the advisory lock.
    known = "SELECT true FROM pg_class WHERE relname = 'scan_schema' AND pg_table_is_visible(oid)"
    if not await connection.fetchval(known):
        return 0
    return int(await connection.fetchval("SELECT coalesce(max(version), 0) FROM scan_schema"))


async def catalog(connection: Connection) -> dict[str, dict[str, Column]]:
    """Return the columns of the JWQL tables and our own as they are in this database."""
    rows = await connection.fetch(
        r"""
        SELECT c.relname::text, a.attname::text, t.typname::text, a.attnotnull,
               ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid)
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type t ON t.oid = a.atttypid
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_table_is_visible(c.oid)
        AND (c.relname = ANY ($1::text[]) OR c.relname LIKE 'scan\_%')
        ORDER BY c.relname, a.attnum
        """,
        table_rows.JWQL_TABLES,
    )
    tables: dict[str, dict[str, Column]] = {}
    for table, name, type_name, not_null, labels in rows:
        tables.setdefault(table, {})[name] = Column(type_name, not_null, frozenset(labels))
    return tables


async def copy_storable(
    connection: Connection, wanted: TableRows, catalog: Mapping[str, Mapping[str, Column]]
) -> list[str]:
    """Insert the rows that a JWQL table can take; return warnings for the others."""
    rows, warnings = storable_rows(wanted, catalog.get(wanted.table, {}))
    await copy(connection, TableRows(wanted.table, wanted.columns, rows))
    return warnings


def typed(wanted: TableRows, columns: Mapping[str, Column]) -> TableRows:
    """Return neutral rows with the values that asyncpg wants for the table's columns."""
    dates: dict[str, datetime] = {}  # one stands in a hundred rows

    def date(text: object) -> datetime:
        known = dates.get(str(text))
        return known or dates.setdefault(str(text), datetime.fromisoformat(str(text)))

    of_type: dict[str, Callable[[object], Value]] = {
        "timestamptz": date,
        "timestamp": date,
        "bool": bool,
    }
    change = [of_type.get(columns[name].type_name) for name in wanted.columns]
    if not any(change):
        return wanted
    return wanted._replace(
        rows=[
            tuple(
                value if kind is None or value is None else kind(value)
                for kind, value in zip(change, row, strict=True)
            )
            for row in wanted.rows
        ]
    )


async def copy(connection: Connection, wanted: TableRows) -> None:
    """Insert rows."""
    if wanted.rows:
        await connection.copy_records_to_table(
            wanted.table, columns=wanted.columns, records=wanted.rows
        )


async def record_insight(connection: Connection, snapshot: Snapshot) -> None:
    """Store what a run knows beside its totals, within its transaction."""
    date_us = validity.microseconds(snapshot.timestamp)
    for state in validity.states(snapshot):
        area = (state.group, state.area)
        [(before, after)] = await connection.fetch(validity.NEIGHBOURS, *area, date_us)
        since = date_us if before is None else before
        for kind, numbers in state.numbers.items():
            series = (*area, kind)
            rows = await connection.fetch(validity.VALID_VALUES, *series, since, date_us)
            left = validity.difference(rows, numbers, date_us)
            ids = left.ids
            if left.numbers.keys() - ids.keys():
                ids = dict(await connection.fetch(validity.SERIES, *series))
                new = [(*series, key) for key in left.numbers if key not in ids]
                await copy(connection, TableRows("scan_series", validity.SERIES_COLUMNS, new))
                ids = dict(await connection.fetch(validity.SERIES, *series))
            changed = validity.changes(
                left.known,
                {ids[key]: found for key, found in left.numbers.items()},
                *(date_us, before, after),
            )
            await connection.executemany(validity.DELETE, changed.deletes)
            await connection.executemany(validity.END, changed.ends)
            inserts = [(*row[:3], *row.numbers) for row in changed.inserts]
            await copy(connection, TableRows("scan_value", validity.VALUE_COLUMNS, inserts))
        looked = (snapshot.run_id, *area, date_us, state.complete, state.details)
        await connection.execute(validity.INSERT_INSIGHT, *looked)


async def thin_insight(connection: Connection, before_us: int | None) -> int:
    """Forget what only runs knew that are to be thinned, or are gone; return how many were."""
    thinned = 0
    if before_us is not None:
        # The command's tag: DELETE and how many rows.
        thinned = int((await connection.execute(validity.THIN, before_us)).split()[-1])
        if not thinned:
            return 0
    for statement in validity.SWEEP:
        await connection.execute(statement)
    return thinned


async def select(
    connection: Connection, question: str, values: Sequence[object]
) -> list[Sequence[Any]]:
    """Return the rows of a question of `store.questions`."""
    # ::timestamptz takes a JWQL date without a time zone as UTC; ::text a label out of its ENUM.
    sql = re.sub(r"\{date:([^}]*)\}", r"\1::timestamptz", question)
    sql = re.sub(r"\{text:([^}]*)\}", r"\1::text", sql)
    return await connection.fetch(sql, *values)


async def history(connection: Connection, since: datetime, until: datetime) -> History:
    """Return the rows between two dates, as columns."""
    span = (since, until)
    # date::timestamptz takes a JWQL date without a time zone as UTC, which is the session's.
    await connection.execute(f"SET LOCAL work_mem = '{_HISTORY_WORK_MEM}'")
    general = await select(connection, GENERAL, span)
    # A row a date, not a row a product and date: each date is decoded once, and asyncpg makes
    # 1,826 records instead of 220,000. Products of our runs are in our own table even where JWQL's
    # could not take them; of JWQL's, NaN is larger than any number.
    products = await connection.fetch(
        "SELECT date, array_agg(instrument), array_agg(filetype), array_agg(count), array_agg(size)"
        " FROM (SELECT date::timestamptz, instrument::text, filetype::text, count::bigint, size"
        " FROM filesystem_instrument t"
        " WHERE date BETWEEN $1::timestamptz AND $2::timestamptz AND abs(size) < 'Infinity'"
        " AND NOT EXISTS (SELECT FROM scan_run r WHERE r.date = t.date::timestamptz)"
        " UNION ALL SELECT r.date, p.instrument, p.filetype, p.count, p.bytes / 2 ^ 40"
        " FROM scan_run r JOIN scan_product p USING (run_id)"
        " WHERE p.area_group = 'archive' AND p.area = 'all' AND r.date BETWEEN $1 AND $2) rows"
        " GROUP BY date ORDER BY date",
        *span,
    )
    central = await select(connection, CENTRAL, (*span, ""))
    sample = await connection.fetch(
        "SELECT date FROM scan_run WHERE sample AND date BETWEEN $1 AND $2", *span
    )
    # Of a group's areas only `all`: the others are parts of it, and may overlap.
    rows = await connection.fetch(
        "SELECT r.date, r.status, r.incomplete_reasons, r.suspicions, r.host, r.version, r.reader,"
        " r.seconds, a.files, a.directories, a.vanished, a.unrecognized, a.errors, a.skipped"
        " FROM scan_run r LEFT JOIN scan_area a ON a.run_id = r.run_id AND a.area = 'all'"
        " WHERE r.date BETWEEN $1 AND $2 ORDER BY r.date",
        *span,
    )
    runs = columns.run_columns(rows)
    newest_samples = await connection.fetch(
        "SELECT unrecognized_samples, error_samples FROM scan_area"  # noqa: S608 - names of our own
        f" WHERE area = 'all' AND run_id = {_NEWEST}",
        *span,
    )
    return History(
        general=columns.general_columns((date, *row) for date, _, *row in general),
        products=columns.product_columns(products),
        central=columns.central_columns((area, date, *row) for date, _, area, *row in central),
        sample_dates=frozenset(date for (date,) in sample),
        incomplete_dates=columns.incomplete_dates(runs),
        filesystems=await _filesystems(connection, span),
        runs=runs,
        samples=columns.samples(newest_samples),
    )


async def _filesystems(
    connection: Connection, span: tuple[datetime, datetime]
) -> dict[str, FilesystemColumns]:
    rows = await connection.fetch(
        "SELECT a.target, a.source, a.fstype, r.date, a.size_bytes, a.used_bytes,"
        " a.available_bytes, a.area_group, a.area"
        " FROM scan_run r JOIN scan_area a ON a.run_id = r.run_id"
        " WHERE r.date BETWEEN $1 AND $2 AND a.target <> '' AND a.size_bytes > 0"
        " AND a.used_bytes IS NOT NULL AND a.available_bytes IS NOT NULL"
        " ORDER BY r.date, a.area_group, a.area",
        *span,
    )
    return columns.filesystem_columns(rows)
