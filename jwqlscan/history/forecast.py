"""When a filesystem is full: a robust trend over the recent window, with its uncertainty.

The slope is that of Theil (1950) and Sen (1968): the median of the slopes between all pairs of
points. Up to 29 % of the points may be anything (a purge that was undone, a mount that was
missing) and it does not follow them; a line between two points, or of least squares, does. Its
interval is Sen's: the slopes whose ranks are as far from the median's as Kendall's statistic would
stray by chance, 5 % on each side. The trend starts at the median of what is left of the newest
quarter of the points when the slope is taken off, so that a step in the window (a clean-up, a bulk
load) moves the level and not the slope; the points' scatter around it, as 1.4826 times the median
deviation, is added to both ends of the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Shorter and one busy week is taken for the trend; longer and the trend is that of a year ago.
WINDOW = timedelta(days=90)
MIN_SPAN = timedelta(days=7)
MIN_POINTS = 5
FARTHEST = timedelta(days=20 * 365.25)  # beyond that a forecast means nothing
# All pairs of these are 45,000 slopes, 1 ms; more points are thinned evenly.
_MAX_POINTS = 300
_NORMAL_95 = 1.6449  # 5 % on each side: the interval holds 90 %
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line, and how far it may be off.

    Attributes
    ----------
    start : datetime
        The newest run's date; the trend begins there.
    level : float
        The value there, without the newest points' scatter.
    per_day, low_per_day, high_per_day : float
    scatter : float
        One standard deviation of the points around the line.
    days : float
        How long the window was.
    """

    start: datetime
    level: float
    per_day: float
    low_per_day: float
    high_per_day: float
    scatter: float
    days: float

    def at(self, days: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the line, its lower and its upper end, at a number of days after the start."""
        spread = _NORMAL_95 * self.scatter
        return (
            self.level + self.per_day * days,
            self.level + self.low_per_day * days - spread,
            self.level + self.high_per_day * days + spread,
        )


@dataclass(frozen=True, slots=True)
class Reached:
    """The day a limit is reached.

    Attributes
    ----------
    over : bool
        It is reached already; there are no dates then.
    date, earliest, latest : datetime or None
        `latest` is None where the interval of the slope holds zero: perhaps never. All are None if
        that day is beyond `FARTHEST`.
    """

    over: bool = False
    date: datetime | None = None
    earliest: datetime | None = None
    latest: datetime | None = None


def trend(dates: Sequence[datetime], values: Sequence[float]) -> Trend | None:
    """Return the trend of the newest `WINDOW`, or None if there are too few points.

    Parameters
    ----------
    dates : sequence of datetime
        Ascending; runs that are not complete have been left out.
    values : sequence of float
    """
    rows = [row for row, date in enumerate(dates) if date >= dates[-1] - WINDOW]
    if len(rows) > _MAX_POINTS:
        rows = [rows[n] for n in np.linspace(0, len(rows) - 1, _MAX_POINTS).round().astype(int)]
    if len(rows) < MIN_POINTS or dates[rows[-1]] - dates[rows[0]] < MIN_SPAN:
        return None
    start = dates[-1]
    x = np.array([(dates[row] - start) / timedelta(days=1) for row in rows])
    y = np.array([values[row] for row in rows], dtype=float)
    first, second = np.triu_indices(len(x), 1)
    gaps = x[second] - x[first]
    slopes = np.sort((y[second] - y[first])[gaps > 0] / gaps[gaps > 0])
    slope = float(np.median(slopes))
    n = len(x)
    # Sen's interval, from the variance of Kendall's statistic without ties.
    stray = _NORMAL_95 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = slopes[max(0, math.floor((len(slopes) - stray) / 2))]
    high = slopes[min(len(slopes) - 1, math.ceil((len(slopes) + stray) / 2))]
    newest = (y - slope * x)[-max(MIN_POINTS, n // 4) :]
    level = float(np.median(newest))
    scatter = float(_MAD_TO_SIGMA * np.median(np.abs(newest - level)))
    return Trend(start, level, slope, float(low), float(high), scatter, float(x[-1] - x[0]))


def reached(line: Trend | None, newest: float, limit: float) -> Reached | None:
    """Return when a limit is reached; None without a trend or without growth.

    Parameters
    ----------
    line : Trend or None
    newest : float
        What is there now.
    limit : float
        What fits; 0 of a filesystem that reports no size.
    """
    if limit <= 0:
        return None
    if newest >= limit:
        return Reached(over=True)
    if line is None or line.per_day <= 0:
        return None
    left = limit - line.level
    spread = _NORMAL_95 * line.scatter
    date = _after(line.start, left / line.per_day)
    if date is None:
        return Reached()
    earliest = _after(line.start, (left - spread) / line.high_per_day)
    latest = None
    if line.low_per_day > 0:
        latest = _after(line.start, (left + spread) / line.low_per_day)
    return Reached(date=date, earliest=earliest, latest=latest)


def _after(start: datetime, days: float) -> datetime | None:
    return start + timedelta(days=max(days, 0.0)) if days < FARTHEST.days else None
