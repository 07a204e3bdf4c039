"""Which areas a run measures, and when their roots are not to be believed."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

from jwqlscan.config import DEFAULT_ARCHIVE_AREAS, Config
from jwqlscan.errors import ConfigError, ScanFailedError
from jwqlscan.paths import shown
from jwqlscan.scanning.measure import AreaMeasure
from jwqlscan.scanning.scanner import Found
from jwqlscan.settings import Area
from jwqlscan.snapshot import ALL, AreaSnapshot
from jwqlscan.store import LastArea
from jwqlscan.units import format_bytes, format_count

NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR})

_NEXT = "nothing is stored: mount or correct it, or pass --allow-empty if that is right"


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
                    f"{shown(area.path)} ({config.where(area.key)}): {os.strerror(number)}; {_NEXT}"
                )
    return areas


def check_not_emptied(
    measures: Sequence[AreaMeasure],
    last: Mapping[tuple[str, str], LastArea] | None,
    config: Config,
) -> None:
    """Refuse an area without files that had some last time, or of which nothing is known.

    Raises
    ------
    ScanFailedError
    """
    for one in measures:
        if one.tally.files or one.state in ("stopped", "stalled", "failed"):
            continue
        if last is None:
            before = "the store can't be asked whether it had files"
        elif files := last.get((one.area.group, one.area.name), LastArea(0, 0)).files:
            before = f"the last run found {files:,}"
        else:
            continue
        where = f"{shown(one.area.path)} ({config.where(one.area.key)})"
        raise ScanFailedError(f"{where}: no files, and {before}; {_NEXT}")


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
        What the last complete run found.
    max_drop_percent : int
        How far a group's total may fall, in percent of what it was: below, nothing is said.
    """
    found = []
    totals = {area.group for area in areas if area.name == ALL}
    for area in areas:
        last = before.get((area.group, area.name))
        if last is None or area.state != "complete" or (area.name != ALL and area.group in totals):
            continue
        for now, then, unit, text in (
            (area.tally.files, last.files, " files", format_count),
            (area.tally.apparent_bytes, last.apparent_bytes, "", format_bytes),
        ):
            drop = 100 * (then - now)
            if drop > max_drop_percent * then:
                found.append(
                    f"{area.group} {area.name}: {text(now)}{unit} where the last complete run found"
                    f" {text(then)}, down by {drop // then} %"
                )
    return tuple(found)


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
