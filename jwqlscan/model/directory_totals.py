"""Directories with all that is below them: each down to a depth, and the largest below that.

Bounded: of each of the two kinds so many are kept, the largest by apparent bytes. What is dropped
is in its parents' sums all the same. A directory comes here once, when its sum is final, so that
keeping the largest of two such tables is the same in any order.
"""

from __future__ import annotations

import heapq
import os
import sys
from array import array
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from jwqlscan.model.record_fields import check_fields
from jwqlscan.units import MOST_BYTES

DEFAULT_DEPTH = 2
DEFAULT_MOST = 20_000
DEFAULT_LARGEST = 1_000


class DirectorySum(NamedTuple):
    """What is in a directory and below it.

    Attributes
    ----------
    files, apparent_bytes, allocated_bytes : int
        As in `jwqlscan.model.cube.Sum`.
    fits_files, fits_bytes : int
    """

    files: int = 0
    apparent_bytes: int = 0
    allocated_bytes: int = 0
    fits_files: int = 0
    fits_bytes: int = 0

    def plus(self, other: Iterable[int]) -> DirectorySum:
        """Return both together; no sum grows beyond `MOST_BYTES`."""
        return DirectorySum(
            *(min(a + b, MOST_BYTES) for a, b in zip(self, other, strict=True)),
        )


_AS_SUM = partial(tuple.__new__, DirectorySum)  # as its `_make` does, in half the time


class Untold(NamedTuple):
    """Upper bounds of the directories that a complete table of an area does not have.

    Attributes
    ----------
    depth : int
        Down to which the area's directories are in `Directories.upper`; 0 is the area itself.
    upper_bytes : int or None
        Apparent bytes of any directory down to `depth` that is missing; None: none is missing.
    lower_bytes : int
        Apparent bytes of any deeper directory that is missing; `MOST_BYTES`: no bound is known.
    """

    depth: int
    upper_bytes: int | None
    lower_bytes: int


class Limits(NamedTuple):
    """Which directories are told.

    Attributes
    ----------
    depth : int
        Down to which each is told; 0 is the root alone.
    most : int
        How many of those, at most; 0: directories are not told at all.
    largest : int
        How many of those below that, at most.
    """

    depth: int = DEFAULT_DEPTH
    most: int = DEFAULT_MOST
    largest: int = DEFAULT_LARGEST


BY_DIRECTORY = "directory"  # how these sums are asked for, where the cube's projections are
NO_DIRECTORIES = Limits(0, 0, 0)
DEFAULT_DIRECTORIES = Limits()


class Directories:
    """Sums by path.

    Attributes
    ----------
    upper : dict of str to DirectorySum
        Those down to the depth, by absolute path.
    lower : dict of str to DirectorySum
        The largest of those below it; none without bytes.
    upper_dropped, lower_dropped : int
        How many more there were.
    untold : Untold or None
        Bounds of those; None but for the table of an area, as :func:`rooted` returns it.
    """

    __slots__ = ("lower", "lower_dropped", "untold", "upper", "upper_dropped")

    def __init__(self) -> None:
        self.untold: Untold | None = None
        self.upper: dict[str, DirectorySum] = {}
        self.lower: dict[str, DirectorySum] = {}
        self.upper_dropped = 0
        self.lower_dropped = 0

    def __eq__(self, other: object) -> bool:
        """Tell whether both hold the same directories."""
        return isinstance(other, Directories) and all(
            getattr(self, name) == getattr(other, name)
            for name in ("upper", "lower", "upper_dropped", "lower_dropped")
        )

    __hash__ = None  # type: ignore[assignment]  # it changes: no key of a dict

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.upper or self.lower)

    def merge(self, other: Directories) -> None:
        """Add those of another table; the other stays as it is. A path in both is added up."""
        for mine, theirs in ((self.upper, other.upper), (self.lower, other.lower)):
            both = {path: mine[path].plus(theirs[path]) for path in mine.keys() & theirs.keys()}
            mine.update(theirs)
            mine.update(both)
        self.upper_dropped += other.upper_dropped
        self.lower_dropped += other.lower_dropped
        self.untold = None

    def bound(self, limits: Limits) -> None:
        """Keep the largest only."""
        dropped = len(self.upper) - limits.most
        if dropped > 0:
            self.upper = _largest(self.upper, limits.most)
            self.upper_dropped += dropped
        dropped = len(self.lower) - limits.largest
        if dropped > 0:
            self.lower = _largest(self.lower, limits.largest)
            self.lower_dropped += dropped

    def moved(self, old: str, new: str) -> Directories:
        """Return the table with what is below one path below another; itself if none moves."""
        if old == new:
            return self
        table = Directories()
        for mine, theirs in ((table.upper, self.upper), (table.lower, self.lower)):
            for path, total in theirs.items():
                below = path.removeprefix(old) if path.startswith(old) else None
                mine[path if below is None else new + below] = total
        table.upper_dropped, table.lower_dropped = self.upper_dropped, self.lower_dropped
        table.untold = self.untold
        return table

    def to_record(self) -> dict[str, Any]:
        """Return the table as plain JSON data; :meth:`from_record` is its inverse."""
        numbers = array("Q", chain.from_iterable((*self.upper.values(), *self.lower.values())))
        dropped = self.upper_dropped, self.lower_dropped
        record = columns_record([*self.upper, *self.lower], numbers, len(self.upper), dropped)
        record["untold"] = None if self.untold is None else list(self.untold)
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Directories:
        """Return the table that :meth:`to_record` or :func:`columns_record` wrote.

        Records of version 0.1.0 have a row for each directory instead of columns.

        Raises
        ------
        NewerRecordError
            If the record has a field that is unknown here.
        KeyError, TypeError, ValueError
            If the record is not one.
        """
        check_fields(record, _FIELDS, "tree")
        table = cls()
        if "sums" in record:
            table.upper, table.lower = _sums_of_columns(record)
        else:
            table.upper = _sums_of(record.get("upper", ()))
            table.lower = _sums_of(record.get("lower", ()))
        table.upper_dropped, table.lower_dropped = map(int, record.get("dropped", (0, 0)))
        if untold := record.get("untold"):
            depth, upper_bytes, lower_bytes = untold
            upper_bytes = None if upper_bytes is None else int(upper_bytes)
            table.untold = Untold(int(depth), upper_bytes, int(lower_bytes))
        return table


