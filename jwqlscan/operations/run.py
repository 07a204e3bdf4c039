"""The main job: measure, store, report. One run reads top to bottom in `run`."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import anyio

from jwqlscan._version import __version__
from jwqlscan.config.loader import Config
from jwqlscan.config.useless_patterns import useless_patterns
from jwqlscan.errors import (
    ExitCode,
    LastingWarning,
    ReportError,
    StoreError,
    StoreUnavailableError,
    cause_of,
    most_severe,
    single_errors,
)
from jwqlscan.model.capped_sums import capped_warnings
from jwqlscan.model.snapshot import ALL, MISSING, AreaSnapshot, Capacity, Snapshot, worst_state
from jwqlscan.monitoring.notify import Ending, Notifier, notified
from jwqlscan.operations import preflight
from jwqlscan.operations.areas import (
    check_not_emptied,
    choose_areas,
    link_warnings,
    missing_warnings,
    probe_paths,
    suspicions,
)
from jwqlscan.operations.attempt_recorder import Recorder, recorded
from jwqlscan.operations.earlier_areas import Earlier, earlier_areas
from jwqlscan.operations.preflight_metrics import metrics_problem
from jwqlscan.operations.report import report
from jwqlscan.operations.snapshot_storage import failure_line, store_snapshot, thin
from jwqlscan.reporting import warm_up
from jwqlscan.resource_limits import shortage
from jwqlscan.scanning.display import Display
from jwqlscan.scanning.measure import Measurement, measure, probe_seconds
from jwqlscan.scanning.readers import fallback_warning
from jwqlscan.scanning.supervisor import Supervisor
from jwqlscan.settings import ScanSettings
from jwqlscan.state.reported_warnings import unreported
from jwqlscan.state.run_in_progress import noted_progress
from jwqlscan.store import LastArea, Store, open_store
from jwqlscan.system.capacities import total_capacity, with_mount
from jwqlscan.system.clock import check_clock, future_warning, latest_date
from jwqlscan.system.df import DfError, capacity
from jwqlscan.system.lock import LOCK_FILE, waited_lock
from jwqlscan.system.mounts import mount_at
from jwqlscan.units import counted, format_bytes, format_seconds

log = logging.getLogger(__name__)

# What opening the roots, and df, get even where scan.max_runtime is over.
MIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, when it measured something.

    Attributes
    ----------
    snapshot : Snapshot
    exit_code : ExitCode
    store : str
        Where the snapshot is: the store's location or, if it can't be reached, the spool file.
    written : tuple of str
        Report files.
    warnings : tuple of str
        What a reader of the numbers must know, one line each.
    """

    snapshot: Snapshot
    exit_code: ExitCode
    store: str
    written: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Run:
    """What is known of the run from its start."""

    started: datetime
    log_file: str
    run_id: str
    began: float = field(default_factory=time.monotonic)
    store_was_down: bool = False  # before the scan
    metrics_problem: str = ""  # why the metrics can't be written
    warnings: list[str] = field(default_factory=list)  # of what was found before the scan

    def warn(self, text: str) -> None:
        """Log a warning, and keep it for the outcome; an empty one is none."""
        if text:
            log.warning("%s", text)
            self.warnings.append(text)

    def at_most(self, seconds: float, config: Config) -> float:
        """Return how long something may take that is not to outlive ``scan.max_runtime``."""
        allowed = config.scan.max_runtime_s or math.inf
        return min(seconds, max(MIN_S, self.began + allowed - time.monotonic()))


async def run(
    config: Config,
    *,
    allow_empty: bool = False,
    allow_drop: bool = False,
    with_report: bool = True,
    wait_s: float = 0.0,
    log_file: str = "",
    run_id: str | None = None,
    display: Display | None = None,
) -> Outcome:
    """Measure the archive and central storage, store one snapshot, write the report.

    Parameters
    ----------
    config : Config
    allow_empty : bool
        Take areas that are missing, unreadable or suddenly empty, and all totals, as they are.
    allow_drop : bool
        Take totals that fell by more than ``scan.max_drop`` as they are.
    with_report : bool
    wait_s : float
        How long to wait while another run holds the lock.
    log_file : str
        Noted in the `monitor` table.
    run_id : str, optional
        A UUID that names the run; without it a new one.
    display : Display, optional

    Returns
    -------
    Outcome
        Also when the snapshot is incomplete, waits in the spool, or the report failed.

    Raises
    ------
    ConfigError, LockedError
        Before anything is measured.
    ClockError
        The system clock was never set.
    ScanFailedError
        An area can't be measured; nothing is stored but a FAILURE row in `monitor`.
    """
    this = _Run(datetime.now(UTC), log_file, run_id or str(uuid.uuid4()))
    async with (
        notified(config.notifications, this.run_id) as notifier,
        recorded(config, this.run_id, log_file) as recorder,
    ):
        outcome = await _run(
            config,
            this,
            notifier,
            recorder,
            allow_empty,
            allow_drop,
            with_report,
            wait_s,
            display or Display(),
        )
        notifier.ending = _ending(outcome)
    return outcome


