"""The report: what its plots hold, which files it is made of, and what they let through."""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import bokeh
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import HoverTool, Legend, Line, Plot, Scatter, VArea

from jwqlscan.errors import ReportError
from jwqlscan.history.insight import Insight
from jwqlscan.model.history import (
    CentralColumns,
    FilesystemColumns,
    GeneralColumns,
    History,
    ProductColumns,
    RunColumns,
)
from jwqlscan.model.tally import Product
from jwqlscan.naming.jwst import FILETYPES
from jwqlscan.reporting import report_path, write_report
from jwqlscan.reporting.filesystems import filesystems
from jwqlscan.reporting.page import MANIFEST, PAGE, render, tabs_of
from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.bars import MAX_BARS, bars
from jwqlscan.reporting.plots.columns import Columns
from jwqlscan.reporting.plots.figures import Drawing, Figure
from jwqlscan.reporting.plots.jwql import MAX_INSTRUMENTS, plots, sample_spans, time_window
from jwqlscan.reporting.plots.series import Curve, Future, PlotData, plot_data, stack
from jwqlscan.reporting.plots.thinning import MAX_POINTS, POINTS, kept_rows
from jwqlscan.reporting.summary import summarize
from jwqlscan.reporting.tabs.base import Size, Tab
from jwqlscan.reporting.tabs.capacity import capacity_tab
from jwqlscan.reporting.tabs.central import central_tab
from jwqlscan.reporting.tabs.products import products_tab
from jwqlscan.reporting.tabs.quality import MAX_RUNS, quality_tab
from jwqlscan.settings import Outputs
from tests.support.histories import HOSTILE, NEWEST, history_of, hostile_history

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


def draw(history: History) -> list[Figure]:
    drawing = Drawing(Columns(), time_window(history), sample_spans(history))
    return [drawing.draw(plot) for plot in plots(history)]


def plot_of(history: History, title: str) -> PlotData:
    return next(plot for plot in plots(history) if plot.title == title)


def curves(plot: PlotData) -> dict[str, list[float]]:
    return {series.label: series.values.tolist() for series in plot.series}


def model_of(history: History, title: str) -> Plot:
    """Return a figure as Bokeh reads it back: everything in it is checked on the way."""
    figures = draw(history)
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


def test_the_instruments_of_another_archive_have_the_plots_of_theirs():
    titles = [plot.title for plot in plots(history_of(3, filetypes=2, instruments=["wfc3", "acs"]))]
    assert titles[4:-1] == [
        *("ACS Total File Count by Type", "ACS Total File Size by Type"),
        *("WFC3 Total File Count by Type", "WFC3 Total File Size by Type"),
    ]
    history = history_of(3, instruments=["wfc3", "acs", "mine"])
    card = products_tab(history, plots(history)).cards[0]
    shown = {choice.options[0]: choice.plot for choice in card.plots}
    assert [*shown] == ["All, by filetype", "All, by instrument", "ACS", "mine", "WFC3"]
    assert {one.label for one in shown["All, by instrument"].series} == {"ACS", "WFC3", "mine"}


def test_an_instrument_that_jwst_has_not_comes_beside_those_of_jwst():
    titles = [plot.title for plot in plots(history_of(3, filetypes=2, instruments=["miri", "cam"]))]
    assert titles == [*TITLES[:-1], *(f"cam {title}" for title in TITLES[2:4]), TITLES[-1]]


def test_of_many_instruments_the_largest_have_plots():
    instruments = [f"i{number}" for number in range(MAX_INSTRUMENTS + 5)]
    history = history_of(2, filetypes=1, instruments=instruments)
    largest = sorted(instruments, key=lambda one: -next(iter(sizes_of(history, one))))
    titles = {plot.title for plot in plots(history)}
    has_plots = {one for one in instruments if f"{one} Total File Size by Type" in titles}
    assert has_plots == set(largest[:MAX_INSTRUMENTS])


