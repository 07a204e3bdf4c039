"""The tab Capacity: every filesystem with its forecast."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np

from jwqlscan.history.forecast import Reached
from jwqlscan.model.history import History
from jwqlscan.reporting.filesystems import Filesystem, filesystems
from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.series import Curve, Future, PlotData, ms, plot_data
from jwqlscan.reporting.tabs.base import Card, Choice, Size, Tab, Table
from jwqlscan.units import TIB_BYTES, format_day

_DAY_MS = 86_400_000.0
# The band is drawn to its limit and a little beyond, but not farther than three years: a wide
# forecast would push the history to the margin.
MIN_AHEAD = 60.0  # days
MAX_AHEAD = 3 * 365.25
_STEPS = 60


def capacity_tab(history: History) -> Tab:
    """Return the tab, the fullest filesystem first."""
    found = filesystems(history)
    cards = [
        Card(
            one.name,
            (Choice((), _plot(history, one)),),
            remark=" · ".join(filter(None, (full_text(one.full).capitalize(), one.remark))),
            lead=one.trend is not None,
        )
        for one in found
    ]
    header = ("Filesystem", "Size", "Used", "Free", "Fill", "A day", "Full", "Interval, 90 %")
    rows = [
        (
            one.name,
            Size((one.size[-1] or 0.0) * TIB_BYTES),
            Size(one.used[-1] * TIB_BYTES),
            Size(one.available[-1] * TIB_BYTES),
            f"{100 * one.share:.1f} %",
            Size(one.trend.per_day * TIB_BYTES) if one.trend else "too little data",
            full_text(one.full) or "no growth" if one.trend else full_text(one.full),
            interval(one.full),
        )
        for one in found
    ]
    marked = frozenset(row for row, one in enumerate(found) if one.almost_full == Reached(True))
    remark = (
        "The forecast is a robust trend (Theil-Sen) over the newest 90 days, without incomplete "
        "runs; the band is its 90 % interval. With less than 7 days of data there is none."
    )
    tables = [Table("Filesystems", header, rows, marked, remark)] if rows else []
    return Tab("Capacity", cards, tables)


def full_text(full: Reached | None) -> str:
    """Return when a filesystem is full; "" without a forecast."""
    if full is None:
        return ""
    if full.over:
        return "full already"
    return f"full about {format_day(full.date)}" if full.date else "full in more than 20 years"


def interval(full: Reached | None) -> str:
    """Return between which days; "" without a forecast."""
    if full is None or full.earliest is None:
        return ""
    end = f"to {format_day(full.latest)}" if full.latest else "or later, if it grows at all"
    return f"{format_day(full.earliest)} {end}"


def _plot(history: History, one: Filesystem) -> PlotData:
    plot = plot_data(
        history,
        one.name,
        "Capacity",
        theme.TIB,
        [
            Curve("used", theme.USED, [(one.date, one.used)]),
            Curve("free", theme.FREE, [(one.date, one.available)]),
            Curve("size", theme.SIZE, [(one.date, one.size)]),
        ],
        as_given=True,
    )
    if one.trend is None:
        return plot
    days = MIN_AHEAD
    if one.full is not None and one.full.date is not None:
        last = one.full.latest or one.full.date
        days = (last - one.trend.start) / timedelta(days=1) * 1.15
        days = min(max(days, MIN_AHEAD), MAX_AHEAD)
    steps = np.linspace(0.0, days, _STEPS)
    line, low, high = (np.clip(part, 0.0, one.limit) for part in one.trend.at(steps))
    future = Future(ms(one.trend.start) + steps * _DAY_MS, line, low, high, one.limit)
    return replace(plot, future=future)
