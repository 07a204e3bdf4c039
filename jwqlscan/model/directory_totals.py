"""Directories with all that is below them: each down to a depth, and the largest below that.

Bounded: of each of the two kinds the largest by apparent bytes are kept. What is dropped
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
from jwqlscan.units import MAX_BYTES

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
        """Return both together; no sum grows beyond `MAX_BYTES`."""
        return DirectorySum(
            *(min(a + b, MAX_BYTES) for a, b in zip(self, other, strict=True)),
        )


_AS_SUM = partial(tuple.__new__, DirectorySum)  # as its `_make` does, in half the time


class MissingBounds(NamedTuple):
    """Upper bounds of the directories that a complete table of an area does not have.

    Attributes
    ----------
    depth : int
        Down to which the area's directories are in `Directories.upper`; 0 is the area itself.
    upper_bytes : int or None
        Apparent bytes of any directory down to `depth` that is missing; None: none is missing.
    lower_bytes : int
        Apparent bytes of any deeper directory that is missing; `MAX_BYTES`: no bound is known.
    """

    depth: int
    upper_bytes: int | None
    lower_bytes: int


class Limits(NamedTuple):
    """Limits of a table of directories.

    Attributes
    ----------
    depth : int
        Down to which all directories are kept; 0 is the root alone.
    most : int
        Maximum number of those; 0: no directories are kept at all.
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
    """Sums by path, of a directory (the top of the table) and of those below it.

    A path is relative to the top, which itself is ``""``. One that begins with a slash is absolute:
    of a directory that belongs to an area, but lies elsewhere.

    Attributes
    ----------
    upper : dict of str to DirectorySum
        Those down to the depth.
    lower : dict of str to DirectorySum
        The largest of those below it; none without bytes.
    upper_dropped, lower_dropped : int
        How many more there were.
    untold : MissingBounds or None
        Bounds of those; None but in the table of an area (`model.area_directories.rooted`).
    """

    __slots__ = ("lower", "lower_dropped", "untold", "upper", "upper_dropped")

    def __init__(self) -> None:
        self.untold: MissingBounds | None = None
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

    def at(self, prefix: str) -> Directories:
        """Return the table as part of another, in which its top has the path `prefix`."""
        table = Directories()
        table.upper = _with_prefix(self.upper, prefix)
        table.lower = _with_prefix(self.lower, prefix)
        table.upper_dropped, table.lower_dropped = self.upper_dropped, self.lower_dropped
        return table

    def to_record(self) -> dict[str, Any]:
        """Return the table as plain JSON data; :meth:`from_record` is its inverse."""
        numbers = array("Q", chain.from_iterable((*self.upper.values(), *self.lower.values())))
        dropped = self.upper_dropped, self.lower_dropped
        record = columns_record([*self.upper, *self.lower], numbers, len(self.upper), dropped)
        record["untold"] = None if self.untold is None else list(self.untold)
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any], top: str = "") -> Directories:
        """Return the table that :meth:`to_record` or :func:`columns_record` wrote.

        Records of version 0.1.0 have a row for each directory instead of columns, with an absolute
        path: `top` is the path of the table's top, for these.

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
            table.upper = _sums_of(record.get("upper", ()), top)
            table.lower = _sums_of(record.get("lower", ()), top)
        table.upper_dropped, table.lower_dropped = map(int, record.get("dropped", (0, 0)))
        if untold := record.get("untold"):
            depth, upper_bytes, lower_bytes = untold
            upper_bytes = None if upper_bytes is None else int(upper_bytes)
            table.untold = MissingBounds(int(depth), upper_bytes, int(lower_bytes))
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
        First those of `Directories.upper`, then those of `Directories.lower`; relative, as there.
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


def _sums_of(rows: Sequence[Sequence[Any]], top: str) -> dict[str, DirectorySum]:
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
    return sums_by_path(relative_paths(paths, top), zip(*columns, strict=True))


def relative_paths(paths: Iterable[str], top: str) -> list[str]:
    """Return absolute paths as the keys of a table whose top is at `top`."""
    parent = top.rstrip("/") + "/"
    start = len(parent)
    return [
        path[start:] if path.startswith(parent) else "" if path == top else path for path in paths
    ]


def full_path(path: str, top: str) -> str:
    """Return the path of a directory in a table whose top is at `top`."""
    if not path:
        return top
    return path if path[0] == "/" or not top else f"{top.rstrip('/')}/{path}"


def _with_prefix(sums: Mapping[str, DirectorySum], prefix: str) -> dict[str, DirectorySum]:
    if not prefix:
        return dict(sums)
    return {full_path(path, prefix): total for path, total in sums.items()}


def sums_by_path(paths: Iterable[str], rows: Iterable[tuple[int, ...]]) -> dict[str, DirectorySum]:
    """Return sums by path from five numbers a path."""
    return dict(zip(paths, map(_AS_SUM, rows), strict=True))


def largest(sums: Mapping[str, DirectorySum], count: int) -> list[tuple[str, DirectorySum]]:
    """Return the largest by apparent bytes, of equal ones the first by path, byte by byte."""
    return sorted(_largest(sums, count).items(), key=_largest_first)


def _largest(sums: Mapping[str, DirectorySum], count: int) -> dict[str, DirectorySum]:
    """Return the same in no order: paths are compared only where the last sums are equal."""
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
