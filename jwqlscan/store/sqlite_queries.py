"""What the SQLite store asks and writes; plain functions, called in its thread."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from jwqlscan.model.history import FilesystemColumns, History, ProductColumns, Samples
from jwqlscan.model.snapshot import Snapshot
from jwqlscan.model.tally import Product
from jwqlscan.store import columns, validity
from jwqlscan.store.jwql_columns import Column
from jwqlscan.store.queries import CENTRAL, GENERAL
from jwqlscan.store.rows import TableRows, date_text
from jwqlscan.units import TIB_BYTES

_NEWEST = "(SELECT run_id FROM scan_run WHERE date BETWEEN ? AND ? ORDER BY date DESC LIMIT 1)"


# The first and the last date wanted, as text.
_Span = tuple[str, str]


class _Dates(dict[str, datetime]):
    """Dates by their text: a date stands in a hundred rows and is parsed once."""

    def __missing__(self, text: str) -> datetime:
        date = self[text] = datetime.fromisoformat(text)
        return date


@contextmanager
def transaction(connection: sqlite3.Connection, mode: str) -> Iterator[None]:
    """Run a block in one transaction; whatever ends it early rolls it back."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # whatever it was goes on, with nothing half done
        if connection.in_transaction:  # SQLite itself rolls back when the disk is full or fails
            connection.execute("ROLLBACK")
        raise


def statements(sql: str) -> Iterator[str]:
    """Split a migration; `executescript` would commit the transaction it runs in."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def insert(connection: sqlite3.Connection, wanted: TableRows, conflict: str = "") -> int:
    """Insert rows and return how many; table and column names are constants of ours."""
    columns = ", ".join(wanted.columns)
    marks = ", ".join("?" * len(wanted.columns))
    sql = f"INSERT INTO {wanted.table} ({columns}) VALUES ({marks}) {conflict}"  # noqa: S608 - names of our own
    rows = (
        [date_text(value) if isinstance(value, datetime) else value for value in row]
        for row in wanted.rows
    )
    return connection.executemany(sql, rows).rowcount


def history(connection: sqlite3.Connection, since: datetime, until: datetime) -> History:
    """Return the rows between two dates, as columns."""
    dates = _Dates()
    span = (date_text(since), date_text(until))
    with transaction(connection, "DEFERRED"):
        general = select(connection, GENERAL, span)
        central = select(connection, CENTRAL, (*span, ""))
        sample = connection.execute(
            "SELECT date FROM scan_run WHERE sample AND date BETWEEN ? AND ?", span
        ).fetchall()
        runs = columns.run_columns((dates[row[0]], *row[1:]) for row in _runs(connection, span))
        return History(
            general=columns.general_columns((dates[date], *row) for date, _, *row in general),
            products=_products(connection, span, dates),
            central=columns.central_columns(
                (area, dates[date], *row) for date, _, area, *row in central
            ),
            sample_dates=frozenset(dates[date] for (date,) in sample),
            incomplete_dates=columns.incomplete_dates(runs),
            filesystems=_filesystems(connection, span, dates),
            runs=runs,
            samples=_samples(connection, span),
        )


def _runs(connection: sqlite3.Connection, span: _Span) -> Iterator[Sequence[Any]]:
    # Of a group's areas only `all`: the others are parts of it, and may overlap.
    yield from connection.execute(
        "SELECT r.date, r.status, r.incomplete_reasons, r.suspicions, r.host, r.version, r.reader,"
        " r.seconds, a.files, a.directories, a.vanished, a.unrecognized, a.errors, a.skipped"
        " FROM scan_run r LEFT JOIN scan_area a ON a.run_id = r.run_id AND a.area = 'all'"
        " WHERE r.date BETWEEN ? AND ? ORDER BY r.date",
        span,
    )


def _filesystems(
    connection: sqlite3.Connection, span: _Span, dates: _Dates
) -> dict[str, FilesystemColumns]:
    rows = connection.execute(
        "SELECT a.target, a.source, a.fstype, r.date, a.size_bytes, a.used_bytes,"
        " a.available_bytes, a.area_group, a.area"
        " FROM scan_run r JOIN scan_area a ON a.run_id = r.run_id"
        " WHERE r.date BETWEEN ? AND ? AND a.target <> '' AND a.size_bytes > 0"
        " AND a.used_bytes IS NOT NULL AND a.available_bytes IS NOT NULL"
        " ORDER BY r.date, a.area_group, a.area",
        span,
    )
    return columns.filesystem_columns((*row[:3], dates[row[3]], *row[4:]) for row in rows)


def _samples(connection: sqlite3.Connection, span: _Span) -> Samples:
    return columns.samples(
        connection.execute(
            "SELECT unrecognized_samples, error_samples FROM scan_area"  # noqa: S608 - names of our own
            f" WHERE area = 'all' AND run_id = {_NEWEST}",
            span,
        )
    )


def _products(
    connection: sqlite3.Connection, span: _Span, dates: _Dates
) -> dict[Product, ProductColumns]:
    """Return products over time: of our runs from our own table, and JWQL's rows."""
    # A row for each run, not for each product of it: to make 220,000 rows takes twice as long.
    runs = connection.execute(
        "SELECT r.date, group_concat(p.instrument), group_concat(p.filetype),"
        " group_concat(p.count), group_concat(p.bytes)"
        " FROM scan_run r JOIN scan_product p ON p.run_id = r.run_id"
        " WHERE p.area_group = 'archive' AND p.area = 'all' AND r.date BETWEEN ? AND ?"
        " GROUP BY r.date ORDER BY r.date",
        span,
    )
    own = columns.product_columns(
        (
            dates[date],
            instruments.split(","),  # labels hold no comma: `naming.schemes.LABEL`
            filetypes.split(","),
            map(int, counts.split(",")),
            [int(size) / TIB_BYTES for size in sizes.split(",")],
        )
        for date, instruments, filetypes, counts, sizes in runs
    )
    return columns.merge_products(own, _jwql_products(connection, span, dates))


