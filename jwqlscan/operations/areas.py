"""Which areas a run measures, and when their roots are not to be believed."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

from jwqlscan.config.loader import DEFAULT_ARCHIVE_AREAS, Config
from jwqlscan.errors import ConfigError, LastingWarning, ScanFailedError
from jwqlscan.model.baseline import JWQL
from jwqlscan.model.snapshot import ALL, AreaSnapshot
from jwqlscan.scanning.measure import AreaMeasure
from jwqlscan.scanning.supervisor import Found
from jwqlscan.settings import Area, ScanSettings
from jwqlscan.store import LastArea
from jwqlscan.store.rows import CENTRAL
from jwqlscan.text import shown
from jwqlscan.units import counted, format_bytes, format_count

NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR})

_FOLLOW = "links are counted apart; scan.follow_file_symlinks counts the files they lead to"

_NEXT = (
    "nothing is stored: mount or correct it or, if that is right, run once with"
    " `jwqlscan run --allow-empty`"
)
_DENIED = frozenset({errno.EACCES, errno.EPERM})


def _remedy(number: int) -> str:
    """Return what to do about an area that can't be read.

    To take it as empty is right only where it was removed: what can't be read may hold files.
    """
    if number in NOT_THERE:
        return _NEXT
    if number in _DENIED:
        return "nothing is stored: let the user who runs jwqlscan read and search it"
    return "nothing is stored: see its mount and its disk, then run again"


def survey_paths(config: Config) -> list[str]:
    """Return every path that could be an area's root, each once."""
    paths = [area.path for area in (*_archive_candidates(config), *config.central_areas)]
    if config.archive_path:
        paths.append(config.archive_path)
    return list(dict.fromkeys(paths))


def choose_areas(
    config: Config,
    found: Mapping[str, Found],
    last: Mapping[tuple[str, str], LastArea] | None,
    allow_empty: bool,
) -> list[Area]:
    """Return the areas to measure.

    Without ``archive.areas`` those are the ones of ``public`` and ``proprietary`` that exist, or
    the archive's directory itself.

    Raises
    ------
    ConfigError
        If the archive's or central storage's own directory does not exist.
    ScanFailedError
        If an area's root is missing or unreadable: an unmounted archive is not an empty one.
    """
    if not allow_empty:
        for key, path in (
            ("archive.path", config.archive_path),
            ("central.path", config.central_path),
        ):
            if path and found[path].errno in NOT_THERE:
                problem = os.strerror(found[path].errno)
                raise ConfigError(
                    f"{shown(path)} ({config.where(key)}): {problem}; mount it, or name another"
                )
    archive = config.archive_areas
    if archive is None:
        candidates = [area for area in _archive_candidates(config) if area.name != ALL]
        archive = tuple(area for area in candidates if _may_be_there(found[area.path], last, area))
        if not archive and config.archive_path:
            archive = (Area("archive", ALL, config.archive_path, "archive.path"),)
    areas = [*archive, *config.central_areas]
    if not allow_empty:
        for area in areas:
            number = found[area.path].errno
            if number and number != errno.ETIMEDOUT:  # hangs: the others are measured all the same
                raise ScanFailedError(
                    f"{shown(area.path)} ({config.where(area.key)}): {os.strerror(number)};"
                    f" {_remedy(number)}"
                )
    return areas


def check_not_emptied(
    measures: Sequence[AreaMeasure],
    last: Mapping[tuple[str, str], LastArea] | None,
    config: Config,
) -> None:
    """Refuse an area, or a group, without files that had some last time, or of which none is known.

    Areas may be others than last time, and JWQL kept of the archive only the whole: so a group's
    areas together are compared with its total, too.

    Raises
    ------
    ScanFailedError
    """
    for one in measures:
        if _is_empty([one]):
            if last is None:
                before = "the store can't be asked whether it had files"
            elif found := _found_before(last, one.area.group, one.area.name):
                before = found
            else:
                continue
            where = f"{shown(one.area.path)} ({config.where(one.area.key)})"
            raise ScanFailedError(f"{where}: {_emptiness([one], before)}")
    for group in dict.fromkeys(one.area.group for one in measures):
        parts = [one for one in measures if one.area.group == group]
        if last is not None and _is_empty(parts) and (found := _found_before(last, group, ALL)):
            where = ", ".join(shown(one.area.path) for one in parts)
            raise ScanFailedError(f"{where}: {_emptiness(parts, found)}")


def _is_empty(measures: Sequence[AreaMeasure]) -> bool:
    return not any(
        one.tally.files or one.state in ("stopped", "stalled", "failed") for one in measures
    )


