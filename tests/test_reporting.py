"""The report: what its plots hold, which files it is made of, and what they let through."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bokeh
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import HoverTool, Legend, Line, Plot, Scatter
from histories import HOSTILE, NEWEST, history_of, hostile_history

from jwqlscan.errors import ReportError
from jwqlscan.history import CentralColumns, GeneralColumns, History, ProductColumns
from jwqlscan.names import FILETYPES
from jwqlscan.reporting import report_path, theme, write_report
from jwqlscan.reporting.figures import draw
from jwqlscan.reporting.glance import glance
from jwqlscan.reporting.page import MANIFEST, PAGE, render
from jwqlscan.reporting.plots import plots, sample_spans, time_window
from jwqlscan.reporting.series import PlotData
from jwqlscan.reporting.thinning import MOST_POINTS, POINTS, kept_rows
from jwqlscan.settings import Outputs
from jwqlscan.tally import Product

INSTRUMENTS = ("FGS", "MIRI", "NIRCam", "NIRISS", "NIRSpec")
TITLES = [
    "Total File Counts",
    "System stats",
    "Total File Count by Type",
    "Total File Size by Type",
    *(
        f"{instrument} Total File {what} by Type"
        for instrument in INSTRUMENTS
        for what in ("Count", "Size")
    ),
    "Central Store stats",
]
DATES = [NEWEST + timedelta(days=day) for day in range(4)]


def plot_of(history: History, title: str) -> PlotData:
    return next(plot for plot in plots(history) if plot.title == title)


def curves(plot: PlotData) -> dict[str, list[float]]:
    return {series.label: series.values.tolist() for series in plot.series}


def model_of(history: History, title: str) -> Plot:
    """Return a figure as Bokeh reads it back: everything in it is checked on the way."""
    figures = draw(plots(history), time_window(history), sample_spans(history))
    [figure] = [figure for figure in figures if figure.plot.title == title]
    [root] = Document.from_json(figure.document).roots
    assert isinstance(root, Plot)
    return root


# What the plots hold


def test_the_plots_are_the_monitors():
    assert [plot.title for plot in plots(history_of(3, filetypes=2))] == TITLES
    assert [plot.title for plot in plots(History())] == TITLES


def test_system_stats_are_total_used_and_free():
    general = GeneralColumns(DATES[:2], [1, 2], [0.1, 0.2], [1, 1], [0, 0], [3.0, None], [5.0, 4.0])
    found = curves(plot_of(History(general=general), "System stats"))
    assert found["total size"][0] == 8.0
    assert np.isnan(found["total size"][1])
    assert np.isnan(found["used"][1])
    assert found["free"] == [5.0, 4.0]


def test_types_are_summed_over_instruments():
    history = History(
        products={
            Product("miri", "cal"): ProductColumns(DATES, [1, 2, 3, 4], [0.5, 0.5, 0.5, 0.5]),
            Product("nircam", "cal"): ProductColumns(DATES[2:], [10, 20], [1.0, 2.0]),
        }
    )
    assert curves(plot_of(history, "Total File Count by Type")) == {"cal": [1, 2, 13, 24]}
    assert curves(plot_of(history, "Total File Size by Type")) == {"cal": [0.5, 0.5, 1.5, 2.5]}
    assert curves(plot_of(history, "NIRCam Total File Count by Type")) == {"cal": [10, 20]}


def test_a_run_without_a_product_is_a_gap():
    history = History(
        products={
            Product("miri", "cal"): ProductColumns(DATES, [1, 2, 3, 4], [1.0, 1.0, 1.0, 1.0]),
            Product("miri", "rate"): ProductColumns([DATES[0], DATES[3]], [7, 8], [1.0, 1.0]),
        }
    )
    rate = curves(plot_of(history, "MIRI Total File Count by Type"))["rate"]
    np.testing.assert_equal(rate, [7, np.nan, np.nan, 8])


def test_a_type_without_files_has_no_curve():
    history = History(
        products={
            Product("miri", "cal"): ProductColumns(DATES[:1], [1], [1.0]),
            Product("miri", "dark"): ProductColumns(DATES[:1], [0], [0.0]),
        }
    )
    assert list(curves(plot_of(history, "Total File Count by Type"))) == ["cal"]


def test_curves_are_ordered_by_their_newest_value():
    history = history_of(40, filetypes=30)
    for plot in plots(history):
        newest = [series.values[np.isfinite(series.values)][-1] for series in plot.series]
        assert newest == sorted(newest, reverse=True)


def test_central_storage_takes_its_size_from_all():
    columns = CentralColumns(DATES[:1], [40.0], [3.0], [30.0])
    history = History(central={"all": columns, "logs": replace(columns, used=[1.0])})
    assert curves(plot_of(history, "Central Store stats")) == {
        "size": [40.0],
        "free": [30.0],
        "used: all": [3.0],
        "used: logs": [1.0],
    }


def test_central_storage_without_all_tells_the_size_of_each_area():
    columns = CentralColumns(DATES[:1], [40.0], [3.0], [30.0])
    history = History(central={"logs": columns, "test": columns})
    labels = {"size of logs", "free of logs", "size of test", "free of test"}
    assert labels < set(curves(plot_of(history, "Central Store stats")))


def test_tables_with_dates_of_their_own_have_unbroken_curves():
    """The JWQL database has a slightly different time in every table."""
    history = history_of(20, filetypes=2)
    later = [date + timedelta(seconds=2) for date in history.general.date]
    central = {name: replace(column, date=later) for name, column in history.central.items()}
    for plot in plots(replace(history, central=central)):
        assert all(np.isfinite(series.values).all() for series in plot.series)


def test_a_filetype_has_one_style_everywhere_and_keeps_it():
    history = history_of(30, filetypes=len(FILETYPES))
    seen: dict[str, theme.Style] = {}
    for plot in plots(history):
        if "by Type" in plot.title:
            for series in plot.series:
                assert seen.setdefault(series.label, series.style) == series.style
    assert len(set(seen.values())) == len(seen) == len(FILETYPES)
    newer = ProductColumns([NEWEST + timedelta(days=1)], [5], [1.0])
    more = replace(history, products=history.products | {Product("miri", "aaa"): newer})
    again = {one.label: one.style for one in plot_of(more, "Total File Count by Type").series}
    assert {label: again[label] for label in seen} == seen


def test_sample_spans_follow_the_sample_runs():
    history = history_of(10, filetypes=1)
    dates = history.general.date
    history = replace(history, sample_dates=frozenset([dates[0], dates[1], dates[2], dates[6]]))
    half = 43_200_000
    assert sample_spans(history) == [
        (dates[0].timestamp() * 1000 - half, dates[2].timestamp() * 1000 + half),
        (dates[6].timestamp() * 1000 - half, dates[6].timestamp() * 1000 + half),
    ]


# Thinning


@pytest.mark.parametrize("rows", [1, 2, POINTS, POINTS + 1, 1826, 5000])
def test_thinning_keeps_extremes_and_ends(rows):
    rng = np.random.default_rng(rows)
    values = np.cumsum(rng.normal(size=(40, rows)), axis=1)
    values[3, : rows // 2] = np.nan
    kept = kept_rows(values)
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == rows - 1
    assert len(kept) <= max(MOST_POINTS, min(rows, POINTS))
    np.testing.assert_array_equal(np.nanmin(values[:, kept], axis=1), np.nanmin(values, axis=1))
    np.testing.assert_array_equal(np.nanmax(values[:, kept], axis=1), np.nanmax(values, axis=1))


def test_thinning_keeps_a_day_that_stands_out():
    values = np.arange(3000.0)[None, :].copy()
    values[0, 1234] = 0
    assert 1234 in kept_rows(values)


def test_thinning_keeps_wanted_rows_and_the_beginning_of_gaps():
    values = np.zeros((1, 3000))
    values[0, 1001:1003] = np.nan
    kept = kept_rows(values, np.array([777]))
    assert {777, 1001} <= set(kept.tolist())


def test_five_years_of_a_growing_archive_are_about_a_thousand_points():
    values = np.cumsum(np.random.default_rng(1).integers(0, 9, size=(40, 1826)), axis=1)
    assert len(kept_rows(values.astype(float))) <= POINTS + 2


# The figures


@pytest.mark.parametrize("runs", [1, 12, 200])
def test_every_figure_is_valid_to_bokeh(runs):
    history = history_of(runs, filetypes=3, sample_runs=runs // 2, incomplete=[runs - 1])
    for figure in draw(plots(history), time_window(history), sample_spans(history)):
        [root] = Document.from_json(figure.document).roots
        assert root.title.text == figure.plot.title
        legend = root.select_one(Legend)
        assert [item.label.value for item in legend.items] == [
            series.label for series in figure.plot.series
        ]
        assert legend.click_policy == "mute"


def test_ids_differ_between_figures():
    history = history_of(3, filetypes=3)
    figures = draw(plots(history), time_window(history), [])
    ids = [set(re.findall(r'"id": "([^"]+)"', json.dumps(f.document["roots"]))) for f in figures]
    assert len(set.union(*ids)) == sum(map(len, ids))


def test_a_figure_holds_the_historys_numbers():
    history = history_of(200, filetypes=2)
    root = model_of(history, "Total File Counts")
    line = next(r for r in root.renderers if r.name == "all files")
    data = line.data_source.data
    assert data[line.glyph.y.field].tolist() == history.general.total_file_count
    assert data["x"].tolist() == [date.timestamp() * 1000 for date in history.general.date]
    assert isinstance(line.glyph, Line)
    assert root.y_range.start == 0
    assert root.below[0].axis_label == "Date (UTC)"
    assert root.left[0].axis_label == "Files"


def test_sizes_say_tib():
    root = model_of(history_of(20, filetypes=2), "System stats")
    assert root.left[0].axis_label == "Size (TiB)"
    assert root.select_one(HoverTool).tooltips[2][0] == "TiB"


def test_a_single_run_is_drawn_with_marks():
    root = model_of(history_of(1, filetypes=2), "Total File Counts")
    assert {type(renderer.glyph) for renderer in root.renderers} == {Scatter}
    assert root.x_range.start < NEWEST.timestamp() * 1000 < root.x_range.end


@pytest.mark.parametrize("runs", [20, 200])
def test_points_of_incomplete_runs_are_hollow(runs):
    root = model_of(history_of(runs, filetypes=2, incomplete=[5]), "Total File Counts")
    hollow = set()
    for renderer in root.renderers:
        if isinstance(renderer.glyph, Scatter):
            data = renderer.data_source.data
            hollow |= set(np.asarray(data["x"])[np.asarray(data["filled"]) == 0])
    dates = history_of(runs, filetypes=2).general.date
    assert hollow == {dates[5].timestamp() * 1000}


def test_sample_data_is_marked_in_every_figure():
    history = history_of(30, filetypes=2, sample_runs=10)
    for title in TITLES:
        root = model_of(history, title)
        assert [model.text for model in root.above] == ["Shaded: made-up sample data"]
        assert len(list(root.select({"name": "sample band"}))) == 1


def test_measured_data_is_not_marked_as_sample():
    root = model_of(history_of(30, filetypes=2), "System stats")
    assert root.above == []
    assert not list(root.select({"name": "sample band"}))


def test_a_plot_without_data_says_so():
    history = replace(history_of(5, filetypes=1), central={})
    assert [m.text for m in model_of(history, "Central Store stats").select({"name": "no data"})]
    assert not list(model_of(history, "System stats").select({"name": "no data"}))


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(1234.5, "0,0.0000"), (0.5, "0,0.0000000"), (1e-9, "0,0.000000000000"), (0, "0,0.000000")],
)
def test_sizes_have_digits_enough(largest, expected):
    assert theme.TIB.format_for(largest) == expected
    assert theme.FILES.format_for(largest) == "0,0"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_label_is_safe_text(name):
    text = theme.label_text(name)
    assert text.isprintable() or "\u2060" in text
    text.encode()
    assert not re.search(r"\$\$|\\\(|\\\[", text)


# The files


def test_every_plot_has_its_component_and_the_manifest_names_them():
    files = render(history_of(3, filetypes=2))
    manifest = json.loads(files[MANIFEST])
    assert manifest["bokeh_version"] == bokeh.__version__
    assert manifest["newest_run"] == NEWEST.isoformat()
    assert [entry["title"] for entry in manifest["plots"]] == TITLES
    for entry in manifest["plots"]:
        stem = entry["title"].lower().replace(" ", "_")
        assert entry["div"] == f"{stem}_component.html"
        assert entry["script"] == f"{stem}_component.js"
        assert entry["div"] in files
        assert entry["script"] in files
    assert len(files) == 2 * len(TITLES) + 2


def test_a_components_script_holds_no_html():
    script = render(hostile_history())["miri_total_file_count_by_type_component.js"]
    assert "<" not in script.split("const item = ")[1].split(";\n")[0]


def test_the_page_loads_nothing():
    page = render(history_of(3, filetypes=2))[PAGE]
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?(?!data:)[^#\"'>]", page)
    assert "default-src &#39;none&#39;" in page


def test_hostile_names_are_escaped_in_the_page():
    page = render(hostile_history(), host=HOSTILE[0], note=HOSTILE[1])[PAGE]
    for name in HOSTILE[:2]:
        assert name not in page
    assert "&lt;img src=x onerror=window.__pwned=1&gt;" in page


def test_an_empty_history_has_a_page_and_all_components():
    files = render(History())
    assert "jwqlscan run" in files[PAGE]
    assert "application/json" not in files[PAGE]
    assert len(files) == 2 * len(TITLES) + 2
    assert json.loads(files[MANIFEST])["newest_run"] is None


def test_the_same_history_gives_the_same_page():
    history = history_of(5, filetypes=3)
    first, second = (render(history)[PAGE] for _ in range(2))
    ids = re.compile(r"p\d{4,}")  # Bokeh numbers its models on
    assert ids.sub("", first) == ids.sub("", second)


async def test_the_report_is_written_where_it_belongs(tmp_path):
    outputs = Outputs(str(tmp_path / "outputs"), 0o644)
    paths = await write_report(history_of(3, filetypes=2), outputs, host="archive1")
    assert paths[0] == report_path(outputs)
    assert sorted(map(os.path.basename, paths)) == sorted(
        os.listdir(tmp_path / "outputs" / "monitor_filesystem")
    )
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in paths} == {0o644}
    assert "archive1" in Path(paths[0]).read_text()


async def test_a_report_that_cant_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "outputs").write_text("not a directory")
    with pytest.raises(ReportError, match="Not a directory") as caught:
        await write_report(History(), Outputs(str(tmp_path / "outputs")))
    assert "\n" not in str(caught.value)


async def test_an_unknown_group_fails_the_report_only(tmp_path):
    with pytest.raises(ReportError, match="no-such-group"):
        await write_report(History(), Outputs(str(tmp_path), group="no-such-group"))


async def test_a_planted_directory_symlink_is_refused(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "monitor_filesystem").symlink_to(tmp_path / "victim")
    with pytest.raises(ReportError):
        await write_report(History(), Outputs(str(tmp_path)))
    assert os.listdir(tmp_path / "victim") == []


def test_the_package_is_imported_without_bokeh():
    code = "import sys, jwqlscan.reporting; sys.exit('bokeh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_five_years_are_small_and_soon_drawn():
    history = history_of(1826)
    render(History())
    start = time.process_time()
    files = render(history)
    seconds = time.process_time() - start
    assert len(files[PAGE]) < 8_000_000
    # 0.6 s when nothing else runs; drawn of Bokeh models throughout it would be 7 s.
    assert seconds < 4


# At a glance


def test_the_newest_totals_are_told():
    general = GeneralColumns(
        [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)],
        [1000, 3500],
        [1.0, 1.5],
        [500, 700],
        [0.5, 0.75],
        [10.0, 12.0],
        [90.0, 88.0],
    )
    facts = {fact.name: fact for fact in glance(History(general=general)).facts}
    assert facts["Files"].value == "3,500"
    assert facts["Files"].remark == "+2,500 since 2026-01-01"
    assert facts["FITS files"].remark == "768.00 GiB · 20.0 % of all files"
    assert facts["Disk used"].share == pytest.approx(0.12)
    assert facts["Disk free"].remark == "full about Apr 2033 at the last 59 days' rate"


def test_unknown_capacity_is_told():
    general = GeneralColumns(DATES[:1], [1], [1.0], [1], [1.0], [None], [None])
    facts = {fact.name: fact.value for fact in glance(History(general=general)).facts}
    assert facts["Disk"] == "unknown"
