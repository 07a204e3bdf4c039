"""What an error of SQLite means for a run: whose fault it is, in one line with what to do."""

from __future__ import annotations

import sqlite3

from jwqlscan.errors import (
    SnapshotRefusedError,
    StoreDamagedError,
    StoreError,
    StoreUnavailableError,
)

PRIMARY_CODE = 0xFF  # the bits above distinguish variants of a result code

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


def failure(error: sqlite3.Error | OverflowError | ValueError, location: str) -> StoreError:
    """Return what a failure means for the run."""
    code = getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE
    if code in _REFUSED or isinstance(error, (OverflowError, UnicodeEncodeError)):
        return SnapshotRefusedError(f"{location}: does not take it ({error})")
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreDamagedError(f"{location}: {DAMAGED} ({error})")
    if isinstance(error, ValueError):  # what was read is no date
        return StoreError(f"{location}: {DAMAGED} ({error})")
    if code in _LATER:
        return StoreUnavailableError(f"{location}: {_LATER[code]} ({error})")
    return StoreError(f"{location}: {_NEVER.get(code, 'refused a statement')} ({error})")
