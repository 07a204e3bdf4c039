"""What a state directory knows of runs that the store can't know: refused, killed, spooled."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from datetime import datetime

import anyio
import anyio.to_thread

from jwqlscan.config.loader import Config
from jwqlscan.errors import StoreError
from jwqlscan.state.attempts import Attempt, Attempts, read_attempts
from jwqlscan.state.run_in_progress import RunInProgress, run_in_progress
from jwqlscan.store import open_store, spool
from jwqlscan.store.dsn import same_place
from jwqlscan.store.failures import Failure
from jwqlscan.store.spool_contents import count_for_others, waiting
from jwqlscan.text import escape
from jwqlscan.units import counted

# The state directory is on a local disk. A command must not wait for one that hangs.
LOOK_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class LocalState:
    """What is known in a state directory.

    Attributes
    ----------
    directory : str
    running : RunInProgress or None
    attempts : Attempts
    waiting : int
        Snapshots that wait in the spool.
    quarantined : int
        Snapshots in ``spool/bad``.
    for_others : int
        Those of the snapshots that wait which are for other databases.
    """

    directory: str = ""
    running: RunInProgress | None = None
    attempts: Attempts = field(default_factory=Attempts)
    waiting: int = 0
    quarantined: int = 0
    for_others: int = 0

    @property
    def last(self) -> Attempt | None:
        """The last attempt that ended."""
        return self.attempts.last

    def failure(
        self, stored: Failure | None = None, newest: datetime | None = None
    ) -> Failure | None:
        """Return the failed run to report: the last attempt here, or what the store knows.

        Parameters
        ----------
        stored : Failure, optional
            The newest failed run in the store, if no complete one is newer. A later attempt here
            that did not fail settles it: its snapshot may wait in the spool.
        newest : datetime, optional
            Start of the newest run in the store; a failure here that is older is over.
        """
        last = self.last
        if last is None:
            return stored
        if stored is not None and stored.started > last.started and stored.run_id != last.run_id:
            return stored
        if last.failed and newest is not None and newest > last.started:
            return stored  # another host has stored a run since then
        return last.failure

    def without_cause(self, problem: str) -> LocalState:
        """Return the same without the cause of what waits, where that is reported anyway."""
        last = self.last
        if last is None or last.failed or last.cause != problem:
            return self
        return replace(self, attempts=replace(self.attempts, last=replace(last, cause="")))

    @property
    def waiting_line(self) -> str:
        """How many snapshots wait in the spool, and why: one line; "" if none does."""
        own = self.waiting - self.for_others
        if not own or (self.running is not None and own == 1):
            return ""  # the run in progress is storing its own
        line = f"{counted(own, 'snapshot')} {_wait(own)} in {self._spool}"
        last = self.last
        if last is not None and last.cause and not last.failed:
            return f"{line}: {last.cause}"
        return f"{line}: `jwqlscan db flush`, or the next run, stores what the database takes"

    @property
    def for_others_line(self) -> str:
        """How many snapshots wait for other databases: one line; "" if none does."""
        if not self.for_others:
            return ""
        return (
            f"{counted(self.for_others, 'snapshot')} for another database"
            f" {_wait(self.for_others)} in {self._spool}: `jwqlscan db flush --from-others` stores"
            " them in this one"
        )

    @property
    def _spool(self) -> str:
        return escape(os.path.join(self.directory, "spool"))

    @property
    def quarantined_line(self) -> str:
        """How many snapshots were refused for good: one line; "" if none was."""
        if not self.quarantined:
            return ""
        verb = "is" if self.quarantined == 1 else "are"
        where = escape(os.path.join(self.directory, "spool", spool.BAD))
        return (
            f"{counted(self.quarantined, 'snapshot')} that the database refused {verb} in {where}:"
            " see the .reason beside each"
        )

    @property
    def lines(self) -> list[str]:
        """What waits for somebody to look after it, a line each; without a failed run."""
        found = (self.waiting_line, self.for_others_line, self.quarantined_line)
        return [line for line in found if line]


async def read_state(config: Config) -> LocalState:
    """Return what is known in the state directory of a configuration.

    Nothing is known where it can't be read, for example by another user, where its disk does not
    answer, and of a database that is not the one that the runs used.
    """
    location = open_store(config.database_url).location
    try:
        with anyio.fail_after(LOOK_TIMEOUT_S):
            state = await anyio.to_thread.run_sync(
                _look, config.state_path, location, config.names_database, abandon_on_cancel=True
            )
    except TimeoutError:
        return LocalState(config.state_path)
    known = state.attempts.current or state.last
    if known is not None and known.database and not same_place(known.database, location):
        return LocalState(config.state_path)
    return state


def count_spooled(state_path: str) -> tuple[int, int]:
    """Return how many snapshots wait in the spool, and how many are in quarantine."""
    directory = os.path.join(state_path, "spool")
    return _count(directory), _count(os.path.join(directory, spool.BAD))


def _look(state_path: str, location: str, configured: bool) -> LocalState:
    attempts = read_attempts(state_path)
    running = run_in_progress(state_path)
    if attempts.current is not None and running is None:
        # A run writes its end before it releases the lock: it may have ended meanwhile.
        again = read_attempts(state_path)
        killed = again.current is not None and again.current.run_id == attempts.current.run_id
        attempts = Attempts(None, attempts.current.killed()) if killed else again
    directory = os.path.join(state_path, "spool")
    try:
        for_others = count_for_others(directory, location, configured=configured)
    except StoreError:  # it can't be read
        for_others = 0
    waiting, quarantined = count_spooled(state_path)
    return LocalState(state_path, running, attempts, waiting, quarantined, min(for_others, waiting))


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"


def _count(directory: str) -> int:
    try:
        return len(waiting(directory))
    except StoreError:  # it can't be read
        return 0
