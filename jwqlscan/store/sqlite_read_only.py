"""Reading an SQLite file without writing anything: of another user, or on a read-only mount.

In WAL mode a reader too needs the file ``-shm``, and makes it if nobody has the database open. A
reader who can't, or whose file would be in the way of the owner's next run, reads without locks.
What such a reader saw is valid only if the files did not change meanwhile: see `signature`.
"""

from __future__ import annotations

import os
import sqlite3
from urllib.parse import quote

from jwqlscan.store.sqlite_errors import PRIMARY_CODE

# Another process that stores a run changes the files for some milliseconds, once a night.
ATTEMPTS = 5

# The answers where ``-shm`` is missing and can't be made.
_NO_WAL_INDEX = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)

Signature = tuple[tuple[int, int, int] | None, ...]


def may_write(path: str) -> bool:
    """Return whether this user is to open a file for writing, which leaves files beside it.

    Those belong to who makes them: left by any other user than the owner or root (of whom SQLite
    gives them to the owner) they could keep the owner from opening the database.
    """
    directory = os.path.dirname(os.path.realpath(path))
    try:
        owner = os.stat(path).st_uid
    except OSError:
        return True  # there is no file yet, or opening it explains why it can't be read
    return (
        os.geteuid() in (0, owner)
        # With the effective ids: for the real ones access(2) ignores capabilities on the way.
        and os.access(path, os.W_OK, effective_ids=True)
        and os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
    )


def open_to_read(path: str, timeout_s: float) -> tuple[sqlite3.Connection, bool]:
    """Open a file for reading only.

    Returns
    -------
    connection : sqlite3.Connection
    locked : bool
        Whether it keeps writers from changing what is being read, as ever. If not, compare
        `signature` before and after.

    Raises
    ------
    sqlite3.Error
    """
    directory = os.path.dirname(os.path.realpath(path))
    in_use = any(os.path.exists(path + end) for end in ("-shm", "-journal"))
    # Else it could make files: see `may_write`.
    if in_use or not os.access(directory, os.W_OK, effective_ids=True):
        connection = _connect(path, "mode=ro", timeout_s)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            if error.sqlite_errorcode & PRIMARY_CODE not in _NO_WAL_INDEX:
                raise
        except BaseException:  # it goes on, with the file closed
            connection.close()
            raise
        else:
            return connection, True
    if not _size(f"{path}-wal"):
        return _connect(path, "mode=ro&immutable=1", timeout_s), False
    # A log that a process left which was killed: its index is made in memory where no other process
    # can have the file open (https://www.sqlite.org/wal.html, "Use of WAL Without Shared-Memory").
    connection = _connect(path, "mode=ro&vfs=unix-none", timeout_s)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection, False


def signature(path: str) -> Signature:
    """Return what changes when anybody writes into a database."""
    return tuple(_state(path + end) for end in ("", "-wal", "-journal"))


def _connect(path: str, options: str, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?{options}",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
