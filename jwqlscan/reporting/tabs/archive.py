"""The tab Archive: totals over time."""

from __future__ import annotations

from jwqlscan.model.history import History
from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.jwql import ARCHIVE, JwqlPlots
from jwqlscan.reporting.plots.series import Curve, plot_data
from jwqlscan.reporting.tabs.base import Tab, card


def archive_tab(history: History, plots: JwqlPlots) -> Tab:
    """Return the tab: files, bytes, and the filesystem that holds them."""
    general = history.general
    sizes = plot_data(
        history,
        "Total File Size",
        ARCHIVE,
        theme.TIB,
        [
            Curve("all files", theme.ALL_FILES, [(general.date, general.total_file_size)]),
            Curve("FITS files", theme.FITS_FILES, [(general.date, general.fits_file_size)]),
        ],
    )
    return Tab(
        "Archive",
        [
            card(plots.counts, "Files"),
            card(sizes, "Bytes"),
            card(plots.capacity, "Filesystem", remark="Size, used and free, as df has them"),
        ],
    )
