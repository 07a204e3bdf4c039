"""When a filesystem is full: a robust line through its recent past.

A pure function of columns, for `jwqlscan check` and the metrics. It knows neither store nor report.

Notes
-----
Theil-Sen: the median of the slopes between all pairs of points, which up to 29 % of wild points
(a clean-up, a mistaken df) do not move. The interval is Sen's, out of Kendall's statistic
(P. K. Sen, 1968, J. Am. Stat. Assoc. 63, 1379), for points that are independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

WINDOW = timedelta(days=90)
LEAST_POINTS = 5
LEAST_SPAN = timedelta(days=3)  # hours of one night say nothing of a month
MOST_POINTS = 200  # 19,900 pairs take some milliseconds; more points are thinned evenly
_DAY_S = 86_400.0
_Z = 1.96  # 95 %


@dataclass(frozen=True, slots=True)
class Forecast:
    """How fast a filesystem fills.

    Attributes
    ----------
    bytes_per_day, low, high : float
        The slope, and its interval of 95 %.
    days, earliest_days, latest_days : float
        From the last point until it is full, by those slopes; infinite where it does not fill.
    """

    bytes_per_day: float
    low: float
    high: float
    days: float
    earliest_days: float
    latest_days: float


def forecast(
    dates: Sequence[datetime],
    used: Sequence[float | None],
    size: Sequence[float | None],
    window: timedelta = WINDOW,
) -> Forecast | None:
    """Tell how fast a filesystem fills, and when it is full.

    Parameters
    ----------
    dates : sequence of datetime
        Ascending.
    used, size : sequence of float or None, bytes
        What is in use, and what there is to use; a point that lacks one is left out.
    window : timedelta
        How much of the past, back from the last point, counts.

    Returns
    -------
    Forecast or None
        None for less than `LEAST_POINTS` points, or for less time than `LEAST_SPAN`.
    """
    points = [
        (date, in_use, whole)
        for date, in_use, whole in zip(dates, used, size, strict=True)
        if in_use is not None and whole is not None
    ]
    points = [point for point in points if points[-1][0] - point[0] <= window]
    if len(points) < LEAST_POINTS or points[-1][0] - points[0][0] < LEAST_SPAN:
        return None
    room = points[-1][2] - points[-1][1]
    step = math.ceil(len(points) / MOST_POINTS)
    points = points[::-1][::step][::-1]  # the last stays
    slopes = sorted(
        (later[1] - earlier[1]) * _DAY_S / (later[0] - earlier[0]).total_seconds()
        for number, later in enumerate(points)
        for earlier in points[:number]
        if later[0] > earlier[0]
    )
    n = len(points)
    spread = _Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = slopes[max(0, math.floor((len(slopes) - spread) / 2))]
    high = slopes[min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))]
    slope = median(slopes)
    return Forecast(slope, low, high, _days(room, slope), _days(room, high), _days(room, low))


def _days(room: float, slope: float) -> float:
    if room <= 0:
        return 0.0
    return room / slope if slope > 0 else math.inf