def sizes_of(history: History, instrument: str) -> list[float]:
    return [
        columns.size[-1]
        for product, columns in history.products.items()
        if product.instrument == instrument
    ]


def test_a_label_that_is_no_instruments_makes_no_file():
    labels = ["../../evil", "a/b", "A B", "", ".", "acs"]
    files = render(history_of(2, filetypes=1, instruments=labels))
    instruments = [name for name in files if "_total_file_count_by_type_component.js" in name]
    assert instruments == ["acs_total_file_count_by_type_component.js"]
    assert all(re.fullmatch("[a-z_0-9]+[.](html|js|json)", name) for name in files)


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
    assert len(kept) <= max(MAX_POINTS, min(rows, POINTS))
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
    for figure in draw(history):
        [root] = Document.from_json(figure.document).roots
        assert root.title.text == figure.plot.title
        legend = root.select_one(Legend)
        assert [item.label.value for item in legend.items] == [
            series.label for series in figure.plot.series
        ]
        assert legend.click_policy == "mute"


def test_ids_differ_between_figures():
    history = history_of(3, filetypes=3)
    figures = draw(history)
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


@pytest.mark.parametrize("runs", [20, 200])
def test_curves_leave_incomplete_runs_out(runs):
    history = history_of(runs, filetypes=2, incomplete=[5, 8, 9])
    plot = plot_of(history, "Total File Counts")
    told = {
        date.timestamp() * 1000: count
        for date, count in zip(history.general.date, history.general.total_file_count, strict=True)
    }
    [values] = [one.values for one in plot.series if one.label == "all files"]
    rows = list(zip(plot.times, plot.complete, values, strict=True))
    for (_, one, low), (_, other, high) in itertools.pairwise(rows):
        if one != other:
            assert np.isnan(low) or np.isnan(high)
    seen = {time: value for time, _, value in rows if not np.isnan(value)}
    assert seen == told  # nothing is lost, and between the two incomplete ones no row is added
    assert len(rows) == runs + 4
    assert not stack(plot, 2, "").series[0].values[5]


def test_a_plot_that_stands_in_two_places_is_drawn_once():
    drawing = Drawing(Columns(), (0.0, 1.0), [])
    [plot, *_] = plots(history_of(3, filetypes=1))
    assert drawing.draw(plot) is drawing.draw(plot)


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
        item = json.loads(files[entry["json_item"]])
        assert (item["version"], item["doc"]["version"]) == (bokeh.__version__,) * 2
        assert f'id="{item["target_id"]}"' in files[entry["div"]]
        Document.from_json(item["doc"])
    assert len(files) == 3 * len(TITLES) + 2


def test_a_components_script_holds_no_html():
    script = render(hostile_history())["miri_total_file_count_by_type_component.js"]
    assert "<" not in script.split("const item = ")[1].split(";\n")[0]


@pytest.mark.case("S07")
def test_the_page_loads_nothing():
    page = render(history_of(3, filetypes=2))[PAGE]
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?(?!data:)[^#\"'>]", page)
    assert "default-src &#39;none&#39;" in page


@pytest.mark.case("S06")
def test_hostile_names_are_escaped_in_the_page():
    page = render(hostile_history(), host=HOSTILE[0], note=HOSTILE[1])[PAGE]
    for name in HOSTILE[:2]:
        assert name not in page
    assert "&lt;img src=x onerror=window.__pwned=1&gt;" in page


def test_an_empty_history_has_a_page_and_all_components():
    files = render(History())
    assert "jwqlscan run" in files[PAGE]
    assert "application/json" not in files[PAGE]
    assert len(files) == 3 * len(TITLES) + 2
    assert json.loads(files[MANIFEST])["newest_run"] is None


def test_the_same_history_gives_the_same_components():
    history = history_of(5, filetypes=3)
    first, second = (render(history)["system_stats_component.js"] for _ in range(2))
    ids = re.compile(r"p\d{4,}")  # Bokeh numbers its models on
    assert ids.sub("", first) == ids.sub("", second)


async def test_the_report_is_written_where_it_belongs(tmp_path):
    outputs = Outputs(str(tmp_path / "outputs"), 0o644)
    paths = await write_report(history_of(3, filetypes=2), Insight(), outputs, host="archive1")
    assert paths[0] == report_path(outputs)
    assert sorted(map(os.path.basename, paths)) == sorted(
        os.listdir(tmp_path / "outputs" / "monitor_filesystem")
    )
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in paths} == {0o644}
    assert "archive1" in Path(paths[0]).read_text()


