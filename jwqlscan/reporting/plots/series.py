"""Series: the history's columns lined up as arrays on one time axis, without Bokeh."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from jwqlscan.model.history import History
from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.theme import Style, Unit
from jwqlscan.reporting.plots.thinning import BoolArray, FloatArray, kept_rows

# A line is broken where no run was for 1.75 times the usual interval: one missed night of daily
# runs is a gap, a run that was late by half a day is not.
_GAP_STEPS = 1.75
_MIN_GAP_MS = 36 * 3_600_000.0
_NEIGHBOURS = 15  # intervals by which the usual one is known


@dataclass(frozen=True, slots=True)
class Series:
    """One curve.

    Attributes
    ----------
    label : str
        Safe to show.
    style : Style
    values : ndarray of float, shape (n_rows,)
        NaN where there is none.
    """

    label: str
    style: Style
    values: FloatArray


@dataclass(frozen=True, slots=True)
class Future:
    """A forecast to be drawn beyond the newest run: arrays of equal length.

    Attributes
    ----------
    times : ndarray of float, ms since 1970 in UTC
    line, low, high : ndarray of float
    limit : float
        What the line is to reach.
    """

    times: FloatArray
    line: FloatArray
    low: FloatArray
    high: FloatArray
    limit: float


@dataclass(frozen=True, slots=True)
class PlotData:
    """One plot's numbers.

    Attributes
    ----------
    title, section : str
    unit : Unit
    times : ndarray of float, shape (n_rows,), ms since 1970 in UTC
    complete : ndarray of bool, shape (n_rows,)
        False where a run could not read everything. Between such a run and a complete one there is
        a row without values: a curve that went through both would show a fall that never was.
    series : tuple of Series
        The largest newest value first.
    largest : float
        Of all values; 0 if there is none.
    stacked : bool
        The series are parts of a whole, drawn one upon the other. Gaps are zeros then.
    future : Future, optional
    """

    title: str
    section: str
    unit: Unit
    times: FloatArray
    complete: BoolArray
    series: tuple[Series, ...]
    largest: float
    stacked: bool = False
    future: Future | None = None

    @property
    def file_stem(self) -> str:
        """The plot's name in file names."""
        return self.title.lower().replace(" ", "_")


@dataclass(frozen=True, slots=True)
class Curve:
    """A series before its dates are lined up with the others': pieces to be added."""

    label: str
    style: Style
    pieces: Sequence[tuple[Sequence[datetime], Sequence[float | None]]]


def plot_data(
    history: History,
    title: str,
    section: str,
    unit: Unit,
    curves: Sequence[Curve],
    *,
    as_given: bool = False,
) -> PlotData:
    """Line the curves' dates up and choose the rows that are drawn.

    Parameters
    ----------
    history : History
        Says which runs are not complete.
    title, section : str
    unit : Unit
    curves : sequence of Curve
        Those without any value are left out.
    as_given : bool
        Keep the curves in their order; else the largest newest value comes first.
    """
    axis = _axis([dates for curve in curves for dates, _ in curve.pieces])
    lined_up = [_values(axis, curve) for curve in curves]
    kept = [index for index, values in enumerate(lined_up) if np.isfinite(values).any()]
    matrix = np.array([lined_up[index] for index in kept]).reshape(len(kept), len(axis))
    incomplete = history.incomplete_dates
    complete = np.array([date not in incomplete for date in axis] if incomplete else [True], bool)
    complete = np.broadcast_to(complete, (len(axis),))
    rows = kept_rows(matrix, np.flatnonzero(~complete))
    all_times = np.array([ms(date) for date in axis])
    times, complete, matrix, largest = (
        all_times[rows],
        complete[rows],
        matrix[:, rows],
        float(np.nanmax(matrix)) if kept else 0.0,
    )
    breaks = np.union1d(_breaks(all_times), _origin_changes(history, axis, all_times))
    breaks = np.sort(np.concatenate([breaks, _turns(times, complete, breaks)]))
    if len(breaks):
        places = np.searchsorted(times, breaks)
        times = np.insert(times, places, breaks)
        complete = np.insert(complete, places, True)
        matrix = np.insert(matrix, places, np.nan, axis=1)
    order = list(range(len(kept)))
    if not as_given:
        newest = [_newest(values) for values in matrix]
        order.sort(key=lambda n: (-newest[n], curves[kept[n]].label))
    return PlotData(
        title=title,
        section=section,
        unit=unit,
        times=times,
        complete=complete,
        series=tuple(
            Series(
                label=theme.label_text(curves[kept[n]].label),
                style=curves[kept[n]].style,
                values=matrix[n],
            )
            for n in order
        ),
        largest=max(0.0, largest),
    )


