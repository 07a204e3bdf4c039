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
from bokeh.models import (
    BasicTicker,
    BoxAnnotation,
    BoxZoomTool,
    ColumnDataSource,
    DatetimeAxis,
    DatetimeTickFormatter,
    GlyphRenderer,
    Grid,
    HoverTool,
    InlineStyleSheet,
    Label,
    Legend,
    LegendItem,
    Line,
    LinearAxis,
    Node,
    NumeralTickFormatter,
    PanTool,
    Plot,
    Range1d,
    ResetTool,
    SaveTool,
    Scatter,
    Title,
    Toolbar,
    WheelZoomTool,
)

from jwqlscan.reporting import theme
from jwqlscan.reporting.plots import PlotData, Series
from jwqlscan.reporting.thinning import FloatArray

Json: TypeAlias = dict[str, Any]
Column: TypeAlias = FloatArray | list[str]

# Up to so many runs every point gets a mark, 10 px apart; of more only those a line would hide.
MARKED_ROWS = 60
_HEADROOM = 1.06  # above the largest value

_LEGEND_CSS = f"""
:host {{ max-height: {theme.LEGEND_ROW_PX * theme.LEGEND_ROWS_SHOWN}px; overflow-y: auto;
  width: calc(100% - 20px); box-sizing: border-box; scrollbar-width: thin; }}
.bk-grid {{ width: 100%; grid-template-rows: none; column-gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax({theme.LEGEND_COLUMN_PX}px, 1fr)); }}
.bk-item {{ min-width: 0; }}
.bk-label {{ overflow: hidden; text-overflow: ellipsis; display: block; flex: 1 1 0; }}
.bk-glyph {{ flex: none; }}
"""


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
    document = json_item(pattern(window))["doc"]
    [root] = document["roots"]
    return [
        Figure(plot, {**document, "roots": [_figure(root, plot, f"f{number}-", samples)]})
        for number, plot in enumerate(plots)
    ]


def pattern(window: tuple[float, float]) -> Plot:
    """Return the figure that all figures are copies of; a part to be set has a name."""
    source = ColumnDataSource(
        name="source", data={name: np.zeros(1) for name in ("x", "y", "filled", "run")}
    )
    line = GlyphRenderer(
        name="line",
        data_source=source,
        glyph=Line(x="x", y="y", line_width=theme.LINE_WIDTH, line_join="round"),
        muted_glyph=Line(x="x", y="y", line_width=theme.LINE_WIDTH, line_alpha=theme.MUTED_ALPHA),
    )
    marks = GlyphRenderer(
        name="marks",
        data_source=source,
        glyph=Scatter(x="x", y="y", size=theme.MARK_SIZE, fill_alpha="filled", line_width=1.5),
        muted_glyph=Scatter(
            x="x",
            y="y",
            size=theme.MARK_SIZE,
            fill_alpha=0,
            line_alpha=theme.MUTED_ALPHA,
        ),
    )
    legend = Legend(
        name="legend",
        items=[LegendItem(name="item", label="label", renderers=[line])],
        click_policy="mute",
        orientation="horizontal",
        location="left",
        border_line_color=None,
        background_fill_color=None,
        inactive_fill_alpha=0.55,
        label_text_font=theme.FONT,
        label_text_font_size="12px",
        label_text_color=theme.TEXT,
        label_height=15,
        glyph_height=14,
        glyph_width=22,
        spacing=2,
        margin=6,
        stylesheets=[InlineStyleSheet(css=_LEGEND_CSS)],
    )
    text = {"text_font": theme.FONT, "text_color": theme.TEXT}
    axis = {
        "axis_label_text_font": theme.FONT,
        "axis_label_text_font_style": "normal",
        "axis_label_text_font_size": "12px",
        "axis_label_text_color": theme.QUIET_TEXT,
        "major_label_text_font": theme.FONT,
        "major_label_text_font_size": "11px",
        "major_label_text_color": theme.QUIET_TEXT,
        "axis_line_color": theme.QUIET_TEXT,
        "axis_line_alpha": 0.4,
        "major_tick_line_color": theme.QUIET_TEXT,
        "major_tick_line_alpha": 0.4,
        "minor_tick_line_color": None,
    }
    days = DatetimeAxis(axis_label="Date (UTC)", formatter=_date_format(), **axis)
    values = LinearAxis(
        name="values",
        axis_label="label",
        ticker=BasicTicker(name="value ticker", desired_num_ticks=6),
        formatter=NumeralTickFormatter(name="value format"),
        **axis,
    )
    zoom = BoxZoomTool()
    return Plot(
        x_range=Range1d(*window),
        y_range=Range1d(name="value range", start=0, end=1),
        title=Title(name="title", text_font_size="15px", text_font_style="bold", **text),
        height=theme.PLOT_HEIGHT,
        sizing_mode="stretch_width",
        min_border_left=8,
        min_border_right=16,
        outline_line_color=None,
        background_fill_color=theme.PAPER,
        border_fill_color=theme.PAPER,
        renderers=[line, marks],
        above=[
            Title(
                name="sample note",
                text="Shaded: made-up sample data, not measured",
                text_font=theme.FONT,
                text_font_size="12px",
                text_font_style="normal",
                text_color=theme.SAMPLE,
            )
        ],
        below=[days, legend],
        left=[values],
        center=[
            Grid(axis=days, grid_line_color=theme.GRID),
            Grid(axis=values, grid_line_color=theme.GRID),
            BoxAnnotation(
                name="sample band",
                left=0,
                right=1,
                fill_color=theme.SAMPLE,
                fill_alpha=theme.SAMPLE_ALPHA,
                line_color=None,
                level="underlay",
            ),
            _frame_label("sample label", "top_left", "sample data", theme.SAMPLE),
            _frame_label("no data", "center", "no data", theme.QUIET_TEXT),
        ],
        toolbar_location="above",
        toolbar=Toolbar(
            logo=None,
            tools=[
                PanTool(),
                zoom,
                # Not active: a page full of plots must still scroll under the wheel.
                WheelZoomTool(),
                ResetTool(),
                SaveTool(),
                HoverTool(
                    name="hover",
                    tooltips=[("", "$name"), ("date (UTC)", "$snap_x{%F %T}")],
                    formatters={"$snap_x": "datetime"},
                    line_policy="nearest",
                    muted_policy="ignore",
                    renderers=[line],
                ),
            ],
            active_drag=zoom,
            active_scroll=None,
        ),
    )


