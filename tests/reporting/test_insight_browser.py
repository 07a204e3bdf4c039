"""The tab Insight as a browser shows it: it answers, descends, adds up, and is silent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from jwqlscan.history.insight import Insight
from jwqlscan.model.history import History
from jwqlscan.reporting.page import PAGE, render
from jwqlscan.text import escape_controls
from jwqlscan.units import format_bytes
from tests.support.browser import Visit, running_browser, visit
from tests.support.histories import HOSTILE, history_of, hostile_history, insight_of


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture
def history() -> History:
    return history_of(40, filetypes=3)


@pytest.fixture
def insight(history) -> Insight:
    return insight_of(history)


def write(directory: Path, history: History, insight: Insight | None = None) -> Path:
    page = directory / PAGE
    page.write_text(render(history, insight)[PAGE])
    return page


def open_insight(opened: Visit) -> None:
    opened.wait_until_drawn()
    opened.page.get_by_role("tab", name="Insight").click()
    opened.wait_until_drawn()


def tiles(opened: Visit) -> list[str]:
    return opened.page.locator(".tile .label").all_inner_texts()


def place(opened: Visit) -> str:
    return opened.page.locator(".crumbs [aria-current]").inner_text()


def choose(opened: Visit, name: str, option: str) -> None:
    opened.page.locator(f"[data-pick={name}]").select_option(option)


def test_one_click_tells_what_ate_the_space_this_week(browser, tmp_path, history, insight):
    with visit(browser, write(tmp_path, history, insight)) as opened:
        open_insight(opened)
        growth = insight.growth("archive", "all", "program", "7d")
        assert growth is not None
        [most, *_] = growth.rows
        row = opened.page.locator(".growth tbody tr").first.inner_text().split()
        assert row[:2] == [most.label, f"+{format_bytes(most.bytes_change).split()[0]}"]
        change = growth.after.apparent_bytes - growth.before.apparent_bytes
        assert f"+{format_bytes(change)}" in opened.page.locator(".summary").inner_text()
        assert opened.page.locator(".growth .spark path").count() >= 20
        assert "−" in opened.page.locator(".growth tbody").inner_text()
        assert "~ +" in opened.page.locator(".growth tbody").inner_text()
        # The second click: by what else, and since when.
        choose(opened, "window", "30d")
        choose(opened, "by", "directory")
        first = opened.page.locator(".growth tbody th").first.inner_text()
        assert first in ("public", "proprietary")
        # It leads to where that lies.
        opened.page.get_by_role("button", name=first, exact=True).click()
        assert place(opened) == first


def test_the_treemap_descends_and_comes_back(browser, tmp_path, history, insight):
    with visit(browser, write(tmp_path, history, insight)) as opened:
        open_insight(opened)
        assert place(opened) == "archive all"
        assert {"public", "proprietary"} < {*tiles(opened)}
        opened.page.locator("button.tile", has_text="public").first.click()
        assert place(opened) == "public"
        [program, *_] = tiles(opened)
        assert program.startswith("jw")
        opened.page.locator("button.tile").first.click()
        assert place(opened) == program
        assert {"obs1", "obs2"} < {*tiles(opened)}
        opened.page.locator(".crumbs .up").click()
        assert place(opened) == "public"
        opened.page.keyboard.press("Backspace")
        assert place(opened) == "archive all"
        opened.page.get_by_role("button", name="All areas").click()
        assert tiles(opened) == ["archive all", "central all"]
        assert opened.page.locator(".crumbs .up").is_disabled()
        opened.page.locator("button.tile", has_text="central all").click()
        assert place(opened) == "central all"
        assert opened.page.locator("[data-pick=area] option:checked").inner_text() == "central all"


def test_the_treemap_is_walked_with_the_keyboard(browser, tmp_path, history, insight):
    with visit(browser, write(tmp_path, history, insight)) as opened:
        open_insight(opened)
        opened.page.locator("button.tile").first.focus()
        opened.page.keyboard.press("Enter")
        assert place(opened) in ("public", "proprietary")
        opened.page.keyboard.press("Tab")
        opened.page.keyboard.press("Enter")
        assert place(opened).startswith("jw")


def test_tiles_are_as_large_as_their_parts_and_cover_the_map(browser, tmp_path, history, insight):
    with visit(browser, write(tmp_path, history, insight)) as opened:
        open_insight(opened)
        choose(opened, "tree", "program")
        boxes = [tile.bounding_box() for tile in opened.page.locator(".tile").all()]
        frame = opened.page.locator(".tiles").bounding_box()
        assert frame is not None
        areas = [box["width"] * box["height"] for box in boxes if box is not None]
        whole = frame["width"] * frame["height"]
        assert sum(areas) == pytest.approx(whole, rel=0.02)
        [area, *_] = insight.areas
        [largest, *_] = area.projections["program"]
        share = largest.sum.apparent_bytes / area.total.apparent_bytes
        assert max(areas) / whole == pytest.approx(share, rel=0.05)


def test_the_numbers_are_those_of_the_rest_of_the_page(browser, tmp_path, history, insight):
    with visit(browser, write(tmp_path, history, insight)) as opened:
        open_insight(opened)
        page = opened.page
        files, size = page.locator(".facts .value").all_inner_texts()[:2]
        assert page.locator(".of").inner_text().startswith(f"{size}, {files} files")
        assert page.locator(".crumbs .total").inner_text().strip() == f"{size}, {files} files"
        page.locator(".numbers-of").click()
        cells = page.locator(".treemap .numbers tbody tr").last.locator("td").all_inner_texts()
        assert cells[:2] == [size, files]
        told = [
            int(text.replace(",", ""))
            for text in page.locator(".treemap .numbers tbody td:nth-child(3)").all_inner_texts()
        ]
        assert sum(told[:-1]) == told[-1] == history.general.total_file_count[-1]
        choose(opened, "measure", "0")
        ages = page.locator(".shares figure").first.locator("td.n:nth-child(4)").all_inner_texts()
        assert sum(int(text.replace(",", "")) for text in ages) == told[-1]


def test_sizes_follow_the_units_of_the_page(browser, tmp_path, history, insight):
    with visit(browser, write(tmp_path, history, insight)) as opened:
        open_insight(opened)
        opened.page.get_by_role("button", name="TB", exact=True).click()
        text = opened.page.locator(".insight").inner_text()
        assert " TB" in text and "TiB" not in text.replace("under", "").split("File size")[0]
        title = opened.page.locator(".tile").first.get_attribute("title")
        assert title is not None and "TiB" not in title


@pytest.mark.case("S06", "S07")
def test_names_of_directories_do_nothing(browser, tmp_path):
    history = hostile_history()
    insight = insight_of(history, 3, HOSTILE)
    with visit(browser, write(tmp_path, history, insight)) as opened:
        open_insight(opened)
        choose(opened, "tree", "program")
        opened.page.locator(".numbers-of").click()
        shown = opened.page.locator(".treemap .numbers th").all_inner_texts()
        growth = opened.page.locator(".growth").inner_text()
        for name in HOSTILE:
            assert (escape_controls(name) or "(unnamed)") in shown
            assert (escape_controls(name) or "(unnamed)") in growth
        choose(opened, "tree", "directory")
        opened.page.locator("button.tile").first.click()
        opened.page.locator("button.tile").first.click()
        assert opened.page.locator("img, mjx-container").count() == 0


def test_a_store_that_has_no_insight_says_how_to_get_it(browser, tmp_path):
    with visit(browser, write(tmp_path, history_of(3, filetypes=1))) as opened:
        open_insight(opened)
        assert "jwqlscan run" in opened.page.locator("[role=tabpanel]:visible").inner_text()
        assert not opened.page.locator("#overview").is_visible()


def test_a_first_run_that_was_not_complete_tells_what_it_can(browser, tmp_path, history, insight):
    [area, *_] = insight.areas
    first = replace(area, complete=False, projections={}, directories=area.directories[:1])
    insight = Insight((first,), ())
    with visit(browser, write(tmp_path, history, insight)) as opened:
        open_insight(opened)
        assert "Two runs are needed" in opened.page.locator(".summary").inner_text()
        assert "could not read everything" in opened.page.locator(".of.warn").inner_text()
        assert tiles(opened) == ["files here, and smaller directories"]
        choose(opened, "tree", "program")
        assert tiles(opened) == ["(no program)"]
        assert opened.page.locator(".crumbs .up").is_disabled()
