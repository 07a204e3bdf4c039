"""The tab Insight: what is told of an area adds up, is bounded, and can be nothing but read."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwqlscan.history.insight import AreaInsight, DirectoryRow, Insight
from jwqlscan.history.rollups import Row
from jwqlscan.model.cube import Sum
from jwqlscan.model.history import History
from jwqlscan.reporting.page import PAGE, render
from jwqlscan.reporting.plots.columns import compact
from jwqlscan.reporting.tabs.insight import MAX_GROWTH_ROWS, MAX_NODES, MAX_ROWS, insight_tab
from jwqlscan.reporting.tabs.treemap import (
    FRAME,
    MAX_PARTS,
    Box,
    Node,
    directory_nodes,
    program_nodes,
    squarified,
)
from jwqlscan.text import escape_controls
from tests.support.histories import HOSTILE, history_of, hostile_history, insight_of

HISTORY = history_of(40, filetypes=3)
INSIGHT = insight_of(HISTORY)
[ALL_OF_IT, *_] = INSIGHT.areas


def record_of(insight: Insight, history: History = HISTORY) -> dict[str, Any]:
    record = insight_tab(history, insight).record
    assert record is not None
    return record


def area_of(directories: dict[str, tuple[int, int]], total: tuple[int, int]) -> AreaInsight:
    rows = tuple(DirectoryRow(path, Sum(*sums), 0, 0) for path, sums in directories.items())
    return replace(ALL_OF_IT, total=Sum(*total), directories=rows)


def labels(nodes: list[Node], parent: int = 0) -> dict[str, tuple[int, int]]:
    return {one.label: (one.files, one.bytes) for one in nodes if one.parent == parent}


@given(st.lists(st.integers(0, 10**15), max_size=60))
def test_the_parts_of_a_treemap_fill_it_in_proportion(sizes):
    sizes.sort(reverse=True)
    boxes = squarified(sizes, FRAME)
    assert len(boxes) == len(sizes)
    whole = sum(sizes)
    for size, (x, y, width, height) in zip(sizes, boxes, strict=True):
        assert width * height == pytest.approx(
            FRAME.width * FRAME.height * size / whole if whole else 0, rel=1e-6, abs=1e-9
        )
        assert -1e-9 <= x <= x + width <= FRAME.width + 1e-6
        assert -1e-9 <= y <= y + height <= FRAME.height + 1e-6


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=20))
def test_the_parts_of_a_treemap_do_not_overlap(sizes):
    boxes = squarified(sorted(sizes, reverse=True), FRAME)
    for one, other in itertools.combinations(boxes, 2):
        across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert across < 1e-6 or down < 1e-6


def test_the_example_of_the_paper_has_no_slivers():
    boxes = squarified([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))
    assert [round(box.width, 2) for box in boxes] == [3, 3, 1.71, 1.29, 1.2, 1.2, 0.6]
    assert max(max(b.width / b.height, b.height / b.width) for b in boxes) < 2.8


def test_the_parts_of_every_directory_add_up_to_it():
    nodes = directory_nodes(ALL_OF_IT, 1000)
    assert (nodes[0].files, nodes[0].bytes) == ALL_OF_IT.total[:2]
    assert {"public", "proprietary"} < {*labels(nodes)}
    for place, node in enumerate(nodes):
        parts = [one for one in nodes if one.parent == place]
        if parts:
            assert sum(one.files for one in parts) == node.files
            assert sum(one.bytes for one in parts) == node.bytes
        assert node.parent < place or node.rest


def test_a_directory_whose_parent_is_not_told_lies_in_the_next_one_above():
    area = area_of({"": (9, 90), "a": (7, 70), "a/b/c": (5, 50), "d/e": (1, 10)}, (9, 90))
    nodes = directory_nodes(area, 100)
    assert labels(nodes) == {
        "a": (7, 70),
        "d/e": (1, 10),
        "files here, and smaller directories": (1, 10),
    }
    assert labels(nodes, 1) == {
        "b/c": (5, 50),
        "files here, and smaller directories": (2, 20),
    }


def test_of_many_directories_the_largest_are_told_and_the_rest_is_one_part():
    many = {f"d{n:05d}": (1, 10**9 - n) for n in range(20_000)}
    whole = (len(many), sum(size for _, size in many.values()))
    nodes = directory_nodes(area_of(many, whole), 500)
    assert len(nodes) == 1 + MAX_PARTS + 1
    assert sum(one.bytes for one in nodes if one.parent == 0) == whole[1]
    assert nodes[1].label == "d00000"


def test_programs_and_what_is_of_none_add_up_to_the_area():
    rows = tuple(Row(f"{n:05d}", Sum(2, 10_000 - n)) for n in range(5000))
    total = Sum(20_000, 10**9)
    nodes = program_nodes(replace(ALL_OF_IT, total=total, projections={"program": rows}))
    assert sum(one.files for one in nodes[1:]) == total.files
    assert sum(one.bytes for one in nodes[1:]) == total.apparent_bytes
    assert {"4,952 smaller programs", "(no program)"} < {*labels(nodes)}


def test_tables_of_shares_add_up_to_the_area():
    record = record_of(insight_of(HISTORY, 500))
    [area, *_] = record["areas"]
    assert {one["by"] for one in area["shares"]} == {
        *("age", "size", "owner", "group", "program", "extension")
    }
    for one in area["shares"]:
        assert [sum(row["sum"][n] for row in one["rows"]) for n in (0, 1)] == [*area["total"]]
        assert len(one["rows"]) <= MAX_ROWS + 2
    ages = next(one for one in area["shares"] if one["by"] == "age")["rows"]
    assert [row["label"] for row in ages] == [
        "under 7 days",
        "3 classes without files",
        "under 2 years",
    ]


def test_the_whole_is_that_of_the_page():
    [area, *_] = record_of(INSIGHT)["areas"]
    general = HISTORY.general
    assert area["total"][0] == general.total_file_count[-1]
    assert area["total"][1] == pytest.approx(general.total_file_size[-1] * 2**40, abs=1)


def test_growth_adds_up_but_that_of_directories():
    record = record_of(insight_of(HISTORY, 100))
    assert {(one["by"], one["window"]) for one in record["growths"] if one["area"] == 0} == {
        *itertools.product(("program", "directory", "owner"), ("last", "7d", "30d"))
    }
    for growth in record["growths"]:
        rows = growth["rows"]
        assert len(rows) <= MAX_GROWTH_ROWS + 2
        if growth["by"] == "directory":
            assert "" not in [row["label"] for row in rows]
            continue
        assert growth["more"] == 0
        for n in (0, 1):
            told = sum(row["after"][n] - row["before"][n] for row in rows)
            assert told == growth["after"][n] - growth["before"][n]


def test_sparklines_leave_incomplete_runs_out():
    date = HISTORY.general.date[-3]
    whole = record_of(INSIGHT)["growths"][0]["rows"][0]["spark"]
    history = replace(HISTORY, incomplete_dates=frozenset([date]))
    less = record_of(INSIGHT, history)["growths"][0]["rows"][0]["spark"]
    assert (len(whole), len(less)) == (31, 30)
    assert (whole[0], whole[-1]) == (0, 100)


def test_an_archive_of_any_size_makes_a_small_record():
    rows = tuple(Row(f"{n:05d}", Sum(9, 10**12 - n)) for n in range(10_000))
    parts = [("", 10**12), *((f"/obs{number:02d}", 10**11) for number in range(9))]
    directories = tuple(
        DirectoryRow(f"public/jw{n:05d}{part}", Sum(1, size - n), 0, 0)
        for n in range(10_000)
        for part, size in parts
    )
    areas = tuple(
        replace(ALL_OF_IT, name=name, directories=directories, projections={"program": rows})
        for name in ("all", "public", "proprietary", *(f"area{n}" for n in range(20)))
    )
    record = record_of(Insight(areas, INSIGHT.growths))
    assert record["hidden"] == 11
    trees = [area["trees"]["directory"] for area in record["areas"]]
    assert sum(len(tree["label"]) for tree in trees) < 2 * MAX_NODES
    assert record["areas"][0]["untold"] > 90_000
    assert len(compact(record)) < 1_500_000


def test_names_are_escaped():
    record = record_of(insight_of(HISTORY, 4, HOSTILE), hostile_history())
    text = json.dumps(record, ensure_ascii=False)
    for name in HOSTILE:
        assert json.dumps(escape_controls(name), ensure_ascii=False)[1:-1] in text
    assert not any(character in text for character in "\udcff\u202e\x00\n")
    assert "<" not in compact(record)


def test_without_insight_the_tab_says_how_to_get_it():
    assert insight_tab(HISTORY, Insight()).record is None
    page = render(HISTORY)[PAGE]
    assert 'id="insight"' not in page
    assert page.count("Nothing is known of this yet") == 1


def test_next_to_something_huge_what_is_tiny_has_an_empty_box():
    boxes = squarified([3 * (2**63 - 1), 2.0, 1.0], FRAME)
    assert len(boxes) == 3
    assert boxes[0].width * boxes[0].height == pytest.approx(FRAME.width * FRAME.height)
