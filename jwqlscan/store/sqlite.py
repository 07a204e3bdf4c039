"""The SQLite store: one file, the default where no PostgreSQL is named."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from jwqlscan.errors import (
    SnapshotRefusedError,
    StoreDamagedError,
    StoreError,
    StoreMissingError,
    StoreUnavailableError,
)
from jwqlscan.model.history import History
from jwqlscan.model.snapshot import Snapshot
from jwqlscan.resource_limits import shortage
from jwqlscan.store import MEANWHILE, Statement, Tables, sqlite_recovery
from jwqlscan.store import rows as table_rows
from jwqlscan.store import sqlite_queries as queries
from jwqlscan.store.jwql_columns import Column, storable_rows
from jwqlscan.store.rows import EARLIEST, TableRows
from jwqlscan.store.schema import APPLICATION_ID, MISSING, NO_STORE, OLDER_SCHEMA, steps_from
from jwqlscan.store.sqlite_errors import DAMAGED, PRIMARY_CODE, failure
from jwqlscan.store.sqlite_read_only import ATTEMPTS, Signature, may_write, open_to_read, signature
from jwqlscan.store.validity import microseconds
from jwqlscan.system.clock import LATEST
from jwqlscan.system.mounts import fstype
from jwqlscan.text import escape

# Another process holds the file for one short transaction; ten seconds is far more than it needs.
BUSY_TIMEOUT_S = 10.0

_STRICT_SINCE = (3, 37, 0)  # STRICT tables: https://www.sqlite.org/stricttables.html

# Where a write-ahead log is safe: it needs memory that all its users share, which those of a
# network filesystem do not (https://www.sqlite.org/wal.html). Others keep a rollback journal.
LOCAL_FSTYPES = frozenset("ext2 ext3 ext4 xfs btrfs zfs f2fs bcachefs tmpfs overlay".split(" "))

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)

# A record takes a moment and a history a second: whatever takes two minutes waits for a disk.
CALL_TIMEOUT_S = 120.0

# 0.2 s on a disk whose pages are in memory.
MAX_QUICK_CHECK_BYTES = 2**26

_T = TypeVar("_T")


class SqliteStore:
    """Snapshots in an SQLite file, made on first use, private to its user.

    Parameters
    ----------
    path : str
        The file. Its directory is made if it is missing.
    busy_timeout_s : float
        How long to wait for another process that is writing.
    call_timeout_s : float
        How long to wait for the disk.
    tables : Tables
    """

    def __init__(
        self,
        path: str,
        *,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        call_timeout_s: float = CALL_TIMEOUT_S,
        tables: Tables = Tables.MADE,
    ) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._call_timeout_s = call_timeout_s
        self._tables = tables
        self._connection: sqlite3.Connection | None = None
        self._unlocked: Signature | None = None  # of what is read without locks
        self._limiter: CapacityLimiter | None = None

    @property
    def location(self) -> str:
        """The file as a database URL."""
        return f"sqlite:///{escape(self._path)}"

    async def __aenter__(self) -> Self:
        self._limiter = CapacityLimiter(1)
        self._connection = await self._in_thread(self._open)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.CancelScope(shield=True):
                await self._in_thread(connection.close)

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Do nothing: BEGIN IMMEDIATE keeps others out of each transaction."""
        yield

    async def record(self, snapshot: Snapshot) -> list[str]:
        """Store a snapshot; our own tables take every row, so there is nothing to warn of."""
        await self._call(lambda connection: self._record(connection, snapshot))
        return []

    async def record_failure(self, started: datetime, ended: datetime, log_file: str) -> None:
        """Note in `monitor` that a run failed."""
        row = table_rows.monitor_rows(started, ended, "FAILURE", log_file)

        def work(connection: sqlite3.Connection) -> None:
            with queries.transaction(connection, "IMMEDIATE"):
                queries.insert(connection, row)

        await self._call(work)

    async def select(self, question: str, *values: object) -> list[Sequence[Any]]:
        """Return the rows of a question of `store.questions`."""
        return await self._call(lambda connection: queries.select(connection, question, values))

    async def history(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> History:
        """Return the rows from `since` to `until`, as columns."""
        return await self._call(
            lambda connection: queries.history(connection, since or EARLIEST, until or LATEST)
        )

    async def quarantine(self) -> str:
        """Move a damaged file out of the way, and return a line on it; "" if it is not damaged."""

        def work() -> str:
            path = os.path.abspath(self._path)
            try:
                aside = sqlite_recovery.set_aside(path)
            except OSError as error:
                return f"{self.location}: is damaged, and can't be moved aside: {error.strerror}"
            return aside and f"{self.location}: {sqlite_recovery.explained(path, aside)}"

        return await self._in_thread(work)

    async def thin_insight(self, before: datetime | None) -> int:
        """Keep of what is older the insight of one run a week; return how many were forgotten."""
        until = None if before is None else microseconds(before)
        return await self._call(lambda connection: queries.thin_insight(connection, until))

    async def identity(self) -> str:
        """Return the file's place on its filesystem."""

        def work(_: sqlite3.Connection) -> str:
            status = os.stat(self._path)
            return f"{status.st_dev}:{status.st_ino}"

        return await self._call(work)

    async def catalog(self) -> Mapping[str, Mapping[str, Column]]:
        """Return the columns of every table."""
        return await self._call(queries.catalog)

    async def write(
        self,
        tables: Sequence[TableRows],
        statements: Sequence[Statement] = (),
        expected: tuple[str, Sequence[object], int] | None = None,
    ) -> list[str]:
        """Run statements and insert rows; return warnings for JWQL's that are not whole."""

        def work(connection: sqlite3.Connection) -> list[str]:
            warnings: list[str] = []
            with queries.transaction(connection, "IMMEDIATE"):
                if expected is not None:
                    question, values, number = expected
                    if queries.select(connection, question, values)[0][0] != number:
                        raise StoreUnavailableError(f"{self.location}: {MEANWHILE}")
                for statement, values in statements:
                    queries.select(connection, statement, values)
                columns = queries.catalog(connection)
                for wanted in tables:
                    rows = wanted.rows
                    if wanted.table in table_rows.JWQL_TABLES:
                        rows, problems = storable_rows(wanted, columns[wanted.table])
                        warnings += problems
                    queries.insert(connection, wanted._replace(rows=rows))
            return warnings

        return await self._call(work)

    async def verify(self) -> None:
        """Raise `StoreDamagedError` if a check that takes a moment finds damage."""

        def work(connection: sqlite3.Connection) -> None:
            if os.stat(self._path).st_size <= MAX_QUICK_CHECK_BYTES:
                self._raise_damage(sqlite_recovery.look(connection, full=False))

        await self._call(work)

    async def obstacles(self) -> list[str]:
        """Return what would keep a run from being stored."""

        def work(connection: sqlite3.Connection) -> None:
            with queries.transaction(connection, "IMMEDIATE"):  # fails if it can't be written
                self._raise_damage(sqlite_recovery.look(connection, full=True))

        await self._call(work)
        return []

    def _raise_damage(self, damage: str) -> None:
        if damage:
            raise StoreDamagedError(f"{self.location}: {DAMAGED} ({damage})")

    async def _call(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._connection is None:
            raise RuntimeError("the store is not entered")
        return await self._in_thread(lambda: self._blamed(work))

    def _blamed(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do the work; where a value is refused, look whether that is the value's fault.

        Damage in an index shows as a constraint that fails.
        """
        try:
            return self._unchanged(work)
        except (sqlite3.IntegrityError, SnapshotRefusedError):
            assert self._connection is not None
            self._raise_damage(sqlite_recovery.look(self._connection, full=True))
            raise

    def _unchanged(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do the work; again if it read without locks, and others wrote meanwhile."""
        for _ in range(ATTEMPTS):
            assert self._connection is not None
            try:
                result = work(self._connection)
            except (sqlite3.Error, ValueError):
                if self._unlocked in (None, signature(self._path)):
                    raise
            else:
                if self._unlocked in (None, signature(self._path)):
                    return result
            self._connection.close()
            self._connection = self._open_to_read(os.path.abspath(self._path))
        raise StoreUnavailableError(f"{self.location}: changed while it was read: try again")

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """Run in a thread, one call at a time, and turn SQLite's errors into ours.

        The limiter, not the thread's identity, is what keeps the connection to one user: anyio
        may serve two calls by two threads, hence ``check_same_thread=False``. A thread that hangs
        in the kernel is left there, with the connection.
        """

        def guarded() -> _T:
            try:
                return work()
            except (sqlite3.Error, OverflowError, ValueError) as error:
                raise failure(error, self.location) from error

        try:
            with anyio.fail_after(self._call_timeout_s, shield=True):
                return await to_thread.run_sync(
                    guarded, limiter=self._limiter, abandon_on_cancel=True
                )
        except (MemoryError, RuntimeError) as error:
            if not (words := shortage(error)):
                raise
            raise StoreUnavailableError(f"{self.location}: {words}") from error
        except TimeoutError:
            self._connection, self._limiter = None, CapacityLimiter(1)
            raise StoreUnavailableError(
                f"{self.location}: no answer from its disk within {self._call_timeout_s:g} s:"
                " check the disk and the mount"
            ) from None

    def _open(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < _STRICT_SINCE:
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: 3.37 is needed")
        if aside := sqlite_recovery.aside_of(self._path):
            damage = sqlite_recovery.explained(self._path, aside)
            raise StoreError(f"{self.location}: {damage}")
        if self._tables is not Tables.MADE and not os.path.exists(self._path):
            raise StoreMissingError(f"{self.location}: {MISSING}")
        if self._tables in (Tables.IF_PRESENT, Tables.EXPECTED) and not may_write(self._path):
            return self._open_to_read(os.path.abspath(self._path))
        self._check_writable()
        path = _private_file(self._path, self.location)
        connection = sqlite3.connect(
            path,
            timeout=self._busy_timeout_s,
            isolation_level=None,  # transactions are written out below
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")  # a run's commit survives power loss
            self._check_ours(connection)
            _set_journal(connection, "WAL" if fstype(path) in LOCAL_FSTYPES else "DELETE")
            self._migrate(connection)
        except BaseException:  # whatever it was goes on, with the file closed
            connection.close()
            raise
        return connection

    def _check_writable(self) -> None:
        """Refuse a file that can't be written before SQLite opens it.

        SQLite would make its log with the mode of the file, and that log would keep the store
        unwritable after the file's own mode is repaired.
        """
        path = os.path.abspath(self._path)
        for each in (path, f"{path}-wal", f"{path}-shm"):
            if os.path.exists(each) and not os.access(each, os.W_OK, effective_ids=True):
                raise StoreError(
                    f"{self.location}: {escape(each)} can't be written: give the user who runs"
                    " jwqlscan the right to write it"
                )

    def _open_to_read(self, path: str) -> sqlite3.Connection:
        before = signature(path)
        connection, locked = open_to_read(path, self._busy_timeout_s)
        self._unlocked = None if locked else before
        try:
            self._check_ours(connection)
            version = queries.version(connection)
            if version and steps_from(version, "sqlite", self.location):
                raise StoreError(f"{self.location}: {OLDER_SCHEMA}")
            if not version:
                raise StoreMissingError(f"{self.location}: {MISSING}")
        except BaseException:  # whatever it was goes on, with the file closed
            connection.close()
            raise
        return connection

    def _check_ours(self, connection: sqlite3.Connection) -> None:
        with queries.transaction(connection, "DEFERRED"):  # another process may be making it
            application_id = queries.number(connection, "PRAGMA application_id")
            tables = queries.number(connection, "SELECT count(*) FROM sqlite_schema")
        if application_id != APPLICATION_ID and (application_id or tables):
            raise StoreError(
                f"{self.location}: is the database of another program: name another file"
            )
        if self._tables is Tables.EXPECTED and not tables:
            raise StoreError(f"{self.location}: {NO_STORE}")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if not steps_from(queries.version(connection), "sqlite", self.location):
            return
        with queries.transaction(connection, "IMMEDIATE"):
            # Again, under the lock: another process may have done it meanwhile.
            for step in steps_from(queries.version(connection), "sqlite", self.location):
                for statement in queries.statements(step.sql):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {step.version:d}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")

    def _record(self, connection: sqlite3.Connection, snapshot: Snapshot) -> None:
        with queries.transaction(connection, "IMMEDIATE"):
            if not queries.insert(
                connection, table_rows.run_rows(snapshot), "ON CONFLICT DO NOTHING"
            ):
                known = "SELECT count(*) FROM scan_run WHERE run_id = ?"
                if queries.number(connection, known, snapshot.run_id):
                    return
                raise SnapshotRefusedError(
                    f"{self.location}: another run is stored under the date"
                    f" {table_rows.date_text(snapshot.timestamp)}: run again"
                )
            for rows in (*table_rows.jwql_rows(snapshot), *table_rows.scan_rows(snapshot)):
                queries.insert(connection, rows)
            queries.record_insight(connection, snapshot)


def _set_journal(connection: sqlite3.Connection, mode: str) -> None:
    """Let readers and a writer work side by side (WAL), where the filesystem allows it.

    The switch is made once in a file's life, and for it alone SQLite does not wait for others:
    if another process has the file just now, the next opening makes it.
    """
    try:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & PRIMARY_CODE != sqlite3.SQLITE_BUSY:
            raise


def _private_file(path: str, location: str) -> str:
    """Make the file and its directory if they are missing, and return its absolute path."""
    if not path:
        raise StoreError(f"{location}: names no file: write sqlite:////the/absolute/path.db")
    path = os.path.abspath(path)  # also keeps SQLite from seeing a special name in ":memory:"
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made without opening it: closing a descriptor of an SQLite file drops the locks that
        # another connection of this process holds (https://www.sqlite.org/howtocorrupt.html, 2.2).
        with suppress(FileExistsError):
            os.mknod(path, stat.S_IFREG | 0o600)
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise StoreUnavailableError(
                f"{location}: {error.strerror}: check the disk, and make room"
            ) from error
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StoreError(
            f"{location}: can't be opened: {reason}: name a file in a directory you can write to"
        ) from error
    if not regular:
        raise StoreError(f"{location}: is not a regular file: name another")
    return path
