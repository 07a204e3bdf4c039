"""The tab Quality: how the runs went, over time and one by one."""

from __future__ import annotations

from collections.abc import Sequence

from jwqlscan.model.history import History, RunColumns
from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.series import Curve, PlotData, plot_data
from jwqlscan.reporting.plots.theme import Unit, label_text
from jwqlscan.reporting.tabs.base import Card, Cell, Tab, Table, card
from jwqlscan.text import escape_controls
from jwqlscan.units import format_minute, format_seconds

SECTION = "Quality"
MAX_RUNS = 366  # rows of the table, the newest; the plots have them all
_MAX_REASONS = 3


def quality_tab(history: History) -> Tab:
    """Return the tab; runs of JWQL itself left nothing for it."""
    runs = history.runs
    if not runs.date:
        return Tab("Quality")
    rates = [
        files / seconds if seconds > 0 else None
        for files, seconds in zip(runs.files, runs.seconds, strict=True)
    ]
    cards: list[Card] = [
        card(_kinds(history, "Errors by kind", runs.errors)),
        card(
            _one(history, "Unrecognized names", theme.FILES, "unrecognized", runs.unrecognized),
        ),
        card(_one(history, "Duration", theme.SECONDS, "scan", runs.seconds)),
        card(_one(history, "Files per second", theme.RATE, "files per second", rates)),
        card(_kinds(history, "Skipped on purpose", runs.skipped)),
        card(_one(history, "Vanished while reading", theme.FILES, "vanished", runs.vanished)),
    ]
    return Tab("Quality", cards, [*_samples(history), _runs(runs)])


def _one(
    history: History, title: str, unit: Unit, label: str, values: Sequence[float | None]
) -> PlotData:
    curve = Curve(label, theme.USED, [(history.runs.date, values)])
    return plot_data(history, title, SECTION, unit, [curve])


def _kinds(history: History, title: str, counted: Sequence[dict[str, int]]) -> PlotData:
    kinds = sorted({kind for one in counted for kind in one})
    curves = [
        Curve(
            kind,
            theme.style(number),
            [(history.runs.date, [one.get(kind, 0) for one in counted])],
        )
        for number, kind in enumerate(kinds)
    ]
    if not curves:
        curves = [Curve("none", theme.USED, [(history.runs.date, [0] * len(counted))])]
    return plot_data(history, title, SECTION, theme.TIMES, curves)


def _samples(history: History) -> list[Table]:
    tables = []
    samples = history.samples
    if samples.errors:
        rows = [tuple(label_text(text) for text in one) for one in samples.errors]
        tables.append(Table("Not read in the newest run, such as", ("Kind", "At", "Path"), rows))
    if samples.unrecognized:
        names = [(label_text(name),) for name in samples.unrecognized]
        title = "Not recognized in the newest run, such as"
        tables.append(Table(title, ("Path",), names))
    return tables


def _runs(runs: RunColumns) -> Table:
    order = range(len(runs.date) - 1, max(-1, len(runs.date) - 1 - MAX_RUNS), -1)
    header = (
        *("Date (UTC)", "Status", "Files", "Directories", "Duration", "Files/s", "Errors"),
        *("Skipped", "Vanished", "Unrecognized", "By", "Remarks"),
    )
    rows: list[Sequence[Cell]] = []
    for row in order:
        seconds, reasons = runs.seconds[row], runs.reasons[row]
        more = f"; and {len(reasons) - _MAX_REASONS} more" if len(reasons) > _MAX_REASONS else ""
        rows.append(
            (
                format_minute(runs.date[row]),
                escape_controls(runs.status[row]),
                runs.files[row],
                runs.directories[row],
                format_seconds(seconds),
                round(runs.files[row] / seconds) if seconds > 0 else "",
                sum(runs.errors[row].values()),
                sum(runs.skipped[row].values()),
                runs.vanished[row],
                runs.unrecognized[row],
                escape_controls(f"{runs.host[row]}, {runs.version[row]} {runs.reader[row]}"),
                "; ".join(escape_controls(reason) for reason in reasons[:_MAX_REASONS]) + more,
            )
        )
    marked = frozenset(number for number, row in enumerate(order) if runs.status[row] != "complete")
    older = len(runs.date) - len(rows)
    remarks = ["Counts are of the archive and central storage together"]
    if older:
        remarks.insert(0, f"The newest {len(rows)}; the plots have the {older} older ones too")
    return Table("Runs", header, rows, marked, ". ".join(remarks))