async def test_a_report_that_cant_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "outputs").write_text("not a directory")
    with pytest.raises(ReportError, match="Not a directory") as caught:
        await write_report(History(), Insight(), Outputs(str(tmp_path / "outputs")))
    assert "\n" not in str(caught.value)


async def test_an_unknown_group_fails_the_report_only(tmp_path):
    with pytest.raises(ReportError, match="no-such-group"):
        await write_report(History(), Insight(), Outputs(str(tmp_path), group="no-such-group"))


async def test_a_planted_directory_symlink_is_refused(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "monitor_filesystem").symlink_to(tmp_path / "victim")
    with pytest.raises(ReportError):
        await write_report(History(), Insight(), Outputs(str(tmp_path)))
    assert os.listdir(tmp_path / "victim") == []


def test_the_package_is_imported_without_bokeh():
    code = "import sys, jwqlscan.reporting; sys.exit('bokeh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ten_years_are_small_and_soon_drawn():
    history = history_of(3650, filetypes=41)
    render(History())
    start = time.process_time()
    files = render(history)
    seconds = time.process_time() - start
    assert len(files[PAGE]) < 8_000_000
    # 2 s when nothing else runs; bench/report.py measures it.
    assert seconds < 8


# At a glance


def general_of(days: int, used_step: float = 1.0) -> GeneralColumns:
    dates = [NEWEST - timedelta(days=days - 1 - day) for day in range(days)]
    return GeneralColumns(
        dates,
        [1000 + 10 * day for day in range(days)],
        [1.0 + day for day in range(days)],
        [500] * days,
        [0.5] * days,
        [100.0 + used_step * day for day in range(days)],
        [1000.0 - used_step * day for day in range(days)],
    )


def test_changes_are_told_since_the_last_run_7_and_30_days():
    facts = {fact.name: fact for fact in summarize(History(general=general_of(60))).facts}
    assert facts["Files"].value == 1590
    assert [(c.since, c.sign, c.by) for c in facts["Files"].changes] == [
        ("last run", "+", 10),
        ("7 days", "+", 70),
        ("30 days", "+", 300),
    ]
    assert facts["Bytes"].changes[1].by == Size(7 * 2**40)
    assert facts["FITS share"].value == "31.4 %"


def test_a_change_is_not_told_over_a_time_without_runs():
    facts = {fact.name: fact for fact in summarize(History(general=general_of(3))).facts}
    assert [change.since for change in facts["Files"].changes] == ["last run"]


def test_a_run_that_is_not_complete_is_told_and_its_numbers_are_not():
    history = history_of(40, filetypes=2, incomplete=[39])
    told = summarize(history)
    assert told.status == "incomplete"
    assert told.reasons == ("archive all: partial, 3 errors",)
    assert told.facts[0].value == history.general.total_file_count[38]
    assert f"the numbers here are of {history.general.date[38]:%Y-%m-%d}" in told.remark


def test_a_filesystem_tells_when_it_is_full():
    [disk] = summarize(History(general=general_of(60))).disks
    full = NEWEST + timedelta(days=1000 - 59)
    assert disk.forecast == f"full about {full:%Y-%m-%d}"
    assert disk.level == "ok"
    assert disk.free == Size((1000 - 59) * 2**40)


