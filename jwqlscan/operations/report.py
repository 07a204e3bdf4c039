"""Writing the report from what is stored, and remembering whether that failed."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

from jwqlscan.config.loader import Config
from jwqlscan.errors import ExitCode, JwqlscanError, cause_of
from jwqlscan.history.insight_queries import read_insight
from jwqlscan.operations.attempt_recorder import record_report
from jwqlscan.reporting import write_report
from jwqlscan.reporting.alarm import Alarm, alarm_of
from jwqlscan.state.local_state import LocalState, read_state
from jwqlscan.store import Tables, open_store
from jwqlscan.store.failures import Failure, newest_failure
from jwqlscan.store.queries import future_dates, last_runs
from jwqlscan.system.clock import future_warning, latest_date


async def report(
    config: Config, since: datetime | None = None, *, note: str = "", in_run: bool = False
) -> tuple[str, ...]:
    """Write the report from what is stored.

    Parameters
    ----------
    config : Config
    since : datetime, optional
        Aware; only what was measured from then on is drawn.
    note : str
        A sentence for the top of the page; "" leaves it out.
    in_run : bool
        Whether a run that has stored its snapshot writes it: no earlier run's failure is shown.

    Returns
    -------
    tuple of str
        The files written.

    Raises
    ------
    StoreError
        If the history can't be read.
    ReportError
        If a file can't be written.
    """
    until = latest_date(datetime.now(UTC))
    async with open_store(config.database_url, Tables.IF_PRESENT) as store:
        history = await store.history(since, until)
        insight = await read_insight(store, until)
        note = " ".join(filter(None, (note, future_warning(await future_dates(store, until)))))
        runs = await last_runs(store, 1, until)
        failure = await newest_failure(store, runs[0].date if runs else None, until)
    alarm = (
        None
        if in_run
        else _alarm(await read_state(config), failure, runs[0].date if runs else None)
    )
    host = socket.gethostname()
    return tuple(await write_report(history, insight, config.outputs, host, note, alarm))


async def report_again(config: Config, since: datetime | None = None) -> tuple[str, ...]:
    """Do what `report` does, and record whether the report could be written.

    Raises
    ------
    StoreError, ReportError
    """
    try:
        written = await report(config, since)
    except JwqlscanError as error:
        await record_report(config, cause_of(error))
        raise
    await record_report(config, "")
    return written


def _alarm(local: LocalState, stored: Failure | None, newest: datetime | None) -> Alarm | None:
    """Return what failed after the newest stored run; a report that failed is written now."""
    last = local.last
    if last is not None and last.cause and not last.failed and local.waiting:
        return alarm_of(last)
    failure = local.failure(stored, newest)
    return None if failure and failure.exit_code == ExitCode.REPORT_FAILED else alarm_of(failure)
