"""Records every attempt to make a run: in the state directory, the store, the metrics, the page.

Whatever fails here is at most a warning: the record of an attempt must never endanger a snapshot.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread

from jwqlscan._version import __version__
from jwqlscan.config.loader import Config
from jwqlscan.errors import ConfigError, ExitCode, JwqlscanError, LockedError, StoreError, cause_of
from jwqlscan.model.snapshot import Snapshot
from jwqlscan.monitoring.check import Evidence, gather
from jwqlscan.monitoring.metrics import exposition, with_known, write_metrics
from jwqlscan.operations.preflight_metrics import check_metrics
from jwqlscan.reporting import report_path
from jwqlscan.reporting.alarm import alarm_of, mark_page
from jwqlscan.state.attempts import Attempt, Attempts, read_attempts, write_attempt
from jwqlscan.state.local_state import LocalState, count_spooled
from jwqlscan.state.run_in_progress import run_in_progress
from jwqlscan.store import Tables, open_store
from jwqlscan.store.dsn import same_place
from jwqlscan.store.failures import Failure, record_failure
from jwqlscan.store.run_row import run_row
from jwqlscan.system.process_exit import before_leaving
from jwqlscan.system.signals import received
from jwqlscan.text import escape

log = logging.getLogger(__name__)

# A small file on a local disk is written in milliseconds; a disk that hangs is left behind.
WRITE_TIMEOUT_S = 10.0

# Of the time that a signal leaves: see `jwqlscan.system.signals.GRACE_S`.
INTERRUPTED_S = 0.5
LAST_ACT_S = 0.3

Result = TypeVar("Result")


class Recorder:
    """Records one attempt.

    Parameters
    ----------
    config : Config
    run_id, log_file : str
    """

    def __init__(self, config: Config, run_id: str, log_file: str) -> None:
        self._config = config
        self._before = Attempts()
        self._holds_lock = False
        self._ended = False
        self.metrics_problem = ""  # found before the scan, and reported then
        self._attempt = Attempt(
            run_id,
            datetime.now(UTC),
            host=socket.gethostname(),
            version=__version__,
            log_file=escape(log_file),
            database=open_store(config.database_url).location,
            page=report_path(config.outputs),
        )

    @contextlib.asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Record whatever ends the block too early.

        A run that another one keeps out is no attempt: the other one is.
        """
        try:
            with before_leaving(self._last_act):
                yield
        except LockedError:
            raise
        except Exception as error:  # whatever ended the run is recorded, and goes on
            if not self._ended:
                await self._fail(error)
            raise
        except BaseException:  # cancelled: a signal came
            if not self._ended:
                await self._interrupt()
            raise

    async def begin(self, started: datetime) -> None:
        """Record that the run begins; called with the lock held."""
        self._holds_lock = True
        self._before = await self._in_time(lambda: read_attempts(self._config.state_path))
        last = self._before.last
        if self._before.current is not None:  # the lock was free: it was killed
            last = self._before.current.killed()
            failure = last.failure
            if failure is not None:
                log.warning("%s", failure.line_of_later_run)
        if last is not None and last.failure is not None and not last.in_store:
            last = replace(last, in_store=await self._store(last.failure))
        self._before = Attempts(None, last)
        self._attempt = replace(self._attempt, started=started)
        if last is not None:
            report, complete = last.report_failure, last.complete
            self._attempt = replace(self._attempt, report_failure=report, complete=complete)
        await self._write(self._attempt, last)

    async def end(
        self,
        exit_code: ExitCode,
        cause: str,
        report_failure: str | None,
        snapshot: Snapshot | None,
        *,
        store_down: bool = False,
    ) -> list[str]:
        """Record how the run ended, and return warnings.

        Parameters
        ----------
        exit_code : ExitCode
        cause : str
            Why it failed, or why its snapshot is not in the store; else "".
        report_failure : str or None
            Why the report could not be written; "" if it was; None if the run wrote none.
        snapshot : Snapshot or None
            What was measured.
        store_down : bool
            Do not try to reach the store.
        """
        if not self._holds_lock:  # refused before `begin`: keep what is known of earlier runs
            with contextlib.suppress(TimeoutError):
                path = self._config.state_path
                attempts = await self._in_time(lambda: read_attempts(path))
                last = attempts.last
                if attempts.current is not None and self._may_write():  # it was killed
                    last = attempts.current.killed()
                    if last.failure is not None and not store_down:
                        await self._store(last.failure)
                if last is not None:
                    report, complete = last.report_failure, last.complete
                    self._attempt = replace(self._attempt, report_failure=report, complete=complete)
        attempt = replace(
            self._attempt, ended=datetime.now(UTC), exit_code=int(exit_code), cause=cause
        )
        if report_failure is not None:
            attempt = replace(attempt, report_failure=report_failure)
        if snapshot is not None and snapshot.status == "complete":
            attempt = replace(attempt, complete=snapshot.timestamp)
        self._ended = True
        await self._write(attempt)  # a signal may come while the store does not answer
        failure = attempt.failure
        # A report that an earlier run failed to write is in the store already.
        its_own = attempt.failed or bool(report_failure)
        if failure is not None and its_own and not store_down:
            # JWQL's table has a row of every run that got as far as measuring.
            monitored = attempt.failed and self._holds_lock
            attempt = replace(attempt, in_store=await self._store(failure, monitored))
            await self._write(attempt)
        if report_failure != "" or attempt.failed:
            await self._mark_page(attempt)
        try:
            return await self._metrics(attempt, snapshot, store_down)
        except Exception as error:  # such as a limit of the host; the snapshot is stored
            return [f"metrics: {cause_of(error)}"]

    async def _fail(self, error: Exception) -> None:
        """Record that an error ended the run, before anything was stored."""
        code = getattr(error, "exit_code", ExitCode.FAILED)
        store_down = code == ExitCode.SPOOLED
        for warning in await self.end(code, cause_of(error), None, None, store_down=store_down):
            log.warning("%s", warning)

    async def _interrupt(self) -> None:
        """Record that a signal ends the run, as far as time allows: the process is about to end."""
        self._ended = True
        if not self._may_write():  # it only waited for another run
            return
        attempt = self._interrupted()
        self._write_now(attempt)
        with anyio.move_on_after(INTERRUPTED_S, shield=True):
            await self._metrics(attempt, None, store_down=True)
            await self._mark_page(attempt)

    def _interrupted(self) -> Attempt:
        number = received()
        return replace(
            self._attempt,
            ended=datetime.now(UTC),
            exit_code=128 + number if number else int(ExitCode.FAILED),
            cause=f"ended by {signal.Signals(number).name}" if number else "cancelled",
        )

    def _write_now(self, attempt: Attempt) -> None:
        with contextlib.suppress(OSError):  # the next run takes it for killed
            if self._may_write():
                write_attempt(self._config.state_path, attempt, mode=self._config.state_mode)

    def _last_act(self) -> None:
        """Record the signal where it ends the process at once, unless the disk hangs."""
        if not self._ended and self._holds_lock:
            self._ended = True
            work = partial(self._write_now, self._interrupted())
            thread = threading.Thread(target=work, name="last-attempt", daemon=True)
            thread.start()
            thread.join(LAST_ACT_S)

    async def _write(self, attempt: Attempt, previous: Attempt | None = None) -> None:
        def work() -> None:
            if self._may_write():
                os.makedirs(self._config.state_path, mode=0o700, exist_ok=True)
                write_attempt(
                    self._config.state_path, attempt, previous, mode=self._config.state_mode
                )

        try:
            await self._in_time(work)
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or "no answer from the disk"
            where = escape(self._config.state_path)
            # Of a run that is refused for the same reason one line is enough.
            level = logging.WARNING if self._holds_lock else logging.DEBUG
            log.log(level, "%s: %s: `jwqlscan check` will not know of this run", where, reason)

    def _may_write(self) -> bool:
        """Tell whether no other run is in progress, whose record must stay."""
        return self._holds_lock or run_in_progress(self._config.state_path) is None

    async def _store(self, failure: Failure, monitored: bool = False) -> bool:
        """Store a failed run, and return whether that was done; no SQLite file is made for it."""
        try:
            async with open_store(self._config.database_url, Tables.IF_PRESENT) as store:
                if monitored and failure.ended is not None:
                    await store.record_failure(failure.started, failure.ended, failure.log_file)
                await record_failure(store, failure)
        except StoreError as error:
            log.debug("the failure could not be stored: %s", error)
            return False
        return True

    async def _mark_page(self, attempt: Attempt) -> None:
        outputs = self._config.outputs
        await mark_page(report_path(outputs), outputs, alarm_of(attempt))

    async def _metrics(
        self, attempt: Attempt, snapshot: Snapshot | None, store_down: bool
    ) -> list[str]:
        """Write the metrics, from what this run knows where the store can't be read."""
        path = self._config.metrics_path
        if not path or self.metrics_problem:
            return []
        evidence: Evidence | None = None
        if not store_down:
            with contextlib.suppress(StoreError):
                evidence = await gather(self._config.database_url)
        known = evidence is not None and bool(evidence.runs)
        if evidence is None:
            rows = () if snapshot is None else (run_row(snapshot),)
            evidence = Evidence(rows, next((row for row in rows if row.complete), None))
        spooled = await self._in_time(lambda: count_spooled(self._config.state_path))
        local = LocalState(self._config.state_path, None, Attempts(None, attempt), *spooled)
        try:
            await check_metrics(self._config)
            text = exposition(evidence, local)
            if not known:
                text = await self._in_time(lambda: with_known(text, path))
            await write_metrics(path, text)
        except JwqlscanError as error:  # monitoring sees the old ones; the run is as good
            return [str(error)]
        return []

    async def _in_time(self, work: Callable[[], Result]) -> Result:
        with anyio.fail_after(WRITE_TIMEOUT_S):
            return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


