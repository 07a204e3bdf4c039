"""The alarm at the top of the page: the last run failed, and why, until a run succeeds.

A run that fails can't draw the page again: its database may be down. It replaces one marked block
of the page that is there.
"""

from __future__ import annotations

import logging
import os
import stat
from datetime import datetime
from typing import NamedTuple

import anyio
import anyio.to_thread
from markupsafe import Markup

from jwqlscan.errors import ConfigError, ExitCode
from jwqlscan.settings import Outputs
from jwqlscan.state.attempts import Attempt
from jwqlscan.store.failures import Failure
from jwqlscan.system.atomic_files import READ_FLAGS, write_atomically
from jwqlscan.system.ownership import untrusted_ancestor
from jwqlscan.text import escape, escape_controls
from jwqlscan.units import format_minute

log = logging.getLogger(__name__)

BEGIN, END = "<!--jwqlscan-alarm-->", "<!--/jwqlscan-alarm-->"

READ_TIMEOUT_S = 10.0
_MAX_BYTES = 2**28

_BLOCK = Markup(
    '<section id="alarm" class="state failed" role="alert"><p><strong class="verdict">⚠ {}</strong>'
    ' <time datetime="{}">{} UTC</time>{}</p><p class="cause">{}</p>'
    "<p>The numbers below are those of the newest run that was stored.</p></section>"
)


class Alarm(NamedTuple):
    """What the page reports: that something failed, when, its exit code if known, and why."""

    title: str
    at: datetime
    exit_code: int | None
    cause: str


def alarm_of(failed: Attempt | Failure | None) -> Alarm | None:
    """Return the alarm for a failed run, None where there is nothing to report."""
    if isinstance(failed, Attempt):
        if failed.cause and not failed.failed:  # it may be incomplete as well
            code = failed.exit_code
            return Alarm("The last run is not stored", failed.started, code, failed.cause)
        failed = failed.failure
    if failed is None:
        return None
    report = failed.exit_code == ExitCode.REPORT_FAILED
    title = "The last report failed" if report else "The last run failed"
    return Alarm(title, failed.started, failed.exit_code, failed.cause)


def marked(page: str, alarm: Alarm | None) -> str:
    """Return a page with this alarm, or without one.

    A page that an older version wrote has no place for it, and is returned as it is.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{BEGIN}{_html(alarm)}{END}{after}" if begin and end else page


async def mark_page(path: str, outputs: Outputs, alarm: Alarm | None) -> None:
    """Show an alarm in the page that is there, or take away the one that it shows.

    Problems are only logged: a page that can't be written was reported before.
    """
    try:
        with anyio.fail_after(READ_TIMEOUT_S):
            page = await anyio.to_thread.run_sync(_read, path, abandon_on_cancel=True)
        new = marked(page, alarm)
        if new != page:
            await write_atomically(path, new, outputs.mode, outputs.group, follow_symlink=False)
    except (OSError, ValueError, ConfigError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        log.debug("%s: %s: the page does not show that the run failed", escape(path), reason)


def _html(alarm: Alarm | None) -> str:
    if alarm is None:
        return ""
    code = "" if alarm.exit_code is None else f" · exit code {alarm.exit_code}"
    at = format_minute(alarm.at)
    return _BLOCK.format(alarm.title, alarm.at.isoformat(), at, code, escape_controls(alarm.cause))


def _read(path: str) -> str:
    """Return the page; "" if there is none, or others decide what it is."""
    if untrusted_ancestor(os.path.dirname(path))[1]:
        return ""
    try:
        fd = os.open(path, READ_FLAGS)
    except FileNotFoundError:
        return ""
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            return ""
        return file.read().decode()
