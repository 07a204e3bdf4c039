"""The components: JWQL's plots for a page that embeds them, and the manifest that finds them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import bokeh

from jwqlscan._version import __version__
from jwqlscan.reporting import PAGE
from jwqlscan.reporting.embed_script import COMPONENT_JS
from jwqlscan.reporting.plots.figures import Figure

MANIFEST = "manifest.json"


def components(figures: Sequence[Figure], newest_run: str | None) -> dict[str, str]:
    """Return three files for each figure (div, script, json_item), and the manifest."""
    files: dict[str, str] = {}
    for figure in figures:
        stem, item = figure.plot.file_stem, _item(figure)
        files[f"{stem}_component.html"] = _div(figure) + "\n"
        files[f"{stem}_component.js"] = COMPONENT_JS.replace("ITEM", item, 1)
        files[f"{stem}_item.json"] = item + "\n"
    files[MANIFEST] = _manifest(figures, newest_run)
    return files


def _item(figure: Figure) -> str:
    """Return what ``Bokeh.embed.embed_item`` takes, as text."""
    text = figure.columns.filled(figure.template)
    return f'{{"target_id":"{_element_id(figure)}",{text[1:]}'


def _manifest(figures: Sequence[Figure], newest_run: str | None) -> str:
    manifest = {
        "bokeh_version": bokeh.__version__,
        "jwqlscan_version": __version__,
        "newest_run": newest_run,
        "page": PAGE,
        "plots": [
            {
                "title": figure.plot.title,
                "section": figure.plot.section,
                "div": f"{figure.plot.file_stem}_component.html",
                "script": f"{figure.plot.file_stem}_component.js",
                "json_item": f"{figure.plot.file_stem}_item.json",
            }
            for figure in figures
        ],
    }
    return json.dumps(manifest, indent=2) + "\n"


def _element_id(figure: Figure) -> str:
    return f"jwqlscan-{figure.plot.file_stem.replace('_', '-')}"


def _div(figure: Figure) -> str:
    """Return the element that BokehJS draws in; its ids are made here, of letters and digits."""
    return (
        f'<div id="{_element_id(figure)}" data-root-id="{figure.root_id}" '
        'style="display: contents;"></div>'
    )
