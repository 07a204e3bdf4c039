"""Growth: rows add up to the area, and every claimed change is the true one or within bounds."""

import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwqlscan.config.loader import Overrides, load_config
from jwqlscan.history.area_rows import AreaRows, kind_of
from jwqlscan.history.growth import Look, growth
from jwqlscan.history.insight import GROWTH_BY
from jwqlscan.history.insight_queries import read_insight
from jwqlscan.history.rollups import NO_PROGRAM, labels
from jwqlscan.model.cube import OTHER, CellKey, Cube, FileClass, Sum
from jwqlscan.operations.run import run
from jwqlscan.operations.views import compare_runs
from jwqlscan.store import open_store
from jwqlscan.store.validity import cell_key, cell_text
from tests.scanning.test_directory_totals import by_find
from tests.support.trees import make_tree

ADDITIVE = [by for by in GROWTH_BY if by != "directory"]
CLASSES = [FileClass("nircam", "cal"), FileClass("nircam", "rate"), FileClass("miri", "cal")] + [
    FileClass("", extension) for extension in ("log", "jpg", "(none)")
]
FILE = st.tuples(
    st.sampled_from(CLASSES),
    st.integers(0, 3),  # owner
    st.sampled_from([None, "01018", "02000", "03000", "04000"]),
    st.integers(0, 1000),
)
LIMITS = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4))


def looked(date_us, files, limits, complete):
    """Return a run's look and its rows, of which only the largest are kept."""
    cube = Cube()
    for file_class, uid, program, size in files:
        cube.add(CellKey(file_class, uid, 0, 2, size.bit_length()), 1, size, 512)
        if program:
            cube.add_program(program, 1, size)
    cube.bound(*limits)
    rows = [
        ("cell", cell_text(key), date_us, date_us, *numbers, 0, 0)
        for key, numbers in cube.cells.items()
    ] + [
        ("program", program, date_us, date_us, *numbers, 0, 0, 0)
        for program, numbers in cube.programs.items()
    ]
    date = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=date_us)
    return Look(date_us, date, complete, "", False, "/a", dict(cube.folded), 0), rows


def true_sums(by, files):
    sums = {}
    for file_class, uid, program, size in files:
        if by == "program":
            label = program or NO_PROGRAM
        else:
            key = CellKey(file_class, uid, 0, 2, size.bit_length())
            label = labels(by, [key], "fits")(key)
        sums[label] = sums.get(label, Sum()) + Sum(1, size)
    return sums


def total(rows):
    return tuple(sum(change) for change in zip(*rows, strict=True)) if rows else (0, 0)


@given(
    st.tuples(st.lists(FILE, max_size=30), st.lists(FILE, max_size=30)),
    st.tuples(LIMITS, LIMITS),
    st.tuples(st.booleans(), st.booleans()),
    st.integers(1, 9),
)
@settings(max_examples=200, deadline=None)
def test_rows_and_the_rest_add_up_to_the_area_and_each_is_right(both, limits, complete, top):
    found = [looked(n + 1, both[n], limits[n], complete[n]) for n in (0, 1)]
    looks = (found[0][0], found[1][0])
    rows = AreaRows([*found[0][1], *found[1][1]], cell_key, str)
    for by in ADDITIVE:
        grew = growth("archive", "all", by, "last", looks, rows, top=top)
        listed = [*grew.rows, *([grew.rest] if grew.rest else [])]
        header = [grew.after[n] - grew.before[n] for n in (0, 1)]
        assert total([(one.files_change, one.bytes_change) for one in listed]) == tuple(header)
        before, after = (true_sums(by, files) for files in both)
        for row in growth("archive", "all", by, "last", looks, rows).rows:
            change = [
                after.get(row.label, Sum())[n] - before.get(row.label, Sum())[n] for n in (0, 1)
            ]
            if not all(complete):
                assert not row.exact and row.bounds is None
            elif row.exact:
                assert [row.files_change, row.bytes_change] == change, (by, row)
            elif row.label != OTHER:
                for n, bounds in enumerate(row.bounds):
                    assert bounds[0] <= change[n] <= bounds[1], (by, row)


@given(st.lists(FILE, max_size=30), LIMITS, LIMITS)
@settings(max_examples=100, deadline=None)
def test_what_only_left_or_entered_the_table_is_not_a_change(files, first, second):
    found = [looked(1, files, first, True), looked(2, files, second, True)]
    rows = AreaRows([*found[0][1], *found[1][1]], cell_key, str)
    for by in ADDITIVE:
        grew = growth("archive", "all", by, "last", (found[0][0], found[1][0]), rows)
        for row in grew.rows:
            assert not row.exact, (by, row)
            if kind_of(by) == "program":
                raise AssertionError(f"{row.label} did not change")


