"""The cube: what it counts, against find(1) on real trees; how it merges and is bounded."""

import os
import subprocess
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwqlscan.model.cube import (
    AGE_DAYS,
    AGE_LABELS,
    DAY_S,
    NO_EXTENSION,
    OTHER,
    CellKey,
    Cube,
    FileClass,
    Sum,
    age_limits,
    extension,
)
from jwqlscan.naming.jwst import Classifier, program
from jwqlscan.scanning.readers import available_readers
from jwqlscan.scanning.rules import ScanRules
from jwqlscan.system.mounts import read_mount_table
from tests.support.trees import Hardlink, make_tree, walk

NOW = int(time.time())
RULES = ScanRules(age_limits=age_limits(NOW))

readers = pytest.mark.parametrize("reader", available_readers())


# ---- against find(1) ----


def listed(path):
    """Yield name, size, uid, gid, mtime in seconds rounded down, blocks and links by find."""
    command = ["find", path, "-xdev", "-type", "f", "-printf", r"%f\0%s\0%U\0%G\0%T@\0%b\0%n\0"]
    fields = subprocess.run(command, check=True, capture_output=True).stdout.split(b"\0")[:-1]
    for name, size, uid, gid, mtime, blocks, links in zip(*[iter(fields)] * 7, strict=True):
        whole, _, fraction = mtime.decode().partition(".")
        seconds = int(whole) - (whole.startswith("-") and fraction.strip("0") != "")
        yield os.fsdecode(name), int(size), int(uid), int(gid), seconds, int(blocks), int(links)


def expected(path):
    """Return what a cube must hold, made from find's listing in another way."""
    classify = Classifier().classify
    cells, programs = {}, {}
    for name, size, uid, gid, mtime, blocks, links in listed(path):
        product = classify(name)
        root, dot = os.path.splitext(name)
        good = (
            1 < len(dot) <= 16
            and dot[1:].isascii()
            and all(c.isalnum() or c in "_-+~" for c in dot[1:])
        )
        file_class = product or ("", dot[1:].lower() if good else NO_EXTENSION)
        if name.endswith(".fits") and not product:
            file_class = ("", "fits")
        age = sum(NOW - mtime >= days * DAY_S for days in AGE_DAYS)
        bucket = len(f"{size:b}") if size else 0
        cell = cells.setdefault((tuple(file_class), uid, gid, age, bucket), [0, 0, 0])
        for index, number in enumerate((1, size, blocks * 512 // links)):
            cell[index] += number
        if name[:2] == "jw" and name[2:7].isascii() and len(name) > 6 and name[2:7].isdigit():
            row = programs.setdefault(name[2:7], [0, 0])
            row[0] += 1
            row[1] += size
        del root
    return cells, programs


def found(cube):
    return {(tuple(key.file_class), *key[1:]): cell for key, cell in cube.cells.items()}


@readers
@pytest.mark.parametrize("workers", [1, 32])
def test_on_a_real_tree_the_cube_is_what_find_lists(reader, workers, varied_tree):
    path = str(varied_tree)
    rules = RULES._replace(one_file_system=True, mounts=read_mount_table({path: path}))
    cube = walk(path, reader, workers, rules).cube
    cells, programs = expected(path)
    assert found(cube) == cells
    assert cube.programs == programs


def tree_of_all_kinds(top):
    names = {
        "jw01018001001_02101_00001_nrca1_cal.fits": 1000,
        "jw01018001001_02101_00002_nrca1_cal.fits": 0,
        "jw02000001001_02101_00001_mirimage_rate.fits": 7,
        "jw01018001001_02101_00001_nrca1_cal_thumb.thumb": 5,
        "jw_strange.fits": 3,
        "jw1234.fits": 1,
        "jw12345": 2,
        ".fits": 4,
        ".bashrc": 1,
        "..hidden.x": 1,
        "...": 1,
        "a.TAR": 1,
        "b.tar.GZ": 2**20,
        "c.": 1,
        "d.a b": 1,
        "e.abcdefghijklmno": 1,
        "f.abcdefghijklmnop": 1,
        "g.\u00e9": 1,
        "h.c++": 1,
        "i.~1~": 1,
        "j.fits.gz": 9,
        b"k.\xff": 1,
        b"jw0001\xd9\xa3.fits": 1,
    }
    make_tree(top, {"d": names, "e": {"linked.dat": 5000, "again": Hardlink("e/linked.dat")}})
    ages = [*AGE_DAYS, *(days - 0.00002 for days in AGE_DAYS[1:]), -1, 10_000, 30_000]
    for number, days in enumerate(ages):
        path = top / f"age{number}.log"
        path.write_bytes(b"x" * number)
        stamp = int((NOW - days * DAY_S) * 1e9)
        os.utime(path, ns=(stamp, stamp))


@readers
def test_names_owners_ages_and_sizes_of_all_kinds_are_told_apart(tmp_path, reader):
    tree_of_all_kinds(tmp_path / "t")
    if os.geteuid() == 0:
        os.chown(tmp_path / "t/d/a.TAR", 12345, 54321)
        os.chown(tmp_path / "t/d/c.", 2**31 + 5, 7)
    cube = walk(tmp_path / "t", reader, 2, RULES).cube
    cells, programs = expected(tmp_path / "t")
    assert found(cube) == cells
    assert cube.programs == programs == {"01018": [3, 1005], "02000": [1, 7], "12345": [1, 2]}
    assert {key.age for key in cube.cells} == set(range(len(AGE_LABELS)))


@readers
def test_without_age_limits_no_cube_is_made(tmp_path, reader):
    tree_of_all_kinds(tmp_path / "t")
    assert not walk(tmp_path / "t", reader, 2).cube


@readers
def test_the_cube_adds_up_to_the_tally(tmp_path, reader):
    tree_of_all_kinds(tmp_path / "t")
    tally = walk(tmp_path / "t", reader, 2, RULES)
    total = sum(tally.cube.by(lambda key: None).values(), Sum())
    assert (total.files, total.apparent_bytes) == (tally.files, tally.apparent_bytes)
    assert abs(total.allocated_bytes - tally.allocated_bytes) < 2
    products = tally.cube.by(lambda key: key.file_class)
    for product, amount in tally.products.items():
        assert products[product][:2] == (amount.count, amount.bytes)


# ---- extensions ----


@given(st.text(min_size=1, max_size=40))
def test_an_extension_is_what_splitext_says_or_none(name):
    ending = os.path.splitext(name)[1][1:]
    assert extension(name) in (ending.lower(), NO_EXTENSION)
    if ending.isascii() and ending.isalnum() and len(ending) <= 15:
        assert extension(name) == ending.lower()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("jw01018001001_x", "01018"),
        ("jw12345", "12345"),
        ("jw1234", None),
        ("jw1234a001", None),
        ("Jw12345", None),
        ("ajw12345", None),
        ("jw\u0661\u0662\u0663\u0664\u0665", None),
    ],
)
def test_a_program_is_the_five_digits_behind_jw(name, said):
    assert program(name) == said


