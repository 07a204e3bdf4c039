"""Growth: what changed between two runs, and projections, out of values that last from run to run.

Plain functions of rows, wherever these were read.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import NamedTuple

from jwqlscan.cube import CellKey, Cube, Sum
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
    """

    date_us: int
    date: datetime
    complete: bool
    sample: bool
    path: str
    folded: Mapping[str, int]
    least_bytes: int


def area_insight(group: str, name: str, look: Look, rows: Iterable[Lasting]) -> AreaInsight:
    """Return what a run knows of an area."""
    cube = Cube()
    directories = []
    for row in rows:
        if not row.first_us <= look.date_us <= row.last_us:
            continue
        if isinstance(row.key, CellKey):
            cube.add(row.key, *row.sum)
        elif row.kind == PROGRAMS:
            cube.add_program(row.key, *row.sum[:2])
        else:
            directories.append(DirectoryRow(row.key, row.sum, row.fits_files, row.fits_bytes))
    directories.sort(key=lambda one: (-one.sum.apparent_bytes, one.path))
    return AreaInsight(
        group,
        name,
        look.path,
        look.date,
        look.complete,
        sum(cube.by(lambda key: None).values(), Sum()),
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
    rows: Sequence[Lasting],
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
    rows : sequence of Lasting
        What there was in these runs and those of `dates`.
    top : int, optional
        How many rows to tell, at most; default: all.
    dates : sequence of Look
        Ascending: the runs that the rows' series are of.
    """
    since, until = looks
    before = _sums(by, rows, since.date_us)
    after = _sums(by, rows, until.date_us)
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
    series = _series(by, rows, {row.label for row in told}, dates)
    notes = tuple(_notes(by, looks))
    return Growth(
        *(group, name, by, window, since.date, until.date),
        since.complete and until.complete,
        notes,
        _total(rows, since.date_us),
        _total(rows, until.date_us),
        tuple(replace(row, series=series[row.label]) for row in told),
        rest,
        tuple(look.date for look in dates),
        len(changed),
    )


def _greatest_first(row: GrowthRow) -> tuple[int, int, str]:
    return -abs(row.bytes_change), -abs(row.files_change), row.label


def _labeller(by: str) -> tuple[str, Callable[[CellKey | str], str]]:
    """Return which rows a question is about, and what they are called in its answer."""
    if by == "directory":
        return DIRECTORIES, str
    if by == "program":
        return PROGRAMS, str
    return CELLS, cache(lambda key: label_of(by, key))


def _sums(by: str, rows: Iterable[Lasting], date_us: int) -> dict[str, Sum]:
    kind, label_of_key = _labeller(by)
    sums: dict[str, Sum] = {}
    for row in rows:
        if row.kind == kind and row.first_us <= date_us <= row.last_us:
            label = label_of_key(row.key)
            known = sums.get(label)
            sums[label] = row.sum if known is None else known + row.sum
    return sums


def _total(rows: Iterable[Lasting], date_us: int) -> Sum:
    files = apparent = allocated = 0
    for row in rows:
        if row.kind == CELLS and row.first_us <= date_us <= row.last_us:
            files += row.sum.files
            apparent += row.sum.apparent_bytes
            allocated += row.sum.allocated_bytes
    return Sum(files, apparent, allocated)


def _series(
    by: str, rows: Iterable[Lasting], labels: set[str], dates: Sequence[Look]
) -> dict[str, tuple[int | None, ...]]:
    kind, label_of_key = _labeller(by)
    moments = [look.date_us for look in dates]
    series = {label: [0] * len(moments) for label in labels}
    for row in rows:
        if row.kind != kind:
            continue
        points = series.get(label_of_key(row.key))
        if points is None:
            continue
        for at in range(bisect_left(moments, row.first_us), bisect_right(moments, row.last_us)):
            points[at] += row.sum.apparent_bytes
    return {label: tuple(points) for label, points in series.items()}


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
