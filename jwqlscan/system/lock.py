"""One run at a time: an flock on a file in the state directory, held by the parent alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from functools import partial

import anyio

from jwqlscan.errors import ConfigError, LockedError
from jwqlscan.system.process_exit import before_leaving, call_in_time
from jwqlscan.text import escape
from jwqlscan.units import format_time

LOCK_FILE = "lock"

# Between two tries, while another run holds the lock.
TRY_AGAIN_S = 0.2

# A command that looks whether a run is in progress holds the lock for some microseconds.
_LOOKS = 5
_LOOK_S = 0.01

# The holder and how far it is: see `jwqlscan.state.run_in_progress`.
_MAX_BYTES = 4096

# Its disk may have stopped to answer during the run: the lock is given up all the same.
TRUNCATE_TIMEOUT_S = 5.0


@contextlib.asynccontextmanager
async def waited_lock(path: str, wait_s: float) -> AsyncIterator[int]:
    """Hold the lock for a run, waiting for it at most this long; yield the file's descriptor.

    Raises
    ------
    LockedError, ConfigError
        As `run_lock`; LockedError once the time is over.
    """
    give_up = time.monotonic() + wait_s
    with contextlib.ExitStack() as held:
        while True:
            try:
                fd = held.enter_context(run_lock(path))
                break
            except LockedError:
                if time.monotonic() >= give_up:
                    raise
            await anyio.sleep(TRY_AGAIN_S)
        yield fd


@contextlib.contextmanager
def run_lock(path: str) -> Iterator[int]:
    """Hold the lock for a run, and yield the file's descriptor.

    Raises
    ------
    LockedError
        If another run holds it; the message has the process and the time it began.
    ConfigError
        If the lock file can't be made.

    Notes
    -----
    The descriptor is not inherited by children (O_CLOEXEC) and is unlocked explicitly, also where a
    signal ends the process at once: the lock of a process one of whose threads hangs in the kernel
    would live until that thread ends.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise ConfigError(
            f"lock {escape(path)}: {error.strerror}; state.path must be a directory you can write"
        ) from None
    try:
        try:
            _take(fd)
        except BlockingIOError:
            raise LockedError(
                f"another run holds {escape(path)}: {_holder(fd)}; "
                "wait for it to end; `jwqlscan run --wait 10min` waits by itself"
            ) from None
        except OSError as error:  # such as ENOLCK: a filesystem without locks
            raise ConfigError(
                f"lock {escape(path)}: {error.strerror}; state.path must be on a local disk"
            ) from None
        since = datetime.now(UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name in it
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()} since {since}\n".encode("ascii"), 0)
        try:
            with before_leaving(partial(fcntl.flock, fd, fcntl.LOCK_UN)):
                yield fd
        finally:
            with contextlib.suppress(OSError, RuntimeError):  # no answer, or no thread to ask
                call_in_time(partial(os.ftruncate, fd, 0), TRUNCATE_TIMEOUT_S)
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _take(fd: int) -> None:
    for left in range(_LOOKS, -1, -1):
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
        time.sleep(_LOOK_S)
    return None


def _holder(fd: int) -> str:
    """Return the holder for a message: dates as in all others."""
    line = holder_line(fd)
    process, since, date = line.partition(" since ")
    with contextlib.suppress(ValueError):
        line = f"{process}{since}{format_time(datetime.fromisoformat(date))}"
    return escape(line) or "unknown"


def holder_line(fd: int) -> str:
    """Return which process holds the lock, and since when, as it is noted in the lock file."""
    return _content(fd).partition("\n")[0].strip()


def is_held(path: str) -> str | None:
    """Return what is noted in a lock file if a run holds it, else None.

    None, too, where the file can't be opened.

    Notes
    -----
    A shared lock is tried: nothing else shows whether another process holds one, in another
    namespace too.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _content(fd)
    except OSError:  # a filesystem without locks: no run can hold it
        return None
    finally:
        os.close(fd)


def _content(fd: int) -> str:
    return os.pread(fd, _MAX_BYTES, 0).decode("ascii", "replace")
