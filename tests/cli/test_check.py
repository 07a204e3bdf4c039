"""The verdict, the forecast below it, and the metrics, read by their consumers' parsers."""

import ast
import json
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import jwqlscan as jwqlscan_package
from jwqlscan.model.snapshot import Capacity
from jwqlscan.monitoring.check import Level, gather, judge, unknown
from jwqlscan.monitoring.metrics import exposition
from jwqlscan.settings import Thresholds
from jwqlscan.state.attempts import Attempt, write_attempt
from jwqlscan.store import open_store
from tests.support.marks import STORES
from tests.support.snapshots import CAPACITY, START, make_area, make_snapshot, make_tally

TIB = 2**40
# https://nagios-plugins.org/doc/guidelines.html#AEN197
PERFDATA = re.compile(
    r"'[^'=]+'=-?[0-9.]+(s|%|B|c)?;(-?[0-9.]+:?)?;(-?[0-9.]+:?)?(;-?[0-9.]*)?(;-?[0-9.]*)?"
)
NEVER = Thresholds(None, None, None, None, None, None, None)


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/s.db"
    return request.getfixturevalue("pg_url")


async def evidence_of(url, *snapshots):
    async with open_store(url) as store:
        for snapshot in snapshots:
            await store.record(snapshot)
    return await gather(url)


def run(day=0, *, files=10, capacity=CAPACITY, state="complete", **counts):
    tally = make_tally(files, **counts)
    return make_snapshot(day, make_area(tally=tally, capacity=capacity, state=state))


def verdict(evidence, hours=1, **limits):
    from dataclasses import replace

    newest = evidence.runs[0].date if evidence.runs else START
    return judge(evidence, replace(NEVER, **limits), newest + timedelta(hours=hours))


async def test_without_a_run_the_state_is_unknown(url):
    assert verdict(await evidence_of(url)).level is Level.UNKNOWN


@pytest.mark.parametrize(("hours", "level"), [(1, 0), (37, 1), (73, 2)])
async def test_an_old_run_is_told_by_its_age(tmp_path, hours, level):
    evidence = await evidence_of(f"sqlite:///{tmp_path}/s.db", run())
    assert verdict(evidence, hours, max_age_s=(36 * 3600, 72 * 3600)).level == level


async def test_the_age_is_that_of_the_last_complete_run(url):
    evidence = await evidence_of(url, run(0), run(3, state="stalled"))
    found = verdict(evidence, max_age_s=(36 * 3600, 72 * 3600))
    assert found.level is Level.CRITICAL
    assert "last complete run 3 d ago" in found.line and "last run is incomplete" in found.line


async def test_a_run_that_failed_since_the_last_one_is_a_warning(url):
    evidence = await evidence_of(url, run(0))
    async with open_store(url) as store:
        await store.record_failure(START + timedelta(days=1), START + timedelta(days=1), "")
    found = verdict(await gather(url), max_age_s=(36 * 3600, 72 * 3600))
    assert verdict(evidence, max_age_s=(36 * 3600, 72 * 3600)).level is Level.OK
    assert found.level is Level.WARNING
    assert "a run failed since" in found.line


async def test_no_complete_run_at_all_is_critical(url):
    evidence = await evidence_of(url, run(state="stalled"))
    assert verdict(evidence, max_age_s=(1, 2)).level is Level.CRITICAL


@pytest.mark.parametrize(("available", "level"), [(20, 0), (8, 1), (4, 2), (0, 2)])
async def test_free_space_is_in_percent_of_what_can_be_used(tmp_path, available, level):
    capacity = Capacity(100 * TIB, (100 - available) * TIB, available * TIB)
    evidence = await evidence_of(f"sqlite:///{tmp_path}/s.db", run(capacity=capacity))
    assert verdict(evidence, min_free_percent=(10, 5)).level == level


async def test_inodes_that_run_out_are_told(url):
    capacity = Capacity(100, 10, 90, inodes=1000, inodes_used=930, inodes_available=70)
    evidence = await evidence_of(url, run(capacity=capacity))
    found = verdict(evidence, min_free_inodes_percent=(10, 5))
    assert found.level is Level.WARNING and "7.0 % of inodes" in found.line


@pytest.mark.parametrize(("files", "level"), [(105, 0), (70, 1), (130, 1), (40, 2), (160, 2)])
async def test_a_drop_or_a_jump_in_files_is_told(tmp_path, files, level):
    evidence = await evidence_of(
        f"sqlite:///{tmp_path}/s.db", run(0, files=100), run(1, files=files)
    )
    assert verdict(evidence, max_change_percent=(10, 50)).level == level


