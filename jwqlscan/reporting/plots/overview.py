"""The overview: the archive's whole history in a strip, and the stretch of it that is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from bokeh.embed import json_item
from bokeh.models import (
    ColumnDataSource,
    DatetimeAxis,
    Plot,
    Range1d,
    RangeTool,
    Toolbar,
    VArea,
)
from bokeh.models.glyph import Glyph
from bokeh.models.renderers import GlyphRenderer

from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.columns import Json
from jwqlscan.reporting.plots.series import PlotData, stack
from jwqlscan.reporting.plots.template_figure import date_format, style_axis

_HEIGHT = 84


def overview(plot: PlotData, window: tuple[float, float]) -> Json:
    """Return what ``Bokeh.embed.embed_item`` takes: a strip whose box can be dragged.

    Parameters
    ----------
    plot : PlotData
        Its first series is drawn.
    window : tuple of float
        The whole time axis, in ms since 1970.
    """
    whole = stack(replace(plot, series=plot.series[:1]), 1, plot.title)
    values = whole.series[0].values if whole.series else np.zeros(len(whole.times))
    source = ColumnDataSource(data={"x": whole.times[whole.complete], "y": values[whole.complete]})
    area: GlyphRenderer[Glyph] = GlyphRenderer(
        name="overview",
        data_source=source,
        glyph=VArea(x="x", y1=0, y2="y", fill_color=theme.USED.colour, fill_alpha=0.45),
    )
    tool = RangeTool(
        name="range", x_range=Range1d(start=window[0], end=window[1]), y_interaction=False
    )
    tool.overlay.fill_color = theme.USED.colour
    tool.overlay.fill_alpha = 0.13
    tool.overlay.line_color = theme.USED.colour
    tool.overlay.line_alpha = 0.7
    days = DatetimeAxis()
    style_axis(days, date_format())
    model = Plot(
        x_range=Range1d(start=window[0], end=window[1]),
        y_range=Range1d(start=0, end=plot.largest * 1.1 or 1.0),
        height=_HEIGHT,
        sizing_mode="stretch_width",
        outline_line_color=None,
        background_fill_color=theme.PAPER,
        border_fill_color=theme.PAPER,
        min_border_left=20,
        min_border_right=20,
        renderers=[area],
        below=[days],
        toolbar_location=None,
        toolbar=Toolbar(logo=None, tools=[tool]),
    )
    item = json_item(model)
    return {"root_id": item["root_id"], "doc": item["doc"], "version": item["version"]}
