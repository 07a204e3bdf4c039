"""The progress display of a terminal, by rich."""

from __future__ import annotations

import contextlib
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jwqlscan.scanning import pool
from jwqlscan.scanning.display import Display
from jwqlscan.text import escape
from jwqlscan.units import counted, format_bytes, format_count, format_seconds

REFRESH_PER_SECOND = 8


class TerminalDisplay(Display):
    """Shows counters, rate, the current directory and, where the last total is known, a bar.

    Parameters
    ----------
    console : Console
        Of standard error.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase = "starting"
        self._expected = 0
        self._latest = pool.Progress(0, 0, 0, 0, "", 0)
        self._started = time.monotonic()
        self._bar = Progress(
            BarColumn(40),
            TaskProgressColumn(),
            TextColumn("of the last run, about"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("scan", total=None)
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # a terminal that is closed needs no tidying
            self._live.stop()

    def phase(self, text: str) -> None:
        """Show what is being done now."""
        self._phase = text

    def expect(self, entries: int) -> None:
        """Show a bar up to the last run's total."""
        self._expected = entries
        self._bar.update(self._task, total=entries or None)

    def progress(self, progress: pool.Progress) -> None:
        """Keep where the scan is for the next refresh."""
        self._latest = progress
        # More than last time is a grown archive, not more than all of it.
        self._bar.update(self._task, completed=min(progress.entries, self._expected))

    def _render(self) -> Group:
        latest = self._latest
        elapsed = time.monotonic() - self._started
        counters = Table.grid(padding=(0, 2))
        for label, value in (
            ("entries", format_count(latest.entries)),
            ("files", format_count(latest.files)),
            ("bytes", format_bytes(latest.apparent_bytes)),
            ("rate", f"{format_count(round(latest.entries / max(elapsed, 0.1)))}/s"),
            ("waiting", counted(latest.waiting, "directory", "directories")),
            ("elapsed", format_seconds(elapsed)),
        ):
            counters.add_row(Text(label, style="dim"), Text(value))
        where = Text(escape(latest.path), style="cyan", overflow="ellipsis", no_wrap=True)
        parts: list[RenderableType] = [Text(self._phase, style="bold"), counters, where]
        if self._expected:
            parts.append(self._bar.get_renderable())
        return Group(*parts)


def display_on_stderr() -> TerminalDisplay:
    """Return the display of the terminal that standard error is."""
    return TerminalDisplay(Console(stderr=True))
