"""Growth: what changed between two runs, and projections, out of values that last from run to run.

Plain functions of rows, wherever these were read.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from jwqlscan.cube import PRODUCT_EXTENSION, CellKey, Cube, Sum
from jwqlscan.insight import AreaInsight, DirectoryRow, Growth, GrowthRow
from jwqlscan.projections import PROJECTIONS, label_of, projection

CELLS, PROGRAMS, DIRECTORIES = "cell", "program", "directory"


class Lasting(NamedTuple):
    """What something was, in the runs from one to another.

    Attributes
    ----------
    kind : str
        `CELLS`, `PROGRAMS` or `DIRECTORIES`.
    key : CellKey or str
    first_us, last_us : int
    sum : Sum
    fits_files, fits_bytes : int
    """

    kind: str
    key: CellKey | str
    first_us: int
    last_us: int
    sum: Sum
    fits_files: int
    fits_bytes: int


class AreaRows:
    """What was in an area in some runs, and its sums by each question, each made but once.

    Parameters
    ----------
    rows : iterable of Lasting
    product_extension : str
        As in `Cube`.
    """

    def __init__(self, rows: Iterable[Lasting], product_extension: str = PRODUCT_EXTENSION) -> None:
        self.product_extension = product_extension
        self._by_kind: dict[str, list[Lasting]] = {CELLS: [], PROGRAMS: [], DIRECTORIES: []}
        for row in rows:
            self._by_kind[row.kind].append(row)
        self._labels: dict[str, dict[CellKey | str, str]] = {}
        self._sums: dict[tuple[str, int], dict[str, Sum]] = {}
        self._totals: dict[int, Sum] = {}
        self._series: dict[tuple[str, tuple[int, ...]], dict[str, list[int]]] = {}

    def at(self, kind: str, date_us: int) -> list[Lasting]:
        """Return the rows of a kind that a run had."""
        return [row for row in self._by_kind[kind] if row.first_us <= date_us <= row.last_us]

    def sums(self, by: str, date_us: int) -> dict[str, Sum]:
        """Return a run's sums by a question's labels."""
        if (by, date_us) not in self._sums:
            sums: dict[str, list[int]] = {}
            labels = self._labels_of(by)
            for row in self.at(kind_of(by), date_us):
                numbers = sums.setdefault(labels[row.key], [0, 0, 0])
                files, apparent, allocated = row.sum
                numbers[0] += files
                numbers[1] += apparent
                numbers[2] += allocated
            self._sums[by, date_us] = {label: Sum(*numbers) for label, numbers in sums.items()}
        return self._sums[by, date_us]

    def total(self, date_us: int) -> Sum:
        """Return all of the area in a run."""
        if date_us not in self._totals:
            cells = self.at(CELLS, date_us)
            columns = zip(*(row.sum for row in cells), strict=True)
            self._totals[date_us] = Sum(*map(sum, columns))
        return self._totals[date_us]

    def series(
        self, by: str, labels: set[str], looks: Sequence[Look]
    ) -> dict[str, tuple[int | None, ...]]:
        """Return apparent bytes over time, by some of a question's labels."""
        moments = tuple(look.date_us for look in looks)
        if (by, moments) not in self._series:
            self._series[by, moments] = self._all_series(by, moments)
        series = self._series[by, moments]
        return {label: tuple(series.get(label, [0] * len(moments))) for label in labels}

    def _all_series(self, by: str, moments: tuple[int, ...]) -> dict[str, list[int]]:
        series: dict[str, list[int]] = {}
        labels = self._labels_of(by)
        for row in self._by_kind[kind_of(by)] if moments else ():
            label = labels[row.key]
            points = series.get(label)
            if points is None:
                points = series[label] = [0] * len(moments)
            size = row.sum.apparent_bytes
            first = bisect_left(moments, row.first_us)
            for at in range(first, bisect_right(moments, row.last_us)):
                points[at] += size
        return series

    def _labels_of(self, by: str) -> dict[CellKey | str, str]:
        if by not in self._labels:
            keys = {row.key for row in self._by_kind[kind_of(by)]}
            self._labels[by] = {
                key: label_of(by, key, self.product_extension) if isinstance(key, CellKey) else key
                for key in keys
            }
        return self._labels[by]


def kind_of(by: str) -> str:
    """Return which rows a question is about."""
    return {"directory": DIRECTORIES, "program": PROGRAMS}.get(by, CELLS)


