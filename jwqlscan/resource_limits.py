"""Limits of the host that a process can run into: files, threads and memory."""

from __future__ import annotations

import errno

FILES = (
    "no more files can be opened: raise the limit (ulimit -n; LimitNOFILE= of a systemd service)"
)
THREADS = (
    "no more threads or processes can be started: raise the limit (ulimit -u, and -v; TasksMax= of"
    " a systemd service)"
)
MEMORY = (
    "out of memory: give it more, or raise the limit (ulimit -v; MemoryMax= of a systemd service)"
)

_OF_ERRNO = {
    errno.EMFILE: FILES,
    errno.ENFILE: FILES,
    errno.EAGAIN: THREADS,  # fork(2) and clone(2); nothing else here does not wait
    errno.ENOMEM: MEMORY,
}

# Messages of errors that have no errno: of threading, of the dynamic linker (dlerror(3)) and of
# bokeh's and numpy's import, which wrap them.
_OF_TEXT = (
    ("can't start new thread", THREADS),
    ("Cannot allocate memory", MEMORY),
    ("failed to map segment", MEMORY),
    ("Too many open files", FILES),
)


def shortage(error: BaseException) -> str:
    """Return which limit an error shows, and what to do about it; "" if it shows none.

    The errors that it was raised from or in are checked too, as are those of a group.
    """
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, MemoryError):
            return MEMORY
        if isinstance(current, OSError) and current.errno in _OF_ERRNO:
            return _OF_ERRNO[current.errno]
        if isinstance(current, (RuntimeError, ImportError, OSError)):
            for text, words in _OF_TEXT:
                if text in str(current):
                    return words
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
        waiting += [current.__cause__, current.__context__]
    return ""
