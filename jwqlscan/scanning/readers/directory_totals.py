"""Totals per directory, for the reader in Python; the specification for the compiled one.

`DirectoryTotals` of a directory exist while anything below it is pending or being read: their
lifetime is their reference count. Then they are added to those of the parent and, if they are
among the largest, kept in `RootTotals`. So memory is bounded by the directories that are being
read and the number of directories to report.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jwqlscan.model.directory_totals import Directories, DirectorySum, Limits, relative_paths
from jwqlscan.units import MAX_BYTES

# Of a table of directories, before the smallest are dropped.
SPARE_ROWS = 64

# Lower directories with a longer path, in bytes, are not reported. Without this limit a chain of
# directories would take memory by the square of its depth: a path at each level.
MAX_PATH_BYTES = 4096


class _Live(NamedTuple):
    """An upper directory that is not finished; its sums without those of live ones below it."""

    path: str
    sums: list[int]
    parent: int


class RootTotals:
    """The totals of the directories of one root; thread-safe.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        # Reentrant: garbage collection may delete a `DirectoryTotals` anywhere, under the lock too.
        self.lock = threading.RLock()
        self.live: dict[int, _Live] = {}
        self.top = ""  # the path of the root
        self._finished = Directories()  # by absolute path

    def finish(self, path: str, sums: Sequence[int], *, is_upper: bool) -> None:
        """Keep the sums of a finished directory, if it is among the largest."""
        finished, limits = self._finished, self.limits
        total = _total(sums)
        if is_upper:
            finished.upper[path] = total
        elif total.apparent_bytes and path:
            finished.lower[path] = total
        elif total.apparent_bytes:
            finished.lower_dropped += 1
        if (
            len(finished.upper) > 2 * limits.most + SPARE_ROWS
            or len(finished.lower) > 2 * limits.largest + SPARE_ROWS
        ):
            finished.bound(limits)

    def directories(self) -> Directories:
        """Return the totals so far; below the depth limit only those of finished directories."""
        table = Directories()
        with self.lock:
            self._finished.bound(self.limits)
            table.merge(self._finished)
            totals = {number: list(live.sums) for number, live in self.live.items()}
            for live in self.live.values():
                above = live.parent
                while above in totals:
                    _add(totals[above], live.sums)
                    above = self.live[above].parent
            for number, live in self.live.items():
                table.upper[live.path] = _total(totals[number])
        table.upper = dict(
            zip(relative_paths(table.upper, self.top), table.upper.values(), strict=True)
        )
        table.lower = dict(
            zip(relative_paths(table.lower, self.top), table.lower.values(), strict=True)
        )
        return table


class DirectoryTotals:
    """The totals of one directory and everything below it.

    Parameters
    ----------
    root_totals : RootTotals
    parent : DirectoryTotals or None
        None: of a root.
    path : str
    """

    __slots__ = ("_level", "_parent", "_path", "_root_totals", "_sums", "_upper")

    def __init__(self, root_totals: RootTotals, parent: DirectoryTotals | None, path: str) -> None:
        self._root_totals = root_totals
        self._parent = parent
        self._path = path
        self._sums = [0, 0, 0, 0, 0]
        self._level: int = 0 if parent is None else parent._level + 1
        # Those of the nearest directory within the depth limit: lower ones are added to both.
        self._upper = self._sums
        if parent is not None and self._level > root_totals.limits.depth:
            self._upper = parent._upper
            if len(os.fsencode(path)) > MAX_PATH_BYTES:
                self._path = ""
        else:
            above = 0 if parent is None else id(parent._sums)
            with root_totals.lock:
                if parent is None:
                    root_totals.top = path
                root_totals.live[id(self._sums)] = _Live(path, self._sums, above)

    def add(self, own: Sequence[int]) -> None:
        """Add files that lie in the directory itself: the numbers of a `DirectorySum`."""
        with self._root_totals.lock:
            _add(self._sums, own)
            if self._upper is not self._sums:
                _add(self._upper, own)

    def __del__(self) -> None:
        root_totals, parent = self._root_totals, self._parent
        is_upper = self._upper is self._sums
        with root_totals.lock:
            if is_upper:
                del root_totals.live[id(self._sums)]
            if parent is not None and (is_upper or parent._upper is not parent._sums):
                _add(parent._sums, self._sums)
            root_totals.finish(self._path, self._sums, is_upper=is_upper)


class TotalsByRoot:
    """The `RootTotals` by the number of the root; none if no directories are to be reported."""

    def __init__(self, roots: Iterable[int], limits: Limits) -> None:
        self._totals_by_root = {root: RootTotals(limits) for root in roots} if limits.most else {}

    def open(self, root: int, parent: DirectoryTotals | None, path: str) -> DirectoryTotals | None:
        """Return totals for a directory that is read now; None if none are to be reported."""
        return (
            DirectoryTotals(self._totals_by_root[root], parent, path)
            if root in self._totals_by_root
            else None
        )

    def directories(self, root: int) -> Directories:
        """Return the totals so far of the directories of a root."""
        return (
            self._totals_by_root[root].directories()
            if root in self._totals_by_root
            else Directories()
        )


def _add(sums: list[int], more: Sequence[int]) -> None:
    files, apparent, allocated, fits_files, fits_bytes = more
    sums[0] += files
    sums[1] += apparent
    sums[2] += allocated
    sums[3] += fits_files
    sums[4] += fits_bytes


def _total(sums: Sequence[int]) -> DirectorySum:
    if max(sums) > MAX_BYTES:
        sums = [min(number, MAX_BYTES) for number in sums]
    return DirectorySum(*sums)