def _jwql_products(
    connection: sqlite3.Connection, span: _Span, dates: _Dates
) -> dict[Product, ProductColumns]:
    unknown = connection.execute(
        "SELECT DISTINCT date FROM filesystem_instrument WHERE date BETWEEN ? AND ?"
        " EXCEPT SELECT date FROM scan_run",
        span,
    )
    of_jwql = {date for (date,) in unknown}
    if not of_jwql:
        return {}
    # One query a product: the labels of 220,000 rows would take as long to make as the rest.
    products = {}
    keys = "SELECT DISTINCT instrument, filetype FROM filesystem_instrument"
    for key in connection.execute(keys).fetchall():
        rows = connection.execute(
            "SELECT date, count, size FROM filesystem_instrument"
            " WHERE instrument = ? AND filetype = ? AND date BETWEEN ? AND ?"
            " AND abs(size) < 9e999 ORDER BY date",
            (*key, *span),
        )
        if kept := [row for row in rows if row[0] in of_jwql]:
            texts, counts, sizes = zip(*kept, strict=True)
            products[Product(*key)] = ProductColumns(
                [dates[text] for text in texts], list(counts), list(sizes)
            )
    return products


def record_insight(connection: sqlite3.Connection, snapshot: Snapshot) -> None:
    """Store what a run knows beside its totals, within its transaction."""
    date_us = validity.microseconds(snapshot.timestamp)
    for state in validity.states(snapshot):
        area = (state.group, state.area)
        [(before, after)] = select(connection, validity.NEIGHBOURS, (*area, date_us))
        since = date_us if before is None else before
        for kind, numbers in state.numbers.items():
            series = (*area, kind)
            rows = select(connection, validity.VALID_VALUES, (*series, since, date_us))
            left = validity.difference(rows, numbers, date_us)
            ids = left.ids
            if left.numbers.keys() - ids.keys():
                ids = _series(connection, series)
                new = [(*series, key) for key in left.numbers if key not in ids]
                insert(connection, TableRows("scan_series", validity.SERIES_COLUMNS, new))
                ids = _series(connection, series)
            changed = validity.changes(
                left.known,
                {ids[key]: found for key, found in left.numbers.items()},
                *(date_us, before, after),
            )
            connection.executemany(_marked(validity.DELETE), changed.deletes)
            connection.executemany(_marked(validity.END), changed.ends)
            inserts = [(*row[:3], *row.numbers) for row in changed.inserts]
            insert(connection, TableRows("scan_value", validity.VALUE_COLUMNS, inserts))
        looked = (snapshot.run_id, *area, date_us, state.complete, state.details)
        connection.execute(_marked(validity.INSERT_INSIGHT), looked)


def _series(connection: sqlite3.Connection, series: tuple[str, str, str]) -> dict[str, int]:
    return {row[0]: row[1] for row in select(connection, validity.SERIES, series)}


def thin_insight(connection: sqlite3.Connection, before_us: int | None) -> int:
    """Forget what only runs knew that are to be thinned, or are gone; return how many were."""
    with transaction(connection, "IMMEDIATE"):
        thinned = 0
        if before_us is not None:
            thinned = connection.execute(_marked(validity.THIN), (before_us,)).rowcount
            if not thinned:
                return 0
        for statement in validity.SWEEP:
            connection.execute(statement)
        return thinned


def _marked(sql: str) -> str:
    return re.sub(r"\$([0-9]+)", r"?\1", sql)


def select(
    connection: sqlite3.Connection, question: str, values: Sequence[object]
) -> list[Sequence[Any]]:
    """Return the rows of a question of `store.questions`."""
    sql = re.sub(r"\{(?:date|text):([^}]*)\}", r"\1", question)
    sql = _marked(sql)
    texts = [date_text(value) if isinstance(value, datetime) else value for value in values]
    return connection.execute(sql, texts).fetchall()


def catalog(connection: sqlite3.Connection) -> dict[str, dict[str, Column]]:
    """Return the columns of every table."""
    tables: dict[str, dict[str, Column]] = {}
    for table, name, type_name, not_null in connection.execute(
        'SELECT s.name, c.name, lower(c.type), c."notnull" FROM sqlite_schema s'
        " JOIN pragma_table_info(s.name) c WHERE s.type = 'table' ORDER BY s.name, c.cid"
    ):
        tables.setdefault(table, {})[name] = Column(type_name, bool(not_null))
    return tables


def number(connection: sqlite3.Connection, sql: str, *values: str) -> int:
    """Return the one number that a query gives."""
    return int(connection.execute(sql, values).fetchone()[0])


def version(connection: sqlite3.Connection) -> int:
    """Return the newest schema version applied; 0 in a new file."""
    return number(connection, "PRAGMA user_version")
