"""Growth: what changed between two runs, from values that last from run to run."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from jwqlscan.history.area_rows import CELLS, DIRECTORIES, PROGRAMS, AreaRows, added, kind_of
from jwqlscan.history.directory_growth import DirectoryTable, directory_rows
from jwqlscan.history.insight import AreaInsight, Bounds, DirectoryRow, Growth, GrowthRow
from jwqlscan.history.rollups import NO_PROGRAM, PROJECTIONS, projection
from jwqlscan.model.baseline import JWQLSCAN
from jwqlscan.model.cube import MAX_PROGRAMS, OTHER, PRODUCT_EXTENSION, Cube, Sum
from jwqlscan.model.directory_totals import MissingBounds
from jwqlscan.units import MAX_BYTES, format_minute


@dataclass(frozen=True, slots=True)
class Look:
    """The insight of a run into an area.

    Attributes
    ----------
    date_us : int
    date : datetime
    complete : bool
        Whether everything in the area was read.
    status : str
        Of the whole run: ``complete``, ``incomplete`` or ``suspect``.
    sample : bool
    path : str
        The area's.
    folded : dict of str to int
    least_bytes : int
        Upper bound of directories that are not stored.
    product_extension : str
    untold : MissingBounds or None
        Bounds of the directories that are missing; None in runs of older versions.
    """

    date_us: int
    date: datetime
    complete: bool
    status: str
    sample: bool
    path: str
    folded: Mapping[str, int]
    least_bytes: int
    product_extension: str = PRODUCT_EXTENSION
    untold: MissingBounds | None = None

    @property
    def origin(self) -> str:
        """As `jwqlscan.model.baseline` has it: JWQL's monitor kept no insight."""
        return JWQLSCAN


def area_insight(group: str, name: str, look: Look, rows: AreaRows) -> AreaInsight:
    """Return what a run knows of an area."""
    cube = Cube()
    cube.product_extension = rows.product_extension
    for row in rows.at(CELLS, look.date_us):
        cube.add(rows.cell(row.key), row.files, row.apparent_bytes, row.allocated_bytes)
    programs, paths = rows.labels("program"), rows.labels("directory")
    for row in rows.at(PROGRAMS, look.date_us):
        cube.add_program(programs[row.key], row.files, row.apparent_bytes)
    directories = [
        DirectoryRow(paths[row.key], Sum(*row[4:7]), row.fits_files, row.fits_bytes)
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
    parts: Sequence[Part] = (),
) -> Growth:
    """Return what changed in an area between two runs, without its rows' series.

    But for directories, the rows and the rest add up to what changed in the area.

    Parameters
    ----------
    group, name : str
    by : str
        One of `jwqlscan.history.insight.GROWTH_BY`.
    window : str
        What was asked for.
    looks : (Look, Look)
        Of the two runs, the older first.
    rows : AreaRows
        What there was in these runs.
    top : int, optional
        Maximum number of rows; default: all.
    parts : sequence of Part
        Other areas in the same two runs; those below this one know more of its directories.
    """
    since, until = looks
    complete = since.complete and until.complete
    notes = list(_notes(by, looks))
    if any(rows.total(look.date_us).apparent_bytes >= MAX_BYTES for look in looks):
        complete = False
        notes.append("sums beyond 2**63 - 1 bytes are stored as that: some file has a wrong size")
    if by == "directory":
        changed, uncertain = _directories(looks, rows, parts, complete)
        if uncertain:
            notes.append(
                f"{uncertain:,} {'directory is' if uncertain == 1 else 'directories are'} left out:"
                " only one of the runs had room, and there may be no change"
            )
    else:
        changed = list(_projected(by, looks, rows, complete))
    reported = heapq.nsmallest(len(changed) if top is None else top, changed, key=_greatest_first)
    rest = None
    if by != "directory" and len(reported) < len(changed):
        kept = {row.label for row in reported}
        others = [row for row in changed if row.label not in kept]
        rest = GrowthRow(
            f"{len(others):,} more",
            added([row.before for row in others]),
            added([row.after for row in others]),
            all(row.exact for row in others),
        )
    return Growth(
        *(group, name, by, window, since.date, until.date),
        complete,
        tuple(notes),
        rows.total(since.date_us),
        rows.total(until.date_us),
        tuple(reported),
        rest,
        changed=len(changed),
    )


class Part(NamedTuple):
    """Another area in the same two runs: their looks, the older first, and what they found."""

    looks: tuple[Look, Look]
    rows: AreaRows


def _directories(
    looks: tuple[Look, Look], rows: AreaRows, parts: Sequence[Part], complete: bool
) -> tuple[list[GrowthRow], int]:
    """Return the rows of directories, and how many are left out."""
    since, until = looks
    changed = {*rows.changes("directory", since.date_us, until.date_us)}
    if all(rows.sums("directory", look.date_us) for look in looks):
        changed.add("")
    old, new = (
        _directory_table(look, rows, [(part.looks[n], part.rows) for part in parts])
        for n, look in enumerate(looks)
    )
    return directory_rows(changed, old, new, complete=complete)