_FIELDS = ("paths", "sums", "upper_count", "upper", "lower", "dropped", "untold")


def columns_record(
    paths: list[str], numbers: array[int], upper: int, dropped: tuple[int, int]
) -> dict[str, Any]:
    """Return the record of a table of directories, by columns.

    A list for each of 10,000 directories would take 30 ms to be made, written and read.

    Parameters
    ----------
    paths : list of str, length n
        First those of `Directories.upper`, then those of `Directories.lower`.
    numbers : array of int, length 5 n
        The numbers of a `DirectorySum` for each path.
    upper : int
        How many of the paths are those of `Directories.upper`.
    dropped : tuple of int
        `Directories.upper_dropped` and `Directories.lower_dropped`.
    """
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return {
        "paths": paths,
        "sums": b2a_base64(numbers, newline=False).decode("ascii"),  # 64 bits, little-endian
        "upper_count": upper,
        "dropped": list(dropped),
    }


def _sums_of_columns(
    record: Mapping[str, Any],
) -> tuple[dict[str, DirectorySum], dict[str, DirectorySum]]:
    paths, upper = record["paths"], int(record["upper_count"])
    if set(map(type, paths)) - {str}:
        raise TypeError("a path is no text")
    numbers = array("Q")
    numbers.frombytes(a2b_base64(record["sums"]))
    if sys.byteorder == "big":
        numbers.byteswap()
    if len(numbers) != len(paths) * len(DirectorySum._fields) or not 0 <= upper <= len(paths):
        raise ValueError("the paths and sums of the directories are not of one length")
    in_order = iter(numbers)
    rows = zip(*[in_order] * len(DirectorySum._fields), strict=True)
    return (
        sums_by_path(paths[:upper], islice(rows, upper)),
        sums_by_path(paths[upper:], rows),
    )


def _sums_of(rows: Sequence[Sequence[Any]]) -> dict[str, DirectorySum]:
    """Return the rows of a record by path; column by column, as there may be 20,000."""
    if not rows:
        return {}
    paths, *columns = zip(*rows, strict=True)
    if set(map(type, paths)) != {str}:
        raise TypeError("a path is no text")
    missing = len(DirectorySum._fields) - len(columns)
    if missing < 0:
        raise ValueError("a directory has more sums than there are")
    columns += missing * [(0,) * len(rows)]
    if any(set(map(type, column)) != {int} for column in columns):
        columns = [tuple(map(int, column)) for column in columns]
    return sums_by_path(paths, zip(*columns, strict=True))


def sums_by_path(paths: Iterable[str], rows: Iterable[tuple[int, ...]]) -> dict[str, DirectorySum]:
    """Return sums by path from five numbers a path."""
    return dict(zip(paths, map(_AS_SUM, rows), strict=True))


