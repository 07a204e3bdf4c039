"""A damaged SQLite file: moved aside, never made anew in silence.

While one lies aside and nothing is in its place, snapshots wait in the spool: what a backup or
``.recover`` brings back is then the whole history again, without a gap and without a second file.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

from jwqlscan.text import escape

_ASIDE = ".corrupt-"
_FILES = ("-wal", "-shm", "-journal", "")  # the file itself last: without it, it is aside


def aside_of(path: str) -> str:
    """Return the newest file that was moved aside from where nothing is now; "" if none."""
    if os.path.lexists(path):
        return ""
    directory, name = os.path.split(os.path.abspath(path))
    try:
        names = os.listdir(directory)
    except (OSError, ValueError):  # to make a file there it need not be readable; or it can't be
        return ""
    found = [
        other
        for other in names
        if other.startswith(f"{name}{_ASIDE}") and not other.endswith(_FILES[:-1])
    ]
    return os.path.join(directory, max(found)) if found else ""


def explained(path: str, aside: str) -> str:
    """Return what is to be done about a file that was moved aside."""
    return (
        f"was damaged, and is kept as {escape(aside)}: put a backup in its place, or what"
        f" `sqlite3 {escape(aside)} .recover >saved.sql` saves, by"
        f" `sqlite3 {escape(path)} <saved.sql`; or move it elsewhere, to begin without a history"
    )


def set_aside(path: str) -> str:
    """Move a damaged file aside, with the log that belongs to it, and return its new path.

    Returns "" if another look finds no damage: then it was read wrongly, and stays.

    Raises
    ------
    OSError
    """
    if _is_well(path):
        return ""
    aside = f"{path}{_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for end in _FILES:
        if os.path.lexists(path + end):
            os.rename(path + end, aside + end)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return aside


def look(connection: sqlite3.Connection, *, full: bool) -> str:
    """Return the first damage that is found; "" if there is none.

    Parameters
    ----------
    connection : sqlite3.Connection
    full : bool
        Compare each index with its table, too: damage in an index may show as a constraint that
        fails, or as a row that is not found, and quick_check passes over it.

    Raises
    ------
    sqlite3.DatabaseError
        If the damage keeps the check from running.
    """
    check = "integrity_check" if full else "quick_check"
    found = str(connection.execute(f"PRAGMA {check}(1)").fetchone()[0])
    return "" if found == "ok" else " ".join(found.split())


def _is_well(path: str) -> bool:
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return not look(connection, full=True)
    except sqlite3.DatabaseError as error:  # for example locked: not damaged
        return error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
