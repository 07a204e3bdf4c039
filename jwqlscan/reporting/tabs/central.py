"""The tab Central storage: one panel for each area."""

from __future__ import annotations

from jwqlscan.model.history import History
from jwqlscan.model.snapshot import ALL
from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.jwql import CENTRAL
from jwqlscan.reporting.plots.series import Curve, plot_data
from jwqlscan.reporting.plots.theme import label_text
from jwqlscan.reporting.tabs.base import Tab, card

REMARK = "Used by the files below it; size and free are its filesystem's"


def central_tab(history: History) -> Tab:
    """Return the tab; `all`, the whole central storage, comes first."""
    cards = []
    for area, columns in sorted(history.central.items(), key=lambda one: (one[0] != ALL, one[0])):
        plot = plot_data(
            history,
            f"Central storage {label_text(area)}",
            CENTRAL,
            theme.TIB,
            [
                Curve("used", theme.USED, [(columns.date, columns.used)]),
                Curve("free", theme.FREE, [(columns.date, columns.available)]),
                Curve("size", theme.SIZE, [(columns.date, columns.size)]),
            ],
            as_given=True,
        )
        title = "All of central storage" if area == ALL else label_text(area)
        cards.append(card(plot, title, remark=REMARK))
    return Tab("Central storage", cards)
