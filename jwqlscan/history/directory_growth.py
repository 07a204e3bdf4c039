"""Growth of directories: each run kept those down to a depth and the largest below it.

A directory that is missing from one of two runs may have been there, too small to be among the
largest. What it can have had is bounded by the smallest directory that was kept and by what the
directories above it have beside those that were kept. It is listed only where its change is certain
between these bounds.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import cached_property

from jwqlscan.history.insight import Bounds, GrowthRow
from jwqlscan.model.cube import Sum
from jwqlscan.model.directory_totals import MissingBounds

_CLIPPED = re.compile(r"\.\.\. [0-9a-f]{16}\Z")  # as `store.intervals` cuts long keys


class DirectoryTable:
    """The directories that a run kept of an area, and bounds for all others.

    Parameters
    ----------
    sums : mapping of str to Sum
        By path below the area.
    total : Sum
        The whole area, which is the directory "".
    untold : MissingBounds or None
        None: every directory was kept.
    parts : mapping of str to DirectoryTable
        Of areas below this one, by their paths below it: their tables go deeper.
    """

    def __init__(
        self,
        sums: Mapping[str, Sum],
        total: Sum,
        untold: MissingBounds | None,
        parts: Mapping[str, DirectoryTable],
    ) -> None:
        self._sums = {**sums, "": total}
        self._untold = untold
        self._parts = parts
        self._rests: dict[str, Sum] = {}

    def between(self, path: str) -> tuple[Sum, Sum]:
        """Return the least and the most that a directory can have had; equal if it is known."""
        if (kept := self._sums.get(path)) is not None:
            return kept, kept
        for part, table in self._parts.items():
            if path.startswith(f"{part}/"):
                least, most = table.between(path[len(part) + 1 :])
                if least == most:
                    return least, most
        return self._bounds(path)

    def _bounds(self, path: str) -> tuple[Sum, Sum]:
        most_bytes = self._most_bytes(path)
        if most_bytes is None:
            return Sum(), Sum()
        above = self._kept_above(path)
        children = self._below[above]
        first, last = bisect_left(children, f"{path}/"), bisect_left(children, f"{path}0")
        inside = _added(self._sums[child] for child in children[first:last])
        room = [n + own for n, own in zip(self._beside(above), inside, strict=True)]
        room[1] = max(min(room[1], most_bytes), inside.apparent_bytes)
        return inside, Sum(*room)

    def _most_bytes(self, path: str) -> int | None:
        """Return the bytes that a missing directory had at most; None if it was not there."""
        untold = self._untold
        if untold is None:
            return None
        upper, lower = untold.upper_bytes, untold.lower_bytes
        if path.startswith("/") or _CLIPPED.search(path):  # its depth is not known
            return max(upper or 0, lower)
        names = path.split("/")
        if upper is None and "/".join(names[: untold.depth]) not in self._sums:
            return None
        return lower if len(names) > untold.depth else upper

    def _kept_above(self, path: str) -> str:
        above = path.rpartition("/")[0]
        while above not in self._sums:
            above = above.rpartition("/")[0]
        return above

    def _beside(self, path: str) -> Sum:
        """Return what a directory has beside those below it that were kept."""
        if path not in self._rests:
            kept = _added(self._sums[child] for child in self._below[path])
            pairs = zip(self._sums[path], kept, strict=True)
            self._rests[path] = Sum(*(max(whole - part, 0) for whole, part in pairs))
        return self._rests[path]

    @cached_property
    def _below(self) -> dict[str, list[str]]:
        """The directories that were kept next below each one, sorted."""
        below: dict[str, list[str]] = {path: [] for path in self._sums}
        for path in sorted(self._sums):
            if path:
                below[self._kept_above(path)].append(path)
        return below


def directory_rows(
    paths: Iterable[str], old: DirectoryTable, new: DirectoryTable, *, complete: bool
) -> tuple[list[GrowthRow], int]:
    """Return the directories that changed for certain, and how many others may have changed.

    Parameters
    ----------
    paths : iterable of str
        Those to look at.
    old, new : DirectoryTable
    complete : bool
        Whether both runs read everything; else no number is exact and none has bounds.
    """
    rows, uncertain = [], 0
    for path in paths:
        row = _row(path, old.between(path), new.between(path), complete)
        if row is None:
            uncertain += 1
        elif row.before[:2] != row.after[:2]:  # blocks that came late are no growth
            rows.append(row)
    return rows, uncertain


def _row(
    path: str, before: tuple[Sum, Sum], after: tuple[Sum, Sum], complete: bool
) -> GrowthRow | None:
    """Return a directory with the least change within its bounds; None if that may be none."""
    # At least one of the two runs kept it.
    was = before[0] if before[0] == before[1] else _nearest(after[0], before)
    is_now = after[0] if after[0] == after[1] else _nearest(before[0], after)
    bounds = Bounds.of(before, after)
    if not bounds.exact and was[:2] == is_now[:2]:
        return None
    exact = complete and bounds.exact
    return GrowthRow(path, was, is_now, exact, bounds=bounds if complete and not exact else None)


def _nearest(wanted: Sum, between: tuple[Sum, Sum]) -> Sum:
    return Sum(*(min(max(w, low), high) for w, low, high in zip(wanted, *between, strict=True)))


def _added(sums: Iterable[Sum]) -> Sum:
    return sum(sums, Sum())