@contextlib.asynccontextmanager
async def recorded(config: Config, run_id: str, log_file: str = "") -> AsyncIterator[Recorder]:
    """Yield what records the attempt that is made while the block runs; record what refuses it."""
    recorder = Recorder(config, run_id, log_file)
    async with recorder.recording():
        yield recorder


async def record_report(config: Config, report_failure: str) -> None:
    """Record that `jwqlscan report` wrote the report that runs write, or why it could not.

    Nothing is recorded of another page, or of another database.
    """
    location = open_store(config.database_url).location

    def work() -> None:
        attempts = read_attempts(config.state_path)
        last = attempts.last
        if last is None or attempts.current is not None:  # a run in progress records its own
            return
        if last.page == report_path(config.outputs) and same_place(last.database, location):
            code = last.exit_code
            if code == ExitCode.REPORT_FAILED and not report_failure:
                code = int(ExitCode.COMPLETE)
            changed = replace(last, report_failure=report_failure, exit_code=code)
            write_attempt(config.state_path, changed, mode=config.state_mode)

    try:
        with anyio.fail_after(WRITE_TIMEOUT_S):
            await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    except (OSError, TimeoutError) as error:
        log.debug("%s: %s", escape(config.state_path), getattr(error, "strerror", "no answer"))


async def record_refusal(config: Config, run_id: str, error: ConfigError) -> None:
    """Record a run that was refused before it could record that itself."""
    last = read_attempts(config.state_path).last
    if last is None or last.run_id != run_id:
        with contextlib.suppress(ConfigError):
            async with recorded(config, run_id):
                raise error
