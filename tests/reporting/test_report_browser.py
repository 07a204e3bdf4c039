"""The report as a browser shows it: drawn, silent, and alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator

from jwqlscan.history.insight import Insight
from jwqlscan.model.history import History
from jwqlscan.reporting.page import PAGE, render
from jwqlscan.reporting.plots import theme
from jwqlscan.reporting.plots.theme import label_text
from tests.support import embedding
from tests.support.browser import Visit, colours, has_colour, running_browser, visit
from tests.support.histories import HOSTILE, NEWEST, history_of, hostile_history, insight_of

case = pytest.mark.case

COMPONENTS = 15
A_DRAWN_PLOT = 12  # colours, with the shades at the edges of lines and letters
TABS = ("Archive", "Products", "Central storage", "Capacity", "Quality")
# What is drawn, by BokehJS's own account: renderers with a glyph that has points.
GLYPHS = """() => Bokeh.documents.flatMap((one) => one.roots()).map((root) =>
  root.renderers.filter((one) => one.data_source.get_length() > 0).length)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


def write(directory: Path, history: History, insight: Insight | None = None, **texts: str) -> Path:
    for name, text in render(history, insight, **texts).items():
        (directory / name).write_text(text)
    return directory / PAGE


def card(opened: Visit, title: str) -> Locator:
    heading = opened.page.get_by_role("heading", name=title, exact=True)
    return opened.page.locator("figure:visible").filter(has=heading)


def open_tab(opened: Visit, title: str) -> None:
    opened.page.get_by_role("tab", name=title).click()
    opened.wait_until_drawn()


def everything_drawn(opened: Visit) -> None:
    """Open every tab; every plot in it has glyphs, and the first shows more than its axes."""
    for title in TABS:
        open_tab(opened, title)
        plots = opened.page.locator(".plot:visible")
        assert plots.count() > 0
        assert opened.page.locator(".plot:visible:not(:has(div))").count() == 0
        assert len(colours(plots.first)) > A_DRAWN_PLOT, title
    assert len(glyphs(opened)) >= opened.page.locator(".plot").count()
    assert min(glyphs(opened)) > 0


def glyphs(opened: Visit) -> list[int]:
    # The page's policy forbids eval, which is how a script of the test gets in: through DevTools.
    session = opened.page.context.new_cdp_session(opened.page)
    answer = session.send(
        "Runtime.evaluate", {"expression": f"({GLYPHS})()", "returnByValue": True}
    )
    counts: list[int] = answer["result"]["value"]
    return counts


def time_ranges(opened: Visit) -> set[tuple[float, float]]:
    """Return the time axes of all plots drawn; the overview's own is one of them."""
    session = opened.page.context.new_cdp_session(opened.page)
    code = (
        "JSON.stringify(Bokeh.documents.flatMap((one) => one.roots())"
        ".map((one) => [one.x_range.start, one.x_range.end]))"
    )
    answer = session.send("Runtime.evaluate", {"expression": code, "returnByValue": True})
    return {(start, end) for start, end in json.loads(answer["result"]["value"])}


def test_two_years_are_drawn_in_silence(browser, tmp_path):
    history = history_of(730, filetypes=12, sample_runs=200, incomplete=[400, 729])
    with visit(browser, write(tmp_path, history, host="archive1")) as opened:
        opened.wait_until_drawn()
        everything_drawn(opened)
        assert "Sample data." in opened.page.locator(".banner").inner_text()
        assert "archive1" in opened.page.locator("header").inner_text()


