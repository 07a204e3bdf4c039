"""However a run ends, `status`, `check`, `doctor`, the metrics and the page know it afterwards.

Whole commands: each kind of end twice in a row, then a run that succeeds, after which all is well.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jwqlscan.reporting.alarm import BEGIN, END
from jwqlscan.state.attempts import FILE, KILLED
from jwqlscan.system.lock import run_lock
from tests.cli.test_run import CAL, write
from tests.support.processes import has_open, wait_until

case = pytest.mark.case
JWQLSCAN = [sys.executable, "-m", "jwqlscan"]
# As the command, but however busy the machine is, it has the time to end in order after a signal.
_IN_ORDER = """\
from jwqlscan.system import signals
signals.GRACE_S = 60.0
from jwqlscan.__main__ import main
main()
"""
IN_ORDER = [sys.executable, "-c", _IN_ORDER]
PAGE = "outputs/monitor_filesystem/filesystem_monitor.html"


class Site:
    """An archive, its configuration, and the commands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        write(path / "archive/public/jw01018" / CAL, 4096)
        self.configure()

    def configure(self, database="sqlite:///db/store.db", more=""):
        (self.path / "db").mkdir(exist_ok=True)
        config = self.path / "config.toml"
        config.write_text(
            f'[archive]\npath = "archive"\n[database]\nurl = "{database}"\n'
            '[outputs]\npath = "outputs"\n[state]\npath = "state"\n'
            f'[metrics]\npath = "jwqlscan.prom"\n{more}'
        )
        config.chmod(0o600)

    def jwqlscan(self, command, *options, **kwargs):
        arguments = [*JWQLSCAN, command, "-c", self.path / "config.toml", *options]
        return subprocess.run(
            arguments, capture_output=True, text=True, cwd=self.path, timeout=120, **kwargs
        )

    def start(self, *options):
        return subprocess.Popen(
            [*IN_ORDER, "run", "-v", "-c", self.path / "config.toml", *options],
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.path,
            # The tests may run under nohup.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )

    def status(self):
        return json.loads(self.jwqlscan("status", "--json").stdout)

    def metrics(self):
        text = (self.path / "jwqlscan.prom").read_text()
        return {
            family.name.removeprefix("jwqlscan_"): family.samples[0].value
            for family in text_string_to_metric_families(text)
        }

    def alarm(self):
        """Return what the page shows at its top, as text."""
        page = (self.path / PAGE).read_text()
        block = page.partition(BEGIN)[2].partition(END)[0]
        return re.sub(r"<[^>]+>", " ", block)


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    done = made.jwqlscan("run")
    assert (done.returncode, done.stderr) == (0, "")
    assert made.alarm() == ""
    return made


def all_is_well(site):
    """Assert that a successful run leaves nothing of an earlier failure."""
    done = site.jwqlscan("run")
    assert (done.returncode, done.stderr) == (0, "")
    assert site.status()["failure"] is None
    check = site.jwqlscan("check")
    assert check.stdout.startswith("JWQLSCAN OK"), check.stdout
    assert site.alarm() == ""
    metrics = site.metrics()
    assert metrics["last_attempt_exit_code"] == 0
    assert metrics["last_run_complete"] == 1
    assert metrics["last_report_failed"] == metrics["spooled_snapshots"] == 0
    doctor = json.loads(site.jwqlscan("doctor", "--json").stdout)
    assert [one["well"] for one in doctor["checks"] if one["what"] in ("last run", "spool")] == [
        True,
        True,
    ]


def emptied(site):
    (site.path / "archive").rename(site.path / "elsewhere")
    (site.path / "archive/public").mkdir(parents=True)
    return 1, "no files, and the last run found 1"


def unmounted(site):
    (site.path / "archive").rename(site.path / "elsewhere")
    return 2, "No such file or directory"


def refused(site):
    outputs = site.path / "outputs"
    outputs.rename(site.path / "outputs-away")
    outputs.write_text("a file is in the way")
    return 2, "outputs.path"


def repaired(site):
    if (site.path / "elsewhere").exists():
        shutil.rmtree(site.path / "archive", ignore_errors=True)
        (site.path / "elsewhere").rename(site.path / "archive")
    if (site.path / "outputs-away").exists():
        (site.path / "outputs").unlink()
        (site.path / "outputs-away").rename(site.path / "outputs")
    site.configure()


def told_everywhere(site, code, cause, page=True):
    """Assert that everybody who looks learns that the last run failed, and why."""
    before = site.metrics()
    assert before["last_attempt_exit_code"] == code
    assert before["last_run_complete"] == 0
    status = site.status()
    assert status["failure"]["exit_code"] == code
    assert cause in status["failure"]["cause"]
    assert cause in site.jwqlscan("status").stdout.replace("\n", "")
    check = site.jwqlscan("check")
    assert (check.returncode, cause in check.stdout) == (1, True), check.stdout
    assert cause in site.jwqlscan("doctor").stdout
    site.jwqlscan("metrics")
    assert site.metrics().items() >= before.items()  # the command knows what the run itself wrote
    if page:
        assert cause in site.alarm()
        assert f"exit code {code}" in site.alarm()


@case("P38")
@pytest.mark.parametrize("kind", [emptied, unmounted, refused])
def test_a_run_that_fails_is_known_with_its_cause_until_one_succeeds(site, kind):
    code, cause = kind(site)
    for _ in range(2):
        done = site.jwqlscan("run")
        assert done.returncode == code, done.stderr
        assert cause in done.stderr
        told_everywhere(site, code, cause, page=kind is not refused)
    with sqlite3.connect(site.path / "db/store.db") as store:
        causes = store.execute("SELECT exit_code, cause FROM scan_failure").fetchall()
    assert [code for code, _ in causes] == [code, code]
    assert all(cause in text for _, text in causes)
    # Without the state directory the store still knows.
    elsewhere = {**os.environ, "HOME": str(site.path / "home")}
    done = subprocess.run(
        [*JWQLSCAN, "check", "--database", f"sqlite:///{site.path}/db/store.db"],
        **{"capture_output": True, "text": True, "env": elsewhere, "timeout": 60},
    )
    assert (done.returncode, cause in done.stdout) == (1, True), done.stdout
    repaired(site)
    all_is_well(site)


@case("P38")
def test_a_snapshot_that_waits_for_the_database_is_known_with_the_reason(site):
    database_away(site)
    for count in (1, 2):
        done = site.jwqlscan("run")
        assert done.returncode == 4, done.stderr
        metrics = site.metrics()
        assert metrics["last_attempt_exit_code"] == 4
        assert metrics["spooled_snapshots"] == count
        assert metrics["area_files"] == 1  # what this run knows itself
        check = site.jwqlscan("check")
        assert check.returncode == 1, check.stdout
        assert f"{count} snapshot" in check.stdout
        assert f"{count} snapshot" in site.jwqlscan("status").stdout
        assert f"{count} snapshot" in site.jwqlscan("doctor").stdout
        assert "is not stored" in site.alarm()
    (site.path / "db").unlink()
    (site.path / "db-away").rename(site.path / "db")
    assert site.status()["spooled"] == 2
    assert "2 snapshots wait" in site.jwqlscan("check").stdout
    site.jwqlscan("metrics")
    assert site.metrics()["spooled_snapshots"] == 2
    assert site.jwqlscan("db", "flush").returncode in (0, 2)
    all_is_well(site)


def database_away(site):
    (site.path / "db").rename(site.path / "db-away")
    (site.path / "db").write_text("")  # no directory: it can't be opened


def deep(site):
    """Put the only file so deep that a slow run does not get to it."""
    public = site.path / "archive/public"
    below = public / "/".join("abcdefghij" * 4)
    below.mkdir(parents=True)
    (public / "jw01018").rename(below / "jw01018")
    return below


SLOW = ("--max-rate", "1", "--max-runtime", "1s")


@pytest.mark.parametrize("kind", ["emptied", "vanished"])
def test_a_run_that_read_nothing_does_not_make_an_emptied_area_right(site, kind):
    below = deep(site)
    assert site.jwqlscan("run", *SLOW).returncode == 3
    with sqlite3.connect(site.path / "db/store.db") as store:
        stopped = store.execute("SELECT files FROM scan_area WHERE state = 'stopped'").fetchall()
    store.close()
    assert stopped and set(stopped) == {(0,)}
    if kind == "emptied":
        shutil.rmtree(below / "jw01018")
    else:
        (site.path / "archive/public").rename(site.path / "archive/moved")
    done = site.jwqlscan("run")
    assert done.returncode in (1, 2), done.stderr
    assert "nothing is stored" in done.stderr


def test_the_page_reports_an_incomplete_run_whose_snapshot_waits_for_the_database(site):
    deep(site)
    database_away(site)
    assert site.jwqlscan("run", *SLOW).returncode == 3
    assert "The last run is not stored" in site.alarm()


def test_the_page_reports_a_run_whose_snapshot_was_refused(site):
    with sqlite3.connect(site.path / "db/store.db") as store:
        store.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON scan_area"
            " BEGIN SELECT RAISE(ABORT, 'refused by a trigger'); END"
        )
    store.close()
    done = site.jwqlscan("run")
    assert done.returncode == 1, done.stderr
    assert "The last run failed" in site.alarm()


