"""Files written whole or not at all, with the configured mode and group."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import aiofiles
import aiofiles.os
import anyio
import anyio.to_thread

from jwqlscan.errors import ConfigError
from jwqlscan.resource_limits import THREADS, shortage
from jwqlscan.system import accounts
from jwqlscan.system.ownership import open_directory
from jwqlscan.text import escape

Result = TypeVar("Result")

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_MAX = 255  # limits.h: bytes in a name

# Writing a file takes a moment: after this time its disk does not answer.
WRITE_TIMEOUT_S = 120.0

# To read a file of ours where others may have put something else: links are not followed, and a
# FIFO or a device does not block.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


# Not the event loop's own, whose threads are waited for at the end: one may hang in the kernel.
def _new_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="jwqlscan-files")


_threads = _new_threads()

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{16}\.tmp", re.DOTALL)
# A file is written in seconds: one this old was left by a process that was killed.
LITTER_AGE_S = 86_400


async def write_atomically(
    path: str,
    data: bytes | str,
    mode: int,
    group: str | None,
    *,
    follow_symlink: bool = True,
    replace: bool = True,
    among_others: bool = False,
) -> None:
    """Write a file so that readers, and crashes, find the old one or the new one.

    Parameters
    ----------
    path : str
        A symbolic link there is replaced, not followed.
    data : bytes or str
        Text is written as UTF-8.
    mode : int
    group : str or None
    follow_symlink : bool
        Whether its directory may be a symbolic link.
    replace : bool
        Whether a file that is there may be replaced.
    among_others : bool
        Whether the directory, or one above it, may belong to others than root when this is root:
        see `jwqlscan.system.ownership.open_directory`.

    Raises
    ------
    OSError
        If it can't be written, or is there and must stay; nothing new is left behind then.
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
    # A cancelled run waits for these few steps: a thread left alone would leave its file behind.
    with _in_time(path):
        try:
            await _write(path, content, mode, gid, follow_symlink, replace, among_others)
        except RuntimeError as error:  # aiofiles has threads of its own
            if shortage(error) != THREADS:
                raise
            global _threads
            _threads = _new_threads()
            _write_now(path, content, mode, gid, follow_symlink, replace, among_others)


@contextlib.contextmanager
def _in_time(path: str) -> Iterator[None]:
    """Bound what is done with a file; the thread that hangs is left behind."""
    try:
        with anyio.fail_after(WRITE_TIMEOUT_S, shield=True):
            yield
    except TimeoutError:
        raise OSError(errno.ETIMEDOUT, "no answer from the disk", path) from None


async def in_time(path: str, function: Callable[..., Result], *args: object) -> Result:
    """Call a function that works on a file, in a thread; one that hangs is left behind.

    Raises
    ------
    OSError
        ETIMEDOUT if there is no answer within `WRITE_TIMEOUT_S`; and what the function raises.
    """
    with _in_time(path):
        return await _run(function, *args)


async def _run(function: Callable[..., Result], *args: object) -> Result:
    call = partial(function, *args)
    try:
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
    except RuntimeError as error:
        if shortage(error) != THREADS:
            raise
        return call()  # it may keep what took hours to measure: it is worth the wait


def _open_parent(path: str, follow_symlink: bool, among_others: bool) -> int:
    directory = os.path.dirname(path) or "."
    if among_others:
        return open_directory(directory)
    return os.open(directory, _DIRECTORY_FLAGS | (0 if follow_symlink else os.O_NOFOLLOW))


async def _write(
    path: str,
    content: bytes,
    mode: int,
    gid: int,
    follow_symlink: bool,
    replace: bool,
    among_others: bool,
) -> None:
    name = os.path.basename(path)
    temporary = _temporary_name(name)
    directory_fd = await _run(_open_parent, path, follow_symlink, among_others)
    try:
        opener = partial(_create, directory_fd)
        try:
            async with aiofiles.open(temporary, "wb", opener=opener, executor=_threads) as file:
                await file.write(content)
                await file.flush()
                await _run(_settle, file.fileno(), mode, gid)
            here = {"src_dir_fd": directory_fd, "dst_dir_fd": directory_fd}
            await _run(partial(os.rename if replace else _rename_new, temporary, name, **here))
        except BaseException:  # cancelled, too: no litter, and it goes on
            await _run(_remove, directory_fd, temporary)
            raise
        await _run(os.fsync, directory_fd)
    finally:
        await _run(os.close, directory_fd)