def test_the_demonstration_is_drawn_in_silence_whatever_is_chosen(browser, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jwqlscan", "demo", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    page = tmp_path / "demo" / "outputs" / "monitor_filesystem" / PAGE
    with visit(browser, page) as opened:
        opened.wait_until_drawn()
        everything_drawn(opened)
        open_tab(opened, "Insight")
        files, size, *_ = opened.page.locator(".facts .value").all_inner_texts()
        assert opened.page.locator(".of").inner_text().startswith(f"{size}, {files} files")
        facts = opened.page.locator(".fact dd").all_inner_texts()
        told = opened.page.locator(".summary").inner_text()
        assert told.startswith(f"{facts[4]} and {facts[1]} files")  # of 7 days
        open_tab(opened, "Products")
        for title in ("Products over time", "Newest run"):
            shown = card(opened, title)
            for select in shown.locator("select").all():
                for option in select.locator("option").all_inner_texts():
                    select.select_option(option)
                    opened.page.wait_for_selector("figure[data-drawn=no]", state="detached")
                    assert min(glyphs(opened)) > 0, option


def test_the_products_of_another_archive_are_drawn_whatever_is_chosen(browser, tmp_path):
    history = history_of(40, filetypes=6, instruments=["acs", "wfc3", "mine"])
    with visit(browser, write(tmp_path, history)) as opened:
        opened.wait_until_drawn()
        open_tab(opened, "Products")
        select = card(opened, "Products over time").locator("select").first
        options = select.locator("option").all_inner_texts()
        assert options == ["All, by filetype", "All, by instrument", "ACS", "mine", "WFC3"]
        for option in options:
            select.select_option(option)
            opened.page.wait_for_selector("figure[data-drawn=no]", state="detached")
            assert min(glyphs(opened)) > 0, option


def test_a_single_run_is_seen(browser, tmp_path):
    with visit(browser, write(tmp_path, history_of(1, filetypes=5))) as opened:
        opened.wait_until_drawn()
        canvas = card(opened, "Files").locator("canvas").first
        assert has_colour(canvas, theme.ALL_FILES.colour)
        assert has_colour(canvas, theme.FITS_FILES.colour)
        everything_drawn(opened)


def test_an_empty_store_says_what_to_do(browser, tmp_path):
    with visit(browser, write(tmp_path, History())) as opened:
        text = opened.page.locator("main").inner_text()
        assert "nothing to show yet" in text
        assert "jwqlscan run" in text
        assert opened.page.locator("canvas").count() == 0


def test_ten_years_open_without_lag(browser, tmp_path):
    page = write(tmp_path, history_of(3650, filetypes=41))
    with visit(browser, page) as opened:
        opened.wait_until_drawn()
        # Only what is seen: the plots of all tabs at once took 10 s and more.
        drawn, plots = (opened.page.locator(name).count() for name in (".plot:has(div)", ".plot"))
        assert 0 < drawn < plots / 2
        everything_drawn(opened)


def test_a_dark_page_fits_a_phone(browser, tmp_path):
    history = history_of(100, filetypes=5)
    page = write(tmp_path, history, insight_of(history))
    with visit(browser, page, width=390, scheme="dark") as opened:
        opened.wait_until_drawn()
        for title in ("Insight", *TABS):
            open_tab(opened, title)
            for part in ("main", "figure:visible", ".table:visible", ".tiles:visible"):
                for element in opened.page.locator(part).all():
                    box = element.bounding_box()
                    assert box is not None
                    assert box["width"] <= 390
        assert has_colour(opened.page.locator(".plot:visible").first, theme.DARK_PAPER)


def test_hovering_tells_exact_numbers(browser, tmp_path):
    history = history_of(1, filetypes=3)
    with visit(browser, write(tmp_path, history), height=1500) as opened:
        opened.wait_until_drawn()
        wanted = {
            "all files",
            f"{history.general.total_file_count[0]:,}",
            f"{history.general.date[0]:%Y-%m-%d %H:%M:%S}",
        }
        assert wanted <= hover_over_the_only_run(opened, "Files", wanted.issubset)


def test_hovering_a_hollow_point_tells_that_the_run_is_incomplete(browser, tmp_path):
    runs = 101  # so many that only the points that no line leads to have marks
    history = history_of(runs, filetypes=3, incomplete=[50])
    with visit(browser, write(tmp_path, history), height=1500) as opened:
        opened.wait_until_drawn()
        wanted = {"all files", "incomplete", f"{history.general.total_file_count[50]:,}"}
        assert wanted <= hover_over_the_only_run(opened, "Files", wanted.issubset)
        open_tab(opened, "Products")
        total = sum(one.count[-51] for one in history.products.values() if len(one.count) > 50)
        wanted = {"total", "incomplete", f"{total:,}"}
        assert wanted <= hover_over_the_only_run(opened, "Products over time", wanted.issubset)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_the_page_is_as_wide_as_the_sheet_and_light(browser, tmp_path, scheme):
    page = write(tmp_path, history_of(90, filetypes=3))
    with visit(browser, page, width=1400, scheme=scheme) as opened:
        opened.wait_until_drawn()
        opened.page.pdf()  # tells the page that it is printed, as a reader's browser does
        assert opened.page.locator("body[data-drawn=all]").count() == 1
        opened.page.emulate_media(media="print")
        for plot in opened.page.locator("figure:visible").all():
            [outside, inside] = [plot.bounding_box(), plot.locator("canvas").first.bounding_box()]
            assert outside is not None and inside is not None
            assert 0 <= outside["x"] < inside["x"]
            assert inside["x"] + inside["width"] < outside["x"] + outside["width"] <= 972
        assert not opened.page.locator(".controls, #overview, button").first.is_visible()
        assert has_colour(opened.page.locator("header"), "#ffffff")
        assert has_colour(opened.page.locator(".plot").first, "#ffffff")


def hover_over_the_only_run(
    opened: Visit, title: str, enough: Callable[[set[str]], bool]
) -> set[str]:
    """Move the mouse over a plot of one run until enough was said; return all of it."""
    target = card(opened, title)
    target.scroll_into_view_if_needed()
    box = target.locator("canvas").first.bounding_box()
    assert box is not None
    told: set[str] = set()
    # The run is in the middle of the time axis, which begins right of the values' labels.
    for y in range(int(box["y"]) + 10, int(box["y"] + box["height"]) - 100, 4):
        if enough(told):
            break
        for x in range(10, 60, 5):
            opened.page.mouse.move(box["x"] + box["width"] / 2 + x, y)
            values = opened.page.locator(".bk-tooltip-row-value, .bk-tooltip-row-label")
            if values.count():
                told.update(text.rstrip().removesuffix(":") for text in values.all_inner_texts())
    return told


def test_a_click_on_a_name_dims_its_curve_and_another_brings_it_back(browser, tmp_path):
    history = history_of(100, filetypes=3, incomplete=[50])
    with visit(browser, write(tmp_path, history)) as opened:
        opened.wait_until_drawn()
        target = card(opened, "Files").locator(".plot")
        name = target.get_by_text("FITS files").first
        colour = theme.FITS_FILES.colour
        assert has_colour(target.locator("canvas").first, colour)
        name.click()
        opened.page.wait_for_timeout(300)
        assert not has_colour(target, colour)
        name.click()
        opened.page.wait_for_timeout(300)
        assert has_colour(target, colour)


def test_one_date_range_holds_for_all_plots_and_tabs(browser, tmp_path):
    with visit(browser, write(tmp_path, history_of(400, filetypes=3))) as opened:
        opened.wait_until_drawn()
        [whole] = time_ranges(opened)
        button = opened.page.get_by_role("button", name="90 days")
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        open_tab(opened, "Quality")
        [(start, end)] = time_ranges(opened) - {whole}
        newest = NEWEST.timestamp() * 1000
        assert start == pytest.approx(newest - 92.7 * 86_400_000, abs=1000)
        assert end == pytest.approx(newest + 2.7 * 86_400_000, abs=1000)
        opened.page.get_by_role("button", name="All", exact=True).click()
        open_tab(opened, "Archive")
        assert time_ranges(opened) == {whole}


def test_a_drag_in_a_plot_zooms_all_and_a_drag_of_the_overview_moves_all(browser, tmp_path):
    with visit(browser, write(tmp_path, history_of(400, filetypes=3))) as opened:
        opened.wait_until_drawn()
        first, other = card(opened, "Files"), card(opened, "Bytes")
        before = other.screenshot()
        box = first.locator("canvas").first.bounding_box()
        drag(opened, box, (0.5, 0.7), (0.4, 0.6))
        zoomed = other.screenshot()
        assert zoomed != before
        strip = opened.page.locator("#overview canvas").first.bounding_box()
        drag(opened, strip, (0.6, 0.3), (0.5, 0.5))
        assert other.screenshot() != zoomed


def drag(opened: Visit, box, x: tuple[float, float], y: tuple[float, float]) -> None:
    mouse = opened.page.mouse
    mouse.move(box["x"] + box["width"] * x[0], box["y"] + box["height"] * y[0])
    mouse.down()
    mouse.move(box["x"] + box["width"] * x[1], box["y"] + box["height"] * y[1], steps=5)
    mouse.up()
    mouse.move(0, 0)
    opened.page.wait_for_timeout(300)


def test_units_scale_and_numbers_are_switched(browser, tmp_path):
    history = history_of(100, filetypes=3)
    with visit(browser, write(tmp_path, history)) as opened:
        opened.wait_until_drawn()
        facts = opened.page.locator(".facts")
        assert "TiB" in facts.inner_text()
        shown = card(opened, "Bytes")
        shown.get_by_role("button", name="data").click()
        numbers = shown.locator(".numbers")
        newest = history.general.total_file_size[-1]
        assert numbers.locator("td").first.inner_text() == f"{newest:,.4f} TiB"
        assert numbers.locator("tbody tr").count() == 100
        before = shown.locator("canvas").first.screenshot()
        opened.page.get_by_role("button", name="TB", exact=True).click()
        opened.page.wait_for_timeout(200)
        assert shown.locator("canvas").first.screenshot() != before
        assert numbers.locator("td").first.inner_text() == f"{newest * 1.099511627776:,.4f} TB"
        assert "TiB" not in facts.inner_text()
        open_tab(opened, "Central storage")
        logs = card(opened, "logs")
        linear = logs.locator("canvas").first.screenshot()
        logs.get_by_role("button", name="log", exact=True).click()
        opened.page.wait_for_selector("figure[data-drawn=no]", state="detached")
        assert logs.locator("canvas").first.screenshot() != linear


def test_tabs_are_reached_with_the_keyboard(browser, tmp_path):
    with visit(browser, write(tmp_path, history_of(30, filetypes=3))) as opened:
        opened.wait_until_drawn()
        opened.page.get_by_role("tab", name="Archive").focus()
        opened.page.keyboard.press("ArrowRight")
        chosen = opened.page.locator("[role=tab][aria-selected=true]")
        assert chosen.inner_text() == "Products"
        opened.page.keyboard.press("End")
        assert chosen.inner_text() == "Quality"
        opened.page.keyboard.press("ArrowRight")
        assert chosen.inner_text() == "Archive"
        opened.wait_until_drawn()


@case("P24")
def test_a_page_that_is_left_open_turns_red_when_a_night_is_missed(browser, tmp_path):
    history = history_of(30, filetypes=1)
    newest = history.runs.date[-1]
    opened_at = newest + timedelta(hours=4)
    with visit(browser, write(tmp_path, history), now=opened_at) as opened:
        page, state = opened.page, opened.page.locator("#state")
        opened.wait_until_drawn()
        assert "4 h ago" in state.inner_text() and "No run for" not in state.inner_text()
        icon, title = page.locator("link[rel=icon]"), page.title()
        green = icon.get_attribute("href")
        page.clock.fast_forward(64 * 3_600_000)
        assert "No run for 3 days" in state.inner_text()
        assert "stale" in state.get_attribute("class")
        assert page.title() == f"⚠ {title}" and icon.get_attribute("href") != green
        page.clock.fast_forward(24 * 3_600_000)
        assert "No run for 4 days. Newest run" in state.inner_text()


@case("P24")
def test_a_page_seen_by_a_clock_that_is_behind_does_not_look_fresh(browser, tmp_path):
    history = history_of(30, filetypes=1)
    before = history.runs.date[-1] - timedelta(days=9)
    with visit(browser, write(tmp_path, history), now=before) as opened:
        opened.wait_until_drawn()
        state = opened.page.locator("#state")
        assert "dated 9 days ahead of this computer's clock" in state.inner_text()
        assert "stale" in state.get_attribute("class")


def test_an_old_run_is_impossible_to_miss(browser, tmp_path):
    with visit(browser, write(tmp_path, history_of(30, filetypes=1))) as opened:
        assert "No run for" in opened.page.locator(".state.stale .verdict").inner_text()
        opened.wait_until_drawn()


@pytest.mark.case("S06", "S07", "W01")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_are_text_and_nothing_else(browser, tmp_path, scheme):
    page = write(tmp_path, hostile_history(), host=HOSTILE[0], note=HOSTILE[1])
    with visit(browser, page, scheme=scheme) as opened:
        opened.wait_until_drawn()
        everything_drawn(opened)
        open_tab(opened, "Products")
        shown = card(opened, "Products over time")
        shown.locator("[data-ask='2']").select_option("Lines")
        opened.page.wait_for_selector("figure[data-drawn=no]", state="detached")
        for name in HOSTILE:
            assert shown.get_by_text(label_text(name), exact=True).count() >= 1
        for button in opened.page.locator("button.data:visible").all():
            button.click()
        open_tab(opened, "Quality")
        for button in opened.page.locator("button.data:visible").all():
            button.click()
        assert opened.page.locator("td").get_by_text(label_text(HOSTILE[0])).count() >= 1
        assert HOSTILE[0] in opened.page.locator("header").inner_text()
        # The page's policy lets no script of this test in either; so ask for what they'd have made.
        assert opened.page.locator("img, mjx-container").count() == 0


@pytest.mark.case("W01")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_many_series_can_change_their_unit(browser, tmp_path, scheme):
    with visit(browser, write(tmp_path, history_of(30, filetypes=60)), scheme=scheme) as opened:
        opened.wait_until_drawn()
        for name in ("Products", "Central storage", "Capacity"):
            open_tab(opened, name)
            opened.page.get_by_role("button", name="TB", exact=True).click()
            everything_drawn(opened)
            opened.page.get_by_role("button", name="TiB", exact=True).click()
        everything_drawn(opened)


@pytest.mark.case("S06")
def test_names_are_text_in_the_hover_box_too(browser, tmp_path):
    with visit(browser, write(tmp_path, hostile_history(1)), height=2500) as opened:
        opened.wait_until_drawn()
        open_tab(opened, "Products")
        names = {label_text(name) for name in HOSTILE}
        told = hover_over_the_only_run(
            opened, "Products over time", lambda told: len(told & names) >= 4
        )
        assert len(told & names) >= 4
        assert opened.page.locator(".bk-Tooltip img, .bk-Tooltip mjx-container").count() == 0


@pytest.mark.parametrize("history", [history_of(90, filetypes=4), History()], ids=["full", "empty"])
@pytest.mark.parametrize("way", ["scripts", "items"])
def test_components_draw_on_another_page(browser, tmp_path, history, way):
    write(tmp_path, history)
    host = embedding.page(tmp_path, way)
    with visit(browser, host) as opened:
        hosts = opened.page.locator(".host")
        assert hosts.count() == COMPONENTS
        for number in range(COMPONENTS):
            hosts.nth(number).locator("canvas").first.wait_for(state="visible")
        opened.page.wait_for_timeout(500)
        for number in range(COMPONENTS):
            assert len(colours(hosts.nth(number))) > A_DRAWN_PLOT
        if history.general.date:
            assert min(glyphs(opened)) > 0