# ---- real scans of directories ----


def config_for(tmp_path, areas="", **insight):
    text = f'[archive]\npath = "{tmp_path}/archive"\n{areas}[state]\npath = "{tmp_path}/state"\n'
    text += "[insight]\n" + "".join(f"{key} = {value}\n" for key, value in insight.items())
    (tmp_path / "config.toml").write_text(text)
    return load_config(str(tmp_path / "config.toml"), Overrides())


def random_tree(rng, depth=4):
    tree = {f"f{n}": rng.choice([0, 0, 1, 10, 100, 1000]) for n in range(rng.randrange(3))}
    if depth:
        for n in range(rng.randrange(1, 4)):
            tree[f"d{n}"] = random_tree(rng, depth - 1)
    return tree


def change_at_random(rng, top):
    for directory, _, files in os.walk(top):
        for name in files:
            if rng.random() < 0.1:
                os.unlink(os.path.join(directory, name))
        if rng.random() < 0.15:
            make_tree(f"{directory}/new{rng.randrange(99)}", random_tree(rng, 1))
        if rng.random() < 0.15:
            with open(f"{directory}/grown", "wb") as file:
                file.write(b"x" * rng.choice([0, 1, 50, 500, 5000]))


def changes_by_find(before, after, top):
    for path in before.keys() | after.keys():
        old, new = (sums.get(path, (0, 0)) for sums in (before, after))
        yield os.path.relpath(path, top).removeprefix("."), (new[0] - old[0], new[1] - old[1])


@pytest.mark.parametrize("names", [("public", "proprietary"), ("a", "b")])
@pytest.mark.parametrize(
    "limits", [(1, 99, 3), (2, 99, 8), (2, 6, 5), (3, 4, 1), (1, 2, 99), (2, 999, 999)]
)
async def test_every_claimed_change_of_a_directory_is_true_or_within_its_bounds(
    tmp_path, names, limits
):
    depth, most, largest = limits
    config = config_for(tmp_path, depth=depth, max_directories=most, largest_directories=largest)
    top = str(tmp_path / "archive")
    rng = random.Random(f"{limits}{names}")
    make_tree(top, {name: random_tree(rng) | {"always": 1} for name in names})
    for _ in range(3):
        before = by_find(top)
        await run(config, with_report=False, allow_drop=True)
        for name in names:
            change_at_random(rng, f"{top}/{name}")
        after = by_find(top)
        await run(config, with_report=False, allow_drop=True)
        true = dict(changes_by_find(before, after, top))
        found = await compare_runs(config.database_url, "last", "directory", top=10**6)
        assert found.exact
        for row in found.rows:
            claimed = (row.files_change, row.bytes_change)
            assert claimed != (0, 0)
            if row.exact:
                assert claimed == true[row.label], row
            else:
                for n, bounds in enumerate(row.bounds):
                    assert bounds[0] <= true[row.label][n] <= bounds[1], row
                    assert bounds[0] <= claimed[n] <= bounds[1], row
        listed = {row.label for row in found.rows}
        assert ("" in listed) == (true[""] != (0, 0))
        if most >= 99:  # all down to the depth are known
            for path, change in true.items():
                if path.count("/") < depth and change != (0, 0):
                    assert path in listed
                    assert next(row for row in found.rows if row.label == path).exact


def add_files(top, files):
    for path, size in files.items():
        file = top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)


def directories_of(names, size):
    return {name: {"deep": {"a.fits": size}} for name in names}


async def test_a_directory_pushed_out_of_the_table_is_not_removed(tmp_path):
    config = config_for(tmp_path, depth=1, largest_directories=40)
    top = tmp_path / "archive"
    make_tree(top, directories_of([f"old{n:02}" for n in range(40)], 4000))
    await run(config, with_report=False)
    make_tree(top, directories_of([f"new{n:02}" for n in range(39)], 5000))
    await run(config, with_report=False)
    found = await compare_runs(config.database_url, "last", "directory", top=999)
    assert {row.kind for row in found.rows if row.label} == {"added"}
    assert {row.label for row in found.rows} == {""} | {
        path for n in range(39) for path in (f"new{n:02}", f"new{n:02}/deep")
    }
    assert all(row.exact for row in found.rows)
    # And back: what enters the table again did not grow.
    for n in range(39):
        subprocess.run(["rm", "-r", str(top / f"new{n:02}")], check=True)
    await run(config, with_report=False, allow_drop=True)
    found = await compare_runs(config.database_url, "last", "directory", top=999)
    assert {row.kind for row in found.rows if row.label} == {"removed"}
    assert len(found.rows) == 1 + 2 * 39


