"""Files written whole or not at all, with the mode and group that the configuration says."""

from __future__ import annotations

import errno
import grp
import os
import secrets
import stat
from functools import partial

import aiofiles
import aiofiles.os
import anyio
import anyio.to_thread

from jwqlscan.errors import ConfigError
from jwqlscan.paths import shown

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_MAX = 255  # limits.h: bytes in a name


async def write_atomically(path: str, data: bytes | str, mode: int, group: str | None) -> None:
    """Write a file so that readers, and crashes, find the old one or the new one.

    Parameters
    ----------
    path : str
        A symbolic link there is replaced, not followed.
    data : bytes or str
        Text is written as UTF-8.
    mode : int
    group : str or None

    Raises
    ------
    OSError
        If it can't be written; nothing new is left behind then.
    ConfigError
        If there is no such group.

    Notes
    -----
    The temporary file is made anew (O_EXCL, O_NOFOLLOW) under a name nobody can guess, readable to
    its owner only until it is complete, in the directory where it will stay: rename(2) is atomic
    within one filesystem. The directory is opened once, so swapping it changes nothing.
    """
    content = data.encode() if isinstance(data, str) else data
    gid = group_id(group)
    directory, name = os.path.split(path)
    token = f".{secrets.token_hex(8)}.tmp"
    # The name is cut where the token would make it too long; the token is what makes it unique.
    temporary = os.fsdecode(b"." + os.fsencode(name)[: _NAME_MAX - len(token) - 1]) + token
    # A cancelled run waits for these few steps: a thread left alone would leave its file behind.
    with anyio.CancelScope(shield=True):
        run = anyio.to_thread.run_sync
        directory_fd = await run(os.open, directory or ".", _DIRECTORY_FLAGS)
        try:
            opener = partial(_create, directory_fd)
            try:
                async with aiofiles.open(temporary, "wb", opener=opener) as file:
                    await file.write(content)
                    await file.flush()
                    await run(_settle, file.fileno(), mode, gid)
                await run(
                    partial(
                        os.rename,
                        temporary,
                        name,
                        src_dir_fd=directory_fd,
                        dst_dir_fd=directory_fd,
                    )
                )
            except BaseException:
                await run(_remove, directory_fd, temporary)
                raise
            await run(os.fsync, directory_fd)
        finally:
            await run(os.close, directory_fd)


async def make_directory(
    path: str, mode: int, group: str | None, *, follow_symlink: bool = False
) -> None:
    """Make a directory, and those above it, with the group and mode for files of `mode`.

    One that is there stays as it is.

    Raises
    ------
    OSError
        If it can't be made, or if something else is there: a symbolic link too, unless it may be
        followed.
    ConfigError
        If there is no such group.
    """
    await anyio.to_thread.run_sync(_make_directory, path, mode, group_id(group), follow_symlink)


def group_id(group: str | None) -> int:
    """Return a group's number; -1, which chown(2) takes for "leave it", for None.

    Raises
    ------
    ConfigError
        If there is no such group.
    """
    if group is None:
        return -1
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        message = f"group {shown(group)!r} is not known on this host: make it or name another"
        raise ConfigError(message) from None


def _create(directory_fd: int, name: str, _flags: int) -> int:
    return os.open(name, _NEW_FILE_FLAGS, 0o600, dir_fd=directory_fd)


def _settle(fd: int, mode: int, gid: int) -> None:
    if gid != -1:
        os.fchown(fd, -1, gid)
    os.fchmod(fd, mode)  # after fchown, which clears the set-id bits
    os.fsync(fd)


def _remove(directory_fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory_fd)
    except FileNotFoundError:  # it was never made
        return


def _make_directory(path: str, mode: int, gid: int, follow_symlink: bool) -> None:
    parent = os.path.dirname(path.rstrip("/"))
    if parent and not os.path.isdir(parent):
        _make_directory(parent, mode, gid, True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(path, follow_symlinks=follow_symlink).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        return
    fd = os.open(path, _DIRECTORY_FLAGS | os.O_NOFOLLOW)
    try:
        if gid != -1:
            os.fchown(fd, -1, gid)
        os.fchmod(fd, mode | (mode & 0o444) >> 2)
    finally:
        os.close(fd)
