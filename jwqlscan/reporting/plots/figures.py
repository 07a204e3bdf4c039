"""The figures: plots' numbers in, Bokeh's document JSON out.

Bokeh takes about 0.6 ms to make a model and again to serialize it, and a report has some 500
series of 4 to 8 models: 5 to 9 s (measured, Bokeh 3.9.2). So one figure with one series is made of
real Bokeh models, `template_figure`; every figure of the report is a copy of its JSON, with the
figure's own texts, numbers and series set at the parts that carry a name. The tests read the copies
back with ``bokeh.document.Document.from_json``, which checks every one of them as Bokeh would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bokeh
import numpy as np
from bokeh.embed import json_item

from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.columns import Columns, Json, compact
from jwqlscan.reporting.plots.series import Future, PlotData, Series
from jwqlscan.reporting.plots.template_figure import pattern
from jwqlscan.reporting.plots.thinning import BoolArray, FloatArray, IntArray

# Up to this many runs every point gets a mark, 10 px apart; beyond, only those a line would hide.
MARKED_ROWS = 60
HATCH: Json = {
    "hatch_color": theme.PAPER,
    "hatch_alpha": 0.55,
    "hatch_weight": 1.5,
    "hatch_scale": 8,
}
_HEADROOM = 1.06  # above the largest value


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, drawn.

    Attributes
    ----------
    plot : PlotData
    template : str
        What ``Bokeh.embed.embed_item`` takes, without its target, as JSON that names `columns`.
    columns : Columns
    height : int
        In pixels.
    root_id : str
        The id of the ``Plot``, the document's only root.
    """

    plot: PlotData
    template: str
    columns: Columns
    height: int
    root_id: str

    @property
    def document(self) -> Json:
        """The whole JSON of a Bokeh document."""
        document: Json = json.loads(self.columns.filled(self.template))["doc"]
        return document


class Drawing:
    """Draws figures, each a copy of one pattern.

    Parameters
    ----------
    columns : Columns
        Gets the figures' numbers.
    window : tuple of float
        Start and end of the time axis, the same in all figures, in ms since 1970.
    samples : list of tuple of float
        Stretches of time to be marked as made up.
    """

    def __init__(
        self, columns: Columns, window: tuple[float, float], samples: list[tuple[float, float]]
    ) -> None:
        self.columns = columns
        self._samples = samples
        self._document: Json = {**json_item(pattern(window))["doc"]}
        self._drawn: dict[int, Figure] = {}

    def draw(self, plot: PlotData) -> Figure:
        """Draw one plot; a plot that was drawn already is not drawn again."""
        if id(plot) in self._drawn:  # a figure keeps its plot, so that no other gets its id
            return self._drawn[id(plot)]
        [root] = self._document["roots"]
        copy = _figure(root, plot, f"f{len(self._drawn)}-", self._samples, self.columns)
        item = {
            "root_id": copy["id"],
            "doc": {**self._document, "roots": [copy]},
            "version": bokeh.__version__,
        }
        figure = self._drawn[id(plot)] = Figure(
            plot, compact(item), self.columns, int(copy["attributes"]["height"]), str(copy["id"])
        )
        return figure


