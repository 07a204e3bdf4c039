"""The mount table of the kernel, read without touching any mounted filesystem."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

MOUNTINFO = "/proc/self/mountinfo"

# Filesystems that hold no files of anyone: never entered. The list is that of node_exporter
# (collector/filesystem_linux.go, defFSTypesExcluded), less those that can hold data (overlay,
# squashfs, fuse.lxcfs).
PSEUDO_FSTYPES = frozenset(
    (
        "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl "
        "hugetlbfs mqueue nsfs proc procfs pstore rpc_pipefs securityfs selinuxfs sysfs tracefs"
    ).split(" ")
)

_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of the mount table.

    Attributes
    ----------
    device : int
        st_dev of what is mounted.
    root : str
        Which directory of that filesystem is mounted: not ``/`` for a bind mount of a part.
    point : str
        Where it is mounted.
    fstype : str
    source : str
        Device or server.
    """

    device: int
    root: str
    point: str
    fstype: str
    source: str = ""


class MountTable(NamedTuple):
    """What a reader needs to know of the mounts below its roots.

    Attributes
    ----------
    pseudo_devices : frozenset of int
        Devices (st_dev) never to be entered.
    skipped_paths : dict of str to str
        Paths not even to be opened, to the reason they are counted under: ``pseudo``, since
        opening an autofs mount point would mount something; ``loop``, since what is bound there is
        read already where it lies, or where it is bound another time.
    crossed : dict of str to str
        Other mount points below the roots, to their filesystem's type.
    unsure_devices : frozenset of int
        Devices (st_dev) whose listings may give entries a wrong type: a program makes it up.
    """

    pseudo_devices: frozenset[int] = frozenset()
    skipped_paths: Mapping[str, str] = MappingProxyType({})
    crossed: Mapping[str, str] = MappingProxyType({})
    unsure_devices: frozenset[int] = frozenset()


def parse_mountinfo(lines: Iterable[str]) -> list[Mount]:
    """Read lines of /proc/PID/mountinfo; proc(5): octal escapes, fstype after " - "."""
    mounts = []
    for line in lines:
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        major, _, minor = fields[2].partition(":")
        device = os.makedev(int(major), int(minor))
        fstype, _, rest = right.rstrip("\n").partition(" ")
        root, point, source = map(_plain, (fields[3], fields[4], rest.split(" ")[0]))
        mounts.append(Mount(device, root, point, fstype, source))
    return mounts


def read_mount_table(
    roots: Mapping[str, str] = MappingProxyType({}),
    elsewhere: Sequence[str] = (),
    mountinfo: str = MOUNTINFO,
) -> MountTable:
    """Return what there is to know of the mounts; nothing where there is no /proc.

    Parameters
    ----------
    roots : mapping of str to str
        Paths of the directories to be walked, to what the kernel calls them: without symbolic
        links, as mount points are.
    elsewhere : sequence of str
        What the kernel calls the directories that other processes walk.
    mountinfo : str
    """
    mounts = _read_mounts(mountinfo)
    skipped_paths: dict[str, str] = {}
    crossed: dict[str, str] = {}
    # What is read already, as directories of filesystems: the roots, and then what is bound below.
    reals = (*roots.values(), *elsewhere)
    covered = [_Region.at(real, mounts) for real in reals]
    own = {(region.device, region.directory) for region in covered}
    for mount in sorted(mounts, key=lambda mount: (mount.root.count("/"), len(mount.root))):
        paths = [
            path + mount.point[len(real) :] if real != "/" else path.rstrip("/") + mount.point
            for path, real in roots.items()
            if _is_below(mount.point, real)
        ]
        if not paths:
            continue
        if mount.fstype in PSEUDO_FSTYPES:
            skipped_paths.update(dict.fromkeys(paths, "pseudo") if mount.fstype == "autofs" else {})
        elif (mount.device, mount.root) in own:
            # A root, which readers know by its inode: part of what is above it, or a loop.
            crossed.update(dict.fromkeys(paths, mount.fstype) if mount.point in reals else {})
        elif any(region.shows(mount, mounts) for region in covered):
            skipped_paths.update(dict.fromkeys(paths, "loop"))
        else:
            covered.append(_Region(mount.device, mount.root, mount.point))
            crossed.update(dict.fromkeys(paths, mount.fstype))
    pseudo = frozenset(mount.device for mount in mounts if mount.fstype in PSEUDO_FSTYPES)
    unsure = frozenset(mount.device for mount in mounts if mount.fstype.startswith("fuse"))
    return MountTable(pseudo, skipped_paths, crossed, unsure)


