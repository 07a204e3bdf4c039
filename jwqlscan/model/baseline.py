"""The baseline: the run that another run is compared with, for every command and the page."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, TypeVar

COMPLETE = "complete"
INCOMPLETE = "incomplete"

# Who measured a run's rows. Trends and comparisons never mix origins: JWQL's monitor counted links
# too, and added up the df of every area. (Samples count as ours: only a demonstration has them.)
JWQLSCAN = "jwqlscan"
JWQL = "jwql"


class Run(Protocol):
    """What decides whether a run can be a baseline."""

    @property
    def date(self) -> datetime:
        """Start of the run."""
        ...

    @property
    def status(self) -> str:
        """``complete``, ``incomplete`` or ``suspect``."""
        ...

    @property
    def origin(self) -> str:
        """`JWQLSCAN` or `JWQL`."""
        ...


AnyRun = TypeVar("AnyRun", bound=Run)


def comparable(runs: Iterable[AnyRun], of: Run) -> list[AnyRun]:
    """Return the runs that `of` may be compared with: complete ones of the same origin."""
    return [run for run in runs if run.status == COMPLETE and run.origin == of.origin]


def baseline(runs: Iterable[AnyRun], of: Run, nearest_to: datetime | None = None) -> AnyRun | None:
    """Return the run that `of` is compared with: the newest complete one before it.

    Parameters
    ----------
    runs : iterable of Run
        In any order. Runs dated in the future are not among them, as stores leave them out.
    of : Run
        Only runs of the same origin are compared with it.
    nearest_to : datetime, optional
        Return the complete run nearest to this date instead of the newest.

    Returns
    -------
    Run or None
        None if there is no complete run before.
    """
    before = [run for run in comparable(runs, of) if run.date < of.date]
    if nearest_to is None:
        return max(before, key=lambda run: run.date, default=None)
    wanted = nearest_to
    return min(before, key=lambda run: abs(run.date - wanted), default=None)
