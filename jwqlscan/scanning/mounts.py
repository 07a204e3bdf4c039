"""What the kernel's mount table says; it is read without touching any mounted filesystem."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
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
    """One line of the mount table."""

    device: int
    point: str
    fstype: str


class MountTable(NamedTuple):
    """What a reader needs to know of the mounts below its roots.

    `pseudo_devices` are devices (st_dev) never to be entered; `autofs_points` are paths that must
    not even be opened, since that would mount something.
    """

    pseudo_devices: frozenset[int] = frozenset()
    autofs_points: frozenset[str] = frozenset()


def parse_mountinfo(lines: Iterable[str]) -> list[Mount]:
    """Read lines of /proc/PID/mountinfo; proc(5): octal escapes, fstype after " - "."""
    mounts = []
    for line in lines:
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        major, _, minor = fields[2].partition(":")
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        mounts.append(Mount(os.makedev(int(major), int(minor)), point, right.split(" ")[0]))
    return mounts


def read_mount_table(mountinfo: str = MOUNTINFO) -> MountTable:
    """Return the mounts that a scan must not enter; an empty table where there is no /proc."""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            mounts = parse_mountinfo(file)
    except OSError:
        return MountTable()
    return MountTable(
        frozenset(mount.device for mount in mounts if mount.fstype in PSEUDO_FSTYPES),
        frozenset(mount.point for mount in mounts if mount.fstype == "autofs"),
    )