@case("P38")
def test_a_report_that_fails_every_night_is_known_with_the_reason(site):
    page = site.path / PAGE
    page.parent.rename(site.path / "away")
    page.parent.write_text("")  # in the way of the report, not of the run
    if site.jwqlscan("run").returncode == 2:  # the preflight finds it: let another thing fail
        page.parent.unlink()
        (site.path / "away").rename(page.parent)
        page.rename(site.path / "page-away")
        page.mkdir()
    for _ in range(2):
        done = site.jwqlscan("run")
        assert done.returncode == 5, done.stderr
        metrics = site.metrics()
        assert metrics["last_attempt_exit_code"] == 5
        assert (metrics["last_report_failed"], metrics["last_run_complete"]) == (1, 1)
        check = site.jwqlscan("check")
        assert check.returncode == 1
        assert "Is a directory" in check.stdout
        assert site.status()["failure"]["exit_code"] == 5
        assert "Is a directory" in site.jwqlscan("doctor").stdout
        site.jwqlscan("metrics")
        assert site.metrics() == metrics
    page.rmdir()
    assert site.jwqlscan("report").returncode == 0
    assert site.jwqlscan("check").stdout.startswith("JWQLSCAN OK")
    all_is_well(site)


@case("P38")
def test_an_incomplete_run_is_a_warning_and_no_failure(site):
    many_directories(site)
    for _ in range(2):
        done = site.jwqlscan("run", "--max-rate", "20", "--max-runtime", "1s")
        assert done.returncode == 3, done.stderr
        assert site.metrics()["last_attempt_exit_code"] == 3
        assert site.metrics()["last_run_complete"] == 0
        assert site.status()["failure"] is None
        assert site.jwqlscan("check").returncode == 1
        assert site.alarm() == ""
    all_is_well(site)