def _emptiness(measures: Sequence[AreaMeasure], before: str) -> str:
    """Return what was found instead of files, what there was before, and what to do."""
    samples = [sample for one in measures for sample in one.tally.error_samples]
    if not samples:
        return f"no files{_links(measures)}, and {before}; {_NEXT}"
    such = min(samples)
    errors = counted(sum(sum(one.tally.errors.values()) for one in measures), "error")
    return (
        f"no files that can be read{_links(measures)}, and {before}; {errors}, such as"
        f" {shown(such.path)}: {os.strerror(such.errno)}; {_remedy(such.errno)}"
    )


def _found_before(last: Mapping[tuple[str, str], LastArea], group: str, name: str) -> str:
    """Return what was found in an area before; "" if there were no files."""
    area = last.get((group, name))
    if area is None or not area.files:
        return ""
    if area.date is None:  # a run of ours
        return f"the last run found {area.files:,}"
    if group == CENTRAL:  # JWQL kept bytes only
        return f"JWQL's monitor found some on {area.date:%Y-%m-%d}"
    return f"JWQL's monitor counted {area.files:,} on {area.date:%Y-%m-%d}"


def _links(measures: Sequence[AreaMeasure]) -> str:
    links = sum(one.tally.symlinks for one in measures)
    return f" but {counted(links, 'symbolic link')} ({_FOLLOW})" if links else ""


def link_warnings(areas: Sequence[AreaSnapshot], scan: ScanSettings) -> list[str]:
    """Return a warning for each group that consists mostly of symbolic links.

    The archive may be a tree of links to where the files are, which JWQL's monitor followed.
    """
    if scan.follow_file_symlinks:
        return []
    return [
        LastingWarning(
            f"{area.group}: {counted(area.tally.symlinks, 'symbolic link')} and"
            f" {counted(area.tally.files, 'file')}: {_FOLLOW}"
        )
        for area in areas
        if area.name == ALL and area.tally.symlinks > area.tally.files
    ]


def suspicions(
    areas: Sequence[AreaSnapshot],
    before: Mapping[tuple[str, str], LastArea],
    max_drop_percent: int,
) -> tuple[str, ...]:
    """Return why totals are not to be believed, though they are complete: they fell too far.

    An archive of which a part was unmounted, or a storage pool that shows an old copy, answers
    every question, and tells no error.

    Parameters
    ----------
    areas : sequence of AreaSnapshot
    before : mapping
        What the last complete run found or, before there is one, JWQL's newest rows say.
    max_drop_percent : int
        How far a group's total may fall, in percent of what it was: below, nothing is said.

    Notes
    -----
    JWQL counted a link to a file as that file: so links count as files against its rows, and bytes
    are compared only where there are no links.
    """
    found = []
    totals = {area.group for area in areas if area.name == ALL}
    for area in areas:
        last = before.get((area.group, area.name))
        if last is None or area.state != "complete" or (area.name != ALL and area.group in totals):
            continue
        of_jwql = last.origin == JWQL
        links = area.tally.symlinks if of_jwql else 0
        files, size = area.tally.files + links, area.tally.apparent_bytes
        noun = "file or symbolic link" if links else "file"
        plural = "files and symbolic links" if links else ""
        compared = [(files, last.files, counted(files, noun, plural), format_count(last.files))]
        if not links:
            before_bytes = format_bytes(last.apparent_bytes)
            compared.append((size, last.apparent_bytes, format_bytes(size), before_bytes))
        for now, then, found_now, found_then in compared:
            drop = 100 * (then - now)
            if drop > max_drop_percent * then:
                found.append(
                    f"{area.group} {shown(area.name)}: {found_now} where {_who_found(last)}"
                    f" {found_then}, down by {drop // then} %"
                )
    return tuple(found)


def _who_found(last: LastArea) -> str:
    if last.date is None:  # a run of ours
        return "the last complete run found"
    twice = ", halved as it counted everything twice then," if last.halved else ""
    return f"JWQL's monitor of {last.date:%Y-%m-%d}, which follows links,{twice} found"


def _may_be_there(
    found: Found, last: Mapping[tuple[str, str], LastArea] | None, area: Area
) -> bool:
    """Tell whether one of the usual areas is to be measured: if it is there, or was."""
    had_files = bool(last and last.get((area.group, area.name), LastArea(0, 0)).files)
    if found.errno == errno.ETIMEDOUT:  # nobody knows
        return had_files or not last
    return had_files or found.errno not in NOT_THERE


def _archive_candidates(config: Config) -> tuple[Area, ...]:
    if config.archive_path is None:
        return ()
    if config.archive_areas is not None:
        return config.archive_areas
    return tuple(
        Area("archive", name, os.path.join(config.archive_path, name), f"archive.areas.{name}")
        for name in DEFAULT_ARCHIVE_AREAS
    )
