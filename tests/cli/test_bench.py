"""`jwqlscan bench`: what it measures, what it recommends, and how it says so."""

import json
import subprocess
import sys

import pytest

from jwqlscan.errors import JwqlscanError, ScanFailedError
from jwqlscan.operations.bench import MIN_ENTRIES, Benchmark, Rate, benchmark, recommended
from jwqlscan.output.console import Terminal
from jwqlscan.output.tables import print_bench
from jwqlscan.scanning.readers import available_readers
from jwqlscan.units import counted
from tests.support.trees import make_tree

JWQLSCAN = [sys.executable, "-m", "jwqlscan"]
TREE = {f"d{d}": {f"{n}.fits": 1 for n in range(20)} for d in range(10)}
LARGE_TREE = {f"d{d}": {f"{n}.fits": 1 for n in range(100)} for d in range(10)}


def bench(*arguments, **kwargs):
    return subprocess.run(
        [*JWQLSCAN, "bench", *map(str, arguments)], capture_output=True, text=True, **kwargs
    )


async def test_each_setting_is_measured_in_each_round_after_one_to_warm_up(tmp_path):
    make_tree(tmp_path, TREE)
    steps = []
    readers = available_readers()
    result = await benchmark(str(tmp_path), readers, [1, 4], 2, steps.append)
    settings = [(reader, workers) for reader in readers for workers in (1, 4)]
    assert [(rate.reader, rate.workers) for rate in result.rates] == settings
    assert steps == [
        "a scan to warm up",
        *(f"round {n} of 2: {r}, {counted(w, 'worker')}" for n in (1, 2) for r, w in settings),
    ]
    assert (result.entries, result.rounds) == (211, 2)
    for rate in result.rates:
        assert 0 < rate.slowest <= rate.entries_per_second <= rate.fastest
    assert result.recommended is None, "so few entries tell nothing"


async def test_from_a_thousand_entries_on_a_setting_is_recommended(tmp_path):
    make_tree(tmp_path, LARGE_TREE)
    result = await benchmark(str(tmp_path), ["scandir"], [1, 4], 1)
    assert result.entries >= MIN_ENTRIES
    assert result.recommended in result.rates


def rates(*speeds):
    return [Rate("native", workers, speed, speed, speed) for workers, speed in speeds]


def test_of_equally_fast_settings_the_one_with_the_fewest_workers_is_recommended():
    assert recommended(rates((1, 100.0), (2, 190.0), (4, 200.0), (8, 199.0))).workers == 2
    assert recommended(rates((1, 100.0), (2, 189.0), (4, 200.0))).workers == 4


def test_a_difference_within_the_noise_is_none():
    steady = [Rate("native", 32, 200.0, 195.0, 210.0), Rate("native", 1, 100.0, 99.0, 101.0)]
    assert recommended([*steady, Rate("native", 0, 180.0, 120.0, 201.0)]).workers == 0
    assert recommended([*steady, Rate("native", 0, 180.0, 120.0, 199.0)]).workers == 32


def test_auto_is_recommended_where_it_is_as_fast():
    assert recommended(rates((0, 191.0), (2, 190.0), (4, 200.0))).workers == 0


async def test_an_empty_directory_is_not_measured(tmp_path):
    with pytest.raises(JwqlscanError, match="is empty: name a directory with some thousand files"):
        await benchmark(str(tmp_path), ["scandir"], [1])


async def test_a_directory_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ScanFailedError, match="No such file or directory"):
        await benchmark(str(tmp_path / "none"), ["scandir"], [1])


def test_the_table_has_a_bar_for_each_setting_and_the_recommendation(capsys):
    all_ = rates((1, 1000.0), (8, 5000.0))
    print_bench(Benchmark(5000, 3, tuple(all_), all_[1]), Terminal())
    _, one, eight, _, last, _ = capsys.readouterr().out.split("\n")
    assert one.split()[:3] == ["native", "1", "1,000"]
    assert eight.count("█") == 5 * one.count("█") > 0
    assert last == ("5,000 entries, median of 3 rounds. Recommended: --reader native --workers 8")


def test_from_few_entries_no_setting_is_recommended(tmp_path):
    make_tree(tmp_path, {"a": 1})
    options = ["--workers", "1", "--rounds", "1", "--reader", "scandir", tmp_path]
    assert "Too few to recommend a setting: name a directory with 1,000 or more." in " ".join(
        bench(*options).stdout.split()
    )
    assert json.loads(bench("--json", *options).stdout)["recommended"] is None


def test_the_command_prints_a_table_or_an_object(tmp_path):
    make_tree(tmp_path, LARGE_TREE)
    options = ["--workers", "1,auto", "--rounds", "1", "--reader", "scandir", tmp_path]
    table = bench(*options)
    assert (table.returncode, table.stderr) == (0, "")
    assert "auto" in table.stdout and "Recommended: --reader scandir" in table.stdout
    result = json.loads(bench("--json", *options).stdout)
    assert (result["entries"], result["rounds"]) == (1011, 1)
    assert [(r["reader"], r["workers"]) for r in result["rates"]] == [
        ("scandir", 1),
        ("scandir", "auto"),
    ]
    assert result["recommended"] in result["rates"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--workers", "1,x", "{tmp}"], 2, "expected auto or 1 to 1024"),
        (["--rounds", "0", "{tmp}"], 2, "0 is not in the range"),
        (["{tmp}/none"], 1, "jwqlscan: {tmp}/none: No such file or directory"),
        (["{tmp}"], 1, "jwqlscan: {tmp} is empty"),
    ],
)
def test_what_can_not_be_measured_is_told_in_one_line(tmp_path, arguments, code, message):
    done = bench(*(word.format(tmp=tmp_path) for word in arguments))
    assert done.returncode == code
    assert message.format(tmp=tmp_path) in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
