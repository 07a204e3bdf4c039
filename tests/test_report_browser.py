"""The report as a browser shows it: drawn, silent, and alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bokeh.resources import Resources
from browser import Visit, colours, has_colour, running_browser, visit
from histories import HOSTILE, history_of, hostile_history
from playwright.sync_api import Browser, Locator

from jwqlscan.history import History
from jwqlscan.reporting import theme
from jwqlscan.reporting.page import PAGE, render
from jwqlscan.reporting.theme import label_text

PLOTS = 15
A_DRAWN_PLOT = 30  # colours, with the shades at the edges of lines and letters


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


def write(directory: Path, history: History, **texts: str) -> Path:
    for name, text in render(history, **texts).items():
        (directory / name).write_text(text)
    return directory / PAGE


def plot(opened: Visit, title: str) -> Locator:
    return opened.page.locator(f"#jwqlscan-{title.lower().replace(' ', '-')}").locator("..")


def everything_drawn(opened: Visit) -> None:
    plots = opened.page.locator(".plot")
    assert plots.count() == PLOTS
    for number in range(PLOTS):
        assert len(colours(plots.nth(number))) > A_DRAWN_PLOT


def test_two_years_are_drawn_in_silence(browser, tmp_path):
    history = history_of(730, sample_runs=200, incomplete=[400, 729])
    with visit(browser, write(tmp_path, history, host="archive1")) as opened:
        opened.wait_until_drawn()
        everything_drawn(opened)
        assert "Sample data." in opened.page.locator(".banner").inner_text()
        assert "archive1" in opened.page.locator("header").inner_text()


def test_a_single_run_is_seen(browser, tmp_path):
    with visit(browser, write(tmp_path, history_of(1, filetypes=5))) as opened:
        opened.wait_until_drawn()
        everything_drawn(opened)
        canvas = plot(opened, "Total File Counts").locator("canvas").first
        assert has_colour(canvas, theme.ALL_FILES.colour)
        assert has_colour(canvas, theme.FITS_FILES.colour)


def test_an_empty_store_says_what_to_do(browser, tmp_path):
    with visit(browser, write(tmp_path, History())) as opened:
        text = opened.page.locator("main").inner_text()
        assert "nothing to show yet" in text
        assert "jwqlscan run" in text
        assert opened.page.locator("canvas").count() == 0


def test_hovering_tells_exact_numbers(browser, tmp_path):
    history = history_of(1, filetypes=3)
    with visit(browser, write(tmp_path, history)) as opened:
        opened.wait_until_drawn()
        wanted = {
            "all files",
            f"{history.general.total_file_count[0]:,}",
            f"{history.general.date[0]:%Y-%m-%d %H:%M:%S}",
        }
        assert wanted <= hover_over_the_only_run(opened, "Total File Counts", wanted.issubset)


def hover_over_the_only_run(
    opened: Visit, title: str, enough: Callable[[set[str]], bool]
) -> set[str]:
    """Move the mouse over a plot of one run until enough was said; return all of it."""
    target = plot(opened, title)
    target.scroll_into_view_if_needed()
    box = target.locator("canvas").first.bounding_box()
    assert box is not None
    told: set[str] = set()
    # The run is in the middle of the time axis, which begins right of the values' labels.
    for y in range(int(box["y"]) + 30, int(box["y"] + box["height"]) - 100, 4):
        if enough(told):
            break
        for x in range(10, 60, 5):
            opened.page.mouse.move(box["x"] + box["width"] / 2 + x, y)
            values = opened.page.locator(".bk-tooltip-row-value")
            if values.count():
                told.update(values.all_inner_texts())
    return told


def test_a_click_on_a_name_dims_its_curve_and_another_brings_it_back(browser, tmp_path):
    with visit(browser, write(tmp_path, history_of(100, filetypes=3))) as opened:
        opened.wait_until_drawn()
        target = plot(opened, "Total File Counts")
        name = target.get_by_text("FITS files").first
        colour = theme.FITS_FILES.colour
        assert has_colour(target.locator("canvas").first, colour)
        name.click()
        opened.page.wait_for_timeout(300)
        assert not has_colour(target, colour)
        name.click()
        opened.page.wait_for_timeout(300)
        assert has_colour(target, colour)


def test_the_time_axes_move_together(browser, tmp_path):
    with visit(browser, write(tmp_path, history_of(100, filetypes=3))) as opened:
        opened.wait_until_drawn()
        first = plot(opened, "Total File Counts")
        other = plot(opened, "System stats")
        before = other.screenshot()
        box = first.locator("canvas").first.bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        opened.page.mouse.move(box["x"] + box["width"] * 0.4, middle - 60)
        opened.page.mouse.down()
        opened.page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=5)
        opened.page.mouse.up()
        opened.page.mouse.move(0, 0)
        opened.page.wait_for_timeout(300)
        assert other.screenshot() != before


@pytest.mark.case("S06", "S07")
def test_names_are_text_and_nothing_else(browser, tmp_path):
    page = write(tmp_path, hostile_history(), host=HOSTILE[0], note=HOSTILE[1])
    with visit(browser, page) as opened:
        opened.wait_until_drawn()
        everything_drawn(opened)
        shown = plot(opened, "MIRI Total File Count by Type")
        for name in HOSTILE:
            assert shown.get_by_text(label_text(name), exact=True).count() >= 1
        assert HOSTILE[0] in opened.page.locator("header").inner_text()
        # The page's policy lets no script of this test in either; so ask for what they'd have made.
        assert opened.page.locator("img, mjx-container").count() == 0


@pytest.mark.case("S06")
def test_names_are_text_in_the_hover_box_too(browser, tmp_path):
    with visit(browser, write(tmp_path, hostile_history(1))) as opened:
        opened.wait_until_drawn()
        names = {label_text(name) for name in HOSTILE}
        title = "MIRI Total File Count by Type"
        told = hover_over_the_only_run(opened, title, lambda told: len(told & names) >= 4)
        assert len(told & names) >= 4
        assert opened.page.locator(".bk-Tooltip img, .bk-Tooltip mjx-container").count() == 0


@pytest.mark.parametrize("history", [history_of(90, filetypes=4), History()], ids=["full", "empty"])
def test_components_draw_on_another_page(browser, tmp_path, history):
    write(tmp_path, history)
    divs = sorted(tmp_path.glob("*_component.html"))
    assert len(divs) == PLOTS
    [bokehjs, *_] = Resources(mode="inline", components=["bokeh"]).js_raw
    (tmp_path / "bokeh.js").write_text(bokehjs)
    scripts = [f'<script src="{div.with_suffix(".js").name}"></script>' for div in divs]
    host = tmp_path / "host.html"
    # BokehJS comes last: a component waits for it.
    host.write_text(
        "<!DOCTYPE html><meta charset='utf-8'><link rel='icon' href='data:,'><body>"
        + "".join(f"<div class=host>{div.read_text()}</div>" for div in divs)
        + "".join(scripts)
        + '<script src="bokeh.js"></script>'
    )
    with visit(browser, host) as opened:
        hosts = opened.page.locator(".host")
        for number in range(PLOTS):
            hosts.nth(number).locator("canvas").first.wait_for(state="visible")
        opened.page.wait_for_timeout(1000)
        for number in range(PLOTS):
            assert len(colours(hosts.nth(number))) > A_DRAWN_PLOT
