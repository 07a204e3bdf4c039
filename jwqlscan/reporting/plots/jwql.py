"""The plots of JWQL's monitor, by name: what a web page embeds, and the report's tabs show too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from jwqlscan.model.history import History, ProductColumns
from jwqlscan.model.snapshot import ALL
from jwqlscan.model.tally import Product
from jwqlscan.naming.schemes import instrument_labels
from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.series import Curve, PlotData, ms, plot_data
from jwqlscan.reporting.plots.theme import Style

ARCHIVE = "Archive"
PRODUCTS = "Products"
INSTRUMENTS = "Instruments"
CENTRAL = "Central storage"
SECTIONS = (ARCHIVE, PRODUCTS, INSTRUMENTS, CENTRAL)

MAX_INSTRUMENTS = 20

_DAY_MS = 86_400_000.0
_MIN_WINDOW_MS = 6 * _DAY_MS  # what the time axis shows of a single run
_WINDOW_MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class JwqlPlots:
    """JWQL's plots, those without data too: made once for the components and the page's tabs.

    Attributes
    ----------
    counts, capacity : PlotData
        Of the archive: how many files, and how full its filesystem.
    products : dict of str to list of PlotData
        Counts and sizes by type: of all ("") and by instrument's label.
    central : PlotData
    """

    counts: PlotData
    capacity: PlotData
    products: dict[str, list[PlotData]]
    central: PlotData

    def __iter__(self) -> Iterator[PlotData]:
        """Walk over the plots in their order."""
        yield self.counts
        yield self.capacity
        for both in self.products.values():
            yield from both
        yield self.central


def plots(history: History) -> JwqlPlots:
    """Return JWQL's plots."""
    counts, capacity = _archive_plots(history)
    return JwqlPlots(
        counts,
        capacity,
        products=_product_plots(history),
        central=plot_data(
            history, "Central Store stats", CENTRAL, theme.TIB, _central_curves(history)
        ),
    )


def time_window(history: History) -> tuple[float, float]:
    """Return the time axis that all plots share: start and end in ms since 1970."""
    columns = [
        history.general.date,
        *(column.date for column in history.products.values()),
        *(column.date for column in history.central.values()),
    ]
    ends = [date for dates in columns if dates for date in (dates[0], dates[-1])]
    if not ends:
        return (0.0, _MIN_WINDOW_MS)
    start, end = ms(min(ends)), ms(max(ends))
    margin = max((end - start) * _WINDOW_MARGIN, (_MIN_WINDOW_MS - (end - start)) / 2)
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
            time = ms(date)
            start = spans.pop()[0] if before else time - _DAY_MS / 2
            spans.append((start, time + _DAY_MS / 2))
        before = made_up
    return spans


def _archive_plots(history: History) -> list[PlotData]:
    general = history.general
    dates = general.date
    sizes = [
        None if used is None or free is None else used + free
        for used, free in zip(general.used, general.available, strict=True)
    ]
    contents = [
        (
            "Total File Counts",
            theme.FILES,
            [
                Curve("all files", theme.ALL_FILES, [(dates, general.total_file_count)]),
                Curve("FITS files", theme.FITS_FILES, [(dates, general.fits_file_count)]),
            ],
        ),
        (
            "System stats",
            theme.TIB,
            [
                Curve("total size", theme.SIZE, [(dates, sizes)]),
                Curve("used", theme.USED, [(dates, general.used)]),
                Curve("free", theme.FREE, [(dates, general.available)]),
            ],
        ),
    ]
    return [plot_data(history, title, ARCHIVE, unit, curves) for title, unit, curves in contents]


def _product_plots(history: History) -> dict[str, list[PlotData]]:
    """Return two plots, counts and sizes by type: of all ("") and by instrument's label.

    Of the instruments of other archives than JWST's only the largest have plots of their own.
    """
    styles = filetype_styles(history)
    everything = list(history.products.items())
    found = {"": list(_by_type(history, "", PRODUCTS, everything, styles))}
    for name, label in _labels(history).items():
        products = [(key, columns) for key, columns in everything if key.instrument == name]
        found[label] = list(_by_type(history, f"{label} ", INSTRUMENTS, products, styles))
    return found


def _labels(history: History) -> dict[str, str]:
    sizes: dict[str, float] = {}
    for key, columns in history.products.items():
        if any(columns.count):
            sizes[key.instrument] = sizes.get(key.instrument, 0.0) + columns.size[-1]
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:MAX_INSTRUMENTS]
    return instrument_labels(largest)


def _by_type(
    history: History,
    prefix: str,
    section: str,
    products: list[tuple[Product, ProductColumns]],
    styles: dict[str, Style],
) -> Iterator[PlotData]:
    by_type: dict[str, list[ProductColumns]] = {}
    for key, columns in products:
        if any(columns.count):
            by_type.setdefault(key.filetype, []).append(columns)
    for what, unit in (("Count", theme.FILES), ("Size", theme.TIB)):
        curves = [
            Curve(
                filetype,
                styles[filetype],
                [(col.date, col.count if unit.whole else col.size) for col in columns],
            )
            for filetype, columns in by_type.items()
        ]
        yield plot_data(history, f"{prefix}Total File {what} by Type", section, unit, curves)


def filetype_styles(history: History) -> dict[str, Style]:
    """Return each filetype's style, the same in all plots and from one day to the next."""
    first: dict[str, datetime] = {}
    for key, columns in history.products.items():
        if columns.date:
            date = columns.date[0]
            first[key.filetype] = min(date, first.get(key.filetype, date))
    return theme.styles(sorted(first, key=lambda filetype: (first[filetype], filetype)))


def _central_curves(history: History) -> list[Curve]:
    central = history.central
    curves = []
    # One filesystem as a rule: `all` has its size. Without it each area has its own.
    for number, area in enumerate([ALL] if ALL in central else sorted(central)):
        columns, of_area = central[area], "" if area == ALL else f" of {area}"
        dash = theme.DASHES[number % len(theme.DASHES)]
        size, free = Style(theme.SIZE.colour, dash), Style(theme.FREE.colour, dash)
        curves.append(Curve(f"size{of_area}", size, [(columns.date, columns.size)]))
        curves.append(Curve(f"free{of_area}", free, [(columns.date, columns.available)]))
    area_styles = iter(
        one for one in map(theme.style, range(10_000)) if one not in (theme.SIZE, theme.FREE)
    )
    for area, columns in sorted(central.items(), key=lambda item: (item[0] != ALL, item[0])):
        curves.append(Curve(f"used: {area}", next(area_styles), [(columns.date, columns.used)]))
    return curves
