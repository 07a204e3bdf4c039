"""Insight: what grew, whose it is, how old it is and where it lies, read back from the store.

What the report and the command line show of the cube, the programs and the directories that runs
have stored. Everything here is safe to print.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from jwqlscan.history.rollups import Row
from jwqlscan.model.cube import Sum

# What growth is asked by.
GROWTH_BY = ("program", "directory", "filetype", "instrument", "stage", "extension", "owner")


class DirectoryRow(NamedTuple):
    """A directory with all that is below it.

    Attributes
    ----------
    path : str
        Below the area's directory, as ``a/b``; "" is the area itself.
    sum : Sum
    fits_files, fits_bytes : int
        Those of the files whose names end in ``.fits``.
    """

    path: str
    sum: Sum
    fits_files: int
    fits_bytes: int


@dataclass(frozen=True, slots=True)
class AreaInsight:
    """What the newest run that looked knows of an area beside its totals.

    Attributes
    ----------
    group, name, path : str
        As in `AreaSnapshot`.
    date : datetime
        Of that run.
    complete : bool
        Whether it could read everything there.
    total : Sum
        What each projection adds up to, ``program`` and the directories apart.
    projections : dict of str to tuple of Row
        By each of `jwqlscan.history.rollups.PROJECTIONS`: ages and sizes in their order, the others
        largest first.
    directories : tuple of DirectoryRow
        Largest first: every one down to the depth configured, as far as there was room, and the
        largest of those below. A parent has its children's files too.
    folded : dict of str to int
        How many of the smallest classes, owners, programs and directories there was no room for:
        rows called ``(other)``, and directories that are in their parents' sums only.
    """

    group: str
    name: str
    path: str
    date: datetime
    complete: bool
    total: Sum
    projections: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    directories: tuple[DirectoryRow, ...] = ()
    folded: dict[str, int] = field(default_factory=dict)


class Bounds(NamedTuple):
    """What a change is between, both included.

    Attributes
    ----------
    files, apparent_bytes : (int, int)
        The lower and the upper bound.
    """

    files: tuple[int, int]
    apparent_bytes: tuple[int, int]

    @classmethod
    def of(cls, before: tuple[Sum, Sum], after: tuple[Sum, Sum]) -> Bounds:
        """Return the bounds of a change from what is between two sums to what is between others."""
        (files, size, _), (most_files, most_size, _) = before
        (files_now, size_now, _), (most_files_now, most_size_now, _) = after
        return cls(
            (files_now - most_files, most_files_now - files),
            (size_now - most_size, most_size_now - size),
        )

    @property
    def exact(self) -> bool:
        """Whether the change is known."""
        return all(low == high for low, high in self)


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """One program, directory, owner, ... in two runs.

    Attributes
    ----------
    label : str
        "" is the area itself, among directories.
    before, after : Sum
        Nothing where it was not there. A directory that was not among the largest in one of the
        runs has there what makes the change the least that is possible.
    exact : bool
        Whether both numbers are known.
    series : tuple of (int or None)
        Its apparent bytes at the growth's `dates`; None where that is not known.
    bounds : Bounds or None
        What the change is between; None if it is exact, or a run did not read everything.
    """

    label: str
    before: Sum
    after: Sum
    exact: bool = True
    series: tuple[int | None, ...] = ()
    bounds: Bounds | None = None

    @property
    def files_change(self) -> int:
        """How many files more."""
        return self.after.files - self.before.files

    @property
    def bytes_change(self) -> int:
        """How many apparent bytes more."""
        return self.after.apparent_bytes - self.before.apparent_bytes

    @property
    def bytes_exact(self) -> bool:
        """Whether the bytes are known, also where the number of files is not."""
        if self.bounds is None:
            return self.exact
        return self.bounds.apparent_bytes[0] == self.bounds.apparent_bytes[1]

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        if not any(self.before):
            return "added"
        return "changed" if any(self.after) else "removed"


@dataclass(frozen=True, slots=True)
class AreaChange:
    """The totals of an area in two runs.

    Attributes
    ----------
    group, name : str
    before, after : Sum
    exact : bool
        Whether both runs read everything in it.
    """

    group: str
    name: str
    before: Sum
    after: Sum
    exact: bool


@dataclass(frozen=True, slots=True)
class Growth:
    """What changed in an area between two stored runs.

    Attributes
    ----------
    group, name : str
        The area.
    by : str
        One of `GROWTH_BY`.
    window : str
        What was asked for: ``last``, ``7d``, ``30d``, a date.
    since, until : datetime
        Of the two runs: the newest, and of those before it the nearest to what was asked for.
    exact : bool
        Whether both runs are complete.
    notes : tuple of str
        Why it is not exact, and what else a reader must know, one line each.
    before, after : Sum
        The whole area in the two runs.
    rows : tuple of GrowthRow
        What changed, the greatest change in bytes first, up or down.
    rest : GrowthRow or None
        The rows beyond those, together; None where they can't be added (directories) or there are
        none.
    dates : tuple of datetime
        Of the rows' `series`, ascending.
    changed : int
        How many rows there would be.
    others : tuple of AreaChange
        The other areas in the same two runs, for a reader who named none.
    """

    group: str
    name: str
    by: str
    window: str
    since: datetime
    until: datetime
    exact: bool
    notes: tuple[str, ...]
    before: Sum
    after: Sum
    rows: tuple[GrowthRow, ...] = ()
    rest: GrowthRow | None = None
    dates: tuple[datetime, ...] = ()
    changed: int = 0
    others: tuple[AreaChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Insight:
    """What a store knows beside the history.

    Attributes
    ----------
    areas : tuple of AreaInsight
        The archive's first, and each group's whole (``all``) before its parts.
    growths : tuple of Growth
        For each area, window and question of the report; none where fewer than two runs looked.
    """

    areas: tuple[AreaInsight, ...] = ()
    growths: tuple[Growth, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether no run has looked."""
        return not self.areas

    def area(self, group: str, name: str = "all") -> AreaInsight | None:
        """Return one area, or None."""
        return next((a for a in self.areas if (a.group, a.name) == (group, name)), None)

    def growth(self, group: str, name: str, by: str, window: str) -> Growth | None:
        """Return what changed in an area, or None."""
        wanted = (group, name, by, window)
        return next((g for g in self.growths if (g.group, g.name, g.by, g.window) == wanted), None)