def _date_format() -> DatetimeTickFormatter:
    return DatetimeTickFormatter(
        seconds="%H:%M:%S",
        minsec="%H:%M:%S",
        minutes="%d %b %H:%M",
        hourmin="%d %b %H:%M",
        hours="%d %b %H:%M",
        days="%d %b %Y",
        months="%b %Y",
        years="%Y",
    )


def _frame_label(name: str, place: str, text: str, colour: str) -> Label:
    corner = place == "top_left"
    return Label(
        name=name,
        text=text,
        x=Node(target="frame", symbol=place),
        y=Node(target="frame", symbol=place),
        x_offset=6 if corner else 0,
        y_offset=-6 if corner else 0,
        text_align="left" if corner else "center",
        text_baseline="top" if corner else "middle",
        text_font=theme.FONT,
        text_font_size="12px" if corner else "18px",
        text_color=colour,
        background_fill_color=theme.PAPER,
        background_fill_alpha=0.75,
    )


def _figure(root: Json, plot: PlotData, prefix: str, samples: list[tuple[float, float]]) -> Json:
    copy: Json = _copy(root, prefix)
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
        }
    )
    renderer: Json = _copy(marks, "marks-")
    attributes = renderer["attributes"]
    attributes["data_source"] = own
    glyph = attributes["glyph"]["attributes"]
    glyph["line_color"] = glyph["fill_color"] = {"type": "field", "field": "colour"}
    return [renderer]


def _renderer(model: Json, prefix: str, column: str, series: Series) -> Json:
    source = {"id": model["attributes"]["data_source"]["id"]}
    bare = {**model, "attributes": {**model["attributes"], "data_source": None}}
    renderer: Json = _copy(bare, prefix)
    attributes = renderer["attributes"]
    attributes |= {"name": series.label, "data_source": source}
    for glyph in (attributes["glyph"]["attributes"], attributes["muted_glyph"]["attributes"]):
        glyph["y"] = {"type": "field", "field": column}
        if "size" in glyph:
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


def _copy(node: Any, prefix: str) -> Any:
    """Return a copy of a model's JSON whose models have ids of their own."""
    if isinstance(node, list):
        return [_copy(one, prefix) for one in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _copy(value, prefix) for key, value in node.items()}
    if "id" in node:
        copy["id"] = prefix + node["id"]
    return copy


def _named(node: Any) -> Iterator[tuple[str, Json]]:
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
