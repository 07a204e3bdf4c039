"""What is asked of a cube, and how `scan --by` prints it."""

import json
import os
import pwd
import subprocess
import sys

import pytest

from jwqlscan.cli.scan import By
from jwqlscan.history.rollups import NO_PRODUCT, PROJECTIONS, Row, projection
from jwqlscan.model.cube import AGE_LABELS, CellKey, Cube, FileClass, Sum
from jwqlscan.model.directory_totals import BY_DIRECTORY
from tests.support.trees import make_tree

CAL, GZ = FileClass("nircam", "cal"), FileClass("", "gz")
UNRECOGNIZED = FileClass("", "fits")
JWQLSCAN = [sys.executable, "-m", "jwqlscan"]


@pytest.fixture
def cube():
    cube = Cube()
    cube.add(CellKey(CAL, 0, 0, 2, 4), 3, 30, 4096)
    cube.add(CellKey(CAL, 2**31, 2**31, 8, 0), 2, 0, 0)
    cube.add(CellKey(GZ, 0, 0, 0, 11), 1, 1024, 1536)
    cube.add(CellKey(UNRECOGNIZED, -1, -1, 2, 1), 1, 1, 512)
    cube.add_program("01018", 4, 20)
    cube.add_program("02000", 1, 1000)
    return cube


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("extension", {"gz": (1, 1024, 1536), "fits": (6, 31, 4608)}),
        ("filetype", {NO_PRODUCT: (2, 1025, 2048), "cal": (5, 30, 4096)}),
        ("instrument", {NO_PRODUCT: (2, 1025, 2048), "nircam": (5, 30, 4096)}),
        ("program", {"02000": (1, 1000, 0), "01018": (4, 20, 0)}),
        ("owner", {"root": (4, 1054, 5632), "(other)": (1, 1, 512), str(2**31): (2, 0, 0)}),
        ("group", {"root": (4, 1054, 5632), "(other)": (1, 1, 512), str(2**31): (2, 0, 0)}),
        (
            "age",
            {
                AGE_LABELS[0]: (1, 1024, 1536),
                AGE_LABELS[2]: (4, 31, 4608),
                AGE_LABELS[8]: (2, 0, 0),
            },
        ),
        (
            "size",
            {
                "empty": (2, 0, 0),
                "1 B": (1, 1, 512),
                "8 B to under 16 B": (3, 30, 4096),
                "1.00 KiB to under 2.00 KiB": (1, 1024, 1536),
            },
        ),
    ],
)
def test_each_question_has_its_sums_in_their_order(cube, by, expected):
    rows = [Row(label, Sum(*numbers)) for label, numbers in expected.items()]
    assert projection(cube, by) == rows


def test_the_command_line_offers_every_question():
    assert {one.value for one in By} == {*PROJECTIONS, BY_DIRECTORY}


def test_scan_prints_the_largest_and_sums_up_the_rest(tmp_path):
    make_tree(tmp_path, {f"{n}.x{n}": 100 * n for n in range(1, 6)})
    options = ["--by", "extension", "--by", "owner", "--by", "age", "--top", "2"]
    done = subprocess.run(
        [*JWQLSCAN, "scan", *options, tmp_path], capture_output=True, text=True, check=True
    )
    tables = done.stdout.split("\n\n")
    lines = [line.split() for line in tables[1].splitlines()]
    assert lines[0] == ["extension", "files", "size"]
    assert [line[:4] for line in lines[1:3]] == [["x5", "1", "500", "B"], ["x4", "1", "400", "B"]]
    assert lines[3] == ["3", "more", "3", "600", "B"]
    assert tables[2].splitlines()[1].split()[:4] == [
        pwd.getpwuid(os.getuid()).pw_name, "5", "1.46", "KiB"
    ]  # fmt: skip
    assert "under 1 day" in tables[3]


def test_scan_gives_every_row_of_every_question_as_json(tmp_path):
    make_tree(tmp_path, {"jw01018.fits": 10, "jw02000.txt": 3, "c": 4})
    options = [word for by in PROJECTIONS for word in ("--by", by)]
    done = subprocess.run(
        [*JWQLSCAN, "scan", "--json", "--top", "1", *options, tmp_path],
        capture_output=True,
        check=True,
    )
    [area] = json.loads(done.stdout)["areas"]
    for by in PROJECTIONS:
        assert sum(row["apparent_bytes"] for row in area[f"by_{by}"]) == (
            13 if by == "program" else area["apparent_bytes"]
        )
    assert [row["extension"] for row in area["by_extension"]] == ["fits", "(none)", "txt"]
    assert area["by_program"] == [
        {"program": "01018", "files": 1, "apparent_bytes": 10},
        {"program": "02000", "files": 1, "apparent_bytes": 3},
    ]


def test_without_a_question_nothing_is_added(tmp_path):
    done = subprocess.run([*JWQLSCAN, "scan", "--json", tmp_path], capture_output=True, check=True)
    assert not {key for key in json.loads(done.stdout)["areas"][0] if key.startswith("by_")} - {
        "by_product"
    }


def test_a_question_that_there_is_not_is_told(tmp_path):
    done = subprocess.run(
        [*JWQLSCAN, "scan", "--by", "colour", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "'colour' is not one of 'extension', 'filetype'" in " ".join(done.stderr.split())


def test_scan_prints_the_largest_directories_as_a_tree(tmp_path):
    make_tree(
        tmp_path / "t",
        {"a": {"b": {"x.fits": 600}, "c": {"y": 100}}, "d\n\x1b[1m": {"z": 300}, "e": {"f": 1}},
    )
    done = subprocess.run(
        [*JWQLSCAN, "scan", "--top", "5", tmp_path / "t"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    lines = [line.rstrip() for line in done.stdout.split("\n\n")[1].splitlines()]
    bars = [line.rpartition("%")[2].strip() for line in lines]
    assert [" ".join(line.replace("█", "").split()) for line in lines] == [
        "directory size share files FITS",
        f"{tmp_path}/t 1001 B 100.0 % 4 60 %",
        "├─ a 700 B 69.9 % 2 86 %",
        "│ ├─ b 600 B 59.9 % 1 100 %",
        "│ └─ c 100 B 10.0 % 1 0 %",
        "└─ d\\x0a\\x1b[1m 300 B 30.0 % 1 0 %",
    ]
    assert [len(bar) for bar in bars[1:]] == [30, 21, 18, 3, 9]


def test_scan_gives_the_largest_directories_as_json(tmp_path):
    make_tree(tmp_path / "t", {"a": {"b": {"x.fits": 600}}, b"\xff": {"z": 300}, "e": {"f": 1}})
    command = [*JWQLSCAN, "scan", "--json", "--by", "directory", "--top", "4", tmp_path / "t"]
    done = subprocess.run(command, capture_output=True, check=True)
    [area] = json.loads(done.stdout)["areas"]
    assert [(row["path"], row["apparent_bytes"]) for row in area["by_directory"]] == [
        (f"{tmp_path}/t", 901),
        (f"{tmp_path}/t/a", 600),
        (f"{tmp_path}/t/a/b", 600),
        (f"{tmp_path}/t/\\xff", 300),
    ]
    assert [row["fits_files"] for row in area["by_directory"]] == [1, 1, 1, 0]
    assert "path_b64" in area["by_directory"][3] and "by_extension" not in area
