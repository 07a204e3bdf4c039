"""The newest run at a glance: the top of the page, to be read in five seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from jwqlscan.model.baseline import COMPLETE, baseline, comparable
from jwqlscan.model.history import History, PastRun
from jwqlscan.reporting.filesystems import Filesystem, filesystems
from jwqlscan.reporting.plots.theme import label_text
from jwqlscan.reporting.tabs.base import Cell, Size
from jwqlscan.reporting.tabs.capacity import full_text, interval
from jwqlscan.text import escape_controls
from jwqlscan.units import TIB_BYTES, format_seconds, format_time

_SPANS = (7, 30)  # days
# A run found for "30 days ago" is at most a third of that off; else there was none.
_OFF = 1 / 3
# Nightly runs that are a day and a half old have missed a night.
_MIN_STALE = timedelta(hours=36)
_STALE_INTERVALS = 2.5
_RECENT_RUNS = 15
MAX_REASONS = 5


@dataclass(frozen=True, slots=True)
class Change:
    """How a number has changed: since when, by how much ("" unknown)."""

    since: str
    sign: str
    by: Cell


@dataclass(frozen=True, slots=True)
class Fact:
    """One number, with its name above and what to know about it below."""

    name: str
    value: Cell
    remark: str = ""
    changes: tuple[Change, ...] = ()
    warn: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """A filesystem in a line: how full, and when it is full.

    Attributes
    ----------
    level : str
        ``ok``, ``high`` (over 90 %) or ``over``.
    """

    name: str
    remark: str
    share: float
    free: Size
    size: Size
    forecast: str
    interval: str
    level: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The newest run in a few numbers.

    Attributes
    ----------
    newest : datetime or None
        None if there is no run yet.
    runs : int
    status : str
        Of the newest run; "" where it is a run of JWQL's monitor.
    reasons : tuple of str
        Why it is not complete.
    more_reasons : int
    remark : str
        How long it took, and what its numbers are if they are not to be trusted.
    stale_after_s : float
        A newest run older than this has been missed by the next.
    sample : bool
        The newest run was made up.
    facts : tuple of Fact
    disks : tuple of Disk
    """

    newest: datetime | None = None
    runs: int = 0
    status: str = ""
    reasons: tuple[str, ...] = ()
    more_reasons: int = 0
    remark: str = ""
    stale_after_s: float = _MIN_STALE.total_seconds()
    sample: bool = False
    facts: tuple[Fact, ...] = ()
    disks: tuple[Disk, ...] = ()

    @property
    def time(self) -> str:
        """The newest run's time, as people read it."""
        return format_time(self.newest) if self.newest else ""


def summarize(history: History) -> Summary:
    """Return the newest run at a glance."""
    dates = _dates(history)
    if not dates:
        return Summary()
    newest, runs = dates[-1], history.runs
    ours = bool(runs.date) and runs.date[-1] == newest
    reasons = runs.reasons[-1] if ours else []
    remark = f"took {format_seconds(runs.seconds[-1])}" if ours else ""
    facts, of = _facts(history)
    if of is not None and of != newest:
        remark += f"{'; ' if remark else ''}the numbers here are of {format_time(of)}"
    steps = [(b - a).total_seconds() for a, b in pairwise(dates)]
    usual = median(steps[-_RECENT_RUNS:]) if steps else 0.0
    return Summary(
        newest=newest,
        runs=len(dates),
        status=escape_controls(runs.status[-1]) if ours else "",
        reasons=tuple(escape_controls(reason) for reason in reasons[:MAX_REASONS]),
        more_reasons=max(0, len(reasons) - MAX_REASONS),
        remark=remark,
        stale_after_s=max(_MIN_STALE.total_seconds(), _STALE_INTERVALS * usual),
        sample=newest in history.sample_dates,
        facts=tuple(facts),
        disks=tuple(map(_disk, filesystems(history))),
    )


