"""The log file of a run, in the directory that ``log.path`` names.

Lines are written by a thread of their own: a disk that no longer answers holds up neither the run
nor its end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TextIO

from jwqlscan.errors import ConfigError, JwqlscanError
from jwqlscan.resource_limits import shortage
from jwqlscan.system.atomic_files import make_directory_now
from jwqlscan.system.logs import FILE_FORMAT, UtcFormatter, attached
from jwqlscan.system.process_exit import CALL_TIMEOUT_S, call_in_time
from jwqlscan.text import escape

LOG_MODE = 0o600

# How long the last lines may take to be written, once the run is over.
FLUSH_TIMEOUT_S = 10.0

_NAME = re.compile(r"jwqlscan_\d{4}-\d\d-\d\dT\d{6}\.\d{6}Z\.log", re.ASCII)

log = logging.getLogger(__name__)


@contextlib.contextmanager
def logging_to_file(directory: str | None, keep: int | None = None) -> Iterator[str]:
    """Write a log file of this run into a directory, and yield its path; "" for None.

    Parameters
    ----------
    directory : str or None
        Made if it is missing and the directory above it is there.
    keep : int, optional
        How many log files may stay, this one included: older ones are removed.

    Raises
    ------
    ConfigError
        If the file can't be made.
    """
    if directory is None:
        yield ""
        return
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%fZ")
    path = os.path.join(directory, f"jwqlscan_{stamp}.log")
    try:
        file = call_in_time(partial(_open, path))
        problem = (
            call_in_time(partial(remove_old_logs, directory, keep, os.path.basename(path)))
            if keep
            else ""
        )
        handler = _FileHandler(file, path)
    except TimeoutError:
        raise ConfigError(
            f"log.path: {escape(path)}: no answer within {CALL_TIMEOUT_S:g} s: see the mount of its"
            " directory"
        ) from None
    except (OSError, RuntimeError) as error:
        if words := shortage(error):
            raise JwqlscanError(f"log.path: {escape(path)}: {words}") from None
        reason = getattr(error, "strerror", str(error))
        raise ConfigError(
            f"log.path: {escape(path)}: {reason}; give a directory you can write"
        ) from None
    handler.setLevel(logging.INFO)
    handler.setFormatter(UtcFormatter(FILE_FORMAT))
    try:
        with attached(handler):
            if problem:
                log.warning("%s", problem)
            yield path
    finally:
        handler.finish()


def remove_old_logs(directory: str, keep: int, own: str = "") -> str:
    """Remove all but the newest log files of this user in a directory; return what went wrong.

    Their age is that of their names. They are counted, as a clock that is wrong for one run must
    not remove all the others.
    """
    mine = []
    for name in filter(_NAME.fullmatch, os.listdir(directory)):
        with contextlib.suppress(FileNotFoundError):  # another run has removed it
            status = os.lstat(os.path.join(directory, name))
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                mine.append(name)
    # The run's own file stays even if the clock of an earlier run was ahead.
    for name in sorted(mine, key=lambda name: (name == own, name))[:-keep]:
        try:
            os.unlink(os.path.join(directory, name))
        except FileNotFoundError:
            continue
        except OSError as error:
            path = escape(os.path.join(directory, name))
            return f"log.keep: {path}: can't be removed: {error.strerror}"
    return ""


def make_log_directory(directory: str) -> None:
    """Make the directory of the log files, if it is missing and the one above it is there.

    Raises
    ------
    OSError
    """
    if os.path.isdir(os.path.dirname(directory)):
        make_directory_now(directory, LOG_MODE, None, follow_symlink=True)


def _open(path: str) -> TextIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    make_log_directory(os.path.dirname(path))
    fd = os.open(path, flags, LOG_MODE)
    return open(path, "w", encoding="utf-8", errors="backslashreplace", opener=lambda _, __: fd)


class _FileHandler(logging.Handler):
    """Writes to a log file; if that fails (a full disk), the run goes on without, and reports it.

    Parameters
    ----------
    file : TextIO
    path : str
    """

    def __init__(self, file: TextIO, path: str) -> None:
        super().__init__()
        self._file = file
        self._path = path
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="log file", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put(self.format(record) + "\n")

    def finish(self) -> None:
        """Wait for the last lines to be written, but not for ever."""
        self._lines.put(None)
        self._writer.join(FLUSH_TIMEOUT_S)
        if self._writer.is_alive():
            log.warning(
                "log.path: %s: no answer within %g s: the end of the log of this run is missing",
                escape(self._path),
                FLUSH_TIMEOUT_S,
            )

    def _write(self) -> None:
        failed = False
        while (line := self._lines.get()) is not None:
            if failed:
                continue
            try:
                self._file.write(line)
                self._file.flush()
            except OSError as error:
                failed = True
                log.warning(
                    "log.path: %s: %s; the log of this run ends here",
                    escape(self._path),
                    error.strerror,
                )
        with contextlib.suppress(OSError):  # closing writes, too, and that was reported
            self._file.close()