def many_directories(site):
    for number in range(200):
        (site.path / f"archive/public/d{number}").mkdir(exist_ok=True)


def paused(site, number):
    """Start a run, end it by a signal in the middle of its scan, and return its exit code."""
    many_directories(site)
    with site.start("--max-rate", "8") as process:  # far from its end when the signal comes
        for line in process.stderr:
            if "scanning" in line:
                break
        running = wait_for_entries(site)
        process.send_signal(number)
        process.stderr.read()
        return process.wait(60), running


def wait_for_entries(site):
    """Return what `status` shows of a run in progress, once it shows how far it is."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        running = site.status()["running"]
        if running and running["entries"]:
            return running
    pytest.fail("the run in progress is not shown")


@case("P38")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_a_signal_ends_is_known_by_the_signal(site, number):
    for _ in range(2):
        code, _ = paused(site, number)
        assert code == 128 + number
        told_everywhere(site, code, f"ended by {number.name}")
    all_is_well(site)


@case("P38")
def test_a_run_that_is_killed_is_known_by_what_it_began(site):
    for count in (1, 2):
        code, running = paused(site, signal.SIGKILL)
        assert code == -signal.SIGKILL
        assert running["phase"] == "scanning"
        status = site.status()
        assert status["running"] is None
        assert status["failure"]["cause"] == KILLED
        assert (status["failure"]["ended"], status["failure"]["exit_code"]) == (None, None)
        check = site.jwqlscan("check")
        assert (check.returncode, KILLED in check.stdout) == (1, True)
        assert KILLED in site.jwqlscan("doctor").stdout
        site.jwqlscan("metrics")  # the run could write none
        assert site.metrics()["last_attempt_exit_code"] == 137
        assert site.metrics()["last_run_complete"] == 0
        assert site.jwqlscan("report").returncode == 0
        assert KILLED in site.alarm()
        with sqlite3.connect(site.path / "db/store.db") as store:
            [stored] = store.execute("SELECT count(*) FROM scan_failure").fetchone()
        assert stored == count - 1  # the next run stores it
    done = site.jwqlscan("run")
    assert done.returncode == 0
    assert KILLED in done.stderr and "the run before, of " in done.stderr  # once
    assert "since" not in done.stderr  # nothing has failed since this one
    all_is_well(site)


@case("P38")
@pytest.mark.parametrize("then", ["failed", "refused"])
def test_a_killed_run_is_stored_whatever_the_next_one_comes_to(site, then):
    paused(site, signal.SIGKILL)
    if then == "failed":
        emptied(site)
        assert site.jwqlscan("run").returncode == 1
        repaired(site)
    else:
        assert site.jwqlscan("run", "--outputs", "/dev/null/x").returncode == 2
    done = site.jwqlscan("run")
    assert (done.returncode, "since" in done.stderr) == (0, False), done.stderr
    with sqlite3.connect(site.path / "db/store.db") as store:
        causes = [
            row[0] for row in store.execute("SELECT cause FROM scan_failure ORDER BY started")
        ]
    assert len(causes) == 2 and causes[0] == KILLED, causes


@case("P38", "P14")
def test_a_run_that_is_kept_out_leaves_the_record_of_the_other(site):
    many_directories(site)
    with site.start("--max-rate", "8") as process:  # far from its end when the signal comes
        running = wait_for_entries(site)
        before = (site.path / "state" / FILE).read_bytes()
        for _ in range(2):
            done = site.jwqlscan("run")
            assert done.returncode == 11
            assert f"process {process.pid} since" in done.stderr
            assert "\n" not in done.stderr.strip()
            assert (site.path / "state" / FILE).read_bytes() == before
        assert running["process"] == process.pid
        text = site.jwqlscan("status").stdout.replace("\n", " ")
        assert "a run is in progress since 20" in text
        assert "scanning" in text
        assert "entries" in text
        assert site.jwqlscan("check").returncode == 0
        process.kill()
        process.stderr.read()


def test_a_refused_run_leaves_the_record_of_one_in_progress(site):
    many_directories(site)
    with site.start("--max-rate", "8") as process:  # far from its end when the signal comes
        wait_for_entries(site)
        before = (site.path / "state" / FILE).read_bytes()
        done = site.jwqlscan("run", "--outputs", "/dev/null/x")
        assert done.returncode == 2
        assert (site.path / "state" / FILE).read_bytes() == before
        process.kill()
        process.stderr.read()


@case("P38")
def test_a_run_that_is_refused_for_its_log_file_is_known(site):
    site.configure(more='[log]\npath = "/dev/null/x"\n')
    for _ in range(2):
        done = site.jwqlscan("run")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        told_everywhere(site, 2, "log.path")


def test_metrics_of_earlier_runs_stay_while_the_database_is_down(site):
    before = set(site.metrics())
    deep(site)
    database_away(site)
    assert site.jwqlscan("run", *SLOW).returncode == 3
    assert set(site.metrics()) >= before


def test_the_metrics_command_writes_what_the_host_knows_while_the_database_is_down(site):
    before = site.metrics()
    emptied(site)
    assert site.jwqlscan("run").returncode == 1
    database_away(site)
    done = site.jwqlscan("metrics")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "only what the state directory knows" in done.stderr
    metrics = site.metrics()
    assert metrics["last_attempt_exit_code"] == 1 and metrics["last_run_complete"] == 0
    assert set(metrics) >= set(before)
    (site.path / "state" / FILE).unlink()
    done = site.jwqlscan("metrics")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the state directory" not in done.stderr
    assert site.metrics() == metrics  # an unknown failure must not become 0


def test_a_failure_here_is_over_once_another_host_has_stored_a_newer_run(site):
    emptied(site)
    assert site.jwqlscan("run").returncode == 1
    repaired(site)
    text = (site.path / "config.toml").read_text()
    other = site.path / "other.toml"
    other.write_text(text.replace('"state"', '"other-state"').replace(".prom", "-other.prom"))
    done = subprocess.run([*JWQLSCAN, "run", "-c", other], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert site.status()["failure"] is None
    check = site.jwqlscan("check")
    assert check.stdout.startswith("JWQLSCAN OK"), check.stdout


def test_a_refused_run_keeps_that_the_report_is_broken(site):
    page = site.path / PAGE
    page.unlink()
    page.mkdir()
    assert site.jwqlscan("run").returncode == 5
    assert site.jwqlscan("run", "--outputs", "/dev/null/x").returncode == 2
    assert site.metrics()["last_report_failed"] == 1


def test_a_run_that_is_interrupted_while_it_waits_for_another_leaves_no_failure(site):
    places = [site.path / "jwqlscan.prom", site.path / PAGE, site.path / "state" / FILE]
    before = [place.read_bytes() for place in places]
    with run_lock(str(site.path / "state/lock")), site.start("--wait", "1min") as process:
        wait_until(lambda: has_open(process, site.path / "state/lock"), process)
        process.terminate()
        process.stderr.read()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert [place.read_bytes() for place in places] == before


@contextlib.contextmanager
def locked_for_writing(site):
    """Keep others from writing to the store; they may read."""
    with contextlib.closing(
        sqlite3.connect(site.path / "db/store.db", isolation_level=None)
    ) as store:
        store.execute("BEGIN IMMEDIATE")
        yield
        store.execute("ROLLBACK")


def test_the_cause_is_known_although_the_run_is_killed_while_the_store_is_busy(site):
    _, cause = emptied(site)
    state = site.path / "state" / FILE
    with locked_for_writing(site), site.start() as process:
        wait_until(lambda: cause in state.read_text(), process)
        time.sleep(2)
        assert process.poll() is None  # it was written before the store gave up
        process.kill()
        process.stderr.read()
    assert cause in site.status()["failure"]["cause"]


def test_check_does_not_warn_of_the_snapshot_that_a_run_is_storing(site):
    with site_storing(site) as process:
        check = site.jwqlscan("check")
        assert process.poll() is None
    assert (check.returncode, "snapshot" in check.stdout) == (0, False), check.stdout


@contextlib.contextmanager
def site_storing(site):
    """Give a run that has spooled its snapshot and waits for the store."""
    with contextlib.ExitStack() as stack:
        with locked_for_writing(site):
            process = stack.enter_context(site.start())
            spool = site.path / "state/spool"
            wait_until(lambda: list(spool.glob("*.json")), process)
            yield process
        process.stderr.read()
        assert process.wait(60) == 0


def test_a_last_attempt_with_a_number_out_of_range_is_none(site):
    path = site.path / "state" / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"exit_code": float("inf")}))
    done = site.jwqlscan("check")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
