"""The report: a page that opens anywhere, and the plots for other pages.

Bokeh takes 0.7 to 1.1 s to import. It is imported by `write_report`, or before that by `warm_up`,
while the scan runs.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import resource

import anyio
import anyio.to_thread

from jwqlscan.errors import ConfigError, ReportError, single_errors
from jwqlscan.history.insight import Insight
from jwqlscan.model.history import History
from jwqlscan.reporting.alarm import Alarm, marked
from jwqlscan.resource_limits import shortage
from jwqlscan.settings import Outputs
from jwqlscan.system.accounts import complete_environment
from jwqlscan.system.atomic_files import make_directory, write_atomically
from jwqlscan.text import escape

DIRECTORY = "monitor_filesystem"
PAGE = "filesystem_monitor.html"


def report_path(outputs: Outputs) -> str:
    """Return where the page is, or will be."""
    return os.path.join(outputs.directory, DIRECTORY, PAGE)


# Written at a time: each takes two descriptors, and a thread. They wait for the disk (fsync), so
# several side by side take less time than one after the other.
MAX_OPEN_FILES = 4

# Address space that there must be to import bokeh and numpy, which take 120 MB of it.
IMPORT_BYTES = 192 * 2**20


async def warm_up() -> None:
    """Import what drawing needs, in a thread: time that costs nothing while something else runs.

    What fails here, for example for lack of memory, fails again in `write_report`, and is reported
    there: it must not end the scan.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return  # memory is scarce: the snapshot is stored first
    with contextlib.suppress(Exception):
        await _import_page()


async def _import_page() -> None:
    # numpy's OpenBLAS would start a thread a core, which nothing here uses, and print where it
    # can't.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    await anyio.to_thread.run_sync(_import_now)


def _import_now() -> None:
    complete_environment()  # bokeh looks for a configuration in HOME
    # Where memory is short OpenBLAS ends the process, or waits for ever: look before it does.
    with mmap.mmap(-1, IMPORT_BYTES):
        pass
    importlib.import_module("jwqlscan.reporting.page")


async def write_report(
    history: History,
    insight: Insight,
    outputs: Outputs,
    host: str = "",
    note: str = "",
    alarm: Alarm | None = None,
) -> list[str]:
    """Draw the report and write it.

    Parameters
    ----------
    history : History
    insight : Insight
        Of the newest run; empty if its runs have none.
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
    directory = os.path.join(outputs.directory, DIRECTORY)
    try:
        await _import_page()
        texts = await anyio.to_thread.run_sync(_render, history, insight, host, note)
        texts[PAGE] = marked(texts[PAGE], alarm)
        paths = {os.path.join(directory, name): text for name, text in texts.items()}
        await make_directory(outputs.directory, outputs.mode, outputs.group, follow_symlink=True)
        await make_directory(directory, outputs.mode, outputs.group)
        await _write(paths, outputs)
    except Exception as error:
        if words := shortage(error):
            raise ReportError(f"the report is not written: {words}") from error
        if not isinstance(error, (OSError, ConfigError)):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ReportError(
            f"the report can't be written to {escape(directory)}: {reason}; fix this, then run "
            "`jwqlscan report`"
        ) from error
    return [report_path(outputs), *(path for path in paths if path != report_path(outputs))]


async def _write(paths: dict[str, str], outputs: Outputs) -> None:
    # The page comes last: all files that it names exist by then.
    last = report_path(outputs)
    limiter = anyio.CapacityLimiter(MAX_OPEN_FILES)

    async def write_one(path: str) -> None:
        async with limiter:
            await write_atomically(
                path, paths[path], outputs.mode, outputs.group, follow_symlink=False
            )

    with single_errors():
        async with anyio.create_task_group() as tasks:
            for path in paths:
                if path != last:
                    tasks.start_soon(write_one, path)
    await write_one(last)


def _render(history: History, insight: Insight, host: str, note: str) -> dict[str, str]:
    from jwqlscan.reporting.page import render  # Bokeh: only when it is needed

    return render(history, insight, host=host, note=note)
