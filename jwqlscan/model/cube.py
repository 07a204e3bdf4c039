"""The cube: counts and bytes of files by class, owner, age and size at once.

One table that merges in any order, of which every question is a projection: by extension, owner,
age, size, filetype, instrument, stage. It is made from the one stat a file that a scan takes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from jwqlscan.model.record_fields import check_fields

DAY_S = 86400

# A file is as old as the first of these that it is younger than, from the run's start; the first is
# for those that are younger than nothing.
AGE_DAYS = (0, 1, 7, 30, 90, 365, 730, 1826)
AGE_LABELS = (
    "in the future",
    "under 1 day",
    "under 7 days",
    "under 30 days",
    "under 90 days",
    "under 1 year",
    "under 2 years",
    "under 5 years",
    "5 years or more",
)

# What a class is that is none: of files without an extension, and of those that there was no room
# for. Neither can be a real one: extensions have no spaces and no parentheses.
NO_EXTENSION = "(none)"
OTHER = "(other)"

PRODUCT_EXTENSION = "fits"
EXTENSION_LONGEST = 15
EXTENSION_MARKS = "_-+~"

# An archive has some thousand cells. On a hostile filesystem, of which every file has an extension
# of its own, classes beyond a limit are collapsed; a cell takes some 300 bytes.
MAX_CELLS = 100_000
MAX_CLASSES = 1_000
MAX_OWNERS = 1_000
MAX_PROGRAMS = 100_000

Key = TypeVar("Key", bound=Hashable)


class FileClass(NamedTuple):
    """What a file is: a product, or with an instrument of "" just its extension."""

    instrument: str
    filetype: str


OTHER_CLASS = FileClass("", OTHER)


class CellKey(NamedTuple):
    """What files are counted together.

    Attributes
    ----------
    file_class : FileClass
    uid, gid : int
        -1: one of those put together.
    age : int
        Index into `AGE_LABELS`.
    size : int
        Bits of the apparent size: 0 is empty, n is from 2**(n-1) to 2**n - 1 bytes.
    """

    file_class: FileClass
    uid: int
    gid: int
    age: int
    size: int


class Sum(NamedTuple):
    """Some files: how many, their apparent bytes and the bytes allocated for them.

    A name of an inode that has n names counts an nth of what is allocated for it.
    """

    files: int = 0
    apparent_bytes: int = 0
    allocated_bytes: int = 0

    def __add__(self, other: object) -> Sum:
        """Add to each number."""
        if not isinstance(other, Sum):
            return NotImplemented
        return Sum(*map(sum, zip(self, other, strict=True)))


class Cube:
    """Counts and bytes by class, owner, age and size; and by program.

    Attributes
    ----------
    cells : dict of CellKey to list of int, shape (3,)
        Count, apparent bytes, allocated bytes.
    programs : dict of str to list of int, shape (2,)
        Count and apparent bytes of the files whose names contain a program.
    folded : dict of str to int
        How many classes and owners were put together as there was no room, by ``classes``,
        ``owners`` and ``programs``.
    product_extension : str
        The extension of the products, which their class does not contain.
    """

    __slots__ = ("_bound_at", "cells", "folded", "product_extension", "programs")

    def __init__(self) -> None:
        self._bound_at = MAX_CELLS, MAX_PROGRAMS
        self.cells: dict[CellKey, list[int]] = {}
        self.programs: dict[str, list[int]] = {}
        self.folded: dict[str, int] = {}
        self.product_extension = PRODUCT_EXTENSION

    def __eq__(self, other: object) -> bool:
        """Tell whether both hold the same."""
        return isinstance(other, Cube) and self.to_record() == other.to_record()

    __hash__ = None  # type: ignore[assignment]  # it changes: no key of a dict

    def __bool__(self) -> bool:
        """Tell whether anything was counted."""
        return bool(self.cells or self.programs)

    def add(self, key: CellKey, count: int, apparent_bytes: int, allocated_bytes: int) -> None:
        """Count files."""
        cell = self.cells.get(key)
        if cell is None:
            self.cells[key] = [count, apparent_bytes, allocated_bytes]
        else:
            cell[0] += count
            cell[1] += apparent_bytes
            cell[2] += allocated_bytes

    def add_program(self, program: str, count: int, apparent_bytes: int) -> None:
        """Count files of a program."""
        row = self.programs.get(program)
        if row is None:
            self.programs[program] = [count, apparent_bytes]
        else:
            row[0] += count
            row[1] += apparent_bytes

    def merge(self, other: Cube) -> None:
        """Add another cube to this one; the other stays as it is."""
        if self.cells:
            for key, cell in other.cells.items():
                self.add(key, *cell)
        else:
            self.cells = {key: [*cell] for key, cell in other.cells.items()}
        for program, row in other.programs.items():
            self.add_program(program, *row)
        if other.product_extension != PRODUCT_EXTENSION:
            self.product_extension = other.product_extension
        for what, number in other.folded.items():
            self.folded[what] = max(number, self.folded.get(what, 0))
        if len(self.cells) > self._bound_at[0] or len(self.programs) > self._bound_at[1]:
            self.bound()
            # The classes and owners that there is room for may make more cells than that: to look
            # again at each merge would hold up all workers.
            self._bound_at = (
                max(MAX_CELLS, 2 * len(self.cells)),
                max(MAX_PROGRAMS, 2 * len(self.programs)),
            )

    def bound(
        self,
        classes: int = MAX_CLASSES,
        owners: int = MAX_OWNERS,
        programs: int = MAX_PROGRAMS,
    ) -> None:
        """Collapse the smallest classes, owners and programs beyond these numbers."""
        other = OTHER_CLASS
        kept_classes = self._largest(lambda key: key.file_class, classes, "classes", other)
        kept_owners = self._largest(lambda key: (key.uid, key.gid), owners, "owners", (-1, -1))
        named = self.programs.keys() - {OTHER}
        if len(named) > programs:
            by_bytes = sorted(named, key=lambda program: (-self.programs[program][1], program))
            smallest = by_bytes[programs:]
            self.folded["programs"] = self.folded.get("programs", 0) + len(smallest)
            for program in smallest:
                self.add_program(OTHER, *self.programs.pop(program))
        if kept_classes is None and kept_owners is None:
            return
        cells, self.cells = self.cells, {}
        for key, cell in cells.items():
            if kept_classes is not None and key.file_class not in kept_classes:
                key = key._replace(file_class=other)
            if kept_owners is not None and (key.uid, key.gid) not in kept_owners:
                key = key._replace(uid=-1, gid=-1)
            self.add(key, *cell)

    def _largest(
        self, part: Callable[[CellKey], Key], most: int, what: str, other: Key
    ) -> set[Key] | None:
        """Return the largest by bytes, then by count; None if there are no more than `most`.

        Those put together before, which are `other`, are none of them.
        """
        if len(set(map(part, self.cells)) - {other}) <= most:
            return None
        sums: dict[Key, list[int]] = {}
        for key, cell in self.cells.items():
            row = sums.setdefault(part(key), [0, 0])
            row[0] += cell[1]
            row[1] += cell[0]
        sums.pop(other, None)
        self.folded[what] = self.folded.get(what, 0) + len(sums) - most
        largest = sorted(sums.items(), key=itemgetter(1), reverse=True)
        return {key for key, _ in largest[:most]}

    def by(self, part: Callable[[CellKey], Key]) -> dict[Key, Sum]:
        """Return the sums grouped by a function of the key: a projection."""
        sums: dict[Key, list[int]] = {}
        for key, cell in self.cells.items():
            row = sums.setdefault(part(key), [0, 0, 0])
            for index, number in enumerate(cell):
                row[index] += number
        return {key: Sum(*row) for key, row in sums.items()}

    def to_record(self) -> dict[str, Any]:
        """Return the cube as plain JSON data; :meth:`from_record` is its inverse."""
        return {
            "cells": [
                [*key.file_class, *key[1:], *cell] for key, cell in sorted(self.cells.items())
            ],
            "programs": [[program, *row] for program, row in sorted(self.programs.items())],
            "folded": dict(sorted(self.folded.items())),
            "product_extension": self.product_extension,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Cube:
        """Return the cube that :meth:`to_record` wrote.

        Raises
        ------
        NewerRecordError
            If the record has a field that is unknown here.
        TypeError, ValueError
            If the record is not one.
        """
        check_fields(record, ("cells", "programs", "folded", "product_extension"), "cube")
        cube = cls()
        for instrument, filetype, uid, gid, age, size, *cell in record.get("cells", ()):
            key = CellKey(FileClass(instrument, filetype), int(uid), int(gid), int(age), int(size))
            if not (isinstance(instrument, str) and isinstance(filetype, str)):
                raise TypeError("a class is no text")
            if not (0 <= key.age < len(AGE_LABELS) and 0 <= key.size <= 64):
                raise ValueError("there is no such age or size")
            count, apparent_bytes, allocated_bytes = map(int, cell)
            cube.cells[key] = [count, apparent_bytes, allocated_bytes]
        programs = record.get("programs", ())
        cube.programs = {str(program): [int(n), int(b)] for program, n, b in programs}
        cube.folded = {str(what): int(number) for what, number in record.get("folded", {}).items()}
        cube.product_extension = str(record.get("product_extension", PRODUCT_EXTENSION))
        return cube


def age_limits(now_s: int) -> tuple[int, ...]:
    """Return the times of last change at which the ages of `AGE_LABELS` end, newest first.

    A file's age is how many of them are not before its time (seconds since 1970, rounded down).
    """
    return tuple(now_s - days * DAY_S for days in AGE_DAYS)


def extension(name: str) -> str:
    """Return a name's extension, lower case, as `os.path.splitext` splits it; or `NO_EXTENSION`.

    What is longer than 15 characters, or has others than ASCII letters, digits and ``_-+~``, is
    none: a name of many parts, such as ``1.2.3 final version``.
    """
    at = name.rfind(".")
    ending = name[at + 1 :]
    if (
        at <= 0
        or not 0 < len(ending) <= EXTENSION_LONGEST
        or not ending.isascii()
        or not name[:at].strip(".")
    ):
        return NO_EXTENSION
    if not ending.isalnum() and not ending.translate(_WITHOUT_MARKS).isalnum():
        return NO_EXTENSION
    return ending.lower()


_WITHOUT_MARKS = {ord(mark): "0" for mark in EXTENSION_MARKS}
