"""Values that last from run to run: the rows of an area, and their sums by each question.

Plain functions of rows, wherever these were read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import sub
from typing import Any, NamedTuple

from jwqlscan.history.rollups import ACCOUNTS, labels
from jwqlscan.model.cube import PRODUCT_EXTENSION, CellKey, Sum

CELLS, PROGRAMS, DIRECTORIES = "cell", "program", "directory"


class Lasting(NamedTuple):
    """What something was, in the runs from one to another.

    Attributes
    ----------
    kind : str
        `CELLS`, `PROGRAMS` or `DIRECTORIES`.
    key : str
        As it is stored.
    first_us, last_us : int
    files, apparent_bytes, allocated_bytes : int
    fits_files, fits_bytes : int
    """

    kind: str
    key: str
    first_us: int
    last_us: int
    files: int
    apparent_bytes: int
    allocated_bytes: int
    fits_files: int
    fits_bytes: int


# Rows of a `Lasting` are compared by the hundred thousand: these are distinguished by position.
_Row = Sequence[Any]


class AreaRows:
    """What was in an area in some runs, and its sums by each question, each made but once.

    Parameters
    ----------
    rows : iterable of sequences
        As `Lasting`.
    cell : callable
        The cell that a key stands for.
    text : callable
        What is shown of a key of a program or directory.
    product_extension : str
        As in `Cube`.
    """

    def __init__(
        self,
        rows: Iterable[_Row],
        cell: Callable[[str], CellKey],
        text: Callable[[str], str],
        product_extension: str = PRODUCT_EXTENSION,
    ) -> None:
        self.product_extension = product_extension
        self.cell = cell
        self._text = text
        self._by_kind: dict[str, list[_Row]] = {CELLS: [], PROGRAMS: [], DIRECTORIES: []}
        for row in rows:
            self._by_kind[row[0]].append(row)
        self._labels: dict[str, dict[str, str]] = {}
        self._sums: dict[tuple[str, int], dict[str, Sum]] = {}
        self._totals: dict[int, Sum] = {}
        self._changed: dict[tuple[str, int, int], list[tuple[_Row, int]]] = {}

    def at(self, kind: str, date_us: int) -> Iterator[Lasting]:
        """Yield the rows of a kind that a run had."""
        return (Lasting(*row) for row in self._by_kind[kind] if row[2] <= date_us <= row[3])

    def sums(self, by: str, date_us: int) -> dict[str, Sum]:
        """Return a run's sums by a question's labels."""
        if (by, date_us) not in self._sums:
            sums: dict[str, list[int]] = {}
            labels = self.labels(by)
            for _, key, first_us, last_us, files, apparent, allocated, _, _ in self._by_kind[
                kind_of(by)
            ]:
                if first_us <= date_us <= last_us:
                    label = labels[key]
                    numbers = sums.get(label)
                    if numbers is None:
                        sums[label] = [files, apparent, allocated]
                    else:
                        numbers[0] += files
                        numbers[1] += apparent
                        numbers[2] += allocated
            self._sums[by, date_us] = {label: Sum(*numbers) for label, numbers in sums.items()}
        return self._sums[by, date_us]

    def changes(self, by: str, since_us: int, until_us: int) -> dict[str, Change]:
        """Return what is not the same in two runs, by a question's labels."""
        changes: dict[str, Change] = {}
        labels = self.labels(by)
        for row, sign in self._rows_changed(kind_of(by), since_us, until_us):
            label = labels[row[1]]
            change = changes.get(label)
            if change is None:
                change = changes[label] = Change()
            change.files += sign * row[4]
            change.apparent_bytes += sign * row[5]
            change.allocated_bytes += sign * row[6]
            if sign < 0:
                change.was_reported = True
        return changes

    def total(self, date_us: int) -> Sum:
        """Return all of the area in a run."""
        if date_us not in self._totals:
            cells = [row[4:7] for row in self._by_kind[CELLS] if row[2] <= date_us <= row[3]]
            self._totals[date_us] = added(cells)
        return self._totals[date_us]

    def change(self, since_us: int, until_us: int) -> Sum:
        """Return how much more there is in the area."""
        return Sum(*map(sub, self.total(until_us), self.total(since_us)))

    def labels(self, by: str) -> dict[str, str]:
        """Return what each key is called by a question."""
        if by not in self._labels:
            self._labels[by] = self.labels_of(by, {row[1] for row in self._by_kind[kind_of(by)]})
        return self._labels[by]

    def labels_of(self, by: str, keys: Collection[str]) -> dict[str, str]:
        """Return what some keys are called by a question."""
        if kind_of(by) != CELLS:
            return {key: self._text(key) for key in keys}
        cells = {key: self.cell(key) for key in keys}
        label = labels(by, cells.values(), self.product_extension)
        return {key: label(cell) for key, cell in cells.items()}

    def look_up_names(self) -> None:
        """Look up the names of owners and groups, which may take time: later they are known."""
        for by in ACCOUNTS:
            self.labels(by)

    def _rows_changed(self, kind: str, since_us: int, until_us: int) -> list[tuple[_Row, int]]:
        """Return the rows that only one of two runs had: with -1 the older, with 1 the newer."""
        if (kind, since_us, until_us) not in self._changed:
            self._changed[kind, since_us, until_us] = [
                (row, -1 if is_old else 1)
                for row in self._by_kind[kind]
                if (is_old := row[2] <= since_us <= row[3]) != (row[2] <= until_us <= row[3])
            ]
        return self._changed[kind, since_us, until_us]


@dataclass(slots=True)
class Change:
    """A change, and whether the older run has a number for it."""

    files: int = 0
    apparent_bytes: int = 0
    allocated_bytes: int = 0
    was_reported: bool = False

    def before(self, after: Sum) -> Sum:
        """Return what there was, of what there is."""
        return Sum(
            after.files - self.files,
            after.apparent_bytes - self.apparent_bytes,
            after.allocated_bytes - self.allocated_bytes,
        )


def points_of(rows: Iterable[Sequence[Any]], moments: Sequence[int]) -> dict[str, list[int]]:
    """Return the apparent bytes of each key at some moments.

    Parameters
    ----------
    rows : iterable of sequences
        Key, first_us and last_us as in `Lasting`, apparent bytes.
    moments : sequence of int
        Ascending, in microseconds since 1970.
    """
    steps: dict[str, list[int]] = {}
    for key, first_us, last_us, size in rows:
        step = steps.get(key)
        if step is None:
            step = steps[key] = [0] * (len(moments) + 1)
        step[bisect_left(moments, first_us)] += size
        step[bisect_right(moments, last_us)] -= size
    return {key: list(accumulate(step[:-1])) for key, step in steps.items()}


def added(numbers: Collection[Sequence[int]]) -> Sum:
    """Return the sum of many sums."""
    return Sum(*map(sum, zip(*numbers, strict=True))) if numbers else Sum()


def kind_of(by: str) -> str:
    """Return which rows a question is about."""
    return {"directory": DIRECTORIES, "program": PROGRAMS}.get(by, CELLS)
