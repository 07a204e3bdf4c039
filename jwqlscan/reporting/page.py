"""The page and the components: figures in, texts of files out."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import bokeh
import numpy as np
from bokeh.resources import Resources
from jinja2 import Environment
from markupsafe import Markup

from jwqlscan import __version__
from jwqlscan.history import History
from jwqlscan.paths import shown
from jwqlscan.reporting.figures import Figure, Json, draw
from jwqlscan.reporting.glance import Glance, glance
from jwqlscan.reporting.plots import SECTIONS, PlotData, plots, sample_spans, time_window
from jwqlscan.units import format_count

PAGE = "filesystem_monitor.html"
MANIFEST = "manifest.json"
TITLE = "JWST archive: filesystem monitor"

# The host page may load BokehJS after the component: look for it for 10 s.
_COMPONENT_JS = """\
(function () {
  "use strict";
  const item = %(item)s;
  let tries = 0;
  function draw() {
    const target = document.getElementById(item.target_id);
    if (window.Bokeh !== undefined && target !== null) {
      window.Bokeh.embed.embed_item(item);
    } else if (tries++ < 200) {
      setTimeout(draw, 50);
    } else {
      console.error("jwqlscan: BokehJS %(version)s or the element " + item.target_id + " is missing");
    }
  }
  draw();
})();
"""
_PAGE_JS = """\
const page = JSON.parse(document.getElementById("jwqlscan-figures").textContent);
Bokeh.embed.embed_items({page: page.document}, [{docid: "page", ...page.roots}]);
"""


@dataclass(frozen=True, slots=True)
class _Card:
    """A plot's place on the page, and its newest numbers for those who can't see it."""

    title: str
    element_id: str
    root_id: str
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
    figures, document = draw(plots(history), time_window(history), samples)
    facts = glance(history)
    files: dict[str, str] = {}
    for figure in figures:
        files |= _component(figure, document)
    files[MANIFEST] = _manifest(figures, facts)
    files[PAGE] = _page(figures if not history.empty else [], document, facts, samples, host, note)
    return files


def _component(figure: Figure, document: Json) -> dict[str, str]:
    stem, element_id = figure.plot.file_stem, _element_id(figure)
    item = {
        "target_id": element_id,
        "root_id": figure.root_id,
        "doc": {**document, "roots": [figure.root]},
        "version": bokeh.__version__,
    }
    return {
        f"{stem}_component.html": _div(element_id, figure.root_id) + "\n",
        f"{stem}_component.js": _COMPONENT_JS
        % {"item": _json(item), "version": bokeh.__version__},
    }


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
    document: Json,
    facts: Glance,
    samples: list[tuple[float, float]],
    host: str,
    note: str,
) -> str:
    roots = [
        figure.root_on_page if number else figure.root for number, figure in enumerate(figures)
    ]
    ids = {figure.root_id: _element_id(figure) for figure in figures}
    content = {
        "document": {**document, "roots": roots},
        "roots": {"roots": ids, "root_ids": list(ids)},
    }
    scripts = [*_bokehjs(), _PAGE_JS] if figures else []
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_packaged("page.html")).render(
        title=TITLE,
        css=Markup(_packaged("page.css")),  # noqa: S704 (ours)
        policy=_content_security_policy(scripts),
        host=shown(host),
        note=shown(note),
        facts=facts,
        sampled=bool(samples),
        sections=[
            (section, [_card(figure) for figure in figures if figure.plot.section == section])
            for section in SECTIONS
        ],
        figures=Markup(_json(content)) if figures else "",  # noqa: S704 (escaped by _json)
        scripts=[Markup(script) for script in scripts],  # noqa: S704 (Bokeh's and ours)
        version=__version__,
        bokeh_version=bokeh.__version__,
    )


def _card(figure: Figure) -> _Card:
    plot = figure.plot
    newest = [
        (series.label, _shown_value(plot, series.values)) for series in plot.series
    ]
    return _Card(
        title=plot.title,
        element_id=_element_id(figure),
        root_id=figure.root_id,
        summary=f"{plot.title} over time: {len(newest)} curves, {len(plot.times)} points each",
        noun=plot.unit.axis_label,
        newest=newest,
    )


def _shown_value(plot: PlotData, values: Any) -> str:
    value = float(values[np.flatnonzero(np.isfinite(values))[-1]])
    if plot.unit.whole:
        return format_count(int(value))
    decimals = len(plot.unit.format_for(plot.largest).partition(".")[2])
    return f"{value:,.{decimals}f}"


def _element_id(figure: Figure) -> str:
    return f"jwqlscan-{figure.plot.file_stem.replace('_', '-')}"


def _div(element_id: str, root_id: str) -> str:
    """Return the element that BokehJS draws in; both ids are made here, of letters and digits."""
    return f'<div id="{element_id}" data-root-id="{root_id}" style="display: contents;"></div>'


def _json(value: Any) -> str:
    """Return JSON that is also JavaScript, and safe in a script element as it is.

    Notes
    -----
    Only inside strings can these characters occur, so the escapes mean the same. `json.dumps` has
    U+2028 and everything else that is not ASCII escaped already.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _bokehjs() -> list[str]:
    """Return the scripts of BokehJS; widgets, tables, WebGL and MathJax are not needed."""
    return list(Resources(mode="inline", components=["bokeh"], minified=True).js_raw)


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