def _directory_table(
    look: Look, rows: AreaRows, parts: Sequence[tuple[Look, AreaRows]]
) -> DirectoryTable:
    untold = look.untold
    if untold is None and look.folded.get("directories"):  # nothing more is known of older runs
        untold = MissingBounds(0, MAX_BYTES, MAX_BYTES)
    top = look.path.rstrip("/") + "/"
    below = {
        part.path.removeprefix(top): _directory_table(part, found, ())
        for part, found in parts
        if is_below(part, look) and part.complete
    }
    sums = rows.sums("directory", look.date_us)
    return DirectoryTable(sums, rows.total(look.date_us), untold, below)


def _projected(
    by: str, looks: tuple[Look, Look], rows: AreaRows, complete: bool
) -> Iterator[GrowthRow]:
    """Yield the rows of a question whose rows add up to the area.

    The smallest labels of a run may be collapsed. One that is missing from a run is collapsed in
    both if it may not have changed: then what is left in "(other)" is the same labels in both.
    """
    since, until = looks
    sums = rows.sums(by, until.date_us)
    hidden = [_collapsed(by, look, rows) for look in looks]
    changes = rows.changes(by, since.date_us, until.date_us)
    same = Sum() if OTHER in changes else sums.get(OTHER, Sum())
    other = same, same
    total = Sum()  # all labels' change
    for label, change in changes.items():
        after = sums.get(label, Sum())
        before = change.before(after)
        total += Sum(change.files, change.apparent_bytes, change.allocated_bytes)
        if label == OTHER:
            other = other[0] + before, other[1] + after
            continue
        is_kept = change.was_reported or any(before), label in sums
        both = list(zip(hidden, is_kept, strict=True))
        less, more = (
            Sum() if one is None or (kept and one.is_whole) else one.sum for one, kept in both
        )
        bounds = Bounds.of((before, before + less), (after, after + more))
        is_missing = any(one is not None and not kept for one, kept in both)
        if is_missing and bounds.apparent_bytes[0] <= 0 <= bounds.apparent_bytes[1]:
            other = other[0] + before, other[1] + after
        elif before != after:
            exact = complete and bounds.exact
            known = bounds if complete and not exact else None
            yield GrowthRow(label, before, after, exact, bounds=known)
    if other[0] != other[1]:
        yield GrowthRow(OTHER, *other, complete and not any(hidden))
    if by == "program":
        last = _less(rows.total(until.date_us), added(list(sums.values())))
        first = _less(last, _less(rows.change(since.date_us, until.date_us), total))
        if first != last:
            yield GrowthRow(NO_PROGRAM, first, last, complete)


class _Collapsed(NamedTuple):
    """What a run's "(other)" can have of one label.

    Attributes
    ----------
    sum : Sum
        At most.
    is_whole : bool
        Whether it has nothing of the labels that were kept. Of programs that is so; of an owner or
        a filetype some classes may be among the smallest, and others not.
    """

    sum: Sum
    is_whole: bool


def _collapsed(by: str, look: Look, rows: AreaRows) -> _Collapsed | None:
    """Return how much of a label a run can have collapsed; None if it did not collapse any."""
    number = look.folded.get(_FOLDED[by])
    if not number:
        return None
    sums = rows.sums(by, look.date_us)
    other = sums.get(OTHER, Sum())
    # Beyond this limit some are collapsed while the scan goes on, and may be met again.
    is_whole = kind_of(by) == PROGRAMS and len(sums) + number <= MAX_PROGRAMS
    if is_whole:
        kept = (one.apparent_bytes for label, one in sums.items() if label != OTHER)
        other = other._replace(apparent_bytes=min(other.apparent_bytes, *kept))
    return _Collapsed(other, is_whole)


def _less(whole: Sum, part: Sum) -> Sum:
    """Return files and bytes of a whole without a part; what programs occupy is not known."""
    return Sum(whole.files - part.files, whole.apparent_bytes - part.apparent_bytes)


def with_series(
    found: Growth, dates: Sequence[datetime], series: Mapping[str, Sequence[int | None]]
) -> Growth:
    """Return growth with its rows' apparent bytes over time, by their labels."""
    nothing = [0] * len(dates)
    rows = tuple(
        row
        if row.label in (OTHER, NO_PROGRAM)  # not the same files in all runs; not stored
        else replace(row, series=tuple(series.get(row.label, nothing)))
        for row in found.rows
    )
    return replace(found, rows=rows, dates=tuple(dates))


def _greatest_first(row: GrowthRow) -> tuple[int, int, str]:
    return -abs(row.bytes_change), -abs(row.files_change), row.label


def is_below(part: Look, look: Look) -> bool:
    """Tell whether an area lies below another one."""
    return part.path.startswith(look.path.rstrip("/") + "/")


def is_collapsed(by: str, look: Look) -> bool:
    """Tell whether a run had no room for some of a question's labels."""
    return bool(look.folded.get(_FOLDED[by]))


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
        at = format_minute(look.date)
        if not look.complete:
            yield f"the run of {at} is not complete: what it could not read seems to be gone"
        if number := look.folded.get(what):
            has_bound = by == "directory" and look.least_bytes < MAX_BYTES
            least = f", of up to {look.least_bytes:,} bytes" if has_bound else ""
            yield f"the run of {at} had no room for the {number:,} smallest {what}{least}"
        if look.sample:
            yield f"the run of {at} is made up"
