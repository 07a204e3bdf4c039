"""The verdict of `jwqlscan check`: the last runs against the thresholds of the configuration.

Notes
-----
The form is that of the Nagios plugin guidelines: one line, ``|``, performance data as
``'label'=value[unit];warning;critical;min;max``, and 0, 1, 2 or 3 as the exit status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from jwqlscan.config.loader import Config
from jwqlscan.errors import StoreError
from jwqlscan.model.baseline import COMPLETE, baseline
from jwqlscan.model.snapshot import ALL, MISSING
from jwqlscan.settings import Limits, Thresholds
from jwqlscan.state.local_state import LocalState, read_state
from jwqlscan.store import Tables, open_store
from jwqlscan.store.failures import Failure, newest_failure
from jwqlscan.store.queries import (
    AreaRow,
    Point,
    RunRow,
    archive_points,
    central_points,
    future_dates,
    last_complete_run,
    last_runs,
)
from jwqlscan.system.capacities import same_room
from jwqlscan.system.clock import future_warning, latest_date
from jwqlscan.units import counted, format_age, format_bytes


class Level(IntEnum):
    """Exit statuses of a plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One result."""

    level: Level
    text: str
    perfdata: str = ""


def plugin_text(text: str) -> str:
    r"""Return text for a plugin's line: a bar ends it, and Nagios turns semicolons into colons.

    A bar, or a semicolon within a word, is part of a name: it is escaped as other characters of
    names are (``\x7c``), as another one in its place would name another file.
    """
    return text.replace("|", r"\x7c").replace("; ", ", ").replace(";", r"\x3b")


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings; the worst one is the level, and critical is worse than unknown."""

    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The worst level."""
        order = (Level.CRITICAL, Level.WARNING, Level.UNKNOWN)
        levels = {finding.level for finding in self.findings}
        return next((level for level in order if level in levels), Level.OK)

    @property
    def line(self) -> str:
        """The plugin's line: what is wrong, or else what is fine."""
        reported = [f for f in self.findings if f.level] or list(self.findings)
        reported.sort(key=lambda finding: (finding.level is not Level.CRITICAL, finding.level))
        text = plugin_text(", ".join(finding.text for finding in reported))
        perfdata = " ".join(f.perfdata for f in self.findings if f.perfdata)
        return f"JWQLSCAN {self.level.name} - {text}" + (f" | {perfdata}" if perfdata else "")


# As much of the past as a forecast uses.
RECENT = timedelta(days=90)

