"""Storage that hangs, is slow, or fails now and then: real FUSE filesystems, whole runs."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from jwqlscan.errors import LockedError
from jwqlscan.scanning.measure import scan
from jwqlscan.scanning.readers import available_readers
from jwqlscan.settings import ScanSettings
from jwqlscan.system.lock import run_lock
from tests.faults.test_signals import SOON_S
from tests.support.hostile_fs import mounted
from tests.support.processes import catches, child_waits_for_fuse, wait_until
from tests.support.trees import make_tree

STALL_S = 2.0
# A run beyond the stall: start-up, df's time-out, the probe, storing and the report.
MARGIN_S = 60.0
NAME = "jw80500012009_01101_{:05}_nrca1_cal.fits"

readers = pytest.mark.parametrize("reader", available_readers())


@pytest.fixture
def central(tmp_path):
    make_tree(tmp_path / "central", {"logs": {"a.txt": 10}, "b": 5})
    return tmp_path / "central"


def run(tmp_path, *options, archive="archive", **kwargs):
    """Run with a configuration of few seconds' patience; return what became of it."""
    config = configured(tmp_path, archive)
    command = [sys.executable, "-m", "jwqlscan", "run", "-c", config, "--json", *options]
    return ended(command, **kwargs)


def configured(tmp_path, archive="archive"):
    config = tmp_path / "config.toml"
    config.write_text(
        f'archive.path = "{tmp_path / archive}"\n'
        f'central.path = "{tmp_path / "central"}"\n'
        'central.areas.logs = "logs"\n'
        f'state.path = "{tmp_path / "state"}"\n'
        f'scan.stall_timeout = "{STALL_S:g}s"\n'
        'df.timeout = "1s"\n'
    )
    return config


class Ended(NamedTuple):
    """A command that ended."""

    returncode: int
    stdout: str
    stderr: str
    session: int  # a session of its own: all processes that it started are in it