# ---- merging, bounding ----

KEYS = st.builds(
    CellKey,
    st.builds(FileClass, st.sampled_from(["", "miri"]), st.sampled_from("abcdef")),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 8),
    st.integers(0, 63),
)
ROWS = st.lists(st.tuples(KEYS, st.integers(1, 9), st.integers(0, 2**62), st.integers(0, 2**62)))


def cube_of(rows):
    cube = Cube()
    for key, *numbers in rows:
        cube.add(key, *numbers)
        cube.add_program(key.file_class.filetype, *numbers[:2])
    return cube


@given(ROWS, ROWS)
def test_merging_is_adding_in_any_order(first, second):
    merged, other = cube_of(first), cube_of(second)
    merged.merge(other)
    other.merge(cube_of(first))
    assert merged == other == cube_of([*first, *second])


@given(ROWS)
def test_a_record_gives_the_cube_back(rows):
    assert Cube.from_record(cube_of(rows).to_record()) == cube_of(rows)


@given(ROWS, st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=50)
def test_a_bounded_cube_keeps_the_largest_and_the_total(rows, classes, owners):
    whole, cube = cube_of(rows), cube_of(rows)
    cube.bound(classes, owners, 3)
    assert sum(cube.by(lambda k: None).values(), Sum()) == sum(
        whole.by(lambda k: None).values(), Sum()
    )
    by_class = cube.by(lambda key: key.file_class)
    kept = [key for key in by_class if key.filetype != OTHER]
    assert len(kept) <= classes and len(cube.programs) <= 4
    largest = Counter({k: v.apparent_bytes for k, v in whole.by(lambda k: k.file_class).items()})
    assert {by_class[key] for key in kept} <= {*whole.by(lambda k: k.file_class).values()}
    assert sorted(by_class[k].apparent_bytes for k in kept) == sorted(
        n for _, n in largest.most_common(classes)
    )
    assert cube.folded.get("classes", 0) == max(0, len(largest) - classes)


CELL = ["", "txt", 0, 0, 2, 4, 1, 10, 512]


@pytest.mark.parametrize(
    "change",
    [
        {"cells": [["", 5, *CELL[2:]]]},
        {"cells": [[*CELL[:4], 9, *CELL[5:]]]},
        {"cells": [[*CELL[:5], 65, *CELL[6:]]]},
        {"cells": [[*CELL[:2], "x", *CELL[3:]]]},
        {"cells": [CELL[:-1]]},
        {"programs": [["01018", "many", 1]]},
        {"folded": {"classes": None}},
    ],
)
def test_a_record_that_is_none_is_refused(change):
    record = {"cells": [CELL], "programs": [["01018", 1, 1]], "folded": {}}
    assert Cube.from_record(record).cells
    with pytest.raises((TypeError, ValueError)):
        Cube.from_record(record | change)


def test_what_was_put_together_before_is_not_put_together_again():
    cube = Cube()
    for number in range(9):
        key = CellKey(FileClass("", f"x{number}"), number, 0, 1, 1)
        cube.add(key, 1, number, 512)
        cube.add_program(f"{number:05}", 1, number)
    cube.bound(classes=4, owners=3, programs=5)
    assert cube.folded == {"classes": 5, "owners": 6, "programs": 4}
    cube.bound(classes=4, owners=3, programs=5)
    assert cube.folded == {"classes": 5, "owners": 6, "programs": 4}
    cube.add_program("99999", 1, 1)
    cube.bound(classes=4, owners=3, programs=5)
    assert cube.folded["programs"] == 5
    assert sum(row[0] for row in cube.programs.values()) == 10


def test_a_cube_with_more_cells_than_usual_is_not_looked_through_at_each_merge(monkeypatch):
    monkeypatch.setattr("jwqlscan.model.cube.MAX_CELLS", 10)
    cube = Cube()
    looks = []
    bound = Cube.bound
    monkeypatch.setattr(Cube, "bound", lambda self: (looks.append(1), bound(self)))
    for number in range(40):
        one = Cube()
        one.add(CellKey(FileClass("", "x"), number, 0, 1, 1), 1, 1, 512)
        cube.merge(one)
    assert len(looks) <= 4
    assert len(cube.cells) == 40