def rooted(
    trees: Mapping[str, Directories], area: str, limits: Limits, *, whole: bool
) -> Directories:
    """Return an area's directories from those of the roots in it, which leave each other out.

    Parameters
    ----------
    trees : mapping of str to Directories
        By the path of each root. One that is elsewhere, behind a symbolic link say, stays apart.
    area : str
        The area's own path.
    limits : Limits
        The depth counts from the area.
    whole : bool
        Whether the area is more than a root: then it has a sum of its own all the same.
    """
    table = Directories()
    for tree in trees.values():
        table.merge(tree)
    if whole and area not in table.upper:
        table.upper[area] = DirectorySum()
    top = area.rstrip("/")
    has_bound = True
    for root, tree in trees.items():
        total = tree.upper.get(root)
        if total is None or not root.startswith(f"{top}/") or root == area:
            continue
        above = root
        while above != area:
            above = above.rpartition("/")[0]
            above = area if len(above) <= len(top) else above
            for sums in (table.upper, table.lower):
                if above in sums:
                    sums[above] = sums[above].plus(total)
            if above not in table.upper and above not in table.lower:
                # Dropped before a root below it was added: no bound includes that one.
                has_bound &= not any(f"{above}/".startswith(f"{one}/") for one in trees)
    for path in _deeper(table.upper, top, limits.depth):
        total = table.upper.pop(path)
        if total.apparent_bytes:
            table.lower[path] = total
    upper, lower = len(table.upper), len(table.lower)
    table.bound(limits)
    # A root's upper directories may be lower ones of the area.
    upper_bounds = [_least(tree.upper) for tree in trees.values() if tree.upper_dropped]
    lower_bounds = [_least(tree.lower) for tree in trees.values() if tree.lower_dropped]
    lower_bounds += upper_bounds
    upper_bounds += [_least(table.upper)] if len(table.upper) < upper else []
    lower_bounds += [_least(table.lower)] if len(table.lower) < lower else []
    table.untold = Untold(
        limits.depth,
        max(upper_bounds, default=None),
        max(lower_bounds, default=0) if has_bound else MOST_BYTES,
    )
    return table


def _least(sums: Mapping[str, DirectorySum]) -> int:
    """Return the bytes of the smallest directory that was kept: of a dropped one at most."""
    return min((total.apparent_bytes for total in sums.values()), default=MOST_BYTES)


def _deeper(paths: Iterable[str], top: str, depth: int) -> list[str]:
    """Return those that are deeper below an area than that; what is elsewhere is not deep."""
    slashes, below = top.count("/") + depth, f"{top}/"
    return [
        path
        for path in paths
        if path.count("/") > slashes and path != "/" and path.startswith(below)
    ]


def largest(sums: Mapping[str, DirectorySum], count: int) -> list[tuple[str, DirectorySum]]:
    """Return the largest by apparent bytes, of equal ones the first by path, byte by byte."""
    return sorted(_largest(sums, count).items(), key=_largest_first)


def _largest(sums: Mapping[str, DirectorySum], count: int) -> dict[str, DirectorySum]:
    """Return the same in no order: paths are looked at only where the last ones are equal."""
    if count <= 0:
        return {}
    if len(sums) <= count:
        return dict(sums)
    sizes = sorted((total.apparent_bytes for total in sums.values()), reverse=True)
    least = sizes[count - 1]
    kept = {path: total for path, total in sums.items() if total.apparent_bytes > least}
    equal = [(path, total) for path, total in sums.items() if total.apparent_bytes == least]
    kept.update(heapq.nsmallest(count - len(kept), equal, key=_largest_first))
    return kept


def _largest_first(item: tuple[str, DirectorySum]) -> tuple[int, bytes]:
    return -item[1].apparent_bytes, os.fsencode(item[0])


class Branch(NamedTuple):
    """A line of a tree of directories.

    Attributes
    ----------
    guide : str
        What is drawn before the name: ``"│  ├─ "``.
    name : str
        Of the top its whole path.
    path : str
    sum : DirectorySum
    """

    guide: str
    name: str
    path: str
    sum: DirectorySum


def branches(table: Directories, count: int) -> list[Branch]:
    """Return the largest directories as a tree, in each the larger ones first.

    All that are above one of them are at least as large and so, by path, among them.
    """
    chosen = largest(table.upper | table.lower, count)
    known = dict(chosen)
    below: dict[str, list[str]] = {}
    tops = []
    for path, _ in chosen:
        parent = path.rpartition("/")[0] or "/"
        if parent in known and parent != path:
            below.setdefault(parent, []).append(path)
        else:
            tops.append(path)
    lines: list[Branch] = []
    waiting = [(path, "", "", path) for path in reversed(tops)]
    while waiting:
        path, guide, rest, name = waiting.pop()
        lines.append(Branch(guide, name, path, known[path]))
        children = below.get(path, [])
        for index in reversed(range(len(children))):
            child, is_last = children[index], index == len(children) - 1
            waiting.append(
                (
                    child,
                    rest + ("└─ " if is_last else "├─ "),
                    rest + ("   " if is_last else "│  "),
                    child.rpartition("/")[2],
                )
            )
    return lines
