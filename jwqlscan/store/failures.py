"""Failed runs in the store: when, with which exit code, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jwqlscan.errors import ExitCode, SnapshotRefusedError
from jwqlscan.store import MONITOR_NAME, OLD_MONITOR_NAME, Store
from jwqlscan.store.rows import EARLIEST, TableRows
from jwqlscan.store.transfer.rows import FAILURES, neutral
from jwqlscan.system.clock import latest_date
from jwqlscan.text import escape_controls
from jwqlscan.units import format_time

# A message names a path, which is at most 4096 bytes long, and has the next step.
MAX_CAUSE = 5000

_NOT_NOTED = "the cause is not known: it was noted by an older jwqlscan, or by another program"


class Failure(NamedTuple):
    """A run that failed.

    Attributes
    ----------
    run_id : str
        A UUID; "" if only the `monitor` table has the run.
    started : datetime
        UTC, aware.
    ended : datetime or None
        None if the process was killed or the host stopped.
    host, version : str
    exit_code : int or None
        128 + N if signal N ended it; None if it is not known.
    cause : str
        One line, escaped for display.
    log_file : str
    """

    run_id: str
    started: datetime
    ended: datetime | None
    host: str
    version: str
    exit_code: int | None
    cause: str
    log_file: str = ""

    @property
    def line(self) -> str:
        """What happened, when, and why: one line about the newest run."""
        if self.exit_code == ExitCode.REPORT_FAILED:
            return f"the report of the run of {self._at} failed: {self.cause}"
        return f"a run failed since, at {self._at}: {self.cause}{self._code}"

    @property
    def line_of_later_run(self) -> str:
        """The same, as a run that follows reports it."""
        return f"the run before, of {self._at}, failed: {self.cause}{self._code}"

    @property
    def _at(self) -> str:
        return format_time(self.started)

    @property
    def _code(self) -> str:
        return "" if self.exit_code is None else f" (exit code {self.exit_code})"


_KNOWN = "SELECT count(*) FROM scan_failure WHERE {text:run_id} = $1"
_NEWEST = (
    "SELECT {text:run_id}, {date:started}, {date:ended}, host, version, exit_code, cause, log_file"
    " FROM scan_failure WHERE {date:started} >= {date:$1} AND {date:started} <= {date:$2}"
    " ORDER BY started DESC LIMIT $3"
)
_NEWEST_IN_MONITOR = (
    "SELECT max({date:start_time}) FROM monitor"
    " WHERE monitor_name IN ($1, $2) AND status = 'FAILURE' AND start_time > {date:$3}"
    " AND start_time <= {date:$4}"
)


async def record_failure(store: Store, failure: Failure) -> None:
    """Store a failed run with its cause; one already stored (by run_id) changes nothing.

    Parameters
    ----------
    store : Store
        Entered.
    failure : Failure
    """
    if (await store.select(_KNOWN, failure.run_id))[0][0]:
        return
    row = failure._replace(cause=failure.cause[:MAX_CAUSE])
    try:
        await _insert(store, row)
    except SnapshotRefusedError:  # names that the database's encoding (such as LATIN1) lacks
        host, cause, log_file = map(_ascii, (row.host, row.cause, row.log_file))
        await _insert(store, row._replace(host=host, cause=cause, log_file=log_file))


async def _insert(store: Store, row: Failure) -> None:
    await store.write([TableRows(FAILURES, Failure._fields, [tuple(map(neutral, row))])])


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")


async def newest_failure(
    store: Store, since: datetime | None = None, until: datetime | None = None
) -> Failure | None:
    """Return the newest run that failed and is not dated in the future.

    Parameters
    ----------
    store : Store
        Entered.
    since : datetime, optional
        Aware. The start of the newest stored run: only that run, whose report may have failed, and
        runs that started later are looked for.
    until : datetime, optional
        Aware. The latest start that is not in the future.
    """
    since, until = since or EARLIEST, until or latest_date()
    rows = await store.select(_NEWEST, since, until, 1)
    newest = _failure(rows[0]) if rows else None
    # Older versions, and an interrupted note, leave a row in `monitor` alone.
    later = max(since, newest.started) if newest else since
    names = (MONITOR_NAME, OLD_MONITOR_NAME)
    [(date,)] = await store.select(_NEWEST_IN_MONITOR, *names, later, until)
    if date is not None:
        return Failure("", _date(date), None, "", "", None, _NOT_NOTED)
    return newest


def _failure(row: Sequence[Any]) -> Failure:
    run_id, started, ended, host, version, code, cause, log_file = row
    end = None if ended is None else _date(ended)
    # Escaped again: the row may be another program's.
    return Failure(
        run_id,
        _date(started),
        end,
        escape_controls(host),
        version,
        code,
        escape_controls(cause),
        log_file,
    )


def _date(value: datetime | str) -> datetime:
    date = datetime.fromisoformat(value) if isinstance(value, str) else value
    return date.astimezone(UTC)