async def test_a_run_is_compared_with_the_complete_one_before_it(url):
    evidence = await evidence_of(url, run(0, files=100), run(1, files=1, state="stalled"), run(2))
    assert "-90.0 % since the run before" in verdict(evidence, max_change_percent=(10, 50)).line


async def test_a_run_that_is_not_complete_has_less_and_that_is_no_drop(url):
    evidence = await evidence_of(url, run(0, files=100), run(1, files=1, state="stalled"))
    found = verdict(evidence, max_change_percent=(10, 50))
    assert found.level is Level.WARNING and "since the run before" not in found.line


async def test_errors_and_unrecognized_names_are_counted(url):
    evidence = await evidence_of(url, run(errors={"io": 2, "stale": 3}, unrecognized=7))
    found = verdict(evidence, max_errors=(0, 10), max_unrecognized=(1, 5))
    assert found.level is Level.CRITICAL
    assert "'archive_errors'=5;0;10;0" in found.line
    assert "'archive_unrecognized'=7;1;5;0" in found.line


async def test_a_filesystem_that_fills_is_told_in_days(url):
    days = [
        run(day, capacity=Capacity(100 * TIB, (50 + day) * TIB, (50 - day) * TIB))
        for day in range(10)
    ]
    evidence = await evidence_of(url, *days)
    found = verdict(evidence, min_days_until_full=(90, 30))
    assert found.level is Level.WARNING and "full in 41 days" in found.line


def test_a_bar_or_semicolon_in_a_name_is_escaped_and_names_no_other_file():
    line = unknown("/a|b;c: belongs to x; see chown root /a|b;c").line
    name = r"/a\x7cb\x3bc"
    assert line == f"JWQLSCAN UNKNOWN - {name}: belongs to x, see chown root {name}"


def test_no_command_in_a_message_has_what_a_line_of_a_plugin_can_not_have():
    commands = []
    for path in Path(jwqlscan_package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "NAME" for p in node.values)
                commands += re.findall("`([^`]+)`", "".join(parts))
    assert "sqlite3 NAME .recover >saved.sql" in commands
    assert [command for command in commands if "|" in command or ";" in command] == []


@pytest.mark.case("S10")
async def test_the_line_is_one_line_with_perfdata_as_the_guidelines_have_it(url):
    evidence = await evidence_of(url, run(0), run(1, errors={"io": 2}))
    found = judge(evidence, Thresholds(max_unrecognized=(5, 9)), START + timedelta(days=1))
    text, _, perfdata = found.line.partition(" | ")
    assert text.startswith("JWQLSCAN WARNING - ") and "|" not in text
    assert "\n" not in found.line
    assert len(perfdata.split()) >= 5
    assert all(PERFDATA.fullmatch(one) for one in perfdata.split())


async def test_a_suspect_run_is_a_warning_and_its_reason(url):
    newest = make_snapshot(1, suspicions=("archive all: 1 files, down by 90 %",))
    evidence = await evidence_of(url, run(0), newest)
    assert (evidence.runs[0].status, evidence.complete.date) == ("suspect", START)
    found = verdict(evidence)
    assert found.level is Level.WARNING
    assert "the last run is suspect: archive all: 1 files, down by 90 %" in found.line


async def test_prometheus_own_parser_reads_the_metrics(url):
    evidence = await evidence_of(url, run(0), run(1, errors={"io": 2}))
    families = {f.name: f for f in text_string_to_metric_families(exposition(evidence))}
    assert all(family.type == "gauge" and family.documentation for family in families.values())
    [sample] = families["jwqlscan_area_files"].samples
    assert (sample.labels, sample.value) == ({"group": "archive", "area": "all"}, 10)
    [sample] = families["jwqlscan_last_run_timestamp_seconds"].samples
    assert sample.value == (START + timedelta(days=1)).timestamp()
    [sample] = families["jwqlscan_area_errors"].samples
    assert (sample.labels["kind"], sample.value) == ("io", 2)


@pytest.mark.case("S10")
async def test_a_name_with_quotes_survives_the_metrics(tmp_path):
    snapshot = make_snapshot(0, make_area(), make_area("central", 'a"b\\c'))
    evidence = await evidence_of(f"sqlite:///{tmp_path}/s.db", snapshot)
    families = {f.name: f for f in text_string_to_metric_families(exposition(evidence))}
    names = {sample.labels["area"] for sample in families["jwqlscan_area_files"].samples}
    assert names == {area.name for area in evidence.runs[0].areas}


