"""Which filesystem each capacity is of, and what several come to, each filesystem once.

A filesystem is known by the device number of its mount: on btrfs st_dev, statfs's f_fsid and the
source and target that df prints differ from subvolume to subvolume (statfs(2), df prints ``-``).
Only the mount table is read here, no mounted filesystem.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from jwqlscan.model.snapshot import Capacity
from jwqlscan.system.mounts import Mount
from jwqlscan.text import escape

# Two df of one filesystem differ by what is written in between; those of directories with quotas
# of their own by much more.
SAME_SHARE = 0.01


def with_mount(capacity: Capacity | None, mount: Mount | None) -> Capacity | None:
    """Return a capacity with source, type and target of its mount where df printed ``-``."""
    if capacity is None or mount is None or capacity.source not in ("", "-"):
        return capacity
    return replace(
        capacity,
        source=escape(mount.source),
        fstype=escape(mount.fstype),
        target=escape(mount.point),
    )


def same_room(one: Sequence[int], other: Sequence[int]) -> bool:
    """Tell whether two pairs of size and used, of one filesystem, are the same room.

    They are not where a directory has a quota: df then prints the quota.
    """
    least = SAME_SHARE * max(one[0], other[0])
    return all(abs(a - b) <= least for a, b in zip(one, other, strict=True))


def total_capacity(parts: Iterable[tuple[int, Capacity | None]]) -> Capacity | None:
    """Add capacities: each filesystem once, and directories of one with different quotas each.

    Parameters
    ----------
    parts : iterable of (int, Capacity or None)
        The filesystem's number, and what df printed of a directory in it.

    Returns
    -------
    Capacity or None
        None if nothing is known of a filesystem; of size 0 if the size of one is not known.
    """
    rooms: dict[int, list[Capacity]] = {}
    for device, capacity in parts:
        found = rooms.setdefault(device, [])
        if capacity is not None and not any(
            same_room((capacity.size_bytes, capacity.used_bytes), (one.size_bytes, one.used_bytes))
            for one in found
        ):
            found.append(capacity)
    if not all(rooms.values()):
        return None
    each = [capacity for found in rooms.values() for capacity in found]
    if len(each) == 1:
        return each[0]
    if not all(capacity.has_size for capacity in each):
        return Capacity(0, 0, 0)
    return Capacity(
        size_bytes=sum(capacity.size_bytes for capacity in each),
        used_bytes=sum(capacity.used_bytes for capacity in each),
        available_bytes=sum(capacity.available_bytes for capacity in each),
    )
