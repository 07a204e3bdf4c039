"""The page and the components: figures in, texts of files out."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import bokeh
import numpy as np
from bokeh.resources import Resources
from jinja2 import Environment
from markupsafe import Markup

from jwqlscan import __version__
from jwqlscan.history import History
from jwqlscan.paths import shown
from jwqlscan.reporting import PAGE
from jwqlscan.reporting.figures import Figure, draw
from jwqlscan.reporting.glance import Glance, glance
from jwqlscan.reporting.plots import SECTIONS, plots, sample_spans, time_window
from jwqlscan.reporting.scripts import COMPONENT_JS, PAGE_JS
from jwqlscan.reporting.series import PlotData
from jwqlscan.reporting.thinning import FloatArray
from jwqlscan.units import format_count

MANIFEST = "manifest.json"
TITLE = "JWST archive: filesystem monitor"


@dataclass(frozen=True, slots=True)
class _Card:
    """A plot's place on the page, and its newest numbers for those who can't see it."""

    title: str
    div: Markup
    height: int
    summary: str
    noun: str
    newest: list[tuple[str, str]]


def render(history: History, *, host: str = "", note: str = "") -> dict[str, str]:
    """Return the whole report: file names and their text, the page last.

    Parameters
    ----------
    history : History
    host : str
        Where the newest run ran; "" leaves it out.
    note : str
        A sentence for the top of the page; "" leaves it out.
    """
    samples = sample_spans(history)
    figures = draw(plots(history), time_window(history), samples)
    items = {_element_id(figure): _item(figure) for figure in figures}
    facts = glance(history)
    files: dict[str, str] = {}
    for figure in figures:
        stem, element_id = figure.plot.file_stem, _element_id(figure)
        files[f"{stem}_component.html"] = _div(figure) + "\n"
        files[f"{stem}_component.js"] = COMPONENT_JS.replace("ITEM", items[element_id], 1)
    files[MANIFEST] = _manifest(figures, facts)
    if history.empty:
        figures, items = [], {}
    files[PAGE] = _page(figures, items, facts, sampled=bool(samples), host=host, note=note)
    return files


def _item(figure: Figure) -> str:
    """Return what ``Bokeh.embed.embed_item`` takes, as text.

    Notes
    -----
    JSON is JavaScript as it is; with the characters escaped that HTML gives a meaning, it can
    stand in a script element too. They occur only inside strings, where the escapes mean the same;
    U+2028 and everything else that is not ASCII is escaped by `json.dumps`.
    """
    item = {
        "target_id": _element_id(figure),
        "root_id": figure.root_id,
        "doc": figure.document,
        "version": bokeh.__version__,
    }
    text = json.dumps(item, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _manifest(figures: Sequence[Figure], facts: Glance) -> str:
    manifest = {
        "bokeh_version": bokeh.__version__,
        "jwqlscan_version": __version__,
        "newest_run": facts.newest.isoformat() if facts.newest else None,
        "page": PAGE,
        "plots": [
            {
                "title": figure.plot.title,
                "section": figure.plot.section,
                "div": f"{figure.plot.file_stem}_component.html",
                "script": f"{figure.plot.file_stem}_component.js",
            }
            for figure in figures
        ],
    }
    return json.dumps(manifest, indent=2) + "\n"


def _page(
    figures: Sequence[Figure],
    items: Mapping[str, str],
    facts: Glance,
    *,
    sampled: bool,
    host: str,
    note: str,
) -> str:
    scripts = [*_bokehjs(), PAGE_JS] if figures else []
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_packaged("page.html")).render(
        title=TITLE,
        css=Markup(_packaged("page.css")),  # noqa: S704 (ours)
        policy=_content_security_policy(scripts),
        host=shown(host),
        note=shown(note),
        facts=facts,
        sampled=sampled,
        sections=[
            (section, [_card(figure) for figure in figures if figure.plot.section == section])
            for section in SECTIONS
        ],
        items=[Markup(item) for item in items.values()],  # noqa: S704 (escaped by _item)
        scripts=[Markup(script) for script in scripts],  # noqa: S704 (Bokeh's and ours)
        version=__version__,
        bokeh_version=bokeh.__version__,
    )


def _card(figure: Figure) -> _Card:
    plot = figure.plot
    newest = [(series.label, _shown_value(plot, series.values)) for series in plot.series]
    return _Card(
        title=plot.title,
        div=Markup(_div(figure)),  # noqa: S704 (ours)
        height=figure.height,
        summary=f"{plot.title} over time: {len(newest)} curves, {len(plot.times)} points each",
        noun=plot.unit.axis_label,
        newest=newest,
    )


def _shown_value(plot: PlotData, values: FloatArray) -> str:
    value = float(values[np.flatnonzero(np.isfinite(values))[-1]])
    if plot.unit.whole:
        return format_count(int(value))
    decimals = len(plot.unit.format_for(plot.largest).partition(".")[2])
    return f"{value:,.{decimals}f}"


def _element_id(figure: Figure) -> str:
    return f"jwqlscan-{figure.plot.file_stem.replace('_', '-')}"


def _div(figure: Figure) -> str:
    """Return the element that BokehJS draws in; its ids are made here, of letters and digits."""
    return (
        f'<div id="{_element_id(figure)}" data-root-id="{figure.root_id}" '
        'style="display: contents;"></div>'
    )


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