@pytest.mark.parametrize(
    ("days", "step", "forecast", "level"),
    [
        (5, 1.0, "too little data for a forecast", "ok"),
        (60, 0.0, "not growing", "ok"),
        (60, 1000 / 59, "full already", "over"),
        (60, 950 / 59, "full about", "high"),
    ],
)
def test_a_forecast_says_what_it_can(days, step, forecast, level):
    [disk] = summarize(History(general=general_of(days, step))).disks
    assert disk.forecast.startswith(forecast)
    assert disk.level == level


def test_unknown_capacity_has_no_filesystem():
    general = GeneralColumns(DATES[:1], [1], [1.0], [1], [1.0], [None], [None])
    assert summarize(History(general=general)).disks == ()


def test_a_run_is_stale_when_the_next_was_missed():
    assert summarize(History(general=general_of(30))).stale_after_s == 2.5 * 86_400
    assert summarize(History()).newest is None


# The tabs


def plots_of(tab: Tab) -> dict[str, PlotData]:
    return {card.title: card.plots[0].plot for card in tab.cards}


def test_every_choice_of_a_card_is_there():
    history = history_of(30, filetypes=4)
    for tab in tabs_of(history, Insight(), plots(history)):
        for card in tab.cards:
            options = [choice.options for choice in card.plots]
            each = [list(dict.fromkeys(column)) for column in zip(*options, strict=True)]
            assert sorted(options) == sorted(itertools.product(*each))
            assert len(card.asks) == len(each)


def test_every_tab_makes_something_of_every_history():
    for history in (history_of(1, filetypes=1), hostile_history(2), History()):
        assert [tab.title for tab in tabs_of(history, Insight(), plots(history))] == [
            *("Archive", "Products", "Insight", "Central storage", "Capacity", "Quality")
        ]


def test_central_storage_has_a_panel_for_each_area():
    found = plots_of(central_tab(history_of(10, filetypes=1)))
    assert next(iter(found)) == "All of central storage"
    assert {*list(found)[1:]} == {"logs", "outputs", "preview_images", "test", "thumbnails"}
    for plot in found.values():
        assert [one.label for one in plot.series] == ["used", "free", "size"]


def test_a_jwql_database_without_runs_of_ours_has_its_capacity():
    history = replace(history_of(60, filetypes=1), filesystems={}, runs=RunColumns())
    assert list(plots_of(capacity_tab(history))) == ["archive", "central storage"]
    assert quality_tab(history).cards == []


def test_capacity_goes_back_to_before_our_first_run():
    history = history_of(60, filetypes=1)
    ours = history.filesystems["/archive"]
    newest = FilesystemColumns(
        ours.source,
        ours.fstype,
        ours.areas,
        *(
            column[40:]
            for column in (ours.date, ours.size_bytes, ours.used_bytes, ours.available_bytes)
        ),
    )
    plot = plots_of(capacity_tab(replace(history, filesystems={"/archive": newest})))["/archive"]
    used, _, size = plot.series
    assert len(plot.times) == 60
    assert np.isfinite(used.values).all()
    assert np.isnan(size.values[:40]).all()


def test_a_forecast_leaves_incomplete_runs_out():
    history = history_of(60, filetypes=1)
    broken = replace(history, incomplete_dates=frozenset(history.general.date[::2]))
    used = list(history.filesystems["/archive"].used_bytes)
    used[::2] = [0] * 30
    columns = replace(history.filesystems["/archive"], used_bytes=used)
    found = [
        filesystems(one)[0].trend.per_day
        for one in (history, replace(broken, filesystems={"/archive": columns}))
    ]
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_the_runs_are_a_row_each_the_newest_first():
    history = history_of(400, filetypes=1, incomplete=[399])
    table = quality_tab(history).tables[-1]
    assert len(table.rows) == MAX_RUNS
    assert table.rows[0][:2] == (f"{NEWEST:%Y-%m-%d %H:%M}", "incomplete")
    assert table.marked == {0}


