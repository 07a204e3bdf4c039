"""What the report's plots show: the history's columns as aligned arrays, without Bokeh."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from jwqlscan.history import History, ProductColumns
from jwqlscan.names import INSTRUMENT_LABELS
from jwqlscan.reporting import theme
from jwqlscan.reporting.theme import Style, Unit
from jwqlscan.reporting.thinning import FloatArray, kept_rows
from jwqlscan.snapshot import ALL

ARCHIVE = "Archive"
PRODUCTS = "Products"
INSTRUMENTS = "Instruments"
CENTRAL = "Central storage"
SECTIONS = (ARCHIVE, PRODUCTS, INSTRUMENTS, CENTRAL)

_DAY_MS = 86_400_000.0
_LEAST_WINDOW_MS = 6 * _DAY_MS  # what the time axis shows of a single run
_WINDOW_MARGIN = 0.02


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
class PlotData:
    """One plot's numbers.

    Attributes
    ----------
    title, section : str
    unit : Unit
    times : ndarray of float, shape (n_rows,), ms since 1970 in UTC
    complete : ndarray of bool, shape (n_rows,)
        False where a run could not read everything.
    series : tuple of Series
        The largest newest value first.
    largest : float
        Of all values; 0 if there is none.
    """

    title: str
    section: str
    unit: Unit
    times: FloatArray
    complete: npt.NDArray[np.bool_]
    series: tuple[Series, ...]
    largest: float

    @property
    def file_stem(self) -> str:
        """The plot's name in file names."""
        return self.title.lower().replace(" ", "_")


@dataclass(frozen=True, slots=True)
class _Curve:
    """A series before its dates are lined up with the others': pieces to be added."""

    label: str
    style: Style
    pieces: Sequence[tuple[Sequence[datetime], Sequence[float | None]]]


def plots(history: History) -> list[PlotData]:
    """Return all the plots of the report, in their order, those without data too."""
    return [
        _plot(history, title, section, unit, curves)
        for title, section, unit, curves in _contents(history)
    ]


def time_window(history: History) -> tuple[float, float]:
    """Return the time axis that all plots share: start and end in ms since 1970."""
    columns = [
        history.general.date,
        *(column.date for column in history.products.values()),
        *(column.date for column in history.central.values()),
    ]
    ends = [date for dates in columns if dates for date in (dates[0], dates[-1])]
    if not ends:
        return (0.0, _LEAST_WINDOW_MS)
    start, end = _ms(min(ends)), _ms(max(ends))
    margin = max((end - start) * _WINDOW_MARGIN, (_LEAST_WINDOW_MS - (end - start)) / 2)
    return (start - margin, end + margin)


def sample_spans(history: History) -> list[tuple[float, float]]:
    """Return the stretches of time, in ms, whose runs were made up, half a day around them."""
    if not history.sample_dates:
        return []
    dates = sorted(history.sample_dates.union(history.general.date))
    spans: list[tuple[float, float]] = []
    before = False
    for date in dates:
        made_up = date in history.sample_dates
        if made_up:
            time = _ms(date)
            start = spans.pop()[0] if before else time - _DAY_MS / 2
            spans.append((start, time + _DAY_MS / 2))
        before = made_up
    return spans


def _contents(history: History) -> Iterator[tuple[str, str, Unit, list[_Curve]]]:
    general = history.general
    dates = general.date
    yield (
        "Total File Counts",
        ARCHIVE,
        theme.FILES,
        [
            _Curve("all files", theme.ALL_FILES, [(dates, general.total_file_count)]),
            _Curve("FITS files", theme.FITS_FILES, [(dates, general.fits_file_count)]),
        ],
    )
    sizes = [
        None if used is None or free is None else used + free
        for used, free in zip(general.used, general.available, strict=True)
    ]
    yield (
        "System stats",
        ARCHIVE,
        theme.TIB,
        [
            _Curve("total size", theme.SIZE, [(dates, sizes)]),
            _Curve("used", theme.USED, [(dates, general.used)]),
            _Curve("free", theme.FREE, [(dates, general.available)]),
        ],
    )
    styles = _filetype_styles(history)
    everything = list(history.products.items())
    yield from _by_type("", PRODUCTS, [(key.filetype, col) for key, col in everything], styles)
    for name, label in INSTRUMENT_LABELS.items():
        products = [(key.filetype, col) for key, col in everything if key.instrument == name]
        yield from _by_type(f"{label} ", INSTRUMENTS, products, styles)
    yield "Central Store stats", CENTRAL, theme.TIB, _central_curves(history)