def jwqlscan(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_check_exits_with_its_level_and_prints_one_line(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    jwqlscan("db", "migrate", "--database", url)
    done = jwqlscan("check", "--database", url)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == "JWQLSCAN UNKNOWN - no run is stored yet: `jwqlscan run` makes one\n"


@pytest.mark.parametrize(
    "arguments", [("--nonsense",), ("--timeout", "soon"), ("-t", "99999999y"), ("extra",)]
)
def test_check_of_a_wrong_command_line_is_unknown_in_one_line(arguments):
    done = jwqlscan("check", *arguments)  # 2, as elsewhere, would be CRITICAL
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("JWQLSCAN UNKNOWN - ") and len(done.stdout.splitlines()) == 1


def test_check_gives_up_on_a_database_that_hangs():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/d"
        began = time.monotonic()
        done = jwqlscan("check", "--database", url, "--timeout", "1s")
    assert time.monotonic() - began < 20
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == "JWQLSCAN UNKNOWN - no answer within 1 s\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_check_reports_what_the_host_knows_though_the_database_hangs(tmp_path, form):
    (tmp_path / "state/spool").mkdir(parents=True, mode=0o700)
    (tmp_path / "state/spool/1.json").write_text("{}")
    attempt = Attempt(
        "1", datetime.now(UTC), datetime.now(UTC), exit_code=1, cause="/data is not mounted"
    )
    write_attempt(str(tmp_path / "state"), attempt)
    (tmp_path / "c.toml").write_text(f'state.path = "{tmp_path}/state"\n')
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/d"
        options = ["--json"] if form == "json" else []
        done = jwqlscan(
            *("check", "-c", tmp_path / "c.toml", "--database", url, "--timeout", "3s", *options)
        )
    line = json.loads(done.stdout)["line"] if form == "json" else done.stdout
    assert (done.returncode, done.stderr) == (1, "")
    assert line.startswith("JWQLSCAN WARNING - ") and "no answer within 3 s" in line
    assert "/data is not mounted" in line and "1 snapshot waits" in line


def test_check_of_a_wrong_configuration_is_unknown_in_one_line(tmp_path):
    (tmp_path / "c.toml").write_text("[check]\nmax_age = 3\n")
    done = jwqlscan("check", "-c", tmp_path / "c.toml")
    assert done.returncode == 3
    assert done.stdout.startswith("JWQLSCAN UNKNOWN - ") and "check.max_age" in done.stdout
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "line",
    [
        "max_age = ['72h', '36h']",
        "max_age = ['often', 'never']",
        "min_free_percent = [5, 10]",
        "min_free_percent = [5]",
        "max_errors = [-1, 2]",
        "max_errors = [true, 2]",
        "max_errors = [nan, 2]",
        "max_erors = [1, 2]",
    ],
)
def test_bad_thresholds_are_refused_by_name(tmp_path, line):
    (tmp_path / "c.toml").write_text(f"[check]\n{line}\n")
    done = jwqlscan("status", "-c", tmp_path / "c.toml")
    assert done.returncode == 2
    assert f"check.{line.split()[0]}" in done.stderr and len(done.stderr.splitlines()) == 1


async def test_metrics_are_written_whole_for_other_users_to_read(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    await evidence_of(url, run())
    done = jwqlscan("metrics", "--database", url, "-o", tmp_path / "j.prom")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "j.prom").stat().st_mode & 0o777 == 0o644
    printed = jwqlscan("metrics", "--database", url).stdout
    assert (tmp_path / "j.prom").read_text() == printed
    assert sorted(path.name for path in tmp_path.iterdir() if "tmp" in path.name) == []


@pytest.mark.parametrize("name", ["j.txt", "nowhere/j.prom"])
def test_metrics_that_nobody_would_read_are_refused(tmp_path, name):
    url = f"sqlite:///{tmp_path}/s.db"
    jwqlscan("db", "migrate", "--database", url)
    done = jwqlscan("metrics", "--database", url, "-o", tmp_path / name)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_a_run_writes_its_metrics_at_its_end(tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/a.fits").write_text("x")
    (tmp_path / "c.toml").write_text(
        "[archive]\npath = 'archive'\n[state]\npath = 'state'\n[metrics]\npath = 'm.prom'\n"
    )
    done = jwqlscan("run", "-c", tmp_path / "c.toml", "--no-report")
    assert (done.returncode, done.stderr) == (0, "")
    assert 'jwqlscan_area_files{group="archive",area="all"} 1' in (tmp_path / "m.prom").read_text()
