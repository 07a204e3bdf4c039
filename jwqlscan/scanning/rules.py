"""The rules of a scan: what is passed over, the same for every reader."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from jwqlscan.model.directory_totals import NO_DIRECTORIES, Limits
from jwqlscan.settings import DEFAULT_SNAPSHOT_NAMES
from jwqlscan.system.mounts import MountTable


class ScanRules(NamedTuple):
    """What is passed over, the same for every reader.

    Attributes
    ----------
    exclude : tuple of str
        Shell patterns (fnmatch) for names of files and directories; one with a slash is matched
        with the path below the root.
    snapshot_names : frozenset of str
        Names of directories that hold the filesystem's own snapshots.
    one_file_system : bool
    follow_file_symlinks : bool
    mounts : MountTable
    roots : dict
        (st_dev, st_ino) of every root to its number: a root met below another is not entered.
    age_limits : tuple of int
        As `jwqlscan.model.cube.age_limits` gives them; without any no cube is made.
    directories : Limits
        Limits of the table of directories.
    """

    exclude: tuple[str, ...] = ()
    snapshot_names: frozenset[str] = frozenset(DEFAULT_SNAPSHOT_NAMES)
    one_file_system: bool = False
    follow_file_symlinks: bool = False
    mounts: MountTable = MountTable()
    roots: Mapping[tuple[int, int], int] = MappingProxyType({})
    age_limits: tuple[int, ...] = ()
    directories: Limits = NO_DIRECTORIES


class Exclusion:
    """Which entries are passed over by name or by path.

    Parameters
    ----------
    patterns : sequence of str
        Shell patterns; one with a slash is matched with the path below the root.
    root_path : str, optional
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._name = _matcher([pattern for pattern in patterns if "/" not in pattern])
        self._path = _matcher([pattern.strip("/") for pattern in patterns if "/" in pattern])

    def matches(self, root_path: str, directory: str, name: str) -> bool:
        """Tell whether an entry of a directory below a root is to be passed over."""
        if self._name is not None and self._name.match(name):
            return True
        if self._path is None:
            return False
        below_root = join(directory, name)[len(root_path) :].lstrip("/")
        return self._path.match(below_root) is not None

    def mask(self, root_path: str, directory: str, names: list[str]) -> bytes:
        """Return one byte a name: 1 if it is to be passed over."""
        return bytes(self.matches(root_path, directory, name) for name in names)


def _matcher(patterns: list[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))


def join(directory: str, name: str) -> str:
    """Return the path of an entry; unlike `os.path.join` for any name."""
    return directory + name if directory.endswith("/") else f"{directory}/{name}"
