"""What root may rely on: what nobody else can change, put in its place, or lead elsewhere."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator

from jwqlscan.paths import shown

_MOST_LINKS = 40  # path_resolution(7)


def distrust(path: str, status: os.stat_result) -> str:
    """Return why root must not rely on a file or directory, and what to do; "" if it may.

    Others who own it, or can write to it, would decide what root reads or where root writes. In a
    directory with the sticky bit (``/tmp``) they can't touch what is root's.
    """
    if os.geteuid() != 0:
        return ""
    if status.st_uid != 0:
        try:
            owner = pwd.getpwuid(status.st_uid).pw_name
        except KeyError:
            owner = str(status.st_uid)
        return f"belongs to {shown(owner)}, and this is root: chown root {shown(path)}"
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & 0o022 and not sticky:
        return f"can be written by others, and this is root: chmod go-w {shown(path)}"
    return ""


def distrust_way(path: str) -> tuple[str, str]:
    """Return the first place on the way to a path that root must not rely on, and why; "" if none.

    Each directory that is passed counts, and each symbolic link: who can change one of them decides
    where the path leads. What is not there yet is not looked at.
    """
    if os.geteuid() != 0:
        return "", ""
    top = os.stat("/").st_uid
    for place in _way(path):
        try:
            status = os.lstat(place)
        except OSError:
            break
        mode, owner = status.st_mode, status.st_uid
        if stat.S_ISLNK(mode):  # its mode says nothing; its owner can replace it, also in /tmp
            mode = stat.S_IFLNK | 0o700
        if owner == top:  # where root is but mapped to a user, the host's root is another one
            owner = 0
        if reason := distrust(place, os.stat_result((mode, *status[1:4], owner, *status[5:]))):
            return place, reason
    return "", ""


def _way(path: str) -> Iterator[str]:
    """Yield the directories and links that the kernel passes on its way, the path itself last."""
    waiting = [part for part in os.path.abspath(path).split("/") if part][::-1]
    here, links = "/", 0
    yield here
    while waiting:
        part = waiting.pop()
        if part == "..":
            here = os.path.dirname(here)
            continue
        place = os.path.join(here, part)
        yield place
        try:
            target = os.readlink(place)
        except OSError:  # no link
            here = place
            continue
        links += 1
        if links > _MOST_LINKS:
            return
        if target.startswith("/"):
            here = "/"
        waiting += [part for part in target.split("/") if part not in ("", ".")][::-1]
