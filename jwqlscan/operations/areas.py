"""Which areas a run measures, and when their roots are not to be believed."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jwqlscan.config.loader import DEFAULT_ARCHIVE_AREAS, Config
from jwqlscan.errors import ConfigError, LastingWarning, ScanFailedError
from jwqlscan.model.baseline import JWQL
from jwqlscan.model.snapshot import ALL, AreaSnapshot, Snapshot
from jwqlscan.scanning.measure import AreaMeasure
from jwqlscan.scanning.supervisor import RootInfo
from jwqlscan.settings import Area, ScanSettings
from jwqlscan.store import LastArea
from jwqlscan.store.rows import CENTRAL
from jwqlscan.text import escape
from jwqlscan.units import counted, format_bytes, format_count, format_day

_FOLLOW = "links are counted apart; scan.follow_file_symlinks counts the files they lead to"

_NEXT = (
    "nothing is stored: mount or correct it or, if that is right, run once with"
    " `jwqlscan run --allow-empty`"
)
_DENIED = frozenset({errno.EACCES, errno.EPERM})


class _Problem(NamedTuple):
    """Why a root is refused, and what to do about it."""

    text: str
    remedy: str


def _remedy(root: RootInfo) -> str:
    """Return what to do about an area that can't be read.

    To take it as empty is right only where it was removed: what can't be read may hold files.
    """
    if root.is_missing:
        return _NEXT
    return _reading_remedy(root.errno)


def _reading_remedy(number: int) -> str:
    if number in _DENIED:
        return "nothing is stored: let the user who runs jwqlscan read and search it"
    return "nothing is stored: see its mount and its disk, then run again"


def _refusal(problems: Sequence[_Problem]) -> str:
    """Return all problems in one line, each remedy once."""
    by_remedy: dict[str, list[str]] = {}
    for problem in problems:
        by_remedy.setdefault(problem.remedy, []).append(problem.text)
    return "; ".join(f"{', '.join(texts)}; {remedy}" for remedy, texts in by_remedy.items())


def probe_paths(config: Config) -> list[str]:
    """Return every path that could be an area's root, each once."""
    paths = [area.path for area in (*_archive_candidates(config), *config.central_areas)]
    if config.archive_path:
        paths.append(config.archive_path)
    return list(dict.fromkeys(paths))


