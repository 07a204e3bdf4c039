"""The one figure that is made of Bokeh models; `figures` makes the report's figures from it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from bokeh.core.property.vectorization import Expr
from bokeh.models import (
    Axis,
    BasicTicker,
    BoxZoomTool,
    ColumnDataSource,
    DatetimeAxis,
    DatetimeTickFormatter,
    Grid,
    HoverTool,
    InlineStyleSheet,
    Line,
    LinearAxis,
    Node,
    NoOverlap,
    NumeralTickFormatter,
    PanTool,
    Plot,
    Range1d,
    ResetTool,
    SaveTool,
    Scatter,
    TickFormatter,
    Toolbar,
    VArea,
    WheelZoomTool,
)

# These have no type hints in bokeh.models.
from bokeh.models.annotations import BoxAnnotation, Label, Legend, LegendItem, Title
from bokeh.models.expressions import Stack
from bokeh.models.glyph import Glyph
from bokeh.models.renderers import GlyphRenderer

from jwqlscan.reporting.plots import theme

_LEGEND_CSS = f"""
:host {{ max-height: {theme.LEGEND_ROW_PX * theme.LEGEND_ROWS_SHOWN}px; overflow-y: auto;
  width: calc(100% - 20px); box-sizing: border-box; scrollbar-width: thin; }}
.bk-grid {{ width: 100%; grid-template-rows: none; column-gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax({theme.LEGEND_COLUMN_PX}px, 1fr)); }}
.bk-item {{ min-width: 0; }}
.bk-label {{ overflow: hidden; text-overflow: ellipsis; display: block; flex: 1 1 0; }}
.bk-glyph {{ flex: none; }}
"""


def pattern(window: tuple[float, float]) -> Plot:
    """Return the figure that all figures are copies of; a part to be set has a name."""
    source = ColumnDataSource(
        name="source", data={name: np.zeros(1) for name in ("x", "y", "filled", "run")}
    )
    line: GlyphRenderer[Glyph] = GlyphRenderer(
        name="line",
        data_source=source,
        glyph=Line(x="x", y="y", line_width=theme.LINE_WIDTH, line_join="round"),
        muted_glyph=Line(x="x", y="y", line_width=theme.LINE_WIDTH, line_alpha=theme.MUTED_ALPHA),
    )
    marks: GlyphRenderer[Glyph] = GlyphRenderer(
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
    area: GlyphRenderer[Glyph] = GlyphRenderer(
        name="area",
        data_source=source,
        glyph=VArea(x="x", y1=_stacked(), y2=_stacked(), fill_alpha=0.85),
        muted_glyph=VArea(x="x", y1=_stacked(), y2=_stacked(), fill_alpha=theme.MUTED_ALPHA),
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
    days = DatetimeAxis(axis_label="Date (UTC)")
    values = LinearAxis(
        name="values",
        axis_label="label",
        ticker=BasicTicker(name="value ticker", desired_num_ticks=6),
    )
    style_axis(days, date_format())
    style_axis(values, NumeralTickFormatter(name="value format"))
    zoom = BoxZoomTool()
    return Plot(
        x_range=Range1d(start=window[0], end=window[1]),
        y_range=Range1d(name="value range", start=0, end=1),
        title=Title(
            name="title",
            text_font=theme.FONT,
            text_color=theme.TEXT,
            text_font_size="15px",
            text_font_style="bold",
        ),
        height=theme.PLOT_HEIGHT,
        sizing_mode="stretch_width",
        min_border_left=8,
        min_border_right=16,
        outline_line_color=None,
        background_fill_color=theme.PAPER,
        border_fill_color=theme.PAPER,
        renderers=[line, marks, area, *_future()],
        above=[
            Title(
                name="sample note",
                text="Shaded: made-up sample data",
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
            Grid(axis=values, dimension=1, grid_line_color=theme.GRID),
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
                    visible=False,  # always on: its button would push the others into a menu
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


def _stacked() -> Expr:
    return Expr(Stack(fields=[]))


def _future() -> list[GlyphRenderer[Glyph]]:
    """Return what draws a forecast: an interval, a line, and the limit it is to reach."""
    source = ColumnDataSource(
        name="future", data={name: np.zeros(1) for name in ("x", "low", "high", "line", "limit")}
    )
    colour = theme.FORECAST.colour
    glyphs: dict[str, Glyph] = {
        "band": VArea(x="x", y1="low", y2="high", fill_color=colour, fill_alpha=0.22),
        "trend": Line(
            x="x", y="line", line_width=theme.LINE_WIDTH, line_dash=[6, 4], line_color=colour
        ),
        "limit": Line(x="x", y="limit", line_dash=[2, 4], line_color=theme.SIZE.colour),
    }
    return [
        GlyphRenderer(name=name, data_source=source, glyph=glyph, muted_glyph=glyph.clone())
        for name, glyph in glyphs.items()
    ]


def style_axis(axis: Axis, formatter: TickFormatter) -> None:
    """Give an axis the report's fonts, quiet colours and a format."""
    axis.formatter = formatter
    axis.axis_label_text_font = axis.major_label_text_font = theme.FONT
    axis.axis_label_text_font_style = "normal"
    axis.axis_label_text_font_size = "12px"
    axis.major_label_text_font_size = "11px"
    axis.axis_label_text_color = axis.major_label_text_color = theme.QUIET_TEXT
    axis.axis_line_color = axis.major_tick_line_color = theme.QUIET_TEXT
    axis.axis_line_alpha = axis.major_tick_line_alpha = 0.4
    axis.minor_tick_line_color = None
    axis.major_label_policy = NoOverlap(min_distance=8)  # a phone has room for three dates


def date_format() -> DatetimeTickFormatter:
    """Return how dates are written on axes: UTC, shorter the longer the stretch."""
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


def _frame_label(name: str, place: Literal["top_left", "center"], text: str, colour: str) -> Label:
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
        background_fill_alpha=1.0,  # a curve behind it would strike it through
    )
