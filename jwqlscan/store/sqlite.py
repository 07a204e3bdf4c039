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

from jwqlscan.clock import LATEST
from jwqlscan.errors import (
    SnapshotRefusedError,
    StoreDamagedError,
    StoreError,
    StoreMissingError,
    StoreUnavailableError,
)
from jwqlscan.history import History
from jwqlscan.insight import Insight
from jwqlscan.paths import shown
from jwqlscan.scanning.mounts import MOUNTINFO, parse_mountinfo
from jwqlscan.snapshot import Snapshot
from jwqlscan.store import MEANWHILE, LastArea, Statement, Tables, sqlite_damage
from jwqlscan.store import rows as table_rows
from jwqlscan.store import sqlite_queries as queries
from jwqlscan.store.fitting import Column, fitting_rows
from jwqlscan.store.insight import read_insight
from jwqlscan.store.intervals import microseconds
from jwqlscan.store.rows import EARLIEST, TableRows
from jwqlscan.store.schema import APPLICATION_ID, NO_STORE, steps_from

# Another process holds the file for one short transaction; ten seconds is far more than it needs.
BUSY_TIMEOUT_S = 10.0

_STRICT_SINCE = (3, 37, 0)  # STRICT tables: https://www.sqlite.org/stricttables.html

_PRIMARY_CODE = 0xFF  # the bits above tell variants of a result code apart

# Where a write-ahead log is safe: it needs memory that all its users share, which those of a
# network filesystem do not (https://www.sqlite.org/wal.html). Others keep a rollback journal.
LOCAL_FSTYPES = frozenset("ext2 ext3 ext4 xfs btrfs zfs f2fs bcachefs tmpfs overlay".split(" "))

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)

# A record takes a moment and a history a second: whatever takes two minutes waits for a disk.
CALL_TIMEOUT_S = 120.0

DAMAGED = (
    "is damaged: put a backup in its place, or what `sqlite3 FILE .recover` saves; the next run"
    " moves it aside"
)
# Result codes (https://www.sqlite.org/rescode.html) after which the same call can succeed later.
_LATER = {
    sqlite3.SQLITE_BUSY: "is locked by another process: find it with fuser, or try again",
    sqlite3.SQLITE_LOCKED: "is locked by another process: find it with fuser, or try again",
    sqlite3.SQLITE_PROTOCOL: "is locked by another process: find it with fuser, or try again",
    sqlite3.SQLITE_FULL: "can't grow, the disk is full: make room",
    sqlite3.SQLITE_IOERR: "can't be read or written: make room, and check the disk and the mount",
}
_NEVER = {
    sqlite3.SQLITE_NOTADB: "is not an SQLite database: name another file, or move this one away",
    sqlite3.SQLITE_READONLY: "can't be written: check the permissions of it and its directory",
    sqlite3.SQLITE_CANTOPEN: "can't be opened: check the permissions of it and its directory",
    sqlite3.SQLITE_PERM: "can't be opened: check the permissions of it and its directory",
}

# Those that speak of a value: SQLite takes other rows.
_REFUSED = frozenset(
    (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH),
)

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
        self._limiter: CapacityLimiter | None = None

    @property
    def location(self) -> str:
        """The file as a database URL."""
        return f"sqlite:///{shown(self._path)}"

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

    async def last_areas(self, until: datetime | None = None) -> Mapping[tuple[str, str], LastArea]:
        """Return what the newest real run up to `until` found, by (group, area)."""
        return await self._call(lambda connection: queries.last_areas(connection, until or LATEST))

    async def last_complete_areas(
        self, until: datetime | None = None
    ) -> Mapping[tuple[str, str], LastArea]:
        """Return what the newest complete real run up to `until` found, by (group, area)."""
        return await self._call(
            lambda connection: queries.last_complete_areas(connection, until or LATEST)
        )

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

    async def keep_aside(self) -> str:
        """Move a damaged file out of the way, and return a line that says so; "" if it is well."""

        def work() -> str:
            path = os.path.abspath(self._path)
            try:
                aside = sqlite_damage.set_aside(path)
            except OSError as error:
                return f"{self.location}: is damaged, and can't be moved aside: {error.strerror}"
            return aside and f"{self.location}: {sqlite_damage.explained(path, aside)}"

        return await self._in_thread(work)

    async def insight(self, until: datetime | None = None) -> Insight:
        """Return the insight of the newest run up to `until`, and the growth until then."""
        return await read_insight(self, until or LATEST)

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
                        rows, problems = fitting_rows(wanted, columns[wanted.table])
                        warnings += problems
                    queries.insert(connection, wanted._replace(rows=rows))
            return warnings

        return await self._call(work)

    async def _call(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._connection
        if connection is None:
            raise RuntimeError("the store is not entered")
        return await self._in_thread(lambda: work(connection))

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
                raise _failure(error, self.location) from error

        try:
            with anyio.fail_after(self._call_timeout_s, shield=True):
                return await to_thread.run_sync(
                    guarded, limiter=self._limiter, abandon_on_cancel=True
                )
        except TimeoutError:
            self._connection, self._limiter = None, CapacityLimiter(1)
            raise StoreUnavailableError(
                f"{self.location}: no answer from its disk within {self._call_timeout_s:g} s:"
                " check the disk and the mount"
            ) from None

    def _open(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < _STRICT_SINCE:
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: 3.37 is needed")
        if aside := sqlite_damage.aside_of(self._path):
            damage = sqlite_damage.explained(self._path, aside)
            raise StoreError(f"{self.location}: {damage}")
        if self._tables is not Tables.MADE and not os.path.exists(self._path):
            raise StoreMissingError(f"{self.location}: is not there: check the path")
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


def fstype(path: str) -> str:
    """Return the type of the filesystem that a file is on, "" if the mount table does not say."""
    try:
        with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            mounts = parse_mountinfo(file)
    except OSError:
        return ""
    path = os.path.realpath(path)
    above = [mount for mount in mounts if path.startswith(mount.point.rstrip("/") + "/")]
    # The deepest; of those at one point the last, which hides the others.
    return max(reversed(above), key=lambda mount: len(mount.point)).fstype if above else ""


def _set_journal(connection: sqlite3.Connection, mode: str) -> None:
    """Let readers and a writer work side by side (WAL), where the filesystem allows it.

    The switch is made once in a file's life, and for it alone SQLite does not wait for others:
    if another process has the file just now, the next opening makes it.
    """
    try:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
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


def _failure(error: sqlite3.Error | OverflowError | ValueError, location: str) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code in _REFUSED or isinstance(error, (OverflowError, UnicodeEncodeError)):
        return SnapshotRefusedError(f"{location}: does not take it ({error})")
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreDamagedError(f"{location}: {DAMAGED} ({error})")
    if isinstance(error, ValueError):  # what was read is no date
        return StoreError(f"{location}: {DAMAGED} ({error})")
    if code in _LATER:
        return StoreUnavailableError(f"{location}: {_LATER[code]} ({error})")
    return StoreError(f"{location}: {_NEVER.get(code, 'refused a statement')} ({error})")
