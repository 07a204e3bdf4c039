"""Messages between the parent and its scanning processes; numbers of the roots."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from jwqlscan.errors import ConfigError
from jwqlscan.model.cube import age_limits
from jwqlscan.model.directory_totals import BY_DIRECTORY, NO_DIRECTORIES
from jwqlscan.model.directory_totals import Limits as DirectoryLimits
from jwqlscan.scanning.child_process import ChildProcess, take
from jwqlscan.settings import AUTO, Area, ScanSettings

STOP_ORDER = {"op": "stop"}


class Roots(NamedTuple):
    """The distinct root directories of a scan.

    Attributes
    ----------
    numbers : dict
        (st_dev, st_ino) to the root's number, in order of appearance.
    by_device : dict
        st_dev to its roots, as (number, path).
    """

    numbers: dict[tuple[int, int], int]
    by_device: dict[int, list[tuple[int, str]]]


class OtherRoots(NamedTuple):
    """The roots that other processes read at the same time.

    Attributes
    ----------
    roots : tuple of str
        Their roots, as the kernel calls them: what is bound from there is read there.
    meets : bool
        Whether an inode may have names here and there: some of them meet on one filesystem.
    """

    roots: tuple[str, ...] = ()
    meets: bool = False


NO_OTHER_ROOTS = OtherRoots()


def number_roots(found: Iterable[tuple[str, int, int]]) -> Roots:
    """Return (path, st_dev, st_ino) rows numbered; parent and child get the same numbers."""
    roots = Roots({}, {})
    for path, device, inode in found:
        if (device, inode) not in roots.numbers:
            roots.numbers[device, inode] = number = len(roots.numbers)
            roots.by_device.setdefault(device, []).append((number, path))
    return roots


def scan_areas(paths: Sequence[str]) -> list[Area]:
    """Return the areas that directories given by a user make.

    Raises
    ------
    ConfigError
        If a path is empty: an unset variable of a script does not mean the working directory.
    """
    if "" in paths:
        raise ConfigError("an empty path names no directory")
    return [Area("scan", path, _absolute(path), path) for path in paths]


def _absolute(path: str) -> str:
    """Return the path from the root; ``..`` stays: behind a symlink only the kernel knows it."""
    # The current directory may have been removed: then absolute paths work all the same.
    full = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    return full if ".." in full.split("/") else os.path.normpath(full)


def distinct_paths(areas: Sequence[Area]) -> list[str]:
    """Return the areas' paths, each once, in order."""
    return list(dict.fromkeys(area.path for area in areas))


def scan_settings(questions: Sequence[str], top: int, base: ScanSettings) -> ScanSettings:
    """Return `base`, extended to compute some sums, at most `top` rows of each.

    A sum that is not asked for costs nothing.
    """
    now = int(time.time()) if set(questions) - {BY_DIRECTORY} else 0
    limits = DirectoryLimits(0, 1, top) if BY_DIRECTORY in questions else NO_DIRECTORIES
    return replace(base, ages_from_s=now, directories=limits)


def begin_scan(paths: Sequence[str], settings: ScanSettings) -> ChildProcess:
    """Have directories walked from now on, without an event loop; `measure.scan` takes it over.

    The child goes on at once where all are there and on one filesystem.
    """
    if settings.reader != AUTO:  # imported only then: nothing is to delay the order
        from jwqlscan.scanning.readers import check_reader

        check_reader(settings.reader)
    process = take()
    process.order(probe_order(distinct_paths(scan_areas(paths)), settings))
    return process


def probe_order(paths: list[str], then_scan: ScanSettings | None) -> dict[str, Any]:
    """Return the order to open each path as a directory.

    With `then_scan`, the child goes on to scan them if all are there and on one filesystem.
    """
    scan = None if then_scan is None else settings_record(then_scan)
    return {"op": "probe", "paths": paths, "then_scan": scan}


def scan_order(
    roots: list[tuple[int, str]],
    numbers: dict[tuple[int, int], int],
    settings: ScanSettings,
    other_roots: OtherRoots,
) -> dict[str, Any]:
    """Return the order to walk some roots; the others that `numbers` has are not to be entered."""
    identities = [[*identity, number] for identity, number in numbers.items()]
    return {
        "op": "scan",
        "roots": roots,
        "identities": identities,
        "settings": settings_record(settings),
        "elsewhere": other_roots,
    }


def settings_record(settings: ScanSettings) -> dict[str, Any]:
    """Return the settings as plain JSON data."""
    return {
        "workers": settings.workers,
        "reader": settings.reader,
        "exclude": settings.exclude,
        "snapshot_names": settings.snapshot_names,
        "one_file_system": settings.one_file_system,
        "follow_file_symlinks": settings.follow_file_symlinks,
        "extra_filetypes": settings.extra_filetypes,
        "scheme": [
            settings.scheme.name,
            settings.scheme.endings,
            settings.scheme.patterns,
            settings.scheme.instruments,
        ],
        "max_rate": settings.max_rate,
        "background": settings.background,
        "age_limits": age_limits(settings.ages_from_s) if settings.ages_from_s else (),
        "directories": settings.directories,
    }