# Gaps, stacks, bars


def test_a_night_without_a_run_breaks_the_line():
    dates = [NEWEST + timedelta(days=day) for day in range(20) if day not in (10, 11)]
    curve = Curve("used", theme.USED, [(dates, list(range(18)))])
    plot = plot_data(History(), "t", "s", theme.FILES, [curve])
    [gap] = np.flatnonzero(np.isnan(plot.series[0].values))
    assert gap == 10
    assert dates[9].timestamp() * 1000 < plot.times[gap] < dates[10].timestamp() * 1000


def test_a_history_that_changes_from_weekly_to_daily_has_no_gaps():
    dates = [NEWEST - timedelta(days=7 * week) for week in range(30, 0, -1)]
    dates += [NEWEST + timedelta(days=day) for day in range(30)]
    plot = plot_data(
        History(), "t", "s", theme.FILES, [Curve("a", theme.USED, [(dates, [1] * 60)])]
    )
    assert np.isfinite(plot.series[0].values).all()


def test_a_stack_is_the_largest_and_the_others_and_falls_to_zero_at_a_gap():
    dates = [NEWEST + timedelta(days=day) for day in range(20) if day not in (10, 11)]
    curves = [
        Curve(str(number), theme.style(number), [(dates, [10 - number] * 18)])
        for number in range(5)
    ]
    plot = plot_data(History(), "t", "s", theme.FILES, curves)
    parts = stack(plot, 2, "t")
    assert [one.label for one in parts.series] == ["0", "1", "3 others"]
    assert parts.largest == 10 + 9 + 8 + 7 + 6
    zeros = np.flatnonzero(parts.series[0].values == 0)
    assert zeros.tolist() == [10, 11]
    assert parts.times[10] == parts.times[9] + 1
    assert parts.times[11] == parts.times[12] - 1
    root = Document.from_json(Drawing(Columns(), (0, 1), []).draw(parts).document).roots[0]
    areas = [one for one in root.renderers if isinstance(one.glyph, VArea)]
    assert [one.glyph.y2.expr.fields for one in areas] == [["y0"], ["y0", "y1"], ["y0", "y1", "y2"]]


def test_a_forecast_is_drawn_with_its_band():
    times = np.array([0.0, 1.0])
    future = Future(times, times, times, times, 5.0)
    plot = replace(plot_of(history_of(30, filetypes=1), "System stats"), future=future)
    root = Document.from_json(Drawing(Columns(), (0, 1), []).draw(plot).document).roots[0]
    names = [one.name for one in root.renderers[:3]]
    assert names == ["band", "trend", "limit"]
    assert root.renderers[2].data_source.data["limit"].tolist() == [5.0, 5.0]


def test_bars_are_the_newest_values_and_the_small_ones_one_bar():
    plot = plot_of(history_of(3, filetypes=40), "Total File Count by Type")
    root = Document.from_json(bars(plot, Columns()).document).roots[0]
    data = root.renderers[0].data_source.data
    assert len(data["value"]) == MAX_BARS + 1
    assert sum(data["value"]) == sum(one.values[-1] for one in plot.series)
    assert root.left[0].major_label_overrides[0] == plot.series[0].label


def test_incomplete_runs_are_hollow_on_a_stack_too():
    history = history_of(100, filetypes=3, incomplete=[50])
    parts = stack(plot_of(history, "Total File Count by Type"), 2, "t")
    root = Document.from_json(Drawing(Columns(), (0, 1), []).draw(parts).document).roots[0]
    [marks] = [one for one in root.renderers if isinstance(one.glyph, Scatter)]
    [row] = marks.view.filter.indices
    data = marks.data_source.data
    assert data["x"][row] == history.general.date[50].timestamp() * 1000
    assert data["filled"][row] == 0
    assert data["y0"][row] > 0
