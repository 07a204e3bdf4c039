"""What directories sum up to: against find(1) and du(1), in both readers; how tables merge."""

import os
import subprocess
import threading

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from jwqlscan.model.area_directories import rooted
from jwqlscan.model.directory_totals import (
    Directories,
    DirectorySum,
    Limits,
    full_path,
    largest,
)
from jwqlscan.naming.jwst import Classifier
from jwqlscan.scanning.measure import scan
from jwqlscan.scanning.pool import Pool
from jwqlscan.scanning.readers import available_readers, make_reader
from jwqlscan.scanning.readers.base import OpenDirectory, Root
from jwqlscan.scanning.readers.directory_totals import (
    MAX_PATH_BYTES,
    SPARE_ROWS,
    DirectoryTotals,
    RootTotals,
)
from jwqlscan.scanning.rules import ScanRules
from jwqlscan.settings import ScanSettings
from jwqlscan.system.mounts import read_mount_table
from jwqlscan.units import MAX_BYTES
from tests.support.trees import ROOT_FLAGS, Hardlink, Symlink, make_chain, make_tree, walk

readers = pytest.mark.parametrize("reader", available_readers())
ALL = Limits(2, 10**6, 10**6)


def by_find(path):
    """Return each directory's sum, made from find's listing: each file to all directories above."""
    command = ["find", path, "-xdev", "-type", "f", "-printf", r"%h\0%f\0%s\0%b\0%n\0"]
    fields = subprocess.run(command, check=True, capture_output=True).stdout.split(b"\0")[:-1]
    command = ["find", path, "-xdev", "-type", "d", "-print0"]
    listed = subprocess.run(command, check=True, capture_output=True).stdout.split(b"\0")[:-1]
    sums = {os.fsdecode(directory): [0] * 5 for directory in listed}
    for directory, name, size, blocks, links in zip(*[iter(fields)] * 5, strict=True):
        fits = name.endswith(b".fits")
        own = (1, int(size), int(blocks) * 512 // int(links), fits, int(size) * fits)
        above = os.fsdecode(directory)
        while len(above) >= len(path):
            sums[above] = [a + b for a, b in zip(sums[above], own, strict=True)]
            above = os.path.dirname(above)
    return {directory: DirectorySum(*numbers) for directory, numbers in sums.items()}


def below(sums, top):
    """Return sums by absolute path as a table of `top` has them: by the path below it."""
    return {os.path.relpath(path, top).removeprefix("."): total for path, total in sums.items()}


def expected(path, limits):
    sums = below(by_find(path), path)
    depths = {found: found.count("/") + 1 if found else 0 for found in sums}
    upper = {found: total for found, total in sums.items() if depths[found] <= limits.depth}
    lower = {
        found: total
        for found, total in sums.items()
        if depths[found] > limits.depth and total.apparent_bytes
    }
    table = Directories()
    table.upper = dict(largest(upper, limits.most))
    table.lower = dict(largest(lower, limits.largest))
    table.upper_dropped = len(upper) - len(table.upper)
    table.lower_dropped = len(lower) - len(table.lower)
    return table


@readers
@pytest.mark.parametrize("workers", [1, 32])
@pytest.mark.parametrize("limits", [ALL, Limits(0, 3, 5), Limits(1, 2, 0), Limits(3, 40, 100)])
def test_on_a_real_tree_directories_sum_up_to_what_find_lists(varied_tree, reader, workers, limits):
    path = str(varied_tree)
    rules = ScanRules(
        one_file_system=True, mounts=read_mount_table({path: path}), directories=limits
    )
    assert walk(path, reader, workers, rules).tree == expected(path, limits)


def tree_of_all_kinds(top):
    make_tree(
        top,
        {
            "a": {"b": {"c": {"x_cal.fits": 5000, "y.fits": 1}, "d.txt": 7}, "empty": {}},
            "e\n\u00e9": {b"\xff": {"f": {"g": {"deep": 100}}}},
            "linked": {"one": 9000, "two": Hardlink("linked/one"), "to": Symlink("one")},
            "z": {"nothing": 0, "zero": {"nothing": 0, "at all": {"nothing": 0}}},
            "here": 3,
        },
    )
    for number in range(90):
        make_tree(top / "many" / f"{number:03}" / "x", {"f": number // 3})


@readers
@pytest.mark.parametrize("workers", [1, 32])
@pytest.mark.parametrize(
    "limits",
    [ALL, Limits(), Limits(0, 1, 1), Limits(1, 100, 0), Limits(2, 5, 7), Limits(9, 50, 9)],
)
def test_directories_of_all_kinds_are_told(tmp_path, reader, workers, limits):
    tree_of_all_kinds(tmp_path / "t")
    rules = ScanRules(directories=limits)
    found = walk(tmp_path / "t", reader, workers, rules).tree
    assert found == expected(str(tmp_path / "t"), limits)
    if limits is ALL:
        assert found.upper["z"] == DirectorySum(2 + 1)
        assert found.upper["a"][0::3] == (3, 2)
        assert "z/zero/at all" not in found.lower


@readers
def test_one_directory_shared_by_many_workers_is_added_up(tmp_path, reader):
    make_tree(tmp_path / "t", {"a": {"b": {"c": {f"{n}.fits": n for n in range(3000)}}}})
    rules = ScanRules(directories=Limits(1, 10, 10))
    assert walk(tmp_path / "t", reader, 32, rules).tree == expected(
        str(tmp_path / "t"), rules.directories
    )


@pytest.fixture
def chain_top(tmp_path):
    """A directory that is removed here: what is so deep pytest can't remove."""
    top = tmp_path / "t"
    top.mkdir()
    yield top
    subprocess.run(["rm", "-rf", "--", top], check=True)


@readers
def test_a_chain_of_a_thousand_directories_is_told(chain_top, reader):
    make_chain(chain_top, 1000, 10)
    tree = walk(chain_top, reader, 2, ScanRules(directories=Limits(1, 10, 2))).tree
    assert {path: total.files for path, total in tree.upper.items()} == {"": 1000, "d": 1000}
    assert sorted(total.files for total in tree.lower.values()) == [998, 999]
    assert tree.lower_dropped == 997


@readers
def test_without_limits_no_directory_is_told(tmp_path, reader):
    tree_of_all_kinds(tmp_path / "t")
    assert not walk(tmp_path / "t", reader, 2).tree


@readers
def test_what_is_not_entered_is_not_told(tmp_path, reader):
    make_tree(tmp_path / "t", {".snapshot": {"a": {"f": 1}}, "out": {"f": 1}, "in": {"f": 1}})
    rules = ScanRules(exclude=("out",), directories=ALL)
    assert set(walk(tmp_path / "t", reader, 2, rules).tree.upper) == {"", "in"}


class Halting:
    """A reader that stops once something is read, as if storage hung."""

    def __init__(self, reader):
        self._reader, self.pool = reader, None
        self.name, self.directories = reader.name, reader.directories
        self.halted, self.go_on = threading.Event(), threading.Event()

    def read(self, work, worker):
        if self.pool.segments[0].tally.files and not self.halted.is_set():
            self.halted.set()
            self.go_on.wait(30)
        return self._reader.read(work, worker)

    def where(self, worker):
        return self._reader.where(worker)


@readers
def test_a_scan_that_is_stopped_tells_what_was_read_until_then(tmp_path, reader, monkeypatch):
    monkeypatch.setattr(f"jwqlscan.scanning.readers.{reader}.BATCH_SECONDS", 0.0005)
    path = str(tmp_path / "t")
    leaf = {f"{n}.fits": n for n in range(20)}
    make_tree(path, {f"a{a}": {"b": {f"c{c}": {"d": leaf} for c in range(5)}} for a in range(40)})
    opened = OpenDirectory(os.open(path, ROOT_FLAGS))
    device = os.fstat(opened.fd).st_dev
    identity = (device, os.fstat(opened.fd).st_ino)
    rules = ScanRules(roots={identity: 0}, directories=Limits(2, 99, 9))
    done = threading.Event()
    halting = Halting(make_reader(reader, rules, Classifier()))
    pool = Pool(halting, [Root(0, path, opened)], [device], 1, 1.0, slow=True, finished=done.set)
    halting.pool = pool
    pool.start()
    assert halting.halted.wait(30)
    tally = pool.segments[0].tally
    upper = dict(Directories.from_record(pool.directories(0)).upper)
    assert 0 < tally.files < 4000
    assert upper[""][:2] == (tally.files, tally.apparent_bytes)
    assert upper[""][3:] == (tally.fits_files, tally.fits_bytes)
    for depth in (1, 2):
        level = [total for found, total in upper.items() if found and found.count("/") == depth - 1]
        assert sum(total.files for total in level) == tally.files
    halting.go_on.set()
    assert done.wait(30)
    assert Directories.from_record(pool.directories(0)) == expected(path, rules.directories)


# ---- tables ----

SUMS = st.builds(DirectorySum, *[st.integers(0, 5)] * 5)
TABLES = st.dictionaries(st.text("abc", min_size=1, max_size=3), SUMS)


def table_of(upper, lower):
    table = Directories()
    table.upper, table.lower = dict(upper), dict(lower)
    return table


@given(TABLES, TABLES, st.integers(1, 4), st.integers(0, 4))
@settings(max_examples=50)
def test_the_largest_of_two_tables_are_the_same_in_any_order(upper, lower, most, count):
    limits = Limits(2, most, count)
    whole = table_of(upper, lower)
    whole.bound(limits)
    merged = Directories()
    for start in range(3):  # each path in one of three parts, each part bounded first
        part = table_of(
            {path: total for path, total in upper.items() if len(path) == start + 1},
            {path: total for path, total in lower.items() if len(path) == start + 1},
        )
        part.bound(limits)
        part.merge(merged)
        merged = Directories.from_record(part.to_record())
        assert part == merged
    merged.bound(limits)
    assert merged == whole


def test_a_path_in_two_tables_is_added_up_and_ends_where_a_database_does():
    one = table_of({"/a": DirectorySum(1, 2, 3, 4, 5)}, {"/a/b": DirectorySum(1, MAX_BYTES)})
    one.merge(table_of({"/a": DirectorySum(1, 1, 1, 1, 1)}, {"/a/b": DirectorySum(1, 7)}))
    assert one.upper == {"/a": DirectorySum(2, 3, 4, 5, 6)}
    assert one.lower == {"/a/b": DirectorySum(2, MAX_BYTES)}


DIRECTORIES = ["", "a", "a/b", "a/b/c", "a/bc", "d", "d/e", "d/e/f", "d/e/f/g", "h"]


@given(
    st.dictionaries(st.sampled_from(DIRECTORIES), st.integers(0, 9)),
    st.sets(st.sampled_from(DIRECTORIES), min_size=1),
    st.sampled_from(("/top", "/")),
    st.builds(Limits, st.integers(0, 3), st.integers(1, 12), st.integers(0, 12)),
)
@example({"a/b": 1, "a/bc": 2, "a/b/c": 9}, {"a", "a/b/c"}, "/top", Limits(1, 12, 1))
def test_an_area_has_the_sums_of_the_roots_in_it(files, roots, area, limits):
    """Against sums over all files; each root's table has what no root below it has."""

    def table(top, own):
        sums = {}
        for path in DIRECTORIES:
            if covers(top, path) and path in own:
                sums[path[len(top) :].lstrip("/")] = DirectorySum(
                    *(sum(files.get(f, 0) for f in own if covers(path, f)) for _ in range(2))
                )
        upper = {p: t for p, t in sums.items() if depth(p) <= limits.depth}
        return table_of(upper, {p: t for p, t in sums.items() if p not in upper and t[1]})

    def root_of(path):
        return max((root for root in roots if covers(root, path)), key=len, default=None)

    read = [path for path in DIRECTORIES if root_of(path) is not None]
    files = {path: count for path, count in files.items() if path in read}
    trees = {}
    for root in sorted(roots):
        tree = table(root, [path for path in read if root_of(path) == root])
        trees[full_path(root, area)] = tree
    # A deep directory without bytes of its own is in no table: no root below can be added to it.
    for root in roots - {""}:
        above = [path for path in read if covers(path, root) and path != root]
        assume(all(depth(path) <= limits.depth or files.get(path) for path in above))
    wanted = table("", ["", *(path for path in read if path)])
    found = rooted(trees, area, limits, whole=True)
    bounded = table_of(wanted.upper, wanted.lower)
    bounded.bound(limits)
    assert found == bounded
    for path in (wanted.upper | wanted.lower).keys() - found.upper.keys() - found.lower.keys():
        size = (wanted.upper | wanted.lower)[path].apparent_bytes
        most = found.untold.upper_bytes if path in wanted.upper else found.untold.lower_bytes
        assert size <= most


def covers(top, path):
    return not top or path == top or path.startswith(f"{top}/")


def depth(path):
    return path.count("/") + 1 if path else 0


def test_a_ledger_keeps_no_more_than_twice_what_it_is_to_tell():
    root_totals = RootTotals(Limits(0, 5, 3))
    root = DirectoryTotals(root_totals, None, "/")
    for number in range(2000):
        DirectoryTotals(root_totals, root, f"/{number}").add((1, number, 0, 0, 0))
        assert len(root_totals._finished.lower) <= 2 * 3 + SPARE_ROWS
    table = root_totals.directories()
    assert sorted(table.lower.values()) == [DirectorySum(1, n) for n in (1997, 1998, 1999)]
    assert table.upper == {"": DirectorySum(2000, 1999000)}
    assert table.lower_dropped == 1996  # the one of no bytes is none of the largest


# ---- areas ----


@readers
async def test_areas_that_nest_and_repeat_each_have_their_own_directories(tmp_path, reader):
    top = tmp_path / "c"
    make_tree(
        top,
        {
            "logs": {"a": {"b": {"c": {"f": 10}}}, "l.fits": 1},
            "out": {"x": {"y": {"z": {"f": 100}, "w": {"f": 7}}, "f": 5}},
            "f": 3,
        },
    )
    (tmp_path / "alias").symlink_to("c/out")
    limits = Limits(2, 100, 100)
    paths = [str(top), f"{top}/logs", f"{top}/out/x/y", str(tmp_path / "alias")]
    found = await scan(paths, ScanSettings(reader=reader, directories=limits))
    for one in found.areas:
        where = os.path.realpath(one.area.path)
        assert one.tally.tree == expected(where, limits), one.area.path
    union = found.union(found.areas[1:3], str(top)).tree
    assert union.upper[""] == DirectorySum(*by_find(f"{top}/logs")[f"{top}/logs"]).plus(
        by_find(f"{top}/out/x/y")[f"{top}/out/x/y"]
    )
    assert "logs/a/b/c" in union.lower


@readers
def test_of_a_chain_beyond_any_path_the_far_end_is_not_told_and_takes_no_memory(chain_top, reader):
    make_chain(chain_top, 400, 10, name="n" * 200)
    limits = Limits(1, 10, 1000)
    tree = walk(chain_top, reader, 2, ScanRules(directories=limits)).tree
    longest = max(len(os.fsencode(f"{chain_top}/{path}")) for path in tree.lower)
    assert longest <= MAX_PATH_BYTES < longest + 201
    assert len(tree.lower) + tree.lower_dropped == 399
    assert tree.upper[""].files == 400