async def test_growth_is_bounded_by_what_the_parent_grew(tmp_path):
    config = config_for(tmp_path, depth=1, largest_directories=1)
    top = tmp_path / "archive"
    make_tree(top, {"a": {"large": {"f": 1000}, "small": {"f": 900}}})
    await run(config, with_report=False)
    add_files(top, {"a/small/g": 600})
    await run(config, with_report=False)
    found = await compare_runs(config.database_url, "last", "directory")
    rows = {row.label: row for row in found.rows}
    assert set(rows) == {"", "a", "a/small"}
    small = rows["a/small"]
    assert (small.bytes_change, small.exact) == (600, False)  # a had room for no more than 900
    assert small.bounds == ((1, 2), (600, 1500))
    assert "1 directory is left out" in found.notes[-1]


async def test_the_whole_has_the_deeper_directories_of_its_areas(tmp_path):
    config = config_for(tmp_path, depth=1, largest_directories=1)
    top = tmp_path / "archive"
    make_tree(top, {"public": {"p1": {"f": 1000}, "p2": {"f": 10}}, "proprietary": {"x": 1}})
    await run(config, with_report=False)
    add_files(top, {"public/p2/g": 5000})
    await run(config, with_report=False)
    found = await compare_runs(config.database_url, "last", "directory")
    rows = {row.label: (row.bytes_change, row.exact) for row in found.rows}
    assert rows["public/p2"] == (5000, True)


async def test_of_an_incomplete_run_no_row_is_exact_and_the_first_is_the_header(tmp_path):
    config = config_for(tmp_path)
    top = tmp_path / "archive"
    make_tree(top, {"a": {"b": {"f": 100}}, "c": {"g": 50}})
    await run(config, with_report=False)
    add_files(top, {"c/h": 7})
    await run(config, with_report=False)
    mark_newest_as_partial(config)
    for by in GROWTH_BY:
        found = await compare_runs(config.database_url, "last", by)
        assert not found.exact and not any(row.exact for row in found.rows)
    found = await compare_runs(config.database_url, "last", "directory")
    whole = next(row for row in found.rows if not row.label)
    assert whole.bytes_change == found.after.apparent_bytes - found.before.apparent_bytes


def mark_newest_as_partial(config):
    """Mark the newest run as one that could not read everything."""
    import sqlite3

    connection = sqlite3.connect(config.database_url.removeprefix("sqlite:///"))
    with connection:
        connection.execute(
            "UPDATE scan_insight SET complete = 0 WHERE date_us ="
            " (SELECT max(date_us) FROM scan_insight)"
        )
    connection.close()


async def test_files_without_a_program_have_a_row(tmp_path):
    config = config_for(tmp_path)
    make_tree(tmp_path / "archive", {"jw01018001001_02101_00001_nrca1_cal.fits": 10})
    await run(config, with_report=False)
    add_files(tmp_path, {"archive/backup.tar": 5000})
    await run(config, with_report=False)
    found = await compare_runs(config.database_url, "last", "program")
    assert [(row.label, row.bytes_change) for row in found.rows] == [(NO_PROGRAM, 5000)]


async def test_without_an_area_the_growth_of_the_others_is_reported(tmp_path):
    make_tree(tmp_path / "archive", {"f": 1})
    make_tree(tmp_path / "central", {"logs": {"l": 10}})
    text = f'[central]\npath = "{tmp_path}/central"\n[central.areas]\nlogs = "logs"\n'
    config = config_for(tmp_path, text)
    await run(config, with_report=False)
    add_files(tmp_path, {"central/logs/m": 2**20})
    await run(config, with_report=False)

    def printed(*options):
        command = [sys.executable, "-m", "jwqlscan", "growth", "-c", f"{tmp_path}/config.toml"]
        command += ["--since", "last", *options]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    lines = printed().splitlines()
    assert lines[1] == "central in the same time: +1 file, +1.00 MiB"
    found = json.loads(printed("--json"))
    assert [(one["area"], one["apparent_bytes_change"]) for one in found["others"]] == [
        ("central", 2**20),
        ("central/logs", 2**20),
    ]
    found = json.loads(printed("--area", "central/logs", "--json"))
    assert (found["area"], found["others"]) == ("central/logs", [])


async def test_the_page_has_the_same_rows_as_the_command(tmp_path):
    config = config_for(tmp_path, depth=1, largest_directories=2)
    top = tmp_path / "archive"
    make_tree(top, directories_of(["a", "b", "c"], 4000))
    await run(config, with_report=False)
    make_tree(top, directories_of(["d", "e"], 5000))
    await run(config, with_report=False)
    async with open_store(config.database_url) as store:
        insight = await read_insight(store)
    for by in GROWTH_BY:
        command = await compare_runs(config.database_url, "last", by)
        page = insight.growth("archive", "all", by, "last")
        assert (page.rows, page.rest, page.notes) == (command.rows, command.rest, command.notes)