def mount_table_problem(mountinfo: str = MOUNTINFO) -> str:
    """Return why there is no mount table, what follows, and what to do; "" if there is one."""
    try:
        with open(mountinfo, "rb"):
            return ""
    except OSError as error:
        return (
            f"{mountinfo}: {error.strerror}: what is mounted below the areas is not recognized, so"
            " bind mounts may be counted twice, and automounts be triggered: mount /proc"
        )


def mount_at(real: str, mountinfo: str = MOUNTINFO) -> Mount | None:
    """Return the mount that a path is in; None where that is not known.

    Parameters
    ----------
    real : str
        What the kernel calls the path; "" where it is not known.
    mountinfo : str
    """
    return _innermost(real, _read_mounts(mountinfo)) if real else None


def meet(walks: Iterable[Sequence[str]], mountinfo: str = MOUNTINFO) -> bool:
    """Tell whether several walks may meet on one filesystem, through mounts below their roots.

    Parameters
    ----------
    walks : iterable of sequence of str
        What the kernel calls the roots of each walk.
    mountinfo : str

    Notes
    -----
    By the mount table alone: st_dev is another number on btrfs.
    """
    mounts = _read_mounts(mountinfo)
    seen: set[int] = set()
    for roots in walks:
        met = {_Region.at(root, mounts).device for root in roots}
        met |= {
            mount.device
            for mount in mounts
            if mount.fstype not in PSEUDO_FSTYPES
            and any(_is_below(mount.point, root) for root in roots)
        }
        if met & seen:
            return True
        seen |= met
    return False


def _read_mounts(mountinfo: str) -> list[Mount]:
    """Return the mount table's lines; none where there is no /proc."""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            return parse_mountinfo(file)
    except OSError:
        return []


class _Region(NamedTuple):
    """A directory of a filesystem, and where it is seen."""

    device: int
    directory: str
    seen_at: str

    @classmethod
    def at(cls, real: str, mounts: Sequence[Mount]) -> _Region:
        """Return what is seen at a path: of the mounts above it the innermost, and the newest."""
        mount = _innermost(real, mounts)
        if mount is None:
            return cls(-1, "/", real)
        below = os.path.relpath(real, mount.point)
        return cls(mount.device, os.path.normpath(os.path.join(mount.root, below)), real)

    def shows(self, mount: Mount, mounts: Sequence[Mount]) -> bool:
        """Tell whether what another mount shows is seen here too, with nothing mounted over it."""
        if mount.device != self.device:
            return False
        if mount.root != self.directory and not _is_below(mount.root, self.directory):
            return False
        below = os.path.relpath(mount.root, self.directory)
        place = os.path.normpath(os.path.join(self.seen_at, below))
        return not any(
            (place == other.point or _is_below(place, other.point))
            and _is_below(other.point, self.seen_at)
            for other in mounts
        )


def _innermost(real: str, mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount that a path is in: of those above it the innermost, and the newest."""
    above = [mount for mount in mounts if real == mount.point or _is_below(real, mount.point)]
    return max(reversed(above), key=lambda mount: len(mount.point), default=None)


def _is_below(path: str, directory: str) -> bool:
    return path != directory and path.startswith(directory.rstrip("/") + "/")


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def fstype(path: str) -> str:
    """Return the type of the filesystem that a file is on, "" if it is not in the mount table."""
    try:
        with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            mounts = parse_mountinfo(file)
    except OSError:
        return ""
    path = os.path.realpath(path)
    above = [mount for mount in mounts if path.startswith(mount.point.rstrip("/") + "/")]
    # The deepest; of those at one point the last, which hides the others.
    return max(reversed(above), key=lambda mount: len(mount.point)).fstype if above else ""