# Among these there is a complete one, or the last complete one is too old anyway.
RUNS = 30


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is judged.

    Attributes
    ----------
    runs : sequence of RunRow
        The newest ones, newest first.
    complete : RunRow or None
        The newest complete one.
    points : mapping of str to sequence of Point
        The recent past by group.
    failed : Failure or None
        The newest run that failed, after all of these; or the newest of these, without a report.
    future : sequence of datetime
        Dates of runs in the future, newest first; they are in none of the above.
    """

    runs: Sequence[RunRow]
    complete: RunRow | None
    points: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    failed: Failure | None = None
    future: Sequence[datetime] = ()

    @property
    def before(self) -> RunRow | None:
        """The run that the newest is compared with.

        None if there is no complete run before, the newest did not read everything (it has less, of
        course), or its totals were accepted as they are.
        """
        newest = self.runs[0]
        if newest.status == "incomplete" or newest.accepted:
            return None
        return baseline(self.runs, newest)

    def days_until_full(self, group: str) -> float | None:
        """Return how long a group's filesystem lasts from its newest run on.

        0 if it is full; None if too little is known, or it does not fill.
        """
        from jwqlscan.history.forecast import reached, trend  # numpy: only when it is needed

        known = [
            (point.date, point.used_bytes, point.used_bytes + point.available_bytes)
            for point in self.points.get(group, ())
            if point.used_bytes is not None and point.available_bytes is not None
        ]
        if not known:
            return None
        dates, used, sizes = zip(*known, strict=True)
        full = reached(trend(dates, used), used[-1], sizes[-1])
        if full is not None and full.over:
            return 0.0
        if full is None or full.date is None:
            return None
        left: timedelta = full.date - dates[-1]
        return left / timedelta(days=1)


def unknown(problem: str, attempts: Sequence[Finding] = ()) -> Verdict:
    """Return the verdict where nothing can be judged but what the state directory knows."""
    return Verdict((Finding(Level.UNKNOWN, problem), *attempts))


def attempt_findings(
    local: LocalState,
    stored: Failure | None,
    max_age_s: Limits | None,
    now: datetime,
    newest: datetime | None = None,
) -> list[Finding]:
    """Return what is wrong with the last attempt, with what it left, and with one in progress.

    Parameters
    ----------
    local : LocalState
    stored : Failure or None
        The newest failed run in the store.
    max_age_s : (float, float) or None
        A run in progress for longer than the first explains why no newer one is stored.
    now : datetime
    newest : datetime, optional
        Start of the newest run in the store.
    """
    failure = local.failure(stored, newest)
    lines = [failure.line] if failure else []
    lines += local.lines
    running = local.running
    since = now if running is None else running.since or now
    if running is not None and max_age_s and (now - since).total_seconds() > max_age_s[0]:
        lines.append(running.line)
    return [Finding(Level.WARNING, line) for line in lines]


async def check(
    config: Config, on_local: Callable[[Sequence[Finding]], None] = lambda _: None
) -> Verdict:
    """Compare the last runs with the thresholds of the configuration.

    Parameters
    ----------
    config : Config
    on_local : callable, optional
        Called with what the state directory knows before the store is asked, which may not answer.
    """
    now = datetime.now(UTC)
    local = await read_state(config)
    limits = config.thresholds
    without_store = attempt_findings(local, None, limits.max_age_s, now)
    on_local(without_store)
    try:
        evidence = await gather(config.database_url, now)
    except StoreError as error:
        local = local.without_cause(str(error))
        return unknown(str(error), attempt_findings(local, None, limits.max_age_s, now))
    return judge(evidence, limits, now, local)


async def gather(database_url: str, now: datetime | None = None) -> Evidence:
    """Ask the store for what `judge` needs; where there is none yet, none is made."""
    until = latest_date(now)
    async with open_store(database_url, Tables.IF_PRESENT) as store:
        future = await future_dates(store, until)
        runs = await last_runs(store, RUNS, until)
        if not runs:
            failed = await newest_failure(store, None, until)
            return Evidence((), None, failed=failed, future=future)
        since = runs[0].date - RECENT
        # central_storage has no column for the used bytes: they are what is not available.
        central = [
            p._replace(
                used_bytes=None
                if p.size_bytes is None or p.available_bytes is None
                else p.size_bytes - p.available_bytes
            )
            for p in await central_points(store, ALL, since)
        ]
        archive = await archive_points(store, since)
        # Only complete runs of ours: in a trend through JWQL's rows too the switch is a step, as
        # JWQL added up the df of every area.
        points = {
            group: [p for p in found if p.status == COMPLETE and p.date <= until]
            for group, found in (("archive", archive), ("central", central))
        }
        failed = await newest_failure(store, runs[0].date, until)
        complete = await last_complete_run(store, until)
        return Evidence(runs, complete, points, failed, future)


def judge(
    evidence: Evidence,
    limits: Thresholds,
    now: datetime | None = None,
    local: LocalState | None = None,
) -> Verdict:
    """Compare with the thresholds; one that is None is not checked."""
    warning = future_warning(evidence.future)
    future = [Finding(Level.WARNING, warning)] if warning else []
    now = now or datetime.now(UTC)
    date = evidence.runs[0].date if evidence.runs else None
    local = local or LocalState()
    attempts = attempt_findings(local, evidence.failed, limits.max_age_s, now, date)
    if not evidence.runs and not future:
        return unknown("no run is stored yet: `jwqlscan run` makes one", attempts)
    if not evidence.runs:
        return Verdict((Finding(Level.CRITICAL, "no other run is stored"), *future, *attempts))
    newest = evidence.runs[0]
    findings = [_age(evidence.complete, limits.max_age_s, now)] if limits.max_age_s else []
    findings += future
    if not newest.complete:
        reason = f": {newest.incomplete_reasons[0]}" if newest.incomplete_reasons else ""
        findings.append(Finding(Level.WARNING, f"the last run is {newest.status}{reason}"))
    findings += [
        Finding(Level.WARNING, f"{area.label} is missing: {area.path}")
        for area in newest.areas
        if area.state == MISSING
    ]
    findings += attempts
    for area in _rooms(newest.areas):
        findings += _capacity(area, limits)
        if area.name == ALL:
            if limits.min_days_until_full:
                findings += _until_full(
                    area.group, evidence.days_until_full(area.group), limits.min_days_until_full
                )
            before = evidence.before
            findings += _contents(area, before.area(area.group) if before else None, limits)
    if not findings:
        findings.append(Finding(Level.OK, "no threshold is set"))
    return Verdict(tuple(findings))


def _age(complete: RunRow | None, limits: Limits, now: datetime) -> Finding:
    if complete is None:
        return Finding(Level.CRITICAL, "no complete run is stored")
    age = max(0.0, (now - complete.date).total_seconds())
    text = f"last complete run {format_age(age)} ago"
    return _above("age", age, "s", limits, text)


def _rooms(areas: Sequence[AreaRow]) -> list[AreaRow]:
    """Return an area for each room: the whole of a group, and parts that differ from all before.

    These lie in other filesystems, or have a quota.
    """
    rooms: list[AreaRow] = []
    for area in sorted(areas, key=lambda one: one.name != ALL):
        room = (area.size_bytes or 0, area.used_bytes or 0)
        known = ((one.size_bytes or 0, one.used_bytes or 0) for one in rooms)
        if area.name == ALL or not any(same_room(room, other) for other in known):
            rooms.append(area)
    return rooms


def _capacity(area: AreaRow, limits: Thresholds) -> list[Finding]:
    findings = []
    name, label = area.label, area.label.replace("/", "_")
    available, used = area.available_bytes, area.used_bytes
    if limits.min_free_percent and available is not None and used is not None and area.size_bytes:
        free = 100 * available / (used + available) if used + available else 0.0
        text = f"{name} {free:.1f} % free ({format_bytes(available)})"
        findings.append(_below(f"{label}_free", free, "%", limits.min_free_percent, text))
    if limits.min_free_inodes_percent and area.inodes and area.inodes_available is not None:
        free = 100 * area.inodes_available / area.inodes
        text = f"{name} {free:.1f} % of inodes free"
        findings.append(
            _below(f"{label}_inodes_free", free, "%", limits.min_free_inodes_percent, text)
        )
    return findings


def _until_full(group: str, days: float | None, limits: Limits) -> list[Finding]:
    if days is None:
        return []  # too short a history, or it does not fill: nothing to alert of
    text = f"{group} full in {counted(round(days), 'day')}"
    return [_below(f"{group}_days_until_full", days, "", limits, text)]


def _contents(area: AreaRow, previous: AreaRow | None, limits: Thresholds) -> list[Finding]:
    findings = []
    if limits.max_change_percent and previous is not None and previous.files:
        change = 100 * (area.files - previous.files) / previous.files
        text = f"{area.group} {counted(area.files, 'file')}, {change:+.1f} % since the run before"
        finding = _above(
            f"{area.group}_files_change", abs(change), "%", limits.max_change_percent, text
        )
        findings.append(finding)
    if limits.max_errors:
        errors = sum(area.errors.values())
        text = f"{area.group} {counted(errors, 'error')}"
        findings.append(_above(f"{area.group}_errors", errors, "", limits.max_errors, text))
    if limits.max_unrecognized:
        names = counted(area.unrecognized, "name not recognized", "names not recognized")
        text = f"{area.group} {names}"
        label = f"{area.group}_unrecognized"
        findings.append(_above(label, area.unrecognized, "", limits.max_unrecognized, text))
    return findings


def _above(label: str, value: float, unit: str, limits: Limits, text: str) -> Finding:
    warning, critical = limits
    level = Level(2 if value > critical else 1 if value > warning else 0)
    perfdata = f"'{label}'={_number(value)}{unit};{_number(warning)};{_number(critical)};0"
    return Finding(level, text, perfdata)


def _below(label: str, value: float, unit: str, limits: Limits, text: str) -> Finding:
    warning, critical = limits
    level = Level(2 if value < critical else 1 if value < warning else 0)
    perfdata = f"'{label}'={_number(value)}{unit};{_number(warning)}:;{_number(critical)}:;0"
    return Finding(level, text, perfdata)


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")  # never with an exponent
