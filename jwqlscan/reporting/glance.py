"""The newest run at a glance: the totals at the top of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jwqlscan.history import GeneralColumns, History
from jwqlscan.units import TIB_BYTES, format_bytes, format_count

# Growth is told over the run nearest to a month ago: a week wobbles, a year hides the trend.
_GROWTH = timedelta(days=30)
_FORECAST = timedelta(days=90)
_LEAST_FORECAST = timedelta(days=28)
_FARTHEST_YEARS = 20  # beyond that a forecast says nothing


@dataclass(frozen=True, slots=True)
class Fact:
    """One number, with its name above and what to know about it below."""

    name: str
    value: str
    remark: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Glance:
    """The newest run in a few numbers.

    Attributes
    ----------
    newest : datetime or None
        None if there is no run yet.
    runs : int
    incomplete, sample : bool
        Of the newest run.
    facts : tuple of Fact
    """

    newest: datetime | None = None
    runs: int = 0
    incomplete: bool = False
    sample: bool = False
    facts: tuple[Fact, ...] = ()

    @property
    def time(self) -> str:
        """The newest run's time, as people read it."""
        return f"{self.newest:%Y-%m-%d %H:%M:%S} UTC" if self.newest else ""


def glance(history: History) -> Glance:
    """Return the newest run at a glance."""
    general = history.general
    if not general.date:
        columns = [
            *(column.date for column in history.products.values() if column.date),
            *(column.date for column in history.central.values() if column.date),
        ]
        last = max((dates[-1] for dates in columns), default=None)
        return Glance(newest=last, runs=max(map(len, columns), default=0))
    newest = general.date[-1]
    return Glance(
        newest=newest,
        runs=len(general.date),
        incomplete=newest in history.incomplete_dates,
        sample=newest in history.sample_dates,
        facts=tuple(_facts(general)),
    )


def _facts(general: GeneralColumns) -> list[Fact]:
    files, size = general.total_file_count, general.total_file_size
    fits, fits_size = general.fits_file_count, general.fits_file_size
    facts = [
        Fact("Files", format_count(files[-1]), _growth(general.date, files, whole=True)),
        Fact("Size", _size(size[-1]), _growth(general.date, size, whole=False)),
        Fact(
            "FITS files",
            format_count(fits[-1]),
            f"{_size(fits_size[-1])} · {_percent(fits[-1], files[-1])} of all files",
        ),
    ]
    used, free = general.used[-1], general.available[-1]
    if used is None or free is None:
        return [*facts, Fact("Disk", "unknown", "df gave no answer in the newest run")]
    share = used / (used + free) if used + free > 0 else None
    facts.append(Fact("Disk used", _size(used), f"of {_size(used + free)}", share))
    facts.append(Fact("Disk free", _size(free), _forecast(general)))
    return facts


def _growth(dates: Sequence[datetime], values: Sequence[float], *, whole: bool) -> str:
    before = [row for row, date in enumerate(dates) if date <= dates[-1] - _GROWTH]
    row = before[-1] if before else 0
    if row == len(dates) - 1:
        return ""
    change = values[-1] - values[row]
    text = format_count(int(abs(change))) if whole else _size(abs(change))
    return f"{'−' if change < 0 else '+'}{text} since {dates[row]:%Y-%m-%d}"


def _forecast(general: GeneralColumns) -> str:
    """Say when the disk is full if it goes on as in the last 90 days."""
    newest = general.date[-1]
    known = [
        (date, used)
        for date, used in zip(general.date, general.used, strict=True)
        if used is not None and date >= newest - _FORECAST
    ]
    free = general.available[-1]
    if free is None or not known or newest - known[0][0] < _LEAST_FORECAST:
        return ""
    days = (newest - known[0][0]) / timedelta(days=1)
    per_day = (known[-1][1] - known[0][1]) / days
    if per_day <= 0:
        return f"not growing over {days:.0f} days"
    left_years = free / per_day / 365.25
    if left_years > _FARTHEST_YEARS:
        return f"more than {_FARTHEST_YEARS} years at the last {days:.0f} days' rate"
    full = newest + timedelta(days=free / per_day)
    return f"full about {full:%b %Y} at the last {days:.0f} days' rate"


def _size(size_tib: float) -> str:
    return format_bytes(size_tib * TIB_BYTES)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"
