"""The page: tabs of figures in, one HTML file out; and the components beside it."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources

import bokeh
from bokeh.resources import Resources
from jinja2 import Environment
from markupsafe import Markup, escape

from jwqlscan._version import __version__
from jwqlscan.history.insight import Insight
from jwqlscan.model.history import History
from jwqlscan.reporting import PAGE
from jwqlscan.reporting.alarm import BEGIN, END
from jwqlscan.reporting.embed import MANIFEST, components
from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.bars import bars
from jwqlscan.reporting.plots.columns import Columns, Json, compact
from jwqlscan.reporting.plots.figures import Drawing
from jwqlscan.reporting.plots.jwql import JwqlPlots, plots, sample_spans, time_window
from jwqlscan.reporting.plots.overview import overview
from jwqlscan.reporting.plots.series import PlotData
from jwqlscan.reporting.summary import Summary, summarize
from jwqlscan.reporting.tabs.archive import archive_tab
from jwqlscan.reporting.tabs.base import Card, Cell, Size, Tab
from jwqlscan.reporting.tabs.capacity import capacity_tab
from jwqlscan.reporting.tabs.central import central_tab
from jwqlscan.reporting.tabs.insight import insight_tab
from jwqlscan.reporting.tabs.products import products_tab
from jwqlscan.reporting.tabs.quality import quality_tab
from jwqlscan.text import escape_controls
from jwqlscan.units import format_bytes, format_count

__all__ = ["MANIFEST", "PAGE", "render", "tabs_of"]

TITLE = "JWST archive: filesystem monitor"


def render(
    history: History, insight: Insight | None = None, *, host: str = "", note: str = ""
) -> dict[str, str]:
    """Return the whole report: file names and their text, the page last.

    Parameters
    ----------
    history : History
    insight : Insight, optional
        Of the newest run; without it the tab Insight is empty.
    host : str
        Where the newest run ran; "" leaves it out.
    note : str
        A sentence for the top of the page; "" leaves it out.
    """
    samples, window = sample_spans(history), time_window(history)
    drawing = Drawing(Columns(), window, samples)
    facts = summarize(history)
    newest = facts.newest.isoformat() if facts.newest else None
    embedded = plots(history)
    files = components([drawing.draw(plot) for plot in embedded], newest)
    tabs: list[Tab] = [] if history.empty else tabs_of(history, insight or Insight(), embedded)
    data: Json = {}
    if tabs:
        data = {
            "overview": overview(embedded.counts, window),
            "window": window,
            "newest": facts.newest.timestamp() * 1000 if facts.newest else window[1],
            "dark": theme.DARK,
            "cards": [_card_data(card) for tab in tabs for card in tab.cards],
        }
    files[PAGE] = _page(tabs, data, drawing, facts, bool(samples), host, note)
    return files


def tabs_of(history: History, insight: Insight, embedded: JwqlPlots) -> list[Tab]:
    """Return the tabs, in their order on the page."""
    return [
        archive_tab(history, embedded),
        products_tab(history, embedded),
        insight_tab(history, insight),
        central_tab(history),
        capacity_tab(history),
        quality_tab(history),
    ]


def _card_data(card: Card) -> Json:
    return {
        "lead": card.lead,
        "options": [list(choice.options) for choice in card.plots],
        "plots": [_plot_data(choice.plot, bars=choice.as_bars) for choice in card.plots],
    }


def _plot_data(plot: PlotData, *, bars: bool) -> Json:
    """Return what the page must know of a plot beside its figure."""
    smallest = 0.0
    newest = []
    for one in plot.series:
        positive = one.values[one.values > 0]
        if len(positive):
            smallest = min(smallest or positive.min(), float(positive.min()))
            newest.append(float(positive[-1]))
    ahead = float(plot.future.times[-1]) if plot.future is not None else None
    return {
        "title": plot.title,
        "bytes": plot.unit == theme.TIB,
        "bars": bars,
        "stacked": plot.stacked,
        "smallest": float(smallest),
        # A line is worth a logarithm where another is twenty times as high.
        "log": bool(newest) and not plot.stacked and not bars and max(newest) > 20 * min(newest),
        "ahead": ahead,
    }


def _page(
    tabs: Sequence[Tab],
    data: Json,
    drawing: Drawing,
    facts: Summary,
    sampled: bool,
    host: str,
    note: str,
) -> str:
    figures = [
        (bars(choice.plot, drawing.columns) if choice.as_bars else drawing.draw(choice.plot))
        for tab in tabs
        for card in tab.cards
        for choice in card.plots
    ]
    templates = [figure.template for figure in figures]
    scripts = [*_bokehjs(), _packaged("page.js"), _packaged("insight.js")] if tabs else []
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = _cell
    return environment.from_string(_packaged("page.html")).render(
        title=TITLE,
        css=Markup(_packaged("page.css")),  # noqa: S704 (ours)
        policy=_content_security_policy(scripts),
        host=escape_controls(host),
        note=escape_controls(note),
        alarm=Markup(BEGIN + END),  # noqa: S704 (ours)
        facts=facts,
        sampled=sampled,
        tabs=list(_numbered(tabs)),
        data=Markup(compact(data)),  # noqa: S704 (escaped by compact)
        columns=Markup(drawing.columns.used(templates)),  # noqa: S704 (escaped by compact)
        insight=Markup(_packaged("insight.html")),  # noqa: S704 (ours)
        records=[_packed(compact(tab.record)) for tab in tabs if tab.record is not None],
        figures=[_packed(template) for template in templates],
        heights=[figure.height for figure in figures],
        scripts=[Markup(script) for script in scripts],  # noqa: S704 (Bokeh's and ours)
        version=__version__,
        bokeh_version=bokeh.__version__,
    )


def _numbered(tabs: Sequence[Tab]) -> Iterator[tuple[Tab, list[tuple[int, int, Card]]]]:
    """Give numbers to the cards and the first figure of each, over all tabs."""
    card_number = figure_number = 0
    for tab in tabs:
        cards = []
        for card in tab.cards:
            cards.append((card_number, figure_number, card))
            card_number += 1
            figure_number += len(card.plots)
        yield tab, cards


def _packed(text: str) -> str:
    """Return JSON, such as a figure's, as the browser unpacks it when it is first seen.

    Its thousand lines of axes and glyphs are much the same in every figure: a twentieth of the
    size, and nothing that the browser has to parse before it shows the page.
    """
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _cell(cell: Cell) -> str | Markup:
    """Return a cell of a table: a size can change its unit in the page."""
    if isinstance(cell, Size):
        return Markup('<span data-bytes="{}">{}</span>').format(
            round(cell.bytes), format_bytes(cell.bytes)
        )
    return format_count(cell) if isinstance(cell, int) else escape(cell)


def _bokehjs() -> list[str]:
    """Return the scripts of BokehJS; widgets, tables, WebGL and MathJax are not needed."""
    return list(Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw)


def _content_security_policy(scripts: Sequence[str]) -> str:
    """Allow nothing but these very scripts, and nothing from the network.

    Names from the archive are escaped where they are shown. Should one slip through, the browser
    still runs nothing of it.
    """
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )


def _packaged(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
