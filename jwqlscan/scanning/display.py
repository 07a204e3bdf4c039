"""Progress of a scan: the interface between a run and what displays it."""

from __future__ import annotations

import logging
import time

from jwqlscan.scanning.pool import Progress
from jwqlscan.units import counted, format_bytes, format_count, format_seconds

log = logging.getLogger(__name__)

LOG_SECONDS = 30.0


class Display:
    """Shows nothing; what shows something overrides it."""

    def phase(self, text: str) -> None:
        """Say what is being done now."""

    def expect(self, entries: int) -> None:
        """Say how many entries the last run met; 0 if that is not known."""

    def progress(self, progress: Progress) -> None:
        """Show where the scan is."""


class LogDisplay(Display):
    """Logs a line every 30 seconds, for a run that nobody watches."""

    def __init__(self) -> None:
        self._expected = 0
        self._started = time.monotonic()
        self._next = self._started + LOG_SECONDS

    def phase(self, text: str) -> None:
        """Log what is being done now."""
        log.info("%s", text)

    def expect(self, entries: int) -> None:
        """Keep the number for the percentage."""
        self._expected = entries

    def progress(self, progress: Progress) -> None:
        """Log where the scan is, if the last line is old enough."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LOG_SECONDS
        elapsed = now - self._started
        share = f", {progress.entries / self._expected:.0%}" if self._expected else ""
        log.info(
            "%s, %s, %s, %s entries/s, %s waiting, %s%s",
            counted(progress.entries, "entry", "entries"),
            counted(progress.files, "file"),
            format_bytes(progress.apparent_bytes),
            format_count(round(progress.entries / elapsed)),
            format_count(progress.waiting),
            format_seconds(elapsed),
            share,
        )
