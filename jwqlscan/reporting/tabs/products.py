"""The tab Products: by filetype and by instrument, stacked, as lines, and the newest as bars."""

from __future__ import annotations

from collections.abc import Iterator

from jwqlscan.model.history import History, ProductColumns
from jwqlscan.naming.schemes import instrument_labels
from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.jwql import INSTRUMENTS, JwqlPlots
from jwqlscan.reporting.plots.series import Curve, PlotData, plot_data, stack
from jwqlscan.reporting.tabs.base import LINES, NEWEST, STACKED, Card, Choice, Tab

MAX_PARTS = 9  # as many as there are colours: an area has no dashes to distinguish it
BY_FILETYPE = "All, by filetype"
BY_INSTRUMENT = "All, by instrument"
FILES = "Files"
BYTES = "Bytes"


def products_tab(history: History, plots: JwqlPlots) -> Tab:
    """Return the tab: one plot of many, chosen by the reader."""
    found = list(_plots(history, plots))
    empty = {what for what, _, plot in found if not plot.series}
    found = [one for one in found if one[0] not in empty]
    if not found:
        return Tab("Products")
    over_time = [
        choice
        for what, measure, plot in found
        for choice in (
            Choice((what, measure, STACKED), stack(plot, MAX_PARTS, plot.title)),
            Choice((what, measure, LINES), plot),
        )
    ]
    newest = [Choice((what, measure), plot, as_bars=True) for what, measure, plot in found]
    return Tab(
        "Products",
        [
            Card(
                "Products over time",
                tuple(over_time),
                ("Show", "Measure", "As"),
                remark=f"Stacked are the {MAX_PARTS} largest; lines have them all",
                wide=True,
            ),
            Card(f"{NEWEST} run", tuple(newest), ("Show", "Measure"), wide=True),
        ],
    )


def _plots(history: History, plots: JwqlPlots) -> Iterator[tuple[str, str, PlotData]]:
    by_type = plots.products
    yield BY_FILETYPE, FILES, by_type[""][0]
    yield BY_FILETYPE, BYTES, by_type[""][1]
    everything = list(history.products.items())
    stored = [key.instrument for key, _ in everything]
    labels = instrument_labels(stored)
    labels |= {name: name for name in stored if name not in labels}
    columns: dict[str, list[ProductColumns]] = {}
    for key, found in everything:
        columns.setdefault(key.instrument, []).append(found)
    for measure, unit in ((FILES, theme.FILES), (BYTES, theme.TIB)):
        curves = [
            Curve(
                label,
                theme.style(number),
                [
                    (one.date, one.count if measure == FILES else one.size)
                    for one in columns.get(name, [])
                ],
            )
            for number, (name, label) in enumerate(labels.items())
        ]
        yield (
            BY_INSTRUMENT,
            measure,
            plot_data(history, f"{measure} by instrument", INSTRUMENTS, unit, curves),
        )
    for label, (files, size) in by_type.items():
        if label:
            yield label, FILES, files
            yield label, BYTES, size