def write_now(path: str, content: bytes, mode: int) -> None:
    """Do what `write_atomically` does, waiting for it, for a small file on a local disk.

    Raises
    ------
    OSError
    """
    _write_now(path, content, mode, -1, follow_symlink=True, replace=True, among_others=False)


def _write_now(
    path: str,
    content: bytes,
    mode: int,
    gid: int,
    follow_symlink: bool,
    replace: bool,
    among_others: bool,
) -> None:
    """Do what `_write` does in this thread: no other can be started, and it may be a snapshot."""
    name = os.path.basename(path)
    temporary = _temporary_name(name)
    directory_fd = _open_parent(path, follow_symlink, among_others)
    try:
        try:
            with open(temporary, "wb", opener=partial(_create, directory_fd)) as file:
                file.write(content)
                file.flush()
                _settle(file.fileno(), mode, gid)
            rename = os.rename if replace else _rename_new
            rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        except BaseException:  # no litter, and it goes on
            _remove(directory_fd, temporary)
            raise
        os.fsync(directory_fd)
    finally:
        os.close(directory_fd)


def overwrite_now(path: str, content: bytes) -> None:
    """Overwrite a file in place, for a disk that has no room for a second one.

    A crash in the middle leaves a part of each.

    Raises
    ------
    OSError
    """
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _write_all(fd, content)
        os.ftruncate(fd, len(content))
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


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
    make = partial(make_directory_now, path, mode, group, follow_symlink=follow_symlink)
    await in_time(path, make)


def make_directory_now(
    path: str, mode: int, group: str | None, *, follow_symlink: bool = False
) -> None:
    """Do what `make_directory` does, waiting for it."""
    _make_directory(path, mode, group_id(group), follow_symlink)


def try_to_write(directory: str, *, among_others: bool = False) -> None:
    """Write a file into a directory, down to the disk, and remove it.

    Parameters
    ----------
    directory : str
    among_others : bool
        As for `write_atomically`.

    Raises
    ------
    OSError
        If that can't be done: for example read-only or full.
    """
    name = _temporary_name("try")
    directory_fd = (
        open_directory(directory) if among_others else os.open(directory, _DIRECTORY_FLAGS)
    )
    try:
        fd = _create(directory_fd, name, 0)
        try:
            os.write(fd, bytes(4096))  # a block: an empty file fits a full disk
            os.fsync(fd)
        finally:
            os.close(fd)
            _remove(directory_fd, name)
    finally:
        os.close(directory_fd)


def remove_litter(directory: str, *, among_others: bool = False) -> None:
    """Remove the temporary files in a directory that killed runs of this user left long ago.

    Parameters
    ----------
    directory : str
    among_others : bool
        As for `write_atomically`.
    """
    try:
        directory_fd = (
            open_directory(directory) if among_others else os.open(directory, _DIRECTORY_FLAGS)
        )
    except FileNotFoundError:
        return
    try:
        newest = time.time() - LITTER_AGE_S
        for name in filter(_TEMPORARY.fullmatch, os.listdir(directory_fd)):
            try:
                status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
            except FileNotFoundError:  # another process has renamed or removed it since
                continue
            ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
            if ours and status.st_mtime < newest:
                _remove(directory_fd, name)
    finally:
        os.close(directory_fd)


def group_id(group: str | None) -> int:
    """Return a group's number; -1, which chown(2) takes for "leave it", for None.

    Raises
    ------
    ConfigError
        If there is no such group, or the name service does not answer.
    """
    if group is None:
        return -1
    number = accounts.group_id(group)
    if number is None:
        message = f"group {escape(group)!r} is not known on this host: make it or name another"
        raise ConfigError(message)
    return number


def _temporary_name(name: str) -> str:
    token = f".{secrets.token_hex(8)}.tmp"
    # The name is cut where the token would make it too long; the token is what makes it unique.
    return os.fsdecode(b"." + os.fsencode(name)[: _NAME_MAX - len(token) - 1]) + token


def _create(directory_fd: int, name: str, _flags: int) -> int:
    return os.open(name, _NEW_FILE_FLAGS, 0o600, dir_fd=directory_fd)


def _settle(fd: int, mode: int, gid: int) -> None:
    if gid != -1:
        os.fchown(fd, -1, gid)
    os.fchmod(fd, mode)  # after fchown, which clears the set-id bits
    os.fsync(fd)


def _rename_new(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
    """Rename, but never over what is there: rename(2) would."""
    os.link(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False)
    os.unlink(old, dir_fd=src_dir_fd)


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