async def _run(
    config: Config,
    this: _Run,
    notifier: Notifier,
    recorder: Recorder,
    allow_empty: bool,
    allow_drop: bool,
    with_report: bool,
    wait_s: float,
    display: Display,
) -> Outcome:
    await preflight.check(config)
    lock = os.path.join(config.state_path, LOCK_FILE)
    async with waited_lock(lock, wait_s) as fd, recorder.recording():
        # Not before: it may have waited for hours.
        this.started, this.began = datetime.now(UTC), time.monotonic()
        await recorder.begin(this.started)
        check_clock(this.started)
        notifier.begin()
        with noted_progress(display, fd) as noted:
            return await _attempt(
                config, this, recorder, allow_empty, allow_drop, with_report, noted
            )


async def _attempt(
    config: Config,
    this: _Run,
    recorder: Recorder,
    allow_empty: bool,
    allow_drop: bool,
    with_report: bool,
    display: Display,
) -> Outcome:
    """Make the run, and record how it ended; the lock is held."""
    store = open_store(config.database_url)
    last, complete, future = await _before(store, this)
    snapshot = await _measure(config, this, last, allow_empty, with_report, display)
    recorder.metrics_problem = this.metrics_problem
    if allow_drop or allow_empty:
        snapshot = replace(snapshot, accepted=True)
    else:
        doubts = suspicions(snapshot.areas, complete, config.max_drop_percent)
        snapshot = replace(snapshot, suspicions=doubts)
    display.phase("storing")
    stored = await store_snapshot(config, store, snapshot)
    codes, warnings = stored.codes, stored.warnings
    warnings += [future_warning(future)] if future else []
    is_down = ExitCode.SPOOLED in codes
    if this.store_was_down and not is_down:
        warnings.append(
            f"{store.location}: no answer before the scan: nothing was compared with it"
        )
    if config.insight.thin_after_s and not is_down:
        warnings += await thin(config, store)
    written: tuple[str, ...] = ()
    report_failure: str | None = None
    if with_report and not is_down:
        display.phase("writing the report")
        written, report_failure = await _report(config, store)
        if report_failure:
            codes.append(ExitCode.REPORT_FAILED)
            warnings.append(report_failure)
    code = most_severe(codes)
    warnings += await recorder.end(code, stored.cause, report_failure, snapshot, store_down=is_down)
    if problem := fallback_warning(config.scan.reader, snapshot.reader):
        warnings.append(LastingWarning(problem))
    warnings += missing_warnings(snapshot)
    warnings += link_warnings(snapshot.areas, config.scan)
    warnings += capped_warnings(snapshot.areas)
    roots = [area.path for area in snapshot.areas]
    if problem := useless_patterns(config.scan, roots, config.source):
        warnings.append(LastingWarning(problem))
    for warning in await unreported(config.state_path, warnings, all_known=not is_down):
        log.warning("%s", warning)
    lines = (*stored.errors, *this.warnings, *warnings)
    return Outcome(snapshot, code, stored.location, written, lines)


async def _report(config: Config, store: Store) -> tuple[tuple[str, ...], str]:
    """Write the report; return its files and, if it could not be written, why."""
    try:
        return await report(config, in_run=True), ""
    except (ReportError, StoreError) as error:
        return (), await failure_line(store, error)
    except Exception as error:  # what was measured is stored all the same
        where = "" if shortage(error) else "; `jwqlscan report --debug` shows where"
        return (), f"the report: {cause_of(error)}{where}"


def _ending(outcome: Outcome) -> Ending:
    """Return the summary for notifications: counts and sizes, no names."""
    snapshot = outcome.snapshot
    totals = [
        f"{area.group} {counted(area.tally.files, 'file')},"
        f" {format_bytes(area.tally.apparent_bytes)}"
        for area in snapshot.areas
        if area.name == ALL
    ]
    took = f"{snapshot.status} in {format_seconds(snapshot.seconds)}"
    return Ending(snapshot.status, outcome.exit_code, "; ".join((took, *totals)))