def stack(plot: PlotData, most: int, title: str) -> PlotData:
    """Return a plot's series as parts of a whole: the largest, and the others as one.

    An area can't be broken as a line can: on both sides of a gap it falls to zero, so that nothing
    is drawn across.
    """
    matrix = np.array([series.values for series in plot.series]).reshape(
        len(plot.series), len(plot.times)
    )
    gap = ~np.isfinite(matrix).any(axis=0)
    parts = [Series(one.label, one.style, np.nan_to_num(one.values)) for one in plot.series[:most]]
    rest = len(plot.series) - most
    if rest == 1:
        one = plot.series[most]
        parts.append(Series(one.label, one.style, np.nan_to_num(one.values)))
    elif rest > 1:
        values = np.nan_to_num(matrix[most:]).sum(axis=0)
        parts.append(Series(f"{rest} others", theme.OTHERS, values))
    times, complete = plot.times, plot.complete
    places = np.flatnonzero(gap)
    places = places[(places > 0) & (places < len(times) - 1)]
    if len(places):
        # The gap's one row becomes two, next to the runs on both sides of it.
        times = times.copy()
        after = times[places + 1] - 1
        times[places] = times[places - 1] + 1
        times = np.insert(times, places + 1, after)
        complete = np.insert(complete, places + 1, True)
        parts = [
            Series(one.label, one.style, np.insert(one.values, places + 1, 0.0)) for one in parts
        ]
    total = np.sum([one.values for one in parts], axis=0) if parts else np.zeros(0)
    return PlotData(
        title=title,
        section=plot.section,
        unit=plot.unit,
        times=times,
        complete=complete,
        series=tuple(parts),
        largest=float(total.max()) if len(total) else 0.0,
        stacked=True,
    )


def _breaks(times: FloatArray) -> FloatArray:
    """Return the middle of each gap: a stretch without runs, far longer than those around it.

    A history may have been daily, then weekly: whether an interval is too long depends on those
    beside it.
    """
    steps = np.diff(times)
    if len(steps) < 2:
        return np.empty(0)
    near = min(_NEIGHBOURS, len(steps) - 1 + len(steps) % 2)
    padded = np.pad(steps, near // 2, mode="edge")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, near // 2 * 2 + 1), axis=1)
    gaps = np.flatnonzero((steps > _GAP_STEPS * usual) & (steps > _MIN_GAP_MS))
    middles: FloatArray = times[gaps] + steps[gaps] / 2
    return middles


def _origin_changes(history: History, axis: Sequence[datetime], times: FloatArray) -> FloatArray:
    """Return the middle between rows of JWQL's and ours: a curve through both has a step there."""
    own = history.own_dates
    if not own:
        return np.empty(0)
    is_own = np.array([date in own for date in axis], bool)
    changes = np.flatnonzero(is_own[1:] != is_own[:-1])
    middles: FloatArray = (times[changes] + times[changes + 1]) / 2
    return middles


def _turns(times: FloatArray, complete: BoolArray, breaks: FloatArray) -> FloatArray:
    """Return where complete and incomplete runs meet, if no gap is there already."""
    meet = np.flatnonzero(complete[1:] != complete[:-1])
    meet = np.setdiff1d(meet, np.searchsorted(times, breaks) - 1)
    middles: FloatArray = (times[meet] + times[meet + 1]) / 2
    return middles


def _axis(columns: list[Sequence[datetime]]) -> list[datetime]:
    """Return all dates of the columns, ascending.

    Notes
    -----
    As a rule each column is a stretch of the longest; comparing lists is some 20 times as fast as
    hashing every date.
    """
    longest: list[datetime] = []
    for dates in columns:
        longest = list(dates) if len(dates) > len(longest) else longest
    if all(_stretch(longest, dates) is not None for dates in columns):
        return longest
    return sorted(set().union(*columns))


def _stretch(axis: list[datetime], dates: Sequence[datetime]) -> slice | None:
    start = bisect_left(axis, dates[0]) if dates else 0
    stretch = slice(start, start + len(dates))
    return stretch if axis[stretch] == dates else None


def _values(axis: list[datetime], curve: Curve) -> FloatArray:
    """Return a curve's values on the axis; the sum of its pieces, where there is any."""
    total = np.full(len(axis), np.nan)
    for dates, numbers in curve.pieces:
        piece = np.full(len(axis), np.nan)
        place: slice | list[int] | None = _stretch(axis, dates)
        if place is None:
            index = {date: row for row, date in enumerate(axis)}
            place = [index[date] for date in dates]
        piece[place] = np.array(numbers, dtype=float)
        both = np.isfinite(total) & np.isfinite(piece)
        total = np.where(both, total + piece, np.where(np.isfinite(piece), piece, total))
    return total


def _newest(values: FloatArray) -> float:
    return float(values[np.flatnonzero(np.isfinite(values))[-1]])


def ms(date: datetime) -> float:
    """Return a date as Bokeh has it: ms since 1970."""
    return date.timestamp() * 1000
