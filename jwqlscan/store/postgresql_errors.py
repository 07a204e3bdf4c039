"""What an error of asyncpg means for a run: whose fault it is, in one line with what to do."""

from __future__ import annotations

import os
import re

import asyncpg

from jwqlscan.errors import SnapshotRefusedError, StoreError, StoreUnavailableError
from jwqlscan.resource_limits import shortage
from jwqlscan.store import rows as table_rows

# Classes of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) that concern
# the state of the server or of our account, not the statement: the snapshot can wait.
_UNAVAILABLE_CLASSES = frozenset(
    {
        "08",  # connection
        "25",  # transaction state: read-only, idle too long
        "28",  # user or password
        "3D",  # no such database
        "40",  # deadlock, serialization
        "53",  # out of connections, memory, disk
        "55",  # lock not available
        "57",  # shutting down, cancelled, starting up
        "58",  # I/O
    }
)
INSUFFICIENT_PRIVILEGE = "42501"
_UNIQUE_VIOLATION = "23505"
_CHECK_VIOLATION = "23514"
_SEQUENCE_EXHAUSTED = "2200H"
_DATA_EXCEPTIONS = "22"  # a class: out of range, not in the database's encoding, …
_HINTS = {
    "28000": "check the user in the URL, and the server's pg_hba.conf",
    "28P01": "check the user and the password (URL, PGPASSWORD or ~/.pgpass)",
    "3D000": "create it with createdb",
    "25006": "name the primary server, not a standby",
    _SEQUENCE_EXHAUSTED: "ALTER SEQUENCE … AS bigint, and ALTER TABLE … ALTER"
    " COLUMN id TYPE bigint",
    INSUFFICIENT_PRIVILEGE: "GRANT this user USAGE on the schema, SELECT and INSERT on JWQL's four"
    " tables and on those named scan_*, UPDATE and DELETE on scan_value, scan_series and"
    " scan_insight, and USAGE on their sequences",
}
MIGRATE_HINT = (
    "run `jwqlscan db migrate` once, with --database and a user who may create tables; then GRANT"
    " this user SELECT and INSERT on them"
)
_TLS_REFUSED = (
    "the server has no TLS, and the password and all else would cross the network in clear: turn on"
    " ssl there, or add ?sslmode=disable to the URL to allow that"
)
NOT_VERIFIED = (
    "check sslrootcert and that the URL names the host as the certificate does, or say"
    " ?sslmode=require to encrypt without knowing the server"
)

# Our own tables of which no snapshot gives two rows one key: a duplicate there means that the
# sequence is behind the rows, or the index is damaged.
_KEYS_OF_THE_STORE = frozenset(("scan_series", "scan_value", "scan_insight"))

# asyncio's texts: "[Errno 111] Connect call failed ('10.0.0.1', 5432)", one for each address.
_CONNECT_CALL = re.compile(
    r"(?:Multiple exceptions: )?\[Errno (\d+)\] Connect call failed \('([^']*)', (\d+)[^)]*\)"
)
_ERRNO = re.compile(r"\[Errno -?\d+\] ")


class IdTakenError(StoreError):
    """A sequence gave an id that a row has already.

    Parameters
    ----------
    message : str
    table : str
        The table of that row.
    """

    def __init__(self, message: str, table: str) -> None:
        super().__init__(message)
        self.table = table


def failure(error: BaseException, location: str) -> StoreError | None:
    """Return what a failure means for the run; None if it is not the database's."""
    if isinstance(error, TimeoutError) and error.errno is None:
        text = "no answer within the time limit: check the server and the network"
        return StoreUnavailableError(f"{location}: {text}")
    if isinstance(error, asyncpg.PostgresError):
        return _of_the_server(error, location)
    if words := shortage(error):  # of this host
        return StoreUnavailableError(f"{location}: {words}")
    text = in_words(error)
    if isinstance(error, (OverflowError, UnicodeEncodeError)) or (
        isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
    ):
        return SnapshotRefusedError(f"{location}: {text}")  # a value that does not fit its column
    if isinstance(error, ConnectionError) and "rejected SSL" in text:  # asyncpg has no code for it
        return StoreUnavailableError(f"{location}: {_TLS_REFUSED}")
    if isinstance(error, FileNotFoundError):
        where = "check the socket and the certificate files that the URL names"
        return StoreUnavailableError(f"{location}: {text}: {where}")
    if isinstance(error, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return StoreUnavailableError(f"{location}: {text}: check the server and the network")
    return None


def in_words(error: BaseException) -> str:
    """Return an error's text on one line, with words in place of the numbers of its causes."""
    text = " ".join(str(error).split())
    text = _CONNECT_CALL.sub(
        lambda found: f"{os.strerror(int(found[1]))} ({found[2]} port {found[3]})", text
    )
    return _ERRNO.sub("", text)


def _of_the_server(error: asyncpg.PostgresError, location: str) -> StoreError:
    state = error.sqlstate or ""
    text = " ".join(str(error.args[0]).split()) if error.args else type(error).__name__
    hint = _HINTS.get(state)
    text = f"{location}: {text}" + (f": {hint}" if hint else "")
    table = error.table_name or ""
    if state == _UNIQUE_VIOLATION and _is_of_an_id(error):
        return IdTakenError(f"{text}: the id is not the snapshot's: {set_sequence(table)}", table)
    if _concerns_a_row(error):
        return SnapshotRefusedError(text)
    if state[:2] in _UNAVAILABLE_CLASSES or state == INSUFFICIENT_PRIVILEGE:
        return StoreUnavailableError(text)
    return StoreError(text)


def set_sequence(table: str, column: str = "id", sequence: str = "") -> str:
    """Return the statement that sets a sequence to the rows of its table."""
    name = sequence and "'" + sequence.replace("'", "''") + "'"
    name = name or f"pg_get_serial_sequence('{table}', '{column}')"
    return f"SELECT setval({name}, (SELECT max({column}) FROM {table}))"  # noqa: S608 - for people to read


def _is_of_an_id(error: asyncpg.PostgresError) -> bool:
    # Only these have ids that the database makes.
    if error.table_name not in (*table_rows.JWQL_TABLES, "scan_series"):
        return False
    detail = error.detail or ""  # "Key (id)=(5) already exists.", in the server's language
    return error.constraint_name == f"{error.table_name}_pkey" or "(id)=" in detail


def _concerns_a_row(error: asyncpg.PostgresError) -> bool:
    """Return whether a value was refused, and not something that every snapshot has."""
    state = error.sqlstate or ""
    if state[:2] == _DATA_EXCEPTIONS:
        return state != _SEQUENCE_EXHAUSTED
    # A partition that is missing has no constraint's name.
    return (
        state in (_UNIQUE_VIOLATION, _CHECK_VIOLATION)
        and error.constraint_name is not None
        and not (state == _UNIQUE_VIOLATION and error.table_name in _KEYS_OF_THE_STORE)
    )
