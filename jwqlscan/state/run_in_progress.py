"""The run in progress: it writes how far it is into the lock file, and other commands read it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from jwqlscan.scanning.display import Display
from jwqlscan.scanning.pool import Progress
from jwqlscan.system.lock import LOCK_FILE, holder_line, is_held
from jwqlscan.text import escape_controls
from jwqlscan.units import format_count, format_time

# A reader wants to know whether the run moves; a write takes microseconds.
WRITE_INTERVAL_S = 1.0

# Of a thread that hangs on the disk of the lock file: it is left behind.
_JOIN_S = 0.5
_LENGTH = 400
_HOLDER = re.compile(r"process (\d+) since (\S+)")


@dataclass(frozen=True, slots=True)
class RunInProgress:
    """What is known of the run that holds the lock.

    Attributes
    ----------
    process : int
        0 if it is not known.
    since : datetime or None
    phase : str
        "" if it is not known.
    entries : int
        Entries scanned so far.
    expected : int
        Entries that the last run met; 0 if that is not known.
    updated : datetime or None
        When the run wrote this.
    """

    process: int = 0
    since: datetime | None = None
    phase: str = ""
    entries: int = 0
    expected: int = 0
    updated: datetime | None = None

    @property
    def line(self) -> str:
        """Since when, and how far: one line."""
        parts = ["a run is in progress"]
        if self.since is not None:
            parts[0] += f" since {format_time(self.since)}"
        if self.phase:
            parts.append(self.phase)
        if self.entries:
            of = f" of about {format_count(self.expected)}" if self.expected else ""
            parts.append(f"{format_count(self.entries)}{of} entries")
        return ", ".join(parts)


class NotedDisplay(Display):
    """Passes everything on to another display, and keeps how far the run is in the lock file.

    A thread writes it: the disk of the lock file may hang, and the run must not wait for it.

    Parameters
    ----------
    display : Display
    fd : int
        Of the lock file.
    """

    def __init__(self, display: Display, fd: int) -> None:
        self._display = display
        self._fd = os.dup(fd)  # if the thread hangs, the number of the other is used again
        self._phase, self._entries, self._expected = "", 0, 0
        self._changed, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write, name="progress", daemon=True)

    def phase(self, text: str) -> None:
        """Pass on and keep what is being done now."""
        self._display.phase(text)
        self._phase = text
        self._changed.set()

    def expect(self, entries: int) -> None:
        """Pass on and keep how many entries the last run met."""
        self._display.expect(entries)
        self._expected = entries

    def progress(self, progress: Progress) -> None:
        """Pass on and keep where the scan is."""
        self._display.progress(progress)
        self._entries = progress.entries
        self._changed.set()

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more."""
        self._ended.set()
        self._changed.set()
        self._thread.join(_JOIN_S)

    def _write(self) -> None:
        holder = holder_line(self._fd)
        while self._changed.wait() and not self._ended.is_set():
            self._changed.clear()
            now = datetime.now(UTC).isoformat()
            record = {"phase": self._phase, "entries": self._entries, "expected": self._expected}
            content = f"{holder}\n{json.dumps(record | {'updated': now})}"
            # Of one length: what is overwritten needs no truncation, and leaves no rest.
            with contextlib.suppress(OSError):  # a full disk: nobody learns how far the run is
                os.pwrite(self._fd, f"{content:<{_LENGTH}}\n".encode("ascii", "replace"), 0)
            self._ended.wait(WRITE_INTERVAL_S)
        os.close(self._fd)


@contextlib.contextmanager
def noted_progress(display: Display, fd: int) -> Iterator[Display]:
    """Keep in the lock file how far the run is while the block runs."""
    noted = NotedDisplay(display, fd)
    noted.start()
    try:
        yield noted
    finally:
        noted.stop()


def run_in_progress(state_path: str) -> RunInProgress | None:
    """Return what is known of the run that holds the lock of a state directory; None without one.

    None, too, where the lock file can't be read: for example by another user.
    """
    content = is_held(os.path.join(state_path, LOCK_FILE))
    return None if content is None else _parse(content)


def _parse(content: str) -> RunInProgress:
    first, _, rest = content.partition("\n")
    process, since, updated = 0, None, None
    if match := _HOLDER.search(first):
        process, since = int(match[1]), _date(match[2])
    try:
        record = json.loads(rest)
        phase, entries = str(record["phase"]), int(record["entries"])
        expected, updated = int(record["expected"]), _date(str(record["updated"]))
    except (ValueError, KeyError, TypeError):  # not written yet, or being written
        return RunInProgress(process, since)
    return RunInProgress(process, since, escape_controls(phase), entries, expected, updated)


def _date(text: str) -> datetime | None:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    return date if date.tzinfo else None