def choose_areas(
    config: Config,
    found: Mapping[str, RootInfo],
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
        If areas' roots are missing, unreadable, or empty where there were files: an unmounted
        archive is not an empty one. All are named.
    """
    archive = config.archive_areas
    if archive is None:
        candidates = [area for area in _archive_candidates(config) if area.name != ALL]
        archive = tuple(area for area in candidates if _may_be_there(found[area.path], last, area))
        if not archive and config.archive_path:
            archive = (Area("archive", ALL, config.archive_path, "archive.path"),)
    areas = [*archive, *config.central_areas]
    if allow_empty:
        return areas
    problems = {
        area: problem
        for area in areas
        if (problem := _problem(area, found[area.path], last, config))
    }
    problems |= _empty_groups(areas, found, last or {}, problems)
    roots = _missing_roots(config, found, problems, areas)
    for root, _ in roots:
        problems = {area: one for area, one in problems.items() if not _is_in(area.path, root)}
    if roots or problems:
        refused = ConfigError if roots else ScanFailedError
        raise refused(_refusal([*(problem for _, problem in roots), *problems.values()]))
    return areas


def missing_areas(areas: Sequence[Area], found: Mapping[str, RootInfo]) -> list[Area]:
    """Return the areas whose directories do not exist."""
    return [area for area in areas if found[area.path].is_missing]


def _problem(
    area: Area,
    root: RootInfo,
    last: Mapping[tuple[str, str], LastArea] | None,
    config: Config,
) -> _Problem | None:
    """Return why an area can't be measured; None if it can.

    One that hangs can: the others are measured all the same. So can one whose directory was missing
    in the last run for the same reason: the operator accepted that then.
    """
    where = f"{escape(area.path)} ({config.where(area.key)})"
    before = last.get((area.group, area.name)) if last is not None else None
    if root.errno == errno.ETIMEDOUT:
        return None
    if root.errno:
        reason = os.strerror(root.errno)
        if before is not None and before.missing == (escape(area.path), escape(reason)):
            return None
        if root.is_missing and last is None:
            reason += ", and the store can't be asked whether that was accepted"
        return _Problem(f"{where}: {reason}", _remedy(root))
    if root.empty and (had := _found_before(last or {}, area.group, area.name)):
        return _Problem(f"{where}: no files, and {had}", _NEXT)
    return None


def _empty_groups(
    areas: Sequence[Area],
    found: Mapping[str, RootInfo],
    last: Mapping[tuple[str, str], LastArea],
    problems: Mapping[Area, _Problem],
) -> dict[Area, _Problem]:
    """Return a problem for each group of empty areas that had files, in whatever areas."""
    empty = {}
    for group in dict.fromkeys(area.group for area in areas):
        parts = [area for area in areas if area.group == group]
        had = _found_before(last, group, ALL)
        if had and all(found[part.path].empty and part not in problems for part in parts):
            where = ", ".join(escape(part.path) for part in parts)
            empty[parts[0]] = _Problem(f"{where}: no files, and {had}", _NEXT)
    return empty


def _missing_roots(
    config: Config,
    found: Mapping[str, RootInfo],
    problems: Mapping[Area, _Problem],
    areas: Sequence[Area],
) -> list[tuple[str, _Problem]]:
    """Return the archive's and central storage's own directories that do not exist.

    One whose areas were all accepted as missing is left out.
    """
    roots = []
    for key, path in (("archive.path", config.archive_path), ("central.path", config.central_path)):
        if not path or not found[path].is_missing:
            continue
        inside = [area for area in areas if _is_in(area.path, path)]
        if not inside or any(area in problems for area in inside):
            text = f"{escape(path)} ({config.where(key)}): {os.strerror(found[path].errno)}"
            roots.append((path, _Problem(text, "mount it, or name another")))
    return roots


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


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
        All of them are named.
    """
    problems = []
    for group in dict.fromkeys(one.area.group for one in measures):
        parts = [one for one in measures if one.area.group == group]
        emptied = []
        for one in parts:
            before = "the store can't be asked whether it had files"
            if last is not None:
                before = _found_before(last, group, one.area.name)
            if before and _is_empty([one]):
                where = f"{escape(one.area.path)} ({config.where(one.area.key)})"
                emptied.append(_emptiness(where, [one], before))
        total = _found_before(last or {}, group, ALL)
        if not emptied and total and _is_empty(parts):
            where = ", ".join(escape(one.area.path) for one in parts)
            emptied.append(_emptiness(where, parts, total))
        problems += emptied
    if problems:
        raise ScanFailedError(_refusal(problems))


def _is_empty(measures: Sequence[AreaMeasure]) -> bool:
    return not any(
        one.tally.files or one.state in ("stopped", "stalled", "failed") for one in measures
    )


def _emptiness(where: str, measures: Sequence[AreaMeasure], before: str) -> _Problem:
    """Return what was found instead of files, what there was before, and what to do."""
    samples = [sample for one in measures for sample in one.tally.error_samples]
    if not samples:
        return _Problem(f"{where}: no files{_links(measures)}, and {before}", _NEXT)
    such = min(samples)
    errors = counted(sum(sum(one.tally.errors.values()) for one in measures), "error")
    return _Problem(
        f"{where}: no files that can be read{_links(measures)}, and {before}; {errors}, such as"
        f" {escape(such.path)}: {os.strerror(such.errno)}",
        _NEXT if such.errno in (errno.ENOENT, errno.ENOTDIR) else _reading_remedy(such.errno),
    )


def _found_before(last: Mapping[tuple[str, str], LastArea], group: str, name: str) -> str:
    """Return what was found in an area before; "" if there were no files."""
    area = last.get((group, name))
    if area is None or not area.files:
        return ""
    if area.origin != JWQL:
        run = "the last run" if area.date is None else f"the run of {format_day(area.date)}"
        return f"{run} found {area.files:,}"
    assert area.date is not None  # JWQL's rows have dates
    if group == CENTRAL:  # JWQL kept bytes only
        return f"JWQL's monitor found some on {format_day(area.date)}"
    return f"JWQL's monitor counted {area.files:,} on {format_day(area.date)}"


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


def missing_warnings(snapshot: Snapshot) -> list[str]:
    """Return a warning for the areas whose directories do not exist."""
    return [
        LastingWarning(f"{areas}; make the directory, or remove the area from the configuration")
        for areas in snapshot.missing_areas
    ]


def suspicions(
    areas: Sequence[AreaSnapshot],
    before: Mapping[tuple[str, str], LastArea],
    max_drop_percent: int,
) -> tuple[str, ...]:
    """Return why totals are not to be believed, though they are complete: they fell too far.

    An archive of which a part was unmounted, or a storage pool that shows an old copy, answers
    every question, and reports no error.

    Parameters
    ----------
    areas : sequence of AreaSnapshot
    before : mapping
        What the last complete run found or, before there is one, JWQL's newest rows.
    max_drop_percent : int
        How far a group's total may fall, in percent of what it was, without a suspicion.

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
        fallen = [
            (found_now, found_then, f"{100 * (then - now) // then} %")
            for now, then, found_now, found_then in compared
            if 100 * (then - now) > max_drop_percent * then
        ]
        if fallen:
            found_now, found_then, drops = map(" and ".join, zip(*fallen, strict=True))
            found.append(
                f"{area.group} {escape(area.name)}: {found_now} where {_who_found(last)}"
                f" {found_then}, down by {drops}"
            )
    return tuple(found)


def _who_found(last: LastArea) -> str:
    if last.origin != JWQL:
        return "the last complete run found"
    assert last.date is not None  # JWQL's rows have dates
    twice = ", halved as it counted everything twice then," if last.halved else ""
    return f"JWQL's monitor of {format_day(last.date)}, which follows links,{twice} found"


def _may_be_there(
    found: RootInfo, last: Mapping[tuple[str, str], LastArea] | None, area: Area
) -> bool:
    """Tell whether one of the usual areas is to be measured: if it is there, or was."""
    before = (last or {}).get((area.group, area.name), LastArea(0, 0))
    was_there = bool(before.files or before.missing)  # which is still reported as missing
    if found.errno == errno.ETIMEDOUT:  # nobody knows
        return was_there or not last
    return was_there or not found.is_missing


def _archive_candidates(config: Config) -> tuple[Area, ...]:
    if config.archive_path is None:
        return ()
    if config.archive_areas is not None:
        return config.archive_areas
    return tuple(
        Area("archive", name, os.path.join(config.archive_path, name), f"archive.areas.{name}")
        for name in DEFAULT_ARCHIVE_AREAS
    )
