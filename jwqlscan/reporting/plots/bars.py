"""Bars: what a plot's newest run is made of, the largest on top."""

from __future__ import annotations

import bokeh
import numpy as np
from bokeh.embed import json_item
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    FixedTicker,
    Grid,
    HBar,
    HoverTool,
    LinearAxis,
    NumeralTickFormatter,
    Plot,
    Range1d,
    Toolbar,
)
from bokeh.models.glyph import Glyph
from bokeh.models.renderers import GlyphRenderer

from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.columns import Columns, compact
from jwqlscan.reporting.plots.figures import Figure
from jwqlscan.reporting.plots.series import PlotData, Series
from jwqlscan.reporting.plots.template_figure import style_axis
from jwqlscan.reporting.plots.theme import Style

MAX_BARS = 24  # more are one bar: they would be slivers
_BAR_PX = 22


def bars(plot: PlotData, columns: Columns) -> Figure:
    """Draw the newest values of a plot as bars.

    Parameters
    ----------
    plot : PlotData
        Its series are ordered by their newest values.
    columns : Columns
        Of the report; bars are few and need none.
    """
    found = [(one.label, one.style, newest_value(one)) for one in plot.series]
    found = [one for one in found if one[2] > 0]
    if len(found) > MAX_BARS + 1:
        rest = sum(value for _, _, value in found[MAX_BARS:])
        others = (f"{len(found) - MAX_BARS} others", theme.OTHERS, rest)
        found = [*found[:MAX_BARS], others]
    model = _model(plot, found)
    item = json_item(model)
    text = compact({"root_id": item["root_id"], "doc": item["doc"], "version": bokeh.__version__})
    return Figure(plot, text, columns, int(model.height or 0), str(item["root_id"]))


def newest_value(series: Series) -> float:
    """Return the newest value of a series; 0 if it has none."""
    known = np.flatnonzero(np.isfinite(series.values))
    return float(series.values[known[-1]]) if len(known) else 0.0


def _model(plot: PlotData, shown: list[tuple[str, Style, float]]) -> Plot:
    places = np.arange(len(shown), dtype=float)
    values = [value for _, _, value in shown]
    largest = max(values, default=1.0)
    number_format = plot.unit.format_for(plot.largest)
    source = ColumnDataSource(
        data={
            "place": places,
            "value": np.array(values, dtype=float),
            "label": [label for label, _, _ in shown],
            "colour": [style.colour for _, style, _ in shown],
            "hatch": [style.hatch or " " for _, style, _ in shown],
        }
    )
    renderer: GlyphRenderer[Glyph] = GlyphRenderer(
        name="bars",
        data_source=source,
        glyph=HBar(
            y="place",
            left=0,
            right="value",
            height=0.72,
            fill_color="colour",
            line_color=None,
            hatch_pattern="hatch",
            hatch_color=theme.PAPER,
            hatch_alpha=0.55,
            hatch_weight=1.5,
            hatch_scale=8,
        ),
    )
    names = LinearAxis(
        ticker=FixedTicker(ticks=places.tolist()),  # type: ignore[arg-type]
        major_label_overrides={place: one[0] for place, one in enumerate(shown)},
        minor_tick_line_color=None,
    )
    numbers = LinearAxis(ticker=BasicTicker(desired_num_ticks=5), axis_label=plot.unit.axis_label)
    style_axis(names, names.formatter)
    style_axis(numbers, NumeralTickFormatter(format="0,0.[000]"))
    names.major_tick_line_color = names.axis_line_color = None
    return Plot(
        x_range=Range1d(start=0, end=largest * 1.04 or 1.0),
        y_range=Range1d(start=len(shown) - 0.4, end=-0.6),
        height=70 + _BAR_PX * max(len(shown), 3),
        sizing_mode="stretch_width",
        min_border_right=20,
        outline_line_color=None,
        background_fill_color=theme.PAPER,
        border_fill_color=theme.PAPER,
        renderers=[renderer],
        left=[names],
        below=[numbers],
        center=[Grid(axis=numbers, grid_line_color=theme.GRID)],
        toolbar_location=None,
        toolbar=Toolbar(
            logo=None,
            tools=[
                HoverTool(
                    tooltips=[("", "@label"), (plot.unit.noun, f"@value{{{number_format}}}")],
                )
            ],
        ),
    )
