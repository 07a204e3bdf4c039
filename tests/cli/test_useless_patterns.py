"""Patterns under `[scan]` that can match nothing are reported by `doctor` and by a run."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jwqlscan.config.useless_patterns import exclude_problem, name_problem
from jwqlscan.scanning.rules import Exclusion
from tests.cli.test_doctor import doctor, failures
from tests.cli.test_preflight import jwqlscan
from tests.cli.test_run import CAL, write

ROOTS = ["/data/jwst", "/data/jwst/public", "/"]

USELESS = {
    "/data/jwst/scratch": "write 'scratch'",
    "/data/jwst/public/old/*": "write 'old/*'",
    "/scratch": "write 'scratch/'",
    "/scratch/*.tmp": "write 'scratch/*.tmp'",
    "//": "names no entry",
    "./x": "no '.', '..' or '//'",
    "../x": "no '.', '..' or '//'",
    "a/./b": "no '.', '..' or '//'",
    "a//b": "no '.', '..' or '//'",
    "..": "no '.', '..' or '//'",
    "~/scratch": "not the home directory",
    "[x": "the [ has no ]",
    "*.[ch": "the [ has no ]",
    "[a]b[": "the [ has no ]",
    "[!]": "the [ has no ]",
    "[]": "the [ has no ]",
}


@pytest.mark.parametrize("pattern", USELESS)
def test_a_pattern_without_effect_is_found_with_what_to_write(pattern):
    assert USELESS[pattern] in exclude_problem(pattern, ROOTS[:2])


@pytest.mark.parametrize(
    "pattern",
    [
        "*.tmp",
        "scratch",
        "scratch/",
        "a/b/*",
        "[ab]*",
        "[]]",
        "[!]a]",
        "[[]x",
        ".x",
        "..x",
        "a..b/c",
    ],
)
def test_a_pattern_that_can_match_is_left_alone(pattern):
    assert exclude_problem(pattern, ROOTS[:2]) == ""


def test_a_root_that_is_the_whole_filesystem_is_below_itself():
    assert "write 'home/x'" in exclude_problem("/home/x", ["/"])


names = st.text("ab.[]*?~!", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))


@given(st.text("ab./[]*?!", min_size=1, max_size=6), st.lists(names, min_size=1, max_size=3))
@example("./a", ["a"])
@example("a//b", ["a", "b"])
def test_what_is_said_to_match_nothing_matches_nothing(pattern, path):
    problem = exclude_problem(pattern, [])
    matches_nothing = "compared have no" in problem or "names no entry" in problem
    if matches_nothing and "[" not in pattern:  # a slash between brackets is a member of a set
        *above, name = path
        assert not Exclusion([pattern]).matches("/r", "/".join(["/r", *above]), name)


@pytest.mark.parametrize("name", [".zfs/snapshot", "/.snapshot", ".", ".."])
def test_a_name_that_no_directory_has_is_found(name):
    assert name_problem(name)


def test_an_ordinary_name_is_left_alone():
    assert name_problem("~snapshot") == ""


@pytest.fixture
def file(tmp_path):
    write(tmp_path / "archive/public" / CAL, 4096)
    write(tmp_path / "archive/public/scratch/x.fits", 1)
    (tmp_path / "c.toml").write_text(
        "archive.path = 'archive'\nstate.path = 'state'\n[scan]\n"
        f"exclude = ['{tmp_path}/archive/public/scratch', './x', '*.tmp']\n"
        "snapshot_names = ['.snapshot', '.zfs/snapshot']\n"
    )
    return tmp_path / "c.toml"


def test_a_run_warns_once_of_patterns_without_effect(tmp_path, file):
    done = jwqlscan("run", "-c", file, "--no-report", "--json", home=tmp_path)
    assert done.returncode == 0
    [warning] = done.stderr.splitlines()
    assert f"scan.exclude in {file}: can match nothing: " in warning
    assert "/scratch' (" in warning and "write 'scratch'" in warning
    assert "'./x' (" in warning and "*.tmp" not in warning
    assert "scan.snapshot_names" in warning and "'.zfs/snapshot' (" in warning
    assert warning.removeprefix("jwqlscan: ") in json.loads(done.stdout)["warnings"]
    done = jwqlscan("run", "-c", file, "--no-report", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")  # the next night: no mail from cron


def test_doctor_reports_patterns_without_effect(file):
    [line] = failures(doctor(file))
    assert line.startswith("FAIL  patterns: scan.exclude in ") and "write 'scratch'" in line


def test_doctor_is_content_with_patterns_that_can_match(file):
    file.write_text("archive.path = 'archive'\nstate.path = 'state'\nscan.exclude = ['*.tmp']\n")
    done = doctor(file)
    assert failures(done) == [] and "patterns: 1 pattern in scan.exclude" in done.stdout


def test_scan_warns_of_patterns_without_effect_too(tmp_path, file):
    done = jwqlscan("scan", "-c", file, tmp_path / "archive", home=tmp_path)
    assert done.returncode == 0
    [warning] = done.stderr.splitlines()
    assert "scan.exclude: can match nothing" in warning
