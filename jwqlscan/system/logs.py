"""Where log lines go: standard error; `jwqlscan.system.log_file` has the file of a run."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

from jwqlscan.text import escape

FILE_FORMAT = "%(asctime)s %(levelname)s %(message)s"


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
    """One event, one line: no text in it can forge a second line or control a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        # Its backslashes stay: those of names are escaped already.
        return "\\".join(escape(part) for part in text.split("\\"))


class UtcFormatter(_LineFormatter):
    """One event, one line, with its UTC time."""

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
        handler.setFormatter(UtcFormatter(FILE_FORMAT))
    else:
        handler.setFormatter(_LineFormatter("jwqlscan: %(message)s"))
    with attached(handler):
        yield


@contextlib.contextmanager
def attached(handler: logging.Handler) -> Iterator[None]:
    """Send this package's log lines to a handler, too."""
    logger = logging.getLogger("jwqlscan")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