def ended(command, **kwargs):
    """Run a command to its end in a session of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes, **kwargs) as process:
        try:
            output, error = process.communicate(timeout=120)
        except BaseException:
            process.kill()
            raise
    return Ended(process.returncode, output, error, process.pid)


def stored(tmp_path):
    """Return the state, files and error samples of each area of the newest run, and its status."""
    with sqlite3.connect(tmp_path / "state" / "jwqlscan.db") as database:
        run_id, status, reasons = database.execute(
            "SELECT run_id, status, incomplete_reasons FROM scan_run ORDER BY date DESC"
        ).fetchone()
        rows = database.execute(
            "SELECT area_group || ' ' || area, state, files, error_samples FROM scan_area"
            " WHERE run_id = ?",
            (run_id,),
        ).fetchall()
    return {name: (state, files, json.loads(samples)) for name, state, files, samples in rows}, (
        status,
        json.loads(reasons),
    )


@pytest.mark.case("F07", "P15")
@readers
@pytest.mark.parametrize("operation", ["getattr", "opendir", "readdir"])
def test_a_directory_that_hangs_stalls_its_area_and_no_other(tmp_path, central, reader, operation):
    healthy = {f"public/ok/{NAME.format(n)}": {"size": 100} for n in range(20)}
    place = f"public/stuck/{NAME.format(0)}" if operation == "getattr" else "public/stuck"
    stuck = {place: {"hang": [operation], "dir": operation != "getattr", "size": 1}}
    with mounted(tmp_path / "archive", {**healthy, **stuck}) as server:
        began = time.monotonic()
        done = run(tmp_path, "--reader", reader, "--workers", "4")
        assert done.returncode == 3, done.stderr
        assert time.monotonic() - began < STALL_S + MARGIN_S
        areas, (status, reasons) = stored(tmp_path)
        assert status == "incomplete"
        state, files, samples = areas["archive public"]
        # The files beside it are known, unless one batch held them and what hangs.
        assert (state, files) in (("stalled", 20), ("stalled", 0))
        where = str(tmp_path / "archive" / "public" / "stuck")
        assert [(s["path"], s["operation"]) for s in samples] == [(where, "wait")]
        assert any(
            f"stalled (no answer from its storage for 2.00 s, last seen at {where}" in r
            for r in reasons
        )
        assert areas["central all"][:2] == ("complete", 2)
        assert areas["central logs"][:2] == ("complete", 1)
        assert those_that_can_be_ended(done.session) == []
        # No lock is left: the next run is not locked out, though the same directory still hangs.
        again = run(tmp_path, "--reader", reader)
        assert again.returncode == 3
        assert server_is_alive(server)
    assert not scanners(done.session) + scanners(again.session), (
        "once the storage is gone, so is every process"
    )


@pytest.mark.case("F07")
@readers
def test_what_was_read_before_the_storage_hung_is_stored(tmp_path, central, reader):
    nodes = {
        f"public/d{d:02}/{NAME.format(n)}": {"size": 100, "delay": {"getattr": 0.01}}
        for d in range(10)
        for n in range(20)
    }
    nodes["public/d05/x/stuck"] = {"size": 1, "hang": ["getattr"]}
    with mounted(tmp_path / "archive", nodes):
        done = run(tmp_path, "--reader", reader, "--workers", "2")
        assert done.returncode == 3, done.stderr
    state, files, _ = stored(tmp_path)[0]["archive public"]
    assert state == "stalled"
    assert 100 <= files <= 200


def server_is_alive(pid):
    os.kill(pid, 0)
    return True


def scanners(session, wait_s=30.0):
    """Return the scanning processes of a session that are still there, after a while."""
    command = ["pgrep", "-s", str(session), "-f", "scanning.child"]
    until = time.monotonic() + wait_s
    while True:
        found = subprocess.run(command, capture_output=True, text=True).stdout.split()
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def those_that_can_be_ended(session):
    """Return the scanning processes of a session that do anything else than wait in the kernel."""
    found = []
    for number in scanners(session, 0):
        for task in Path(f"/proc/{number}/task").glob("*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state = task.read_text().rpartition(")")[2].split()[0]
                if state not in "DZX":
                    found.append((number, state))
    return found


def test_the_scanning_process_of_a_run_is_found_while_it_is_there(tmp_path, central):
    """Else the tests that none is left would prove nothing."""
    command = [sys.executable, "-m", "jwqlscan", "run", "-c", configured(tmp_path)]
    with mounted(tmp_path / "archive", {"d": {"dir": True, "hang": ["readdir"]}}):
        with subprocess.Popen(command, start_new_session=True) as process:
            while not scanners(process.pid, 0):
                assert process.poll() is None
                time.sleep(0.05)
        assert process.returncode == 3
        assert scanners(process.pid) == []


@pytest.mark.case("F07")
@readers
def test_a_root_that_hangs_stalls_its_area_and_no_other(tmp_path, central, reader):
    make_tree(tmp_path / "archive", {"public": {}, "proprietary": {"x.fits": 7}})
    with mounted(tmp_path / "archive" / "public", {"": {"dir": True, "hang": ["opendir"]}}):
        done = run(tmp_path, "--reader", reader)
        assert done.returncode == 3, done.stderr
        areas, _ = stored(tmp_path)
    assert areas["archive public"][:2] == ("stalled", 0)
    assert areas["archive proprietary"][:2] == ("complete", 1)
    assert areas["archive all"][:2] == ("stalled", 1)
    assert areas["central all"][:2] == ("complete", 2)


@pytest.mark.case("F08")
def test_several_filesystems_that_hang_do_not_keep_a_healthy_one_from_being_read(tmp_path, central):
    make_tree(tmp_path / "archive", {"a.fits": 1})
    config = {"getattr": {f"d/{NAME.format(n)}": {"hang": ["getattr"]} for n in range(70)}}
    with (
        mounted(tmp_path / "h1", config["getattr"]),
        mounted(tmp_path / "h2", config["getattr"]),
        mounted(tmp_path / "h3", config["getattr"]),
    ):
        areas = "".join(f'central.areas.h{n} = "{tmp_path}/h{n}"\n' for n in (1, 2, 3))
        path = tmp_path / "more.toml"
        path.write_text(
            f'archive.path = "{tmp_path}/archive"\ncentral.path = "{tmp_path}/central"\n{areas}'
            f'state.path = "{tmp_path}/state"\nscan.stall_timeout = "2s"\ndf.timeout = "1s"\n'
        )
        began = time.monotonic()
        command = [sys.executable, "-m", "jwqlscan", "run", "-c", path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 3, done.stderr
        assert time.monotonic() - began < STALL_S + MARGIN_S
        found, _ = stored(tmp_path)
    assert {found[f"central h{n}"][0] for n in (1, 2, 3)} == {"stalled"}
    assert found["archive all"][:2] == ("complete", 1)
    assert found["central all"][:2] == ("complete", 2)


@pytest.mark.case("F07")
def test_when_everything_hangs_nothing_is_stored(tmp_path):
    nodes = {"public": {"dir": True, "hang": ["getattr"]}}
    (tmp_path / "central").mkdir()
    with mounted(tmp_path / "archive", nodes):
        path = tmp_path / "one.toml"
        path.write_text(
            f'archive.path = "{tmp_path}/archive"\narchive.areas.public = "public"\n'
            f'state.path = "{tmp_path}/state"\nscan.stall_timeout = "2s"\ndf.timeout = "1s"\n'
        )
        command = [sys.executable, "-m", "jwqlscan", "run", "-c", path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "nothing was stored" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.case("F09")
@readers
def test_slow_storage_is_not_taken_for_one_that_hangs(tmp_path, central, reader):
    # 20 answers of 0.3 s each from one worker: three times the time-out in all.
    slow = {f"d/{NAME.format(n)}": {"size": 1, "delay": {"getattr": 0.3}} for n in range(20)}
    with mounted(tmp_path / "archive", slow):
        began = time.monotonic()
        done = run(tmp_path, "--reader", reader, "--workers", "1")
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - began > 2 * STALL_S
    assert stored(tmp_path)[0]["archive all"][:2] == ("complete", 20)


@pytest.mark.case("P16")
def test_the_time_allowed_ends_the_run_with_what_is_known(tmp_path, central):
    slow = {f"d/{NAME.format(n)}": {"size": 1, "delay": {"getattr": 0.5}} for n in range(200)}
    with mounted(tmp_path / "archive", slow):
        began = time.monotonic()
        done = run(tmp_path, "--workers", "1", "--max-runtime", "4s")
        assert done.returncode == 3, done.stderr
        assert time.monotonic() - began < 4 + MARGIN_S
    areas, (_, reasons) = stored(tmp_path)
    assert areas["archive all"][0] == "stopped"
    assert areas["central all"][:2] == ("complete", 2)
    assert "the time allowed by scan.max_runtime was over" in reasons[0]


@pytest.mark.case("P16", "F07")
@pytest.mark.parametrize("hangs", ["readdir", "opendir of the root", "statfs"])
def test_the_time_allowed_ends_a_run_whose_storage_hangs(tmp_path, central, hangs):
    """Long before its patience with the storage, the roots and df is at its end."""
    nodes = {"d/f": {"size": 1}, "d/g/h": {"size": 1}}
    if hangs != "statfs":
        operation, _, root = hangs.partition(" ")
        nodes["" if root else "d/g"] = {"dir": True, "hang": [operation]}
    config = tmp_path / "config.toml"
    config.write_text(
        f'archive.path = "{tmp_path}/archive"\ncentral.path = "{tmp_path}/central"\n'
        f'state.path = "{tmp_path}/state"\n'
    )
    with mounted(tmp_path / "archive", nodes, statfs_hangs=hangs == "statfs"):
        began = time.monotonic()
        command = [sys.executable, "-m", "jwqlscan", "run", "-c", config, "--max-runtime", "6s"]
        done = ended([*command, "--no-report"])
        assert time.monotonic() - began < 6 + MARGIN_S
        assert done.returncode == 3, done.stderr
        assert those_that_can_be_ended(done.session) == []
    areas, _ = stored(tmp_path)
    state = {"readdir": "stopped", "statfs": "complete"}.get(hangs, "stalled")
    assert areas["archive all"][0] == state
    assert areas["central all"][:2] == ("complete", 2)


_HOLD_AND_HANG = """
import os, sys
from anyio import to_thread
from jwqlscan.system.lock import run_lock
from jwqlscan.system.signals import run_until_signalled
async def job():
    with run_lock(sys.argv[1]):
        print("held", flush=True)
        await to_thread.run_sync(os.stat, sys.argv[2])
