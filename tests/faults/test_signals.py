"""Signals that end a command, in every phase of a run: in order, within a second."""

import os
import pty
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from functools import partial

import pytest

from jwqlscan.system.lock import run_lock
from tests.cli.test_run import CAL, write
from tests.support.hostile_fs import mounted
from tests.support.processes import catches, child_waits_for_fuse, has_open, wait_until

case = pytest.mark.case
JWQLSCAN = [sys.executable, "-m", "jwqlscan"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Within a second, as the documentation says; on a machine that is very busy, later.
SOON_S = 20.0

MOMENTS = 40 if os.environ.get("JWQLSCAN_SOAK") == "1" else 15


@pytest.fixture
def place(tmp_path):
    """Make an archive and a configuration; return their directory."""
    write(tmp_path / "archive/public/jw01018" / CAL, 4096)
    for number in range(3000):
        write(tmp_path / f"archive/public/d{number % 100}/{number}.fits", 1)
    (tmp_path / "config.toml").write_text(
        '[archive]\npath = "archive"\n[database]\nurl = "sqlite:///store.db"\n'
        '[outputs]\npath = "outputs"\n[state]\npath = "state"\n'
    )
    return tmp_path


def heed():
    """Have signals heeded: whoever runs the tests may have them ignored (nohup)."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def start(place, *options, **kwargs):
    """Start a run that says what it is at; signals are as cron leaves them."""
    command = [*JWQLSCAN, "run", "-v", "-c", place / "config.toml", *options]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=heed, cwd="/", **kwargs
    )


def wait_for(process, phase):
    for line in process.stderr:
        if phase in line:
            return
    pytest.fail(f"the run ended before it was {phase}")


def end(process, number):
    """Send a signal; return the exit code and what was said from then on."""
    process.send_signal(number)
    began = time.monotonic()
    rest = process.stderr.read()  # to its end: all that was started is gone, or never had it
    code = process.wait(120)
    assert time.monotonic() - began < SOON_S
    return code, rest


def runs_stored(place):
    with sqlite3.connect(place / "store.db") as database:
        return database.execute("SELECT count(*) FROM scan_run").fetchone()[0]


def run_to_its_end(place, *options):
    with start(place, *options) as process:
        error = process.communicate(timeout=120)[1]
    assert process.returncode == 0, error


def spooled(place):
    return sorted((place / "state" / "spool").glob("*.json"))


@case("P06")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_scanning_ends_the_run_and_nothing_is_stored(place, number):
    with start(place, "--max-rate", "500") as process:
        wait_for(process, "scanning")
        code, rest = end(process, number)
    assert code == 128 + number
    assert rest.endswith(f"jwqlscan: ended by {number.name}, nothing more is stored\n")
    assert "Traceback" not in rest
    assert not spooled(place)
    run_to_its_end(place, "--no-report")  # no lock is in its way
    assert runs_stored(place) == 1


@case("P06")
def test_a_signal_while_storing_leaves_the_snapshot_to_the_next_run(place):
    run_to_its_end(place, "--no-report")
    with sqlite3.connect(place / "store.db", isolation_level=None) as holder:
        # Readers may go on, so that the run gets as far as to store; then it waits for us.
        holder.execute("BEGIN IMMEDIATE")
        with start(place, "--no-report") as process:
            wait_for(process, "storing")
            while not spooled(place):
                time.sleep(0.01)
            time.sleep(0.2)
            code, _ = end(process, signal.SIGTERM)
        assert code == 128 + signal.SIGTERM
        assert len(spooled(place)) == 1
        holder.execute("ROLLBACK")
    holder.close()
    run_to_its_end(place, "--no-report")
    assert runs_stored(place) == 3
    assert not spooled(place)


@case("P06")
def test_a_signal_while_the_report_is_written_leaves_the_old_one_whole(place):
    run_to_its_end(place)
    page = place / "outputs/monitor_filesystem/filesystem_monitor.html"
    before = page.read_bytes()
    with start(place) as process:
        wait_for(process, "writing the report")
        code, rest = end(process, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert "Traceback" not in rest
    assert runs_stored(place) == 2
    assert page.read_bytes() == before or page.read_bytes().rstrip().endswith(b"</html>")
    run_to_its_end(place)
    left = [path.name for path in page.parent.iterdir() if path.name.startswith(".")]
    assert left == []


@case("P06")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_another_run_is_waited_for_ends_this_one(place, number):
    with run_lock(str(place / "state/lock")):
        with start(place, "--wait", "1min") as process:
            wait_until(lambda: has_open(process, place / "state/lock"), process)
            code, rest = end(process, number)
        assert code == 128 + number
        assert rest == f"jwqlscan: ended by {number.name}, nothing more is stored\n"
    run_to_its_end(place, "--no-report")


@case("P06")
@pytest.mark.parametrize(
    ("command", "number"),
    [
        *[("run", number) for number in SIGNALS],
        *zip(("report", "db flush", "db migrate"), SIGNALS, strict=True),
    ],
)
def test_a_signal_ends_a_command_whose_database_stalls(place, number, command):
    (place / "state/spool").mkdir(parents=True)
    (place / "state/spool/x.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        process = subprocess.Popen(
            [*JWQLSCAN, *command.split(), "-c", place / "config.toml"],
            env={**os.environ, "JWQLSCAN_DATABASE": url},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed,
        )
        with process, silent.accept()[0]:
            code, rest = end(process, number)
    assert code == 128 + number
    stored = "" if command == "report" else ", nothing more is stored"
    assert rest == f"jwqlscan: ended by {number.name}{stored}\n"
    assert (place / "state/spool/x.json").exists()
    with run_lock(str(place / "state/lock")):
        pass


@case("P06")
@pytest.mark.parametrize(("root", "number"), [("fs/d", signal.SIGINT), ("fs", signal.SIGTERM)])
def test_a_signal_while_roots_are_opened_or_scanned_ends_a_scan(place, root, number):
    with mounted(place / "fs", {"d": {"dir": True, "hang": ["readdir"]}}):
        process = subprocess.Popen(
            [*JWQLSCAN, "scan", place / root],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=heed,
        )
        with process:
            wait_until(lambda: child_waits_for_fuse(process), process)
            wait_until(lambda: catches(process, signal.SIGTERM), process)
            code, rest = end(process, number)
            assert process.stdout.read() == ""
        assert code == 128 + number
        assert rest == f"jwqlscan: ended by {number.name}\n"


@case("P06")
def test_a_signal_at_any_moment_leaves_no_process_and_nothing_half_done(place):
    """From the first instruction on, whatever it is at then."""
    run_to_its_end(place)
    stored = runs_stored(place)
    began = time.monotonic()
    run_to_its_end(place)
    whole = time.monotonic() - began
    page = place / "outputs/monitor_filesystem/filesystem_monitor.html"
    slowest = 0.0
    for moment in range(MOMENTS):
        with start(place) as process:
            time.sleep(whole * moment / MOMENTS)
            process.send_signal(SIGNALS[moment % 3])
            began = time.monotonic()
            said = process.stderr.read()
            code = process.wait(120)
            slowest = max(slowest, time.monotonic() - began)
        assert code in (0, 128 + SIGNALS[moment % 3], -SIGNALS[moment % 3]), (moment, said)
        assert "Traceback" not in said and "Error" not in said, (moment, said)
        assert page.read_bytes().rstrip().endswith(b"</html>")
    assert slowest < SOON_S
    run_to_its_end(place)
    with sqlite3.connect(place / "store.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        [(runs, complete, rows)] = database.execute(
            "SELECT count(*), sum(status = 'complete'), (SELECT count(*) FROM filesystem_general)"
            " FROM scan_run"
        )
    assert stored + 2 <= runs == complete == rows <= stored + 2 + MOMENTS
    assert not spooled(place)
    print(f"slowest end after a signal: {slowest:.2f} s of {MOMENTS}")


@case("P06")
def test_a_second_signal_ends_it_at_once(place):
    # What does not end by itself: a job that swallows its cancellation.
    code = (
        "import anyio, os, signal, sys\n"
        "from jwqlscan.system import signals\n"
        "signals.GRACE_S = 60.0\n"
        "async def job():\n"
        "    with anyio.CancelScope(shield=True):\n"
        "        print('ready', flush=True); await anyio.sleep(60)\n"
        "signals.run_until_signalled(job)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGTERM, signal.SIG_DFL),
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) == 128 + signal.SIGTERM


@case("P06")
def test_a_terminal_that_is_closed_ends_the_run(place):
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        command = [*JWQLSCAN, "run", "-c", str(place / "config.toml"), "--max-rate", "500"]
        os.execv(command[0], command)
    shown = b""
    while b"entries" not in shown and b"files" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    began = time.monotonic()
    _, status = os.waitpid(pid, 0)
    assert time.monotonic() - began < SOON_S
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    run_to_its_end(place, "--no-report")
