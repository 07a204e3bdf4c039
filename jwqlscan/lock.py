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
from jwqlscan.paths import shown
from jwqlscan.signals import before_leaving

# Between two tries, while another run holds the lock.
TRY_AGAIN_S = 0.2


@contextlib.asynccontextmanager
async def waited_lock(path: str, wait_s: float) -> AsyncIterator[None]:
    """Hold the lock for a run, and wait so long for it to be free.

    Raises
    ------
    LockedError, ConfigError
        As `run_lock`; LockedError once the time is over.
    """
    give_up = time.monotonic() + wait_s
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(run_lock(path))
                break
            except LockedError:
                if time.monotonic() >= give_up:
                    raise
            await anyio.sleep(TRY_AGAIN_S)
        yield


@contextlib.contextmanager
def run_lock(path: str) -> Iterator[None]:
    """Hold the lock for a run.

    Raises
    ------
    LockedError
        If another run holds it; the message says which process, and since when.
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
            f"lock {shown(path)}: {error.strerror}; state.path must be a directory you can write"
        ) from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode("ascii", "replace").strip() or "unknown"
            raise LockedError(
                f"another run holds {shown(path)}: {shown(holder)}; "
                "wait for it to end, or give --wait"
            ) from None
        except OSError as error:  # ENOLCK, say: a filesystem without locks
            raise ConfigError(
                f"lock {shown(path)}: {error.strerror}; state.path must be on a local disk"
            ) from None
        since = datetime.now(UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name in it
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()} since {since}\n".encode("ascii"), 0)
        try:
            with before_leaving(partial(fcntl.flock, fd, fcntl.LOCK_UN)):
                yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)