def _figure(
    root: Json,
    plot: PlotData,
    prefix: str,
    samples: list[tuple[float, float]],
    columns: Columns,
) -> Json:
    copy = _copy(root, prefix)
    parts = dict(_named(copy))
    top = plot.largest * _HEADROOM or 1.0
    parts["title"]["text"] = plot.title
    parts["value range"]["end"] = top
    parts["values"]["axis_label"] = plot.unit.axis_label
    number_format = plot.unit.format_for(plot.largest)
    # On the axis trailing zeros are left out.
    parts["value format"]["format"] = number_format.replace(".", ".[") + "]" * (
        "." in number_format
    )
    if plot.unit.whole:
        parts["value ticker"]["min_interval"] = 1
    attributes = copy["attributes"]
    rows = min(-(-len(plot.series) // theme.LEGEND_COLUMNS), theme.LEGEND_ROWS_SHOWN)
    attributes["height"] = theme.PLOT_HEIGHT + rows * theme.LEGEND_ROW_PX
    _set_samples(attributes, samples, empty=not plot.series)
    if plot.stacked:
        _set_stack(attributes, parts, plot, columns, number_format)
    else:
        _set_series(attributes, parts, plot, columns)
        _set_hover(parts["hover"], attributes["renderers"], plot, number_format)
    # A reader of the document meets the renderers first, where the legend and the tools refer to
    # them.
    copy["attributes"] = {"renderers": attributes.pop("renderers"), **attributes}
    return copy


def _set_samples(attributes: Json, samples: list[tuple[float, float]], *, empty: bool) -> None:
    center: list[Json] = []
    for model in attributes["center"]:
        name = model.get("attributes", {}).get("name")
        if name == "sample band":
            for number, (start, end) in enumerate(samples):
                band = _copy(model, f"s{number}-")
                band["attributes"] |= {"left": start, "right": end}
                center.append(band)
        elif name == "sample label":
            for number, (start, _) in enumerate(samples):
                label = _copy(model, f"s{number}-")
                label["attributes"]["x"] = start
                center.append(label)
        elif name != "no data" or empty:
            center.append(model)
    attributes["center"] = center
    if not samples:
        del attributes["above"]


def _set_series(attributes: Json, parts: Json, plot: PlotData, columns: Columns) -> None:
    patterns = _renderers(attributes)
    line, marks = patterns["line"], patterns["marks"]
    [item] = parts["legend"]["items"]
    source = line["attributes"]["data_source"]
    data = _data(plot, columns)
    renderers: list[Json] = []
    items: list[Json] = []
    # A line of one point can't be seen; a renderer costs BokehJS 10 ms.
    shapes = [line] * (len(plot.times) > 1) + [marks] * (len(plot.times) <= MARKED_ROWS)
    for number, series in enumerate(plot.series):
        data[f"y{number}"] = columns.add(series.values)
        drawn = [_renderer(one, f"n{number}-", f"y{number}", series) for one in shapes]
        rows = _hidden(plot.complete, series.values)
        if len(plot.times) > MARKED_ROWS and len(rows):
            drawn.append(_some(_renderer(marks, f"m{number}-", f"y{number}", series), rows))
        renderers += drawn
        items.append(_legend_item(item, f"n{number}-", series.label, drawn))
    if renderers:
        source["attributes"]["data"] = _map(data)
        renderers[0]["attributes"]["data_source"] = source
    if plot.future is not None:
        ahead, names = _set_future(patterns, plot.future, columns)
        renderers = ahead + renderers
        items += [
            _legend_item(item, f"future{number}-", name, [one])
            for number, (one, name) in enumerate(zip(ahead, names, strict=True))
        ]
    attributes["renderers"] = renderers
    parts["legend"]["items"] = items


def _set_future(
    patterns: dict[str, Json], future: Future, columns: Columns
) -> tuple[list[Json], list[str]]:
    """Return the renderers of a forecast, and their names in the legend."""
    source = patterns["band"]["attributes"]["data_source"]
    source["attributes"]["data"] = _map(
        {
            "x": columns.add(future.times),
            "line": columns.add(future.line),
            "low": columns.add(future.low),
            "high": columns.add(future.high),
            "limit": columns.add(np.full(len(future.times), future.limit)),
        }
    )
    names = {"band": "90 % interval", "trend": "trend", "limit": "used + free"}
    return [patterns[name] for name in names], list(names.values())


def _set_stack(
    attributes: Json, parts: Json, plot: PlotData, columns: Columns, number_format: str
) -> None:
    patterns = _renderers(attributes)
    [item] = parts["legend"]["items"]
    source = patterns["line"]["attributes"]["data_source"]
    data = _data(plot, columns)
    renderers: list[Json] = []
    items: list[Json] = []
    total = np.zeros(len(plot.times))
    below: list[str] = []
    for number, series in enumerate(plot.series):
        data[f"y{number}"] = columns.add(series.values)
        total = total + series.values
        area = _sourced(patterns["area"], f"n{number}-", source["id"])
        area["attributes"]["name"] = series.label
        for name in ("glyph", "muted_glyph"):
            glyph = area["attributes"][name]["attributes"]
            glyph["fill_color"] = series.style.colour
            if series.style.hatch:
                glyph |= {"hatch_pattern": series.style.hatch} | HATCH
            glyph["y1"]["expr"]["attributes"] = {"fields": list(below)}
            glyph["y2"]["expr"]["attributes"] = {"fields": [*below, f"y{number}"]}
        below.append(f"y{number}")
        renderers.append(area)
        items.append(_legend_item(item, f"n{number}-", series.label, [area]))
    if renderers:
        total[total == 0] = np.nan  # on both sides of a gap, where no run was
        whole = Series("total", theme.TOTAL, total)
        data["total"] = columns.add(total)
        edge = _renderer(patterns["line"], "total-", "total", whole)
        edge["attributes"]["glyph"]["attributes"]["line_width"] = 1
        ends = _renderer(patterns["marks"], "ends-", "total", whole)
        hit = [ends]  # easier to hit than the line; the only run has no line
        if len(plot.times) > MARKED_ROWS:
            rows = _hidden(plot.complete, total)
            hit = [edge, _some(ends, rows)] if len(rows) else [edge]
        renderers += [edge, *(one for one in hit if one is not edge)]
        source["attributes"]["data"] = _map(data)
        renderers[0]["attributes"]["data_source"] = source
        # One box with the parts of a whole: an area does not know where in it the pointer is.
        hover = parts["hover"]
        hover["mode"] = "vline"
        hover["renderers"] = [{"id": one["id"]} for one in hit]
        hover["tooltips"] = [
            ["date (UTC)", "$snap_x{%F %T}"],
            ["total", f"@total{{{number_format}}}"],
            *([] if plot.complete.all() else [["run", "@run"]]),
            *(
                [series.label, f"@y{number}{{{number_format}}}"]
                for number, series in enumerate(plot.series)
            ),
        ]
    attributes["renderers"] = renderers
    parts["legend"]["items"] = items


def _data(plot: PlotData, columns: Columns) -> dict[str, Json]:
    data = {"x": columns.add(plot.times), "filled": columns.add(plot.complete.astype(float))}
    if not plot.complete.all():
        data["run"] = columns.add(["complete" if one else "incomplete" for one in plot.complete])
    return data


def _renderers(attributes: Json) -> dict[str, Json]:
    return {one["attributes"]["name"]: one for one in attributes["renderers"]}


def _legend_item(item: Json, prefix: str, label: str, renderers: list[Json]) -> Json:
    entry = _copy(item, prefix)
    entry["attributes"] |= {
        "label": {"type": "value", "value": label},
        "renderers": [{"id": one["id"]} for one in renderers],
    }
    return entry


def _hidden(complete: BoolArray, values: FloatArray) -> IntArray:
    """Return the rows that no line leads to: of incomplete runs, and those without neighbours."""
    finite = np.isfinite(values)
    beside = np.pad(finite, 1)
    return np.flatnonzero(finite & (~complete | ~(beside[:-2] | beside[2:])))


def _some(renderer: Json, rows: IntArray) -> Json:
    """Let a renderer draw some rows of its source only."""
    renderer["attributes"]["view"]["attributes"]["filter"] |= {
        "name": "IndexFilter",
        "attributes": {"indices": rows.tolist()},
    }
    return renderer


def _renderer(model: Json, prefix: str, column: str, series: Series) -> Json:
    renderer = _sourced(model, prefix, model["attributes"]["data_source"]["id"])
    attributes = renderer["attributes"]
    attributes["name"] = series.label
    for glyph in (attributes["glyph"]["attributes"], attributes["muted_glyph"]["attributes"]):
        glyph["y"] = {"type": "field", "field": column}
        if "size" in glyph:
            glyph["marker"] = {"type": "value", "value": series.style.mark}
            glyph["line_color"] = glyph["fill_color"] = {
                "type": "value",
                "value": series.style.colour,
            }
        else:
            glyph["line_color"] = series.style.colour
            glyph["line_dash"] = list(series.style.dash)
    return renderer


def _sourced(model: Json, prefix: str, source_id: str) -> Json:
    """Return a renderer's copy that refers to a source with an id of its own."""
    bare = {**model, "attributes": {**model["attributes"], "data_source": None}}
    renderer = _copy(bare, prefix)
    renderer["attributes"]["data_source"] = {"id": source_id}
    return renderer


def _set_hover(hover: Json, renderers: list[Json], plot: PlotData, number_format: str) -> None:
    hover["tooltips"] = [
        *hover["tooltips"],
        [plot.unit.noun, f"$snap_y{{{number_format}}}"],
        *([] if plot.complete.all() else [["run", "@run"]]),
    ]
    # Where every point has its mark, the marks are easier to hit than the line.
    glyphs = ("Scatter",) if len(plot.times) <= MARKED_ROWS else ("Line", "Scatter")
    hover["renderers"] = [
        {"id": one["id"]} for one in renderers if one["attributes"]["glyph"]["name"] in glyphs
    ]


def _map(columns: dict[str, Json]) -> Json:
    return {"type": "map", "entries": [list(entry) for entry in columns.items()]}


def _copy(model: Json, prefix: str) -> Json:
    """Return a copy of a model's JSON whose models have ids of their own."""
    copy: Json = {}
    for key, value in model.items():
        if isinstance(value, dict):
            copy[key] = _copy(value, prefix)
        elif isinstance(value, list):
            copy[key] = _copy_list(value, prefix)
        else:
            copy[key] = prefix + value if key == "id" else value
    return copy


def _copy_list(nodes: list[Any], prefix: str) -> list[Any]:
    return [
        _copy(node, prefix)
        if isinstance(node, dict)
        else _copy_list(node, prefix)
        if isinstance(node, list)
        else node
        for node in nodes
    ]


def _named(node: object) -> Iterator[tuple[str, Json]]:
    """Walk over the models that have a name, as their attributes."""
    if isinstance(node, list):
        for one in node:
            yield from _named(one)
    elif isinstance(node, dict):
        attributes = node.get("attributes", {})
        if "name" in attributes:
            yield attributes["name"], attributes
        for value in node.values():
            yield from _named(value)
