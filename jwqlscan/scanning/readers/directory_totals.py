"""What directories sum up to, for the reader in Python; the specification.

A directory has an account while anything below it waits or is read: reference counting is its life
time. Then what it came to goes to its parent's and, if it is one of the largest, stays here. So
memory is that of the directories that are being read, and of as many as are to be told.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jwqlscan.model.directory_totals import Directories, DirectorySum, Limits, relative_paths
from jwqlscan.units import MOST_BYTES

# Of a table of directories, before the smallest are dropped.
SPARE_ROWS = 64

# Bytes: of a lower directory whose path is longer nothing is told. A chain of directories, as deep
# as anyone may make it, would else take memory by the square of its depth: a path at each level.
LONGEST_TOLD = 4096


class _Live(NamedTuple):
    """An upper directory that is not finished; its sums without those of live ones below it."""

    path: str
    sums: list[int]
    parent: int


class Ledger:
    """The accounts of one root's directories, for any number of threads.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        # Reentrant: garbage collection may end an account anywhere, under the lock too.
        self.lock = threading.RLock()
        self.live: dict[int, _Live] = {}
        self.top = ""  # the path of the root
        self._finished = Directories()  # by absolute path

    def finish(self, path: str, sums: Sequence[int], *, is_upper: bool) -> None:
        """Keep a finished directory's sums, if there are not that many larger ones."""
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
        """Return what is known by now; of those below the depth only what is finished."""
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


class Account:
    """What one directory comes to, with all below it.

    Parameters
    ----------
    ledger : Ledger
    parent : Account or None
        None: of a root.
    path : str
    """

    __slots__ = ("_ledger", "_level", "_parent", "_path", "_sums", "_upper")

    def __init__(self, ledger: Ledger, parent: Account | None, path: str) -> None:
        self._ledger = ledger
        self._parent = parent
        self._path = path
        self._sums = [0, 0, 0, 0, 0]
        self._level: int = 0 if parent is None else parent._level + 1
        # The nearest one of the ledger's depth; the lower ones below it are in its sums at once.
        self._upper = self._sums
        if parent is not None and self._level > ledger.limits.depth:
            self._upper = parent._upper
            if len(os.fsencode(path)) > LONGEST_TOLD:
                self._path = ""
        else:
            above = 0 if parent is None else id(parent._sums)
            with ledger.lock:
                if parent is None:
                    ledger.top = path
                ledger.live[id(self._sums)] = _Live(path, self._sums, above)

    def add(self, own: Sequence[int]) -> None:
        """Add files that lie in the directory itself: the numbers of a `DirectorySum`."""
        with self._ledger.lock:
            _add(self._sums, own)
            if self._upper is not self._sums:
                _add(self._upper, own)

    def __del__(self) -> None:
        ledger, parent = self._ledger, self._parent
        is_upper = self._upper is self._sums
        with ledger.lock:
            if is_upper:
                del ledger.live[id(self._sums)]
            if parent is not None and (is_upper or parent._upper is not parent._sums):
                _add(parent._sums, self._sums)
            ledger.finish(self._path, self._sums, is_upper=is_upper)


class Ledgers:
    """The ledgers of some roots, by their numbers; none if no directory is to be told."""

    def __init__(self, roots: Iterable[int], limits: Limits) -> None:
        self._ledgers = {root: Ledger(limits) for root in roots} if limits.most else {}

    def open(self, root: int, parent: Account | None, path: str) -> Account | None:
        """Return an account for a directory that is read now; None if none are told."""
        return Account(self._ledgers[root], parent, path) if root in self._ledgers else None

    def directories(self, root: int) -> Directories:
        """Return what is known by now of a root's directories."""
        return self._ledgers[root].directories() if root in self._ledgers else Directories()


def _add(sums: list[int], more: Sequence[int]) -> None:
    files, apparent, allocated, fits_files, fits_bytes = more
    sums[0] += files
    sums[1] += apparent
    sums[2] += allocated
    sums[3] += fits_files
    sums[4] += fits_bytes


def _total(sums: Sequence[int]) -> DirectorySum:
    if max(sums) > MOST_BYTES:
        sums = [min(number, MOST_BYTES) for number in sums]
    return DirectorySum(*sums)