def _dates(history: History) -> list[datetime]:
    """Return when the runs were, our own and JWQL's."""
    columns = [history.general.date, history.runs.date]
    if not any(columns):
        columns = [
            *(column.date for column in history.products.values()),
            *(column.date for column in history.central.values()),
        ]
    return sorted(set().union(*columns))


def _facts(history: History) -> tuple[list[Fact], datetime | None]:
    """Return the archive's numbers, and of when: the newest run that is complete, if any is."""
    general = history.general
    facts: list[Fact] = []
    of = None
    if general.date:
        past = history.runs_of(general.date)
        shown = (comparable(past, past[-1]) or past)[-1]
        last, of = shown.row, shown.date
        files = general.total_file_count
        sizes = [size * TIB_BYTES for size in general.total_file_size]
        fits, fits_size = general.fits_file_count[last], general.fits_file_size[last] * TIB_BYTES
        facts = [
            Fact("Files", files[last], changes=_changes(past, shown, files, sizes=False)),
            Fact("Bytes", Size(sizes[last]), changes=_changes(past, shown, sizes, sizes=True)),
            Fact(
                "FITS share",
                _percent(fits, files[last]),
                f"of files; {_percent(fits_size, sizes[last])} of bytes",
                (Change("files", "", fits), Change("bytes", "", Size(fits_size))),
            ),
        ]
    runs = history.runs
    if runs.date:
        errors, names = sum(runs.errors[-1].values()), runs.unrecognized[-1]
        past = history.runs_of(runs.date)
        base = baseline(past, past[-1])
        added = 0
        changes: tuple[Change, ...] = ()
        # An incomplete run has not seen all names, so its number is compared with nothing.
        if base is not None and past[-1].status == COMPLETE:
            added = names - runs.unrecognized[base.row]
            changes = (_change("last run", added, sizes=False),)
        facts.append(Fact("Unrecognized names", names, "", changes, warn=added > 0))
        facts.append(Fact("Read errors", errors, _kinds(runs.errors[-1]), warn=errors > 0))
    return facts, of


def _kinds(errors: dict[str, int]) -> str:
    most = sorted(errors.items(), key=lambda one: (-one[1], one[0]))
    text = ", ".join(f"{number:,} {label_text(kind)}" for kind, number in most)
    return text or "in the newest run"


def _changes(
    past: Sequence[PastRun], newest: PastRun, values: Sequence[float], *, sizes: bool
) -> tuple[Change, ...]:
    """Return how a number has changed since the baseline, and since 7 and 30 days ago."""
    base = baseline(past, newest)
    if base is None:
        return ()
    changes = [_change("last run", values[newest.row] - values[base.row], sizes=sizes)]
    for days in _SPANS:
        wanted = newest.date - timedelta(days=days)
        near = baseline(past, newest, wanted)
        if near is not None and abs(near.date - wanted) <= timedelta(days=days) * _OFF:
            change = values[newest.row] - values[near.row]
            changes.append(_change(f"{days} days", change, sizes=sizes))
    return tuple(changes)


def _change(since: str, by: float, *, sizes: bool) -> Change:
    sign = "+" if by > 0 else "−" if by < 0 else "±"
    return Change(since, sign, Size(abs(by)) if sizes else int(abs(by)))


def _disk(one: Filesystem) -> Disk:
    over = one.full is not None and one.full.over
    high = one.almost_full is not None and one.almost_full.over
    forecast = full_text(one.full)
    if not forecast:
        forecast = "not growing" if one.trend else "too little data for a forecast"
    return Disk(
        name=one.name,
        remark=one.remark,
        share=one.share,
        free=Size(one.available[-1] * TIB_BYTES),
        size=Size((one.size[-1] or 0.0) * TIB_BYTES),
        forecast=forecast,
        interval=interval(one.full),
        level="over" if over else "high" if high else "ok",
    )


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"
