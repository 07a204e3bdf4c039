"""The last attempt to make a run, in a file of the state directory.

The store knows the runs that it could store. This file also knows those that were refused, whose
store was down, or that were killed: an attempt is written when a run begins and again when it ends,
so that one without an end, while nobody holds the lock, was killed.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from jwqlscan.errors import ExitCode
from jwqlscan.store.failures import MAX_CAUSE, Failure
from jwqlscan.system.atomic_files import READ_FLAGS, overwrite_now, write_now
from jwqlscan.system.ownership import untrusted_ancestor
from jwqlscan.text import escape_controls

FILE = "last-attempt.json"
MODE = 0o600

KILLED = "killed, or the host stopped: the run never recorded its end"
KILLED_EXIT_CODE = 137  # 128 + SIGKILL, as a shell has it

_RECORD_VERSION = 1
_MAX_BYTES = 2**16
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

# Ends of a run that has stored its snapshot, or keeps it in the spool.
_MEASURED = (ExitCode.COMPLETE, ExitCode.INCOMPLETE, ExitCode.SPOOLED, ExitCode.REPORT_FAILED)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run from its start on, whatever became of it.

    Attributes
    ----------
    run_id : str
    started : datetime
    ended : datetime or None
        None while it is in progress, and if it was killed.
    host, version, log_file : str
    exit_code : int or None
        128 + N if signal N ended it; None as long as `ended` is.
    cause : str
        Why it failed, or why its snapshot waits in the spool; one line, escaped for display.
    report_failure : str
        Why the newest report could not be written; "" if it was.
    complete : datetime or None
        Start of the newest complete run that this host knows of.
    in_store : bool
        Whether the store has the failure too.
    database : str
        Location of the store, without any password.
    page : str
        Where the report is, or will be.
    """

    run_id: str
    started: datetime
    ended: datetime | None = None
    host: str = ""
    version: str = ""
    log_file: str = ""
    exit_code: int | None = None
    cause: str = ""
    report_failure: str = ""
    complete: datetime | None = None
    in_store: bool = False
    database: str = ""
    page: str = ""

    @property
    def failed(self) -> bool:
        """Whether it has ended without a snapshot."""
        return self.ended is not None and self.exit_code not in _MEASURED

    @property
    def failure(self) -> Failure | None:
        """What the store is to know of it: the run, or else its report, failed; else None."""
        if not (self.failed or self.report_failure) or self.ended is None:
            return None
        code = self.exit_code if self.failed else int(ExitCode.REPORT_FAILED)
        killed = self.cause == KILLED
        return Failure(
            self.run_id,
            self.started,
            None if killed else self.ended,
            self.host,
            self.version,
            None if killed else code,
            self.cause if self.failed else self.report_failure,
            self.log_file,
        )

    def killed(self) -> Attempt:
        """Return the attempt as one that was killed."""
        return replace(self, ended=self.started, exit_code=KILLED_EXIT_CODE, cause=KILLED)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempt in progress, or else None, and the last one that ended, if there is one."""

    current: Attempt | None = None
    last: Attempt | None = None


def read_attempts(state_path: str) -> Attempts:
    """Return the attempts that the state directory knows of.

    Whether the one without an end is in progress, or was killed, only the lock shows.

    Notes
    -----
    A file that is missing, unreadable or damaged knows of no attempt: it must not keep a run, or
    the command that reads it, from its work.
    """
    record = _read(os.path.join(state_path, FILE))
    newest = _attempt(record)
    if newest is None:
        return Attempts()
    if newest.ended is not None:
        return Attempts(None, newest)
    return Attempts(newest, _attempt(record.get("previous")))


def write_attempt(
    state_path: str, attempt: Attempt, previous: Attempt | None = None, *, mode: int | None = None
) -> None:
    """Write the newest attempt and, while it has no end, the one before.

    On a full disk the file is overwritten in place, which needs no room on most filesystems: that
    the disk is full must become known.

    Parameters
    ----------
    state_path : str
    attempt : Attempt
    previous : Attempt, optional
    mode : int, optional
        Permission bits: those of ``state.mode``.

    Raises
    ------
    OSError
        If it can't be written, or is not to be: others decide where the path leads.
    """
    place, reason = untrusted_ancestor(state_path)
    if reason:
        raise OSError(errno.EPERM, reason, place)
    record = {"record_version": _RECORD_VERSION, **_record(attempt)}
    if previous is not None:
        record["previous"] = _record(previous)
    path = os.path.join(state_path, FILE)
    content = json.dumps(record).encode()
    try:
        write_now(path, content, MODE if mode is None else mode)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        overwrite_now(path, content)


def _record(attempt: Attempt) -> dict[str, Any]:
    record = asdict(replace(attempt, cause=attempt.cause[:MAX_CAUSE]))
    record["report_failure"] = attempt.report_failure[:MAX_CAUSE]
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in record.items()
    }


def _attempt(record: object) -> Attempt | None:
    """Return an attempt from its record; fields that another version adds or lacks are no error."""
    if not isinstance(record, Mapping):
        return None
    try:
        started = _date(record["started"])
        if started is None:
            return None
        return Attempt(
            run_id=_text(record, "run_id"),
            started=started,
            ended=_date(record.get("ended")),
            host=_text(record, "host"),
            version=_text(record, "version"),
            log_file=_text(record, "log_file"),
            exit_code=None if record.get("exit_code") is None else int(record["exit_code"]),
            cause=_text(record, "cause"),
            report_failure=_text(record, "report_failure"),
            complete=_date(record.get("complete")),
            in_store=record.get("in_store") is True,
            database=_text(record, "database"),
            page=str(record.get("page", "")),
        )
    except (KeyError, TypeError, ValueError, OverflowError):  # Infinity is a number in JSON here
        return None


def _text(record: Mapping[str, Any], key: str) -> str:
    return escape_controls(str(record.get(key, "")))


def _date(value: object) -> datetime | None:
    if value is None:
        return None
    date = datetime.fromisoformat(str(value))
    if date.tzinfo is None:
        raise ValueError
    return date


def _read(path: str) -> dict[str, Any]:
    """Return the record in a file, {} without one; a name that leads elsewhere is not followed."""
    try:
        fd = os.open(path, READ_FLAGS)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
                return {}
            content = os.read(fd, _MAX_BYTES)
        finally:
            os.close(fd)
        record = json.loads(content)
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
