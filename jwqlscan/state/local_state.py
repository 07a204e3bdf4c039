"""What a state directory knows of runs that the store can't know: refused, killed, spooled."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
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
from jwqlscan.text import shown
from jwqlscan.units import counted

# The state directory is on a local disk. Whoever looks at it shall not wait for one that hangs.
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
    """

    directory: str = ""
    running: RunInProgress | None = None
    attempts: Attempts = field(default_factory=Attempts)
    waiting: int = 0
    quarantined: int = 0

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

    @property
    def waiting_line(self) -> str:
        """How many snapshots wait in the spool, and why: one line; "" if none does."""
        if not self.waiting or (self.running is not None and self.waiting == 1):
            return ""  # the run in progress is storing its own
        verb = "waits" if self.waiting == 1 else "wait"
        where = shown(os.path.join(self.directory, "spool"))
        line = f"{counted(self.waiting, 'snapshot')} {verb} in {where}"
        last = self.last
        if last is not None and last.cause and not last.failed:
            return f"{line}: {last.cause}"
        return f"{line}: `jwqlscan db flush`, or the next run, stores what the database takes"

    @property
    def quarantined_line(self) -> str:
        """How many snapshots were refused for good: one line; "" if none was."""
        if not self.quarantined:
            return ""
        verb = "is" if self.quarantined == 1 else "are"
        where = shown(os.path.join(self.directory, "spool", spool.BAD))
        return (
            f"{counted(self.quarantined, 'snapshot')} that the database refused {verb} in {where}:"
            " see the .reason beside each"
        )

    @property
    def lines(self) -> list[str]:
        """What waits for somebody to look after it, a line each; without a failed run."""
        return [line for line in (self.waiting_line, self.quarantined_line) if line]


async def look_at_state(config: Config) -> LocalState:
    """Return what is known in the state directory of a configuration.

    Nothing is known where it can't be read, by another user say, where its disk does not answer,
    and of a database that is not the one that the runs used.
    """
    try:
        with anyio.fail_after(LOOK_TIMEOUT_S):
            state = await anyio.to_thread.run_sync(_look, config.state_path, abandon_on_cancel=True)
    except TimeoutError:
        return LocalState(config.state_path)
    known = state.attempts.current or state.last
    location = open_store(config.database_url).location
    if known is not None and known.database and not same_place(known.database, location):
        return LocalState(config.state_path)
    return state


def count_spooled(state_path: str) -> tuple[int, int]:
    """Return how many snapshots wait in the spool, and how many are in quarantine."""
    directory = os.path.join(state_path, "spool")
    return _count(directory), _count(os.path.join(directory, spool.BAD))


def _look(state_path: str) -> LocalState:
    attempts = read_attempts(state_path)
    running = run_in_progress(state_path)
    if attempts.current is not None and running is None:
        # A run writes its end before it releases the lock: it may have ended meanwhile.
        again = read_attempts(state_path)
        killed = again.current is not None and again.current.run_id == attempts.current.run_id
        attempts = Attempts(None, attempts.current.killed()) if killed else again
    return LocalState(state_path, running, attempts, *count_spooled(state_path))


def _count(directory: str) -> int:
    try:
        return len(spool.waiting(directory))
    except StoreError:  # it can't be read
        return 0