def _by_type(
    prefix: str,
    section: str,
    products: list[tuple[str, ProductColumns]],
    styles: dict[str, Style],
) -> Iterator[tuple[str, str, Unit, list[_Curve]]]:
    by_type: dict[str, list[ProductColumns]] = {}
    for filetype, columns in products:
        if any(columns.count):
            by_type.setdefault(filetype, []).append(columns)
    yield (
        f"{prefix}Total File Count by Type",
        section,
        theme.FILES,
        [
            _Curve(filetype, styles[filetype], [(col.date, col.count) for col in columns])
            for filetype, columns in by_type.items()
        ],
    )
    yield (
        f"{prefix}Total File Size by Type",
        section,
        theme.TIB,
        [
            _Curve(filetype, styles[filetype], [(col.date, col.size) for col in columns])
            for filetype, columns in by_type.items()
        ],
    )


def _filetype_styles(history: History) -> dict[str, Style]:
    first: dict[str, datetime] = {}
    for key, columns in history.products.items():
        if columns.date:
            date = columns.date[0]
            first[key.filetype] = min(date, first.get(key.filetype, date))
    return theme.styles(sorted(first, key=lambda filetype: (first[filetype], filetype)))


def _central_curves(history: History) -> list[_Curve]:
    central = history.central
    curves = []
    # One filesystem as a rule: `all` says its size. Without it each area says its own.
    for number, area in enumerate([ALL] if ALL in central else sorted(central)):
        columns, of_area = central[area], "" if area == ALL else f" of {area}"
        dash = theme.DASHES[number % len(theme.DASHES)]
        size, free = Style(theme.SIZE.colour, dash), Style(theme.FREE.colour, dash)
        curves.append(_Curve(f"size{of_area}", size, [(columns.date, columns.size)]))
        curves.append(_Curve(f"free{of_area}", free, [(columns.date, columns.available)]))
    area_styles = iter(
        one for one in map(theme.style, range(10_000)) if one not in (theme.SIZE, theme.FREE)
    )
    for area, columns in sorted(central.items(), key=lambda item: (item[0] != ALL, item[0])):
        curves.append(_Curve(f"used: {area}", next(area_styles), [(columns.date, columns.used)]))
    return curves


def _plot(history: History, title: str, section: str, unit: Unit, curves: list[_Curve]) -> PlotData:
    axis = _axis([dates for curve in curves for dates, _ in curve.pieces])
    lined_up = [_values(axis, curve) for curve in curves]
    kept = [index for index, values in enumerate(lined_up) if np.isfinite(values).any()]
    matrix = np.array([lined_up[index] for index in kept]).reshape(len(kept), len(axis))
    incomplete = history.incomplete_dates
    complete = np.array([date not in incomplete for date in axis] if incomplete else [True], bool)
    complete = np.broadcast_to(complete, (len(axis),))
    rows = kept_rows(matrix, np.flatnonzero(~complete))
    newest = [_newest(values) for values in matrix]
    order = sorted(range(len(kept)), key=lambda n: (-newest[n], curves[kept[n]].label))
    return PlotData(
        title=title,
        section=section,
        unit=unit,
        times=np.array([_ms(axis[row]) for row in rows]),
        complete=complete[rows],
        series=tuple(
            Series(
                label=theme.label_text(curves[kept[n]].label),
                style=curves[kept[n]].style,
                values=matrix[n, rows],
            )
            for n in order
        ),
        largest=max(0.0, float(np.nanmax(matrix))) if kept else 0.0,
    )


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


def _values(axis: list[datetime], curve: _Curve) -> FloatArray:
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


def _ms(date: datetime) -> float:
    return date.timestamp() * 1000
