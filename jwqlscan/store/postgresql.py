"""The PostgreSQL store: a database of our own, or an existing JWQL one as it is.

One connection serves a run. asyncpg's own time limits do not hold within COPY, so every call runs
under anyio's; and a connection on which anything failed is terminated, never closed in order,
because closing waits for a server that may not answer. The server then rolls back.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Self

import anyio
import asyncpg

from jwqlscan._version import __version__
from jwqlscan.errors import ConfigError, SnapshotRefusedError, StoreError, StoreUnavailableError
from jwqlscan.model.history import History
from jwqlscan.model.snapshot import Snapshot
from jwqlscan.store import MEANWHILE, Statement, Tables
from jwqlscan.store import postgresql_queries as queries
from jwqlscan.store import rows as table_rows
from jwqlscan.store.dsn import check_form, default_sslmode, redacted
from jwqlscan.store.jwql_columns import Column
from jwqlscan.store.pgpass import password_for, uses_service
from jwqlscan.store.postgresql_errors import (
    INSUFFICIENT_PRIVILEGE,
    MIGRATE_HINT,
    NOT_VERIFIED,
    IdTakenError,
    failure,
)
from jwqlscan.store.postgresql_privileges import missing_rights
from jwqlscan.store.postgresql_queries import Connection
from jwqlscan.store.postgresql_sequences import advance_sequences
from jwqlscan.store.rows import EARLIEST, TableRows
from jwqlscan.store.schema import APPLICATION_ID, NO_STORE, steps_from
from jwqlscan.store.validity import microseconds
from jwqlscan.system.clock import LATEST

CONNECT_TIMEOUT_S = 10.0
# A record is a few hundred rows and a history 0.3 s (five years): whatever takes two minutes hangs.
CALL_TIMEOUT_S = 120.0
CLOSE_TIMEOUT_S = 2.0
# Another host stores a run in a second or two, and a full spool in a minute.
EXCLUSIVE_TIMEOUT_S = 60.0
READING = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
_EXCLUSIVE_POLL_S = 0.2
_NO_FILE = os.path.join(os.devnull, "none")
_EXCLUSIVE_KEY = 1  # beside APPLICATION_ID: apart from the lock of a migration

# What every pooler passes on; the others are set in each transaction: PgBouncer refuses them here.
_STARTUP_SETTINGS = {
    "application_name": f"jwqlscan {__version__}",
    "timezone": "UTC",  # what a JWQL date without a time zone is taken as
}
# The server's own limits, milliseconds, a little tighter: its messages have more details. And its
# keepalives, seconds: the locks of a host that lost power are free after two minutes, not hours.
_TRANSACTION_SETTINGS = {
    "timezone": "'UTC'",
    "statement_timeout": "110000",
    "lock_timeout": "30000",
    "idle_in_transaction_session_timeout": "60000",
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}


class PostgresqlStore:
    """Snapshots in a PostgreSQL database.

    Parameters
    ----------
    url : str
        ``postgresql://user:password@host:port/database``. What is missing comes from the
        environment (PGHOST, PGPASSWORD, …) and ``~/.pgpass``. Without an ``sslmode`` (also
        PGSSLMODE) only an encrypted connection to another host is made; ``verify-full`` verifies
        the server too.
    connect_timeout_s, call_timeout_s, exclusive_timeout_s : float
        How long to wait for the server, and for another host that is storing.
    tables : Tables

    Notes
    -----
    All works through a pooler that gives each transaction another server connection, as PgBouncer
    does: no statement is outside a transaction, none is prepared under a name, and nothing is set
    or locked for a session.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        call_timeout_s: float = CALL_TIMEOUT_S,
        exclusive_timeout_s: float = EXCLUSIVE_TIMEOUT_S,
        tables: Tables = Tables.MADE,
    ) -> None:
        self._url = url
        self._tables = tables
        self._connect_timeout_s = connect_timeout_s
        self._call_timeout_s = call_timeout_s
        self._exclusive_timeout_s = exclusive_timeout_s
        self._connection: asyncpg.Connection | None = None
        self._exclusive = False
        self._holder: asyncpg.Connection | None = None  # whose open transaction has the lock
        self._lock = asyncio.Lock()  # asyncpg runs on asyncio alone, and so does this store

    @property
    def location(self) -> str:
        """The database's URL without any password."""
        return redacted(self._url)

    async def __aenter__(self) -> Self:
        try:
            await self._migrate()
        except BaseException:  # whatever it was goes on, with the connection closed
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection)  # everything is committed: nothing is lost

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Keep other hosts from storing while the block runs.

        Notes
        -----
        An advisory lock of a transaction that stays open on a connection of its own, as a pooler
        has no sessions to lock for. It ends with that connection, and is taken again before
        anything else is done within the block.
        """
        self._exclusive = True
        try:
            async with self._session():
                pass
            yield
        finally:
            self._exclusive = False
            holder, self._holder = self._holder, None
            if holder is not None:
                await _close(holder)  # which ends its transaction

    async def record(self, snapshot: Snapshot) -> list[str]:
        """Store a snapshot; return warnings for rows that an existing JWQL table can't take."""
        return await self._with_free_ids(lambda: self._record(snapshot))

    async def _record(self, snapshot: Snapshot) -> list[str]:
        warnings: list[str] = []
        async with self._transaction() as connection:
            if not await self._insert_run(connection, snapshot):
                return []
            catalog = await queries.catalog(connection)
            for wanted in table_rows.jwql_rows(snapshot):
                warnings += await queries.copy_storable(connection, wanted, catalog)
            for wanted in table_rows.scan_rows(snapshot):
                await queries.copy(connection, wanted)
            await queries.record_insight(connection, snapshot)
        return warnings

    async def record_failure(self, started: datetime, ended: datetime, log_file: str) -> None:
        """Note in `monitor` that a run failed."""
        row = table_rows.monitor_rows(started, ended, "FAILURE", log_file)

        async def work() -> list[str]:
            async with self._transaction() as connection:
                catalog = await queries.catalog(connection)
                return await queries.copy_storable(connection, row, catalog)

        await self._with_free_ids(work)

    async def select(self, question: str, *values: object) -> list[Sequence[Any]]:
        """Return the rows of a question of `store.questions`."""
        async with self._transaction(READING) as connection:
            return await queries.select(connection, question, values)

    async def history(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> History:
        """Return the rows from `since` to `until`, as columns."""
        async with self._transaction(READING) as connection:
            return await queries.history(connection, since or EARLIEST, until or LATEST)

    async def verify(self) -> None:
        """Do nothing: the server looks after its files."""

    async def obstacles(self) -> list[str]:
        """Return the rights that this user lacks, as the statements that grant them."""
        async with self._transaction(READING) as connection:
            return await missing_rights(connection, await queries.catalog(connection))

    async def quarantine(self) -> str:
        """Do nothing: the server looks after its files."""
        return ""

    async def thin_insight(self, before: datetime | None) -> int:
        """Keep of what is older the insight of one run a week; return how many were forgotten."""
        until = None if before is None else microseconds(before)
        async with self._transaction() as connection:
            return await queries.thin_insight(connection, until)

    async def identity(self) -> str:
        """Return when the server was started, to the microsecond, and which of its databases."""
        async with self._transaction(READING) as connection:
            return str(await connection.fetchval(queries.IDENTITY))

    async def catalog(self) -> Mapping[str, Mapping[str, Column]]:
        """Return the columns of the JWQL tables and our own."""
        async with self._transaction(READING) as connection:
            return await queries.catalog(connection)

    async def write(
        self,
        tables: Sequence[TableRows],
        statements: Sequence[Statement] = (),
        expected: tuple[str, Sequence[object], int] | None = None,
    ) -> list[str]:
        """Run statements and insert rows; return warnings for those that JWQL's can't take."""
        return await self._with_free_ids(lambda: self._write(tables, statements, expected))

    async def _write(
        self,
        tables: Sequence[TableRows],
        statements: Sequence[Statement],
        expected: tuple[str, Sequence[object], int] | None,
    ) -> list[str]:
        warnings: list[str] = []
        async with self._transaction() as connection:
            if expected is not None:
                question, values, number = expected
                if (await queries.select(connection, question, values))[0][0] != number:
                    raise StoreUnavailableError(f"{self.location}: {MEANWHILE}")
            for statement, values in statements:
                await queries.select(connection, statement, values)
            catalog = await queries.catalog(connection)
            for wanted in tables:
                typed = queries.typed(wanted, catalog[wanted.table])
                if wanted.table in table_rows.JWQL_TABLES:
                    warnings += await queries.copy_storable(connection, typed, catalog)
                else:
                    await queries.copy(connection, typed)
        return warnings

    async def _with_free_ids(self, work: Callable[[], Awaitable[list[str]]]) -> list[str]:
        """Do what inserts rows; where an id is taken, advance the sequences and do it again."""
        try:
            return await work()
        except IdTakenError as error:
            try:
                async with self._transaction() as connection:
                    lines = await advance_sequences(connection, self.location)
            except StoreError:  # nextval() may not be granted: then `error` names the statement
                raise error from None
            try:
                return [*lines, *await work()]  # without a line, the failure itself took the last
            except IdTakenError as again:
                raise IdTakenError("; ".join(lines) or str(again), again.table) from error

    async def _insert_run(self, connection: Connection, snapshot: Snapshot) -> bool:
        """Claim the run. While another one is storing the same run, this waits for its end."""
        run = table_rows.run_rows(snapshot)
        columns = ", ".join(run.columns)
        marks = ", ".join(f"${number}" for number, _ in enumerate(run.columns, 1))
        inserted = await connection.fetchval(
            f"INSERT INTO scan_run ({columns}) VALUES ({marks})"  # noqa: S608 - names of our own
            " ON CONFLICT DO NOTHING RETURNING true",
            *run.rows[0],
        )
        if inserted:
            return True
        known = "SELECT true FROM scan_run WHERE run_id = $1"
        if await connection.fetchval(known, snapshot.run_id):
            return False
        raise SnapshotRefusedError(
            f"{self.location}: another run is stored under the date"
            f" {table_rows.date_text(snapshot.timestamp)}: run again"
        )

    async def _migrate(self) -> None:
        if self._tables is Tables.FOREIGN:
            async with self._session():  # whether there is a server
                return
        # Looking first needs no privilege to create anything once the schema is there.
        async with self._transaction(READING) as connection:
            version = await queries.schema_version(connection)
        if not version and self._tables is Tables.EXPECTED:
            raise StoreError(f"{self.location}: {NO_STORE}")
        if not steps_from(version, "postgresql", self.location):
            return
        async with self._transaction() as connection:
            try:
                await self._apply_steps(connection)
            except asyncpg.PostgresError as error:
                if error.sqlstate != INSUFFICIENT_PRIVILEGE:
                    raise
                text = f"{self.location}: {error.args[0]}: {MIGRATE_HINT}"
                raise StoreUnavailableError(text) from error

    async def _apply_steps(self, connection: Connection) -> None:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", APPLICATION_ID)
        version = await queries.schema_version(connection)
        for step in steps_from(version, "postgresql", self.location):
            await connection.execute(step.sql)
            await connection.execute("INSERT INTO scan_schema (version) VALUES ($1)", step.version)

    @asynccontextmanager
    async def _transaction(self, mode: str = "") -> AsyncIterator[Connection]:
        async with self._session() as connection:
            await connection.execute(_begin(mode))
            yield connection
            await connection.execute("COMMIT")

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Connection]:
        """Yield the connection to one call at a time, a new one if need be.

        After any failure it is gone, and the next call makes another.
        """
        async with self._lock:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            connection = self._connection
            try:
                with anyio.fail_after(self._call_timeout_s):
                    if self._exclusive:
                        await self._hold()
                    try:
                        yield connection
                    except AttributeError as error:
                        # asyncpg's COPY trips over the lost connection when it is cancelled.
                        if isinstance(error.__context__, asyncio.CancelledError):
                            raise error.__context__ from None
                        raise
            except BaseException as error:  # cancelled, too: what it was in is unknown now
                connection.terminate()
                self._connection = None
                failed = failure(error, self.location)
                if failed is None:
                    raise
                raise failed from error

    async def _hold(self) -> None:
        if self._holder is not None and not self._holder.is_closed():
            return
        self._holder = None
        holder = await self._connect()
        try:
            # Idle, within its transaction, for as long as the block takes.
            await holder.execute(f"{_begin()}; SET LOCAL idle_in_transaction_session_timeout = 0")
            deadline = anyio.current_time() + self._exclusive_timeout_s
            take = "SELECT pg_try_advisory_xact_lock($1, $2)"
            while not await holder.fetchval(take, APPLICATION_ID, _EXCLUSIVE_KEY):
                if anyio.current_time() >= deadline:
                    raise StoreUnavailableError(
                        f"{self.location}: another host is storing, and was not done within"
                        f" {self._exclusive_timeout_s:g} s: see pg_stat_activity for who it is"
                    )
                await anyio.sleep(_EXCLUSIVE_POLL_S)
        except BaseException:  # cancelled, too: it goes on, without the lock
            holder.terminate()
            raise
        self._holder = holder

    async def _connect(self) -> asyncpg.Connection:
        # The URL stays out of every message, and asyncpg's exceptions out of the traceback: their
        # texts and frames hold the URL, the password or pieces of it.
        location = self.location
        try:
            check_form(self._url)
            with anyio.fail_after(self._connect_timeout_s):
                return await asyncpg.connect(
                    self._url,
                    timeout=self._connect_timeout_s,
                    server_settings=_STARTUP_SETTINGS,
                    statement_cache_size=0,  # statements without a name, which poolers need
                    ssl=default_sslmode(self._url, os.environ),
                    password=password_for(self._url, os.environ),
                    # asyncpg is to read no password file of its own: see `pgpass`.
                    passfile=None if uses_service(self._url, os.environ) else _NO_FILE,
                )
        except ssl.CertificateError as error:  # it is a ValueError too
            reason = getattr(error, "verify_message", "") or "it is not trusted"
            raise StoreUnavailableError(
                f"{location}: the server's certificate: {reason}: {NOT_VERIFIED}"
            ) from None
        except ValueError:  # asyncpg's for host, port and options too
            raise ConfigError(
                f"{location}: the database URL can't be used: write"
                " postgresql://user:password@host:port/database, check its options"
                " (verify-ca and verify-full need sslrootcert=FILE), and"
                " percent-encode special characters in user and password"
            ) from None
        except Exception as error:  # asyncpg's, and what its parsers raise: sorted by `failure`
            failed = failure(error, location)
            if failed is None:
                raise
            raise failed from None


def _begin(mode: str = "") -> str:
    """Return what begins a transaction, with the limits that hold in it: one round trip."""
    settings = (f"SET LOCAL {name} = {value}" for name, value in _TRANSACTION_SETTINGS.items())
    return "; ".join((f"BEGIN {mode}", *settings))


async def _close(connection: asyncpg.Connection) -> None:
    """Close a connection in order, or leave it where the server does not answer."""
    try:
        with anyio.fail_after(CLOSE_TIMEOUT_S, shield=True):
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
