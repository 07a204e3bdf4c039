"""The report: a page that opens anywhere, and the plots for other pages.

Bokeh takes 0.7 to 1.1 s to import. It is imported by `write_report`, or before that by `warm_up`,
while the scan runs.
"""

from __future__ import annotations

import importlib
import os

import anyio
import anyio.to_thread

from jwqlscan.accounts import complete_environment
from jwqlscan.errors import ConfigError, ReportError, first_cause
from jwqlscan.files import make_directory, write_atomically
from jwqlscan.history import History
from jwqlscan.paths import shown
from jwqlscan.reporting.alarm import Alarm, marked
from jwqlscan.settings import Outputs

DIRECTORY = "monitor_filesystem"
PAGE = "filesystem_monitor.html"


def report_path(outputs: Outputs) -> str:
    """Return where the page is, or will be."""
    return os.path.join(outputs.directory, DIRECTORY, PAGE)


async def warm_up() -> None:
    """Import what drawing needs, in a thread: time that costs nothing while something else runs."""
    await anyio.to_thread.run_sync(_import_page)


def _import_page() -> None:
    complete_environment()  # bokeh looks for a configuration in HOME
    importlib.import_module("jwqlscan.reporting.page")


async def write_report(
    history: History,
    outputs: Outputs,
    host: str = "",
    note: str = "",
    alarm: Alarm | None = None,
) -> list[str]:
    """Draw the report and write it.

    Parameters
    ----------
    history : History
    outputs : Outputs
        The report is in ``monitor_filesystem`` below its directory, which is made if need be.
    host : str
        Where the newest run ran; "" leaves it out.
    note : str
        A sentence for the top of the page; "" leaves it out.
    alarm : Alarm, optional
        What failed after the newest run of the history.

    Returns
    -------
    list of str
        The paths of all files written, the page first.

    Raises
    ------
    ReportError
        If it can't be written. Each file is then the old one or the new one, never a part of it.
    """
    await warm_up()
    texts = await anyio.to_thread.run_sync(_render, history, host, note)
    directory = os.path.join(outputs.directory, DIRECTORY)
    texts[PAGE] = marked(texts[PAGE], alarm)
    paths = {os.path.join(directory, name): text for name, text in texts.items()}
    try:
        await make_directory(outputs.directory, outputs.mode, outputs.group, follow_symlink=True)
        await make_directory(directory, outputs.mode, outputs.group)
        await _write(paths, outputs)
    except* (OSError, ConfigError) as group:
        error = first_cause(group)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ReportError(
            f"the report can't be written to {shown(directory)}: {reason}; mend that, then run "
            "`jwqlscan report`"
        ) from error
    return [report_path(outputs), *(path for path in paths if path != report_path(outputs))]


async def _write(paths: dict[str, str], outputs: Outputs) -> None:
    # Side by side, since each waits for the disk several times (fsync). The page comes last: what
    # it says is there is there.
    last = report_path(outputs)
    async with anyio.create_task_group() as tasks:
        for path, text in paths.items():
            if path != last:
                tasks.start_soon(_write_one, path, text, outputs)
    await _write_one(last, paths[last], outputs)


async def _write_one(path: str, text: str, outputs: Outputs) -> None:
    await write_atomically(path, text, outputs.mode, outputs.group, follow_symlink=False)


def _render(history: History, host: str, note: str) -> dict[str, str]:
    from jwqlscan.reporting.page import render  # Bokeh: only when it is needed

    return render(history, host=host, note=note)
