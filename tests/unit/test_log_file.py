"""The log file of a run: made, kept for some time, and never in the way."""

import glob
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jwqlscan.config.loader import load_config
from jwqlscan.errors import ConfigError
from jwqlscan.system.log_file import logging_to_file, remove_old_logs
from tests.support.hostile_fs import mounted

OLD = [f"jwqlscan_2026-01-{day:02}T031700.000000Z.log" for day in range(1, 8)]

# The real program, with shorter limits: nobody waits for a minute.
IMPATIENT = (
    "import sys, jwqlscan.system.process_exit, jwqlscan.config.loader, jwqlscan.system.log_file,"
    " jwqlscan.operations.preflight\n"
    "for module in (jwqlscan.system.process_exit, jwqlscan.config.loader,"
    " jwqlscan.system.log_file):\n"
    "    module.CALL_TIMEOUT_S = 1.0\n"
    "jwqlscan.system.log_file.FLUSH_TIMEOUT_S = jwqlscan.operations.preflight.PLACES_TIMEOUT_S ="
    " 1.0\n"
    "from jwqlscan.__main__ import main\n"
    "sys.argv[0] = 'jwqlscan'\n"
    "main()\n"
)


@pytest.fixture
def logs(tmp_path):
    place = tmp_path / "logs"
    place.mkdir()
    for name in OLD:
        (place / name).touch()
    return place


def test_the_directory_is_made_where_the_one_above_it_is_there(tmp_path):
    with logging_to_file(str(tmp_path / "logs")) as path:
        assert os.path.dirname(path) == str(tmp_path / "logs")
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    with (
        pytest.raises(ConfigError, match="No such file or directory"),
        logging_to_file(str(tmp_path / "typing" / "error")),
    ):
        pass


def test_lines_are_in_the_file_once_the_run_is_over(tmp_path):
    with logging_to_file(str(tmp_path)) as path:
        logging.getLogger("jwqlscan").warning("one")
        logging.getLogger("jwqlscan").warning("two")
    with open(path) as file:
        assert [line.split(" ", 1)[1] for line in file] == ["WARNING one\n", "WARNING two\n"]


def test_the_newest_log_files_stay_this_one_included(logs):
    with logging_to_file(str(logs), 3) as path:
        assert sorted(os.listdir(logs)) == [*OLD[-2:], os.path.basename(path)]


def test_a_run_keeps_its_own_log_after_one_whose_clock_was_ahead(logs):
    (logs / "jwqlscan_2999-01-01T031700.000000Z.log").touch()
    with logging_to_file(str(logs), 1) as path:
        assert os.listdir(logs) == [os.path.basename(path)]


def test_what_is_no_log_file_of_a_run_of_this_user_is_never_removed(logs, as_root):
    (logs / "jwqlscan_notes.log").touch()
    (logs / "jwqlscan_2025-01-01T000000.000000Z.log.gz").touch()
    (logs / "jwqlscan_2025-01-02T000000.000000Z.log").symlink_to("jwqlscan_notes.log")
    (logs / "jwqlscan_2025-01-03T000000.000000Z.log").mkdir()
    (logs / "jwqlscan_2025-01-04T000000.000000Z.log").touch()
    os.chown(logs / "jwqlscan_2025-01-04T000000.000000Z.log", 65534, -1)
    others = set(os.listdir(logs)) - set(OLD)
    assert remove_old_logs(str(logs), 1) == ""
    assert set(os.listdir(logs)) == others | {OLD[-1]}


def test_log_files_that_another_run_removes_meanwhile_are_skipped(logs, monkeypatch):
    names = os.listdir(logs)
    (logs / OLD[0]).unlink()  # after it was listed
    monkeypatch.setattr("os.listdir", lambda _: names)
    assert remove_old_logs(str(logs), 2) == ""
    monkeypatch.undo()
    assert sorted(os.listdir(logs)) == OLD[-2:]


def test_how_many_stay_is_at_least_one(tmp_path):
    (tmp_path / "c.toml").write_text("log.keep = 0\n")
    with pytest.raises(ConfigError, match=r"log\.keep: expected a number of log files, 1 or more"):
        load_config(str(tmp_path / "c.toml"))


def started(config, *options):
    command = [sys.executable, "-c", IMPATIENT, *options, "-c", str(config)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def written(tmp_path, text):
    (tmp_path / "archive").mkdir(exist_ok=True)
    (tmp_path / "archive/a_cal.fits").touch()
    config = tmp_path / "c.toml"
    config.write_text(f"archive.path = 'archive'\nstate.path = 'state'\n{text}\n")
    return config


@pytest.mark.case("P26")
def test_a_log_directory_that_does_not_answer_is_reported_within_the_limit(tmp_path, frozen):
    place, freeze = frozen
    config = written(tmp_path, f"log.path = '{place}/logs'")
    with started(config, "run", "--no-report") as run, freeze():
        # The pipe ends, although a thread of the process is stuck in the kernel.
        line = run.stderr.read()
    assert run.returncode == 2
    assert line.startswith(f"jwqlscan: log.path: {place}/logs/jwqlscan_")
    assert line.endswith(": no answer within 1 s: see the mount of its directory\n")


@pytest.mark.case("P26")
def test_a_configuration_that_does_not_answer_is_reported_within_the_limit(tmp_path):
    with mounted(tmp_path / "m", {"c.toml": {"size": 10, "hang": ["getattr"]}}):
        run = started(tmp_path / "m/c.toml", "run")
        line = run.stderr.read()
    with run:  # its thread is free now, so that it can end
        pass
    assert run.returncode == 2
    where = f"the configuration, {tmp_path}/m/c.toml"
    assert line == f"jwqlscan: {where}: no answer within 1 s: see its mount\n"


def waits_for_fuse(process):
    """Tell whether a thread of a process waits for a filesystem's server."""
    files = glob.glob(f"/proc/{process}/task/*/stack")
    return any("request_wait_answer" in Path(file).read_text() for file in files)


@pytest.mark.case("P26")
def test_sigterm_ends_a_command_that_waits_for_its_configuration(tmp_path):
    with mounted(tmp_path / "m", {"c.toml": {"size": 10}}) as server:
        os.kill(server, signal.SIGSTOP)
        command = [sys.executable, "-m", "jwqlscan", "status", "-c", f"{tmp_path}/m/c.toml"]
        run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while not waits_for_fuse(run.pid):
            assert run.poll() is None
            time.sleep(0.01)
        time.sleep(0.5)  # the other thread is to begin to wait for that one
        run.send_signal(signal.SIGTERM)
        line = run.stderr.read()
    with run:
        pass
    assert line == "jwqlscan: ended by SIGTERM\n"
    assert run.returncode == 128 + signal.SIGTERM


@pytest.mark.case("P26")
def test_a_log_that_stops_answering_during_a_run_costs_only_the_log(tmp_path, frozen):
    place, freeze = frozen
    (tmp_path / "slow").mkdir()
    config = written(tmp_path, f"log.path = '{place}'\nnotify.command = ['{tmp_path}/wait']")
    # The run goes on for as long as its notification takes: the disk stops to answer meanwhile.
    (tmp_path / "wait").write_text(f"#!/bin/sh\ntouch {tmp_path}/over\nsleep 2\n")
    (tmp_path / "wait").chmod(0o700)
    with started(config, "run", "--no-report", "--verbose") as run:
        while not (tmp_path / "over").exists():
            assert run.poll() is None
            time.sleep(0.01)
        with freeze():
            lines = run.stderr.read().splitlines()
    assert run.returncode == 0
    assert not [line for line in lines if "Traceback" in line or "a bug" in line]
