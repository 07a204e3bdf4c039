"""What root may rely on: what nobody else can change, put in its place, or lead elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from jwqlscan.system.accounts import user_name
from jwqlscan.text import escape

_MAX_LINKS = 40  # path_resolution(7)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PASSED = _DIRECTORY | os.O_PATH  # a directory that is only passed need not be readable


def untrusted_reason(path: str, status: os.stat_result) -> str:
    """Return why root must not rely on a file or directory, and what to do; "" if it may.

    Others who own it, or can write to it, would decide what root reads or where root writes. In a
    directory with the sticky bit (``/tmp``) they can't touch what is root's.
    """
    if os.geteuid() != 0:
        return ""
    if status.st_uid != 0:
        owner = user_name(status.st_uid)
        return f"belongs to {owner}, and this is root: chown root {escape(path)}"
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & 0o022 and not sticky:
        return f"can be written by others, and this is root: chmod go-w {escape(path)}"
    return ""


def untrusted_ancestor(path: str) -> tuple[str, str]:
    """Return the first place on the way to a path that root must not rely on, and why; "" if none.

    Each directory that is passed counts, and each symbolic link: who can change one of them decides
    where the path leads. Directories that do not exist yet are not checked.
    """
    if os.geteuid() != 0:
        return "", ""
    top = os.stat("/").st_uid
    for place in _way(path):
        try:
            status = os.lstat(place)
        except OSError:
            break
        if reason := untrusted_reason(place, _as_seen_by_root(status, top)):
            return place, reason
    return "", ""


def _as_seen_by_root(status: os.stat_result, top: int) -> os.stat_result:
    """Return the status with the mode and owner that `untrusted_reason` is to judge.

    Parameters
    ----------
    status : os.stat_result
    top : int
        Owner of ``/``.
    """
    mode, owner = status.st_mode, status.st_uid
    if stat.S_ISLNK(mode):  # its mode means nothing; its owner can replace it, also in /tmp
        mode = stat.S_IFLNK | 0o700
    if owner == top:  # where root is but mapped to a user, the host's root is another one
        owner = 0
    return os.stat_result((mode, *status[1:4], owner, *status[5:]))


def open_directory(path: str) -> int:
    """Open a directory; as root, never through a symbolic link that others can place or replace.

    The directory itself, and those on the way, may belong to others: a file that is then written
    relative to the descriptor is in that very directory.

    Raises
    ------
    OSError
        ELOOP for such a link.

    Notes
    -----
    Each component is opened relative to the one before it, so nothing that is changed on the way
    meanwhile has an effect. A link of root's in a directory of root's can't be changed by others.
    """
    if os.geteuid() != 0:
        return os.open(path, _DIRECTORY)
    waiting = [part for part in os.path.abspath(path).split("/") if part][::-1]
    links = 0
    here = os.open("/", _PASSED)
    try:
        top = os.fstat(here).st_uid
        while waiting:
            part = waiting.pop()
            try:
                below = os.open(part, _PASSED | os.O_NOFOLLOW, dir_fd=here)
            except NotADirectoryError:  # open(2): so it is for a symbolic link
                target = _link_of_root(here, part, top, path)
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
                waiting += [part for part in target.split("/") if part not in ("", ".")][::-1]
                below = os.open("/" if target.startswith("/") else ".", _PASSED, dir_fd=here)
            os.close(here)
            here = below
        return os.open(".", _DIRECTORY, dir_fd=here)
    finally:
        os.close(here)


def _link_of_root(directory_fd: int, name: str, top: int, path: str) -> str:
    """Return the target of a symbolic link that only root can replace."""
    status = os.lstat(name, dir_fd=directory_fd)
    if not stat.S_ISLNK(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    for one in (os.fstat(directory_fd), status):
        if untrusted_reason(name, _as_seen_by_root(one, top)):
            reason = f"{escape(name)} is a symbolic link that others than root can replace"
            raise OSError(errno.ELOOP, reason, path)
    return os.readlink(name, dir_fd=directory_fd)


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
        if links > _MAX_LINKS:
            return
        if target.startswith("/"):
            here = "/"
        waiting += [part for part in target.split("/") if part not in ("", ".")][::-1]
