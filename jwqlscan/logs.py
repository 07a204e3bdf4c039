"""Where log lines go: standard error, and a file a run when configured."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

from jwqlscan.errors import ConfigError
from jwqlscan.paths import shown

FILE_FORMAT = "%(asctime)s %(levelname)s %(message)s"
LOG_MODE = 0o600


class LogFormat(StrEnum):
    """How lines on standard error are written."""

    text = "text"
    json = "json"


def json_line(level: str, message: str, run_id: str = "", time_s: float | None = None) -> str:
    """Return one event as a JSON object on one line; `time_s` is since 1970, None is now."""
    when = datetime.now(UTC) if time_s is None else datetime.fromtimestamp(time_s, UTC)
    event = {"time": when.isoformat(), "level": level, "run_id": run_id, "message": message}
    return json.dumps({key: value for key, value in event.items() if value})


class _LineFormatter(logging.Formatter):
    """One event, one line: whatever it tells of, it can't forge a second or steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        # Its backslashes stay: those of names are escaped already.
        return "\\".join(shown(part) for part in text.split("\\"))


class _UtcFormatter(_LineFormatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class _JsonFormatter(_LineFormatter):
    """One JSON object a line, of one run."""

    def __init__(self, run_id: str) -> None:
        super().__init__("%(message)s")
        self._run_id = run_id

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return json_line(record.levelname.lower(), text, self._run_id, record.created)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the time: a live display redirects it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _FileHandler(logging.StreamHandler[TextIO]):
    """Writes to a log file; on a disk that is full, say, the run goes on without, and says so."""

    _failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failed:
            self._failed = True
            where = shown(self.stream.name)
            logging.getLogger(__name__).warning(
                "log.path: %s: %s; the log of this run ends here", where, error.strerror
            )


@contextlib.contextmanager
def logging_to_stderr(
    level: int, form: LogFormat = LogFormat.text, run_id: str = ""
) -> Iterator[None]:
    """Send this package's log lines of that level or above to standard error."""
    handler = _StderrHandler()
    handler.setLevel(level)
    if form is LogFormat.json:
        handler.setFormatter(_JsonFormatter(run_id))
    elif level <= logging.INFO:
        handler.setFormatter(_UtcFormatter(FILE_FORMAT))
    else:
        handler.setFormatter(_LineFormatter("jwqlscan: %(message)s"))
    with _attached(handler):
        yield


@contextlib.contextmanager
def logging_to_file(directory: str | None) -> Iterator[str]:
    """Write a log file of this run into a directory, and yield its path; "" for None.

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
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, LOG_MODE)
    except OSError as error:
        raise ConfigError(
            f"log.path: {shown(path)}: {error.strerror}; give a directory you can write"
        ) from None
    file = open(  # noqa: SIM115 - closing it may fail, and has been told of then
        path, "w", encoding="utf-8", errors="backslashreplace", opener=lambda _, __: fd
    )
    try:
        handler = _FileHandler(file)
        handler.setLevel(logging.INFO)
        handler.setFormatter(_UtcFormatter(FILE_FORMAT))
        with _attached(handler):
            yield path
    finally:
        with contextlib.suppress(OSError):
            file.close()


@contextlib.contextmanager
def _attached(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("jwqlscan")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