@dataclass(frozen=True, slots=True)
class Look:
    """A run's look into an area.

    Attributes
    ----------
    date_us : int
    date : datetime
    complete, sample : bool
    path : str
        The area's.
    folded : dict of str to int
    least_bytes : int
        What a directory that is not told had at most.
    product_extension : str
    """

    date_us: int
    date: datetime
    complete: bool
    sample: bool
    path: str
    folded: Mapping[str, int]
    least_bytes: int
    product_extension: str = PRODUCT_EXTENSION


def area_insight(group: str, name: str, look: Look, rows: AreaRows) -> AreaInsight:
    """Return what a run knows of an area."""
    cube = Cube()
    cube.product_extension = rows.product_extension
    for row in rows.at(CELLS, look.date_us):
        assert isinstance(row.key, CellKey)
        cube.add(row.key, *row.sum)
    for row in rows.at(PROGRAMS, look.date_us):
        cube.add_program(str(row.key), *row.sum[:2])
    directories = [
        DirectoryRow(str(row.key), row.sum, row.fits_files, row.fits_bytes)
        for row in rows.at(DIRECTORIES, look.date_us)
    ]
    directories.sort(key=lambda one: (-one.sum.apparent_bytes, one.path))
    return AreaInsight(
        group,
        name,
        look.path,
        look.date,
        look.complete,
        rows.total(look.date_us),
        {by: tuple(projection(cube, by)) for by in PROJECTIONS},
        tuple(directories),
        dict(look.folded),
    )


def growth(
    group: str,
    name: str,
    by: str,
    window: str,
    looks: tuple[Look, Look],
    rows: AreaRows,
    *,
    top: int | None = None,
    dates: Sequence[Look] = (),
) -> Growth:
    """Return what changed in an area between two runs.

    Parameters
    ----------
    group, name : str
    by : str
        One of `jwqlscan.insight.GROWTH_BY`.
    window : str
        What was asked for.
    looks : (Look, Look)
        Of the two runs, the older first.
    rows : AreaRows
        What there was in these runs and those of `dates`.
    top : int, optional
        How many rows to tell, at most; default: all.
    dates : sequence of Look
        Ascending: the runs that the rows' series are of.
    """
    since, until = looks
    before, after = rows.sums(by, since.date_us), rows.sums(by, until.date_us)
    changed = []
    for label in before.keys() | after.keys():
        old, new = before.get(label, Sum()), after.get(label, Sum())
        if old != new:
            known = (label in before or _is_known(by, since)) and (
                label in after or _is_known(by, until)
            )
            changed.append(GrowthRow(label, old, new, known))
    told = heapq.nsmallest(len(changed) if top is None else top, changed, key=_greatest_first)
    rest = None
    if by != "directory" and len(told) < len(changed):
        kept = {row.label for row in told}
        others = [row for row in changed if row.label not in kept]
        rest = GrowthRow(
            f"{len(others):,} more",
            sum((row.before for row in others), Sum()),
            sum((row.after for row in others), Sum()),
            all(row.exact for row in others),
        )
    series = rows.series(by, {row.label for row in told}, dates)
    notes = tuple(_notes(by, looks))
    return Growth(
        *(group, name, by, window, since.date, until.date),
        since.complete and until.complete,
        notes,
        rows.total(since.date_us),
        rows.total(until.date_us),
        tuple(replace(row, series=series[row.label]) for row in told),
        rest,
        tuple(look.date for look in dates),
        len(changed),
    )


def _greatest_first(row: GrowthRow) -> tuple[int, int, str]:
    return -abs(row.bytes_change), -abs(row.files_change), row.label


def _is_known(by: str, look: Look) -> bool:
    """Tell whether what a run does not tell was not there, rather than too small to be told."""
    return not look.folded.get(_FOLDED[by])


_FOLDED = {
    "program": "programs",
    "directory": "directories",
    "owner": "owners",
    "filetype": "classes",
    "instrument": "classes",
    "extension": "classes",
    "stage": "classes",
}


def _notes(by: str, looks: tuple[Look, Look]) -> Iterable[str]:
    what = _FOLDED[by]
    for look in looks:
        at = f"{look.date:%Y-%m-%d %H:%M}"
        if not look.complete:
            yield f"the run of {at} is not complete: what it could not read seems to be gone"
        if number := look.folded.get(what):
            least = f", of up to {look.least_bytes:,} bytes" if by == "directory" else ""
            yield f"the run of {at} had no room for the {number:,} smallest {what}{least}"
        if look.sample:
            yield f"the run of {at} is made up"