run_until_signalled(job)
"""


@pytest.mark.case("P15", "P06")
def test_a_run_one_of_whose_threads_hangs_leaves_no_lock(tmp_path):
    lock = str(tmp_path / "state" / "lock")
    with mounted(tmp_path / "fs", {"d": {"dir": True, "hang": ["getattr"]}}):
        command = [sys.executable, "-c", _HOLD_AND_HANG, lock, str(tmp_path / "fs/d")]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=partial(signal.signal, signal.SIGTERM, signal.SIG_DFL),
        )
        assert process.stdout.readline() == "held\n"
        time.sleep(0.5)
        with pytest.raises(LockedError), run_lock(lock):
            pass
        process.send_signal(signal.SIGTERM)
        assert "ended by SIGTERM" in process.stderr.readline()
        time.sleep(0.2)
        with run_lock(lock):  # though its process is still there, for good
            assert Path(f"/proc/{process.pid}").exists() and process.poll() is None
    assert process.wait(10) == 128 + signal.SIGTERM
    process.stdout.close()
    process.stderr.close()


_IMPATIENT = """
import jwqlscan.system.atomic_files
jwqlscan.system.atomic_files.WRITE_TIMEOUT_S = 1.0
from jwqlscan.__main__ import main
main()
"""


@pytest.mark.case("P04", "P15")
def test_a_disk_for_the_report_that_stops_answering_costs_only_the_report(tmp_path, frozen):
    place, freeze = frozen
    make_tree(tmp_path / "archive", {f"d{n}": {"a.fits": 1} for n in range(300)})
    config = tmp_path / "config.toml"
    config.write_text(
        f'archive.path = "{tmp_path}/archive"\noutputs.path = "{place}"\n'
        f'state.path = "{tmp_path}/state"\n'
    )
    command = [sys.executable, "-c", _IMPATIENT, "run", "-v", "-c", config, "--max-rate", "2000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if "scanning" in line)  # it was well until now
        with freeze():
            next(line for line in process.stderr if "writing the report" in line)
            said = process.stderr.readline()
            assert "the report can't be written" in said and "no answer from the disk" in said
            time.sleep(1.0)
            with run_lock(str(tmp_path / "state" / "lock")):
                assert Path(f"/proc/{process.pid}").exists()  # a thread of it waits for the disk
        assert process.wait(60) == 5
    assert stored(tmp_path)[0]["archive all"][:2] == ("complete", 300)


@pytest.mark.case("F10")
def test_a_df_that_hangs_leaves_the_capacity_unknown(tmp_path, central):
    with mounted(tmp_path / "archive", {"a.fits": {"size": 3}}, statfs_hangs=True):
        began = time.monotonic()
        done = run(tmp_path)
        assert done.returncode == 3, done.stderr
        assert time.monotonic() - began < MARGIN_S
    areas, (_, reasons) = stored(tmp_path)
    assert areas["archive all"][:2] == ("complete", 1)
    assert reasons == ["archive all: capacity unknown, df gave no answer"]


@pytest.mark.case("P06")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_run_whose_storage_hangs(tmp_path, central, number):
    with mounted(tmp_path / "archive", {"d": {"dir": True, "hang": ["readdir"]}}):
        config = tmp_path / "config.toml"
        config.write_text(f'archive.path = "{tmp_path}/archive"\nstate.path = "{tmp_path}/state"\n')
        command = [sys.executable, "-m", "jwqlscan", "run", "-c", config]
        # Whoever runs the tests may have it ignored (nohup), and then so has the run.
        heed = partial(signal.signal, number, signal.SIG_DFL)
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, preexec_fn=heed
        ) as process:
            wait_until(lambda: child_waits_for_fuse(process), process)
            wait_until(lambda: catches(process, number), process)
            process.send_signal(number)
            began = time.monotonic()
            error = process.communicate(timeout=60)[1]
        assert time.monotonic() - began < SOON_S
        assert process.returncode == 128 + number
        assert error == f"jwqlscan: ended by {number.name}, nothing more is stored\n"
        assert not list((tmp_path / "state").glob("spool/*"))


# ---- what fails now and then ----


async def scan_one(path, reader, **settings):
    result = await scan([str(path)], ScanSettings(reader=reader, workers=2, **settings))
    return result.areas[0].tally


@pytest.mark.case("F06")
@readers
@pytest.mark.parametrize("failure", ["EIO", "ESTALE"])
@pytest.mark.parametrize("operation", ["getattr", "opendir", "readdir"])
async def test_what_fails_for_a_moment_is_tried_again(tmp_path, reader, failure, operation):
    nodes = {f"d/{NAME.format(n)}": {"size": 1} for n in range(5)}
    victim = f"d/{NAME.format(2)}" if operation == "getattr" else "d"
    nodes[victim] = {**nodes.get(victim, {"dir": True}), "errno": {operation: failure}, "times": 1}
    with mounted(tmp_path / "fs", nodes):
        tally = await scan_one(tmp_path / "fs", reader)
    assert (tally.files, tally.errors) == (5, {})


@pytest.mark.case("F06")
@readers
@pytest.mark.parametrize(("failure", "kind"), [("EIO", "io"), ("ESTALE", "stale")])
async def test_what_keeps_failing_is_counted_and_the_rest_goes_on(tmp_path, reader, failure, kind):
    nodes = {f"d/{NAME.format(n)}": {"size": 1} for n in range(5)}
    nodes["d/bad"] = {"size": 1, "errno": {"getattr": failure}}
    nodes["e"] = {"dir": True, "errno": {"readdir": failure}}
    nodes["f"] = {"dir": True, "errno": {"opendir": failure}}
    with mounted(tmp_path / "fs", nodes):
        tally = await scan_one(tmp_path / "fs", reader)
    assert (tally.files, tally.errors) == (5, {kind: 3})
    found = {(e.operation, os.path.basename(e.path)) for e in tally.error_samples}
    assert found == {("stat", "bad"), ("list", "e"), ("open", "f")}


@pytest.mark.case("F22")
@readers
async def test_sizes_up_to_the_largest_add_up_exactly(tmp_path, reader):
    most = 2**63 - 1
    nodes = {f"d/{NAME.format(n)}": {"size": most} for n in range(5)}
    with mounted(tmp_path / "fs", nodes):
        tally = await scan_one(tmp_path / "fs", reader)
    assert (tally.files, tally.apparent_bytes, tally.fits_bytes) == (5, 5 * most, 5 * most)


@pytest.mark.case("F22")
def test_sums_that_no_database_holds_are_stored_as_the_largest_it_does(tmp_path, central):
    nodes = {f"d/{NAME.format(n)}": {"size": 2**63 - 1} for n in range(3)}
    with mounted(tmp_path / "archive", nodes):
        done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "state" / "jwqlscan.db") as database:
        query = "SELECT apparent_bytes FROM scan_area WHERE area_group = 'archive'"
        assert database.execute(query).fetchall() == [(2**63 - 1,)]
