"""The figures: plots' numbers in, Bokeh's document JSON out.

Bokeh takes about 0.6 ms to make a model and again to serialize it, and a report has some 500
series of 4 to 8 models: 5 to 9 s (measured, Bokeh 3.9.2). So one figure with one series is made of
real Bokeh models, `pattern`; every figure of the report is a copy of its JSON, with the figure's
own texts, numbers and series set at the parts that carry a name. The tests read the copies back
with ``bokeh.document.Document.from_json``, which checks every one of them as Bokeh would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from bokeh.core.serialization import Serializer
from bokeh.embed import json_item

from jwqlscan.reporting import theme
from jwqlscan.reporting.pattern import pattern
from jwqlscan.reporting.series import PlotData, Series
from jwqlscan.reporting.thinning import FloatArray

Json: TypeAlias = dict[str, Any]
Column: TypeAlias = FloatArray | list[str]

# Up to so many runs every point gets a mark, 10 px apart; of more only those a line would hide.
MARKED_ROWS = 60
_HEADROOM = 1.06  # above the largest value


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, drawn.

    Attributes
    ----------
    plot : PlotData
    document : dict
        The JSON of a Bokeh document, whose only root is a ``Plot``.
    """

    plot: PlotData
    document: Json

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.document["roots"][0]["attributes"]["height"])

    @property
    def root_id(self) -> str:
        """The id of the ``Plot``."""
        return str(self.document["roots"][0]["id"])


def draw(
    plots: list[PlotData], window: tuple[float, float], samples: list[tuple[float, float]]
) -> list[Figure]:
    """Draw all plots.

    Parameters
    ----------
    plots : list of PlotData
    window : tuple of float
        Start and end of the time axis, the same in all figures, in ms since 1970.
    samples : list of tuple of float
        Stretches of time to be marked as made up.

    Returns
    -------
    list of Figure
    """
    document: Json = {**json_item(pattern(window))["doc"]}
    [root] = document["roots"]
    return [
        Figure(plot, {**document, "roots": [_figure(root, plot, f"f{number}-", samples)]})
        for number, plot in enumerate(plots)
    ]


def _figure(root: Json, plot: PlotData, prefix: str, samples: list[tuple[float, float]]) -> Json:
    copy = _copy(root, prefix)
    parts = dict(_named(copy))
    top = plot.largest * _HEADROOM or 1.0
    parts["title"]["text"] = plot.title
    parts["value range"]["end"] = top
    parts["values"]["axis_label"] = plot.unit.axis_label
    number_format = plot.unit.format_for(plot.largest)
    # On the axis the decimals that say nothing are left out.
    parts["value format"]["format"] = number_format.replace(".", ".[") + "]" * (
        "." in number_format
    )
    if plot.unit.whole:
        parts["value ticker"]["min_interval"] = 1
    attributes = copy["attributes"]
    rows = min(-(-len(plot.series) // theme.LEGEND_COLUMNS), theme.LEGEND_ROWS_SHOWN)
    attributes["height"] = theme.PLOT_HEIGHT + rows * theme.LEGEND_ROW_PX
    _set_samples(attributes, samples, empty=not plot.series)
    _set_series(attributes, parts, plot)
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


def _set_series(attributes: Json, parts: Json, plot: PlotData) -> None:
    line, marks = attributes["renderers"]
    [item] = parts["legend"]["items"]
    source = line["attributes"]["data_source"]
    columns: dict[str, Column] = {"x": plot.times, "filled": plot.complete.astype(float)}
    if not plot.complete.all():
        columns["run"] = ["complete" if one else "incomplete" for one in plot.complete]
    renderers: list[Json] = []
    items: list[Json] = []
    # A line of one point can't be seen; a renderer costs BokehJS 10 ms.
    patterns = [line] * (len(plot.times) > 1) + [marks] * (len(plot.times) <= MARKED_ROWS)
    for number, series in enumerate(plot.series):
        columns[f"y{number}"] = series.values
        drawn = [_renderer(one, f"n{number}-", f"y{number}", series) for one in patterns]
        entry = _copy(item, f"n{number}-")
        entry["attributes"] |= {
            "label": {"type": "value", "value": series.label},
            "renderers": [{"id": one["id"]} for one in drawn],
        }
        renderers += drawn
        items.append(entry)
    if len(plot.times) > MARKED_ROWS:
        renderers += _sparse_marks(plot, marks, source)
    if renderers:
        source["attributes"]["data"] = _columns(columns)
        renderers[0]["attributes"]["data_source"] = source
    attributes["renderers"] = renderers
    parts["legend"]["items"] = items


def _sparse_marks(plot: PlotData, marks: Json, source: Json) -> list[Json]:
    """Return one renderer of the points that a line would hide, or none.

    These are the points of incomplete runs, and those with no neighbours. For all series they are
    one renderer: one each would make the page twice as slow to open.
    """
    values = np.array([series.values for series in plot.series]).reshape(-1, len(plot.times))
    finite = np.isfinite(values)
    beside = np.pad(finite, ((0, 0), (1, 1)))
    isolated = ~beside[:, :-2] & ~beside[:, 2:]
    which, rows = np.nonzero(finite & (isolated | ~plot.complete))
    if not len(rows):
        return []
    own = _copy(source, "marks-")
    own["attributes"]["data"] = _columns(
        {
            "x": plot.times[rows],
            "y": values[which, rows],
            "filled": plot.complete[rows].astype(float),
            "colour": [plot.series[number].style.colour for number in which],
            "mark": [plot.series[number].style.mark for number in which],
        }
    )
    renderer = _copy(marks, "marks-")
    attributes = renderer["attributes"]
    attributes["data_source"] = own
    glyph = attributes["glyph"]["attributes"]
    glyph["line_color"] = glyph["fill_color"] = {"type": "field", "field": "colour"}
    glyph["marker"] = {"type": "field", "field": "mark"}
    return [renderer]


def _renderer(model: Json, prefix: str, column: str, series: Series) -> Json:
    source = {"id": model["attributes"]["data_source"]["id"]}
    bare = {**model, "attributes": {**model["attributes"], "data_source": None}}
    renderer = _copy(bare, prefix)
    attributes = renderer["attributes"]
    attributes |= {"name": series.label, "data_source": source}
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


def _set_hover(hover: Json, renderers: list[Json], plot: PlotData, number_format: str) -> None:
    hover["tooltips"] = [
        *hover["tooltips"],
        [plot.unit.noun, f"$snap_y{{{number_format}}}"],
        *([] if plot.complete.all() else [["run", "@run"]]),
    ]
    # Where every point has its mark, the marks are easier to hit than the line.
    glyph = "Scatter" if len(plot.times) <= MARKED_ROWS else "Line"
    hover["renderers"] = [
        {"id": one["id"]} for one in renderers if one["attributes"]["glyph"]["name"] == glyph
    ]


def _columns(columns: dict[str, Column]) -> Json:
    encode = Serializer(deferred=False).encode
    return {"type": "map", "entries": [[name, encode(column)] for name, column in columns.items()]}


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
