"""What can end or mark a run, and the one table of exit codes."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator
from enum import IntEnum

from jwqlscan.resource_limits import shortage
from jwqlscan.text import escape_controls


class ExitCode(IntEnum):
    """How a command ended, for cron and scripts."""

    COMPLETE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    SPOOLED = 4
    REPORT_FAILED = 5
    LOCKED = 11


# \b keeps the lines apart in a command's help.
EXIT_CODE_HELP = """\
\b
Exit codes:
  0      complete
  1      failed, nothing stored
  2      usage or configuration
  3      stored but incomplete
  4      measured, but the database can't be reached: kept in the spool,
         stored by the next run
  5      stored, but the report failed
  11     another run holds the lock
  128+N  ended by signal N"""


def most_severe(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the code that wins when several apply: 1, 3, 4, 5, then 0."""
    order = (ExitCode.FAILED, ExitCode.INCOMPLETE, ExitCode.SPOOLED, ExitCode.REPORT_FAILED)
    present = set(codes)
    return next((code for code in order if code in present), ExitCode.COMPLETE)


class JwqlscanError(Exception):
    """A failure reported in one line: what, where, and what to do next."""

    exit_code: ExitCode = ExitCode.FAILED


class ConfigError(JwqlscanError):
    """The configuration or the command line can't be used as it is."""

    exit_code = ExitCode.USAGE


class ClockError(JwqlscanError):
    """The system clock can't be right, so nothing is dated by it and nothing is stored."""


class ScanFailedError(JwqlscanError):
    """An area can't be measured, so nothing is stored."""


class StoreError(JwqlscanError):
    """The store answers, but can't be used (a newer schema, a refused statement)."""


class StoreDamagedError(StoreError):
    """The store's file is damaged: nothing is to be written to it any more."""


class StoreMissingError(StoreError):
    """There is no store where one is expected."""


class SnapshotRefusedError(StoreError):
    """The store will never take this snapshot; it can take others."""


class StoreUnavailableError(StoreError):
    """The store does not answer; the snapshot can wait in the spool."""

    exit_code = ExitCode.SPOOLED


class ReportError(JwqlscanError):
    """The snapshot is stored, but the report could not be written."""

    exit_code = ExitCode.REPORT_FAILED


class StandardOutputError(JwqlscanError):
    """The result can't be written to standard output: for example on a full disk."""


class LockedError(JwqlscanError):
    """Another run holds the lock."""

    exit_code = ExitCode.LOCKED


class SignalledError(JwqlscanError):
    """A signal ended the command.

    Parameters
    ----------
    number : int
    """

    # What a signal means for the command that runs in this process; empty if it stores nothing.
    consequence = ""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}{self.consequence}")
        self.number = number


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first exception in a task group's group: one failure is reported, not a tree."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def cause_of(error: BaseException) -> str:
    """Return why a command failed, in one line.

    The message of our own errors, else the limit of the host that was met, else the type.
    """
    if isinstance(error, BaseExceptionGroup):
        return cause_of(first_cause(error))
    if isinstance(error, JwqlscanError):
        return escape_controls(str(error))
    return shortage(error) or f"a bug: {type(error).__name__}"


@contextlib.contextmanager
def single_errors() -> Iterator[None]:
    """Raise the first error of a group in place of the group.

    A task group wraps what its tasks raise in an ExceptionGroup, also what the block around it
    raises, and so does ``except*`` with what is raised inside it: no ``except OSError`` further out
    would catch that. Every task group is in such a block.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        raise first_cause(group) from None


class LastingWarning(str):
    """A warning whose cause lasts from run to run until somebody removes it: given once."""

    __slots__ = ()
