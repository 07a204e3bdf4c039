"""System calls of the Python reader that are tried again, as what they lack may come back."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

from jwqlscan.scanning.readers.base import TRANSIENT, TRANSIENT_PAUSE_S, TRANSIENT_RETRIES

OPEN_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# Out of descriptors (EMFILE, ENFILE): others close some soon, so try again a while.
LIMIT_RETRIES = 50
LIMIT_PAUSE_S = 0.02

Given = ParamSpec("Given")
Result = TypeVar("Result")
Entries: TypeAlias = "list[os.DirEntry[str]]"
if TYPE_CHECKING:
    Scandir: TypeAlias = os._ScandirIterator[str]

# Whether a call has waited for a descriptor in vain, and none has got one since.
_is_short = False


def patiently(call: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """Call something that takes a descriptor, again while there is none or storage fails."""
    global _is_short
    no_descriptor = transient = 0
    while True:
        try:
            result = call(*given, **named)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # Others have waited for one just now, and none was closed: fail at once.
                if _is_short or no_descriptor == LIMIT_RETRIES:
                    _is_short = True
                    raise
                no_descriptor += 1
                time.sleep(LIMIT_PAUSE_S)
            elif error.errno in TRANSIENT and transient < TRANSIENT_RETRIES:
                transient += 1
                time.sleep(TRANSIENT_PAUSE_S)
            else:
                raise
        else:
            _is_short = False
            return result


def stat_again(entry: os.DirEntry[str], error: OSError) -> os.stat_result | OSError:
    """Stat an entry again if its failure may pass; return the last error if it did not.

    Without its traceback: that would hold the caller, who holds the error, and so keep the
    directory open until garbage is collected.
    """
    error = error.with_traceback(None)
    for _ in range(TRANSIENT_RETRIES if error.errno in TRANSIENT else 0):
        time.sleep(TRANSIENT_PAUSE_S)
        try:
            return entry.stat(follow_symlinks=False)
        except OSError as next_error:
            error = next_error.with_traceback(None)
    return error


def begin_listing(fd: int, listed: Entries) -> Scandir:
    """Begin to list a directory, and add its first entry to `listed`.

    What can't be listed at all fails here, where it can be tried again; a listing that fails later
    can't go on from there.
    """
    listing = os.scandir(fd)  # on a duplicate of the descriptor
    try:
        listed.extend(islice(listing, 1))
    except OSError:
        listing.close()
        raise
    return listing


def open_below(fd: int, path: str) -> int:
    """Open a directory, maybe several levels down, without following a symlink at any of them."""
    if "/" not in path:
        return os.open(path, OPEN_FLAGS, dir_fd=fd)
    current = os.dup(fd)
    for name in path.split("/"):
        try:
            deeper = os.open(name, OPEN_FLAGS, dir_fd=current)
        finally:
            os.close(current)
        current = deeper
    return current
