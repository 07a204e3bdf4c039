"""The schedule, as cron and systemd read it."""

import os
import re
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def file(tmp_path):
    """A configuration in a directory whose name is hard on shells, cron and systemd."""
    place = tmp_path / "50% of $HOME's"
    (place / "archive").mkdir(parents=True)
    (place / "archive/a.fits").write_text("x")
    (place / "c.toml").write_text("[archive]\npath = 'archive'\n[state]\npath = 'state'\n")
    return place / "c.toml"


def schedule(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", "schedule", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


def units(file, tmp_path):
    done = schedule("--systemd", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    paths = []
    for text in re.split(r"(?m)^(?=# /etc/systemd)", done.stdout):
        if text:
            path = tmp_path / os.path.basename(text.splitlines()[0])
            path.write_text(text)
            paths.append(path)
    return paths


def test_the_crontab_line_runs_as_cron_runs_it(file):
    done = schedule("--cron", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    assert line.split()[:5] == ["17", "3", "*", "*", "*"]
    command = line.split(None, 5)[5]
    assert not re.search(r"(?<!\\)%", command)
    # cron: sh, in the home directory, with next to no environment, and \% is %
    ran = subprocess.run(
        ["/bin/sh", "-c", command.replace(r"\%", "%") + " --no-report"],
        env={},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert (file.parent / "state/jwqlscan.db").exists()


def test_the_units_are_hardened_and_know_where_a_run_writes(file, tmp_path):
    service, timer = units(file, tmp_path)
    text = service.read_text()
    for line in ("ProtectSystem=strict", "NoNewPrivileges=yes", "IOSchedulingClass=idle"):
        assert line in text.splitlines()
    assert "TimeoutStartSec=" in text
    assert str(file.parent / "state").replace("%", "%%").replace("$", "$$") in text
    assert "Persistent=yes" in timer.read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
def test_systemd_finds_nothing_wrong_with_the_units(file, tmp_path):
    done = subprocess.run(
        ["systemd-analyze", "verify", *units(file, tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert [line for line in done.stderr.splitlines() if "jwqlscan" in line] == []


@pytest.mark.parametrize("arguments", [(), ("--cron", "--systemd")])
def test_one_form_is_asked_for(file, arguments):
    done = schedule(*arguments, "-c", file)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_schedule_needs_a_configuration_file(tmp_path):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "jwqlscan", "schedule", "--cron"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "needs a configuration file" in done.stderr


def test_a_name_with_a_line_break_is_refused(tmp_path):
    file = tmp_path / "a\nb.toml"
    file.write_text("")
    done = schedule("--cron", "-c", file)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