async def _before(store: Store, this: _Run) -> Earlier:
    """Return what is stored of earlier runs; nothing if the store can't be read."""
    try:
        return await earlier_areas(store, latest_date(this.started))
    except StoreError as error:
        this.store_was_down = isinstance(error, StoreUnavailableError)
        # If it still is after the scan, that is reported then, once.
        level = logging.INFO if this.store_was_down else logging.WARNING
        log.log(level, "%s; measuring all the same", await failure_line(store, error))
        return Earlier(None, {}, [])


async def _measure(
    config: Config,
    this: _Run,
    last: Mapping[tuple[str, str], LastArea] | None,
    allow_empty: bool,
    with_report: bool,
    display: Display,
) -> Snapshot:
    """Scan and ask df, side by side."""
    display.phase("looking at the areas")
    supervisor = Supervisor()
    try:
        timeout_s = this.at_most(probe_seconds(config.scan), config)
        found = await supervisor.probe(probe_paths(config), timeout_s)
        areas = choose_areas(config, found, last, allow_empty)
        await preflight.check_outside(config, areas, found)
        this.metrics_problem = await metrics_problem(config, areas, found)
        this.warn(this.metrics_problem)
        display.phase("scanning")
        totals = {(area.group, ALL) for area in areas}
        display.expect(sum(area.entries for key, area in (last or {}).items() if key in totals))
        started = time.monotonic()
        capacities: dict[str, Capacity | None] = {}

        async def probe(path: str) -> None:
            try:
                timeout_s = this.at_most(config.df_timeout_s, config)
                capacities[path] = await capacity(path, timeout_s)
            except DfError as error:
                capacities[path] = None
                log.warning("%s", error)

        with single_errors():
            async with anyio.create_task_group() as tasks:
                if with_report:
                    tasks.start_soon(warm_up)  # importing bokeh takes long: do it meanwhile
                for path in {area.path for area in areas if not found[area.path].errno}:
                    tasks.start_soon(probe, path)
                settings = _scan_settings(config, this)
                measurement = await measure(
                    supervisor, areas, found, settings, display.progress, this.began
                )
    finally:
        supervisor.close()
    if not allow_empty:
        check_not_emptied(measurement.areas, last, config)
    seconds = time.monotonic() - started
    mounts = {area.path: mount_at(found[area.path].real) for area in areas}
    capacities = {path: with_mount(one, mounts[path]) for path, one in capacities.items()}
    devices = {
        path: found[path].device if mount is None else mount.device
        for path, mount in mounts.items()
    }
    return _snapshot(config, this, measurement, capacities, devices, seconds)


def _scan_settings(config: Config, this: _Run) -> ScanSettings:
    if not config.insight.enabled:
        return config.scan
    now = int(this.started.timestamp())
    return replace(config.scan, ages_from_s=now, directories=config.insight.directories)


def _snapshot(
    config: Config,
    this: _Run,
    measurement: Measurement,
    capacities: Mapping[str, Capacity | None],
    devices: Mapping[str, int],
    seconds: float,
) -> Snapshot:
    archive = [one for one in measurement.areas if one.area.group == "archive"]
    areas = [
        AreaSnapshot(
            one.area.group,
            one.area.name,
            one.area.path,
            one.tally,
            capacities.get(one.area.path),
            one.state,
            one.note,
        )
        for one in measurement.areas
    ]
    if archive and not any(one.area.name == ALL for one in archive):
        assert config.archive_path is not None
        there = [one for one in archive if one.state != MISSING] or archive
        worst = worst_state(one.state for one in there)
        total = AreaSnapshot(
            "archive",
            ALL,
            config.archive_path,
            measurement.union(archive, config.archive_path),
            total_capacity((devices[a.area.path], capacities.get(a.area.path)) for a in there),
            worst,
            next((f"{a.area.name}: {a.note}" for a in there if a.note and a.state == worst), ""),
        )
        areas.insert(0, total)
    for area in areas:
        most = config.insight
        area.tally.cube.bound(most.max_classes, most.max_owners, most.max_programs)
    return Snapshot(
        run_id=this.run_id,
        timestamp=this.started,
        ended=datetime.now(UTC),
        host=socket.gethostname(),
        version=__version__,
        reader=measurement.reader,
        workers=measurement.workers,
        seconds=seconds,
        areas=tuple(areas),
        log_file=this.log_file,
    )
