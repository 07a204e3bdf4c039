"""Names of users and groups, from a name service that answers late or never."""

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jwqlscan.system import accounts
from jwqlscan.system.accounts import group_names, user_names
from tests.support.trees import in_mount_namespace, required

HERE = Path(__file__).parent
FOR_EVER = "100000"
WAIT_S = 60
OWNERS = [entry.pw_uid for entry in pwd.getpwall()][:8]

only_root = pytest.mark.usefixtures("as_root")
pytestmark = pytest.mark.case("P25")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Compile a name service that can be slow, and return the environment that it is used in."""
    built = tmp_path_factory.mktemp("names") / "slow_names.so"
    source = HERE / "slow_names.c"
    command = [required("gcc"), "-shared", "-fPIC", "-O1", "-Wall", source, "-o", built, "-ldl"]
    subprocess.run(command, check=True)
    return {"LD_PRELOAD": str(built), "PATH": "/usr/bin:/bin"}


@pytest.fixture
def host(tmp_path):
    """Make an archive with files of several owners, and a configuration."""
    (tmp_path / "archive").mkdir()
    for number, uid in enumerate(OWNERS):
        file = tmp_path / f"archive/jw00001001001_0210{number}_00001_nrca1_cal.fits"
        file.write_text("x")
        if os.geteuid() == 0:
            os.chown(file, uid, uid)
    (tmp_path / "c.toml").write_text("archive.path = 'archive'\nstate.path = 'state'\n")
    return tmp_path


# As the command, but for the limit: most tests wait until it is over.
LIMIT_S = 2.0
_IMPATIENT = f"""
from jwqlscan.system import accounts
accounts.LIMIT_S = {LIMIT_S}
from jwqlscan.__main__ import main
main()
"""


def command(*arguments):
    return [sys.executable, "-P", "-c", _IMPATIENT, *map(str, arguments)]


def jwqlscan(service, host, *arguments, **environment):
    return subprocess.run(
        command(*arguments),
        env={**service, "HOME": str(host), "LOGNAME": "somebody", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )


def owners(done):
    assert done.returncode == 0, done.stderr
    [area] = json.loads(done.stdout)["areas"]
    return {row["owner"] for row in area["by_owner"]}


@pytest.mark.parametrize("interrupted", [{}, {"NAMES_EINTR": "1"}], ids=["deaf", "EINTR"])
def test_without_an_answer_numbers_are_shown(service, host, interrupted):
    done = jwqlscan(
        *(service, host, "scan", "--json", "--by", "owner", "--by", "group", host / "archive"),
        NAMES_SECONDS=FOR_EVER,
        **interrupted,
    )
    assert owners(done) == {str(os.stat(file).st_uid) for file in (host / "archive").iterdir()}


@only_root
def test_names_are_asked_for_at_the_same_time(service, host):
    # one after the other they would take twice the limit
    seconds = str(2 * LIMIT_S / len(OWNERS))
    done = jwqlscan(
        service, host, "scan", "--json", "--by", "owner", host / "archive", NAMES_SECONDS=seconds
    )
    assert owners(done) == {pwd.getpwuid(uid).pw_name for uid in OWNERS}


def test_a_run_writes_its_report_without_names(service, host):
    done = jwqlscan(service, host, "run", "-c", host / "c.toml", NAMES_SECONDS=FOR_EVER)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((host / "state").rglob("filesystem_monitor.html"))


def test_growth_by_owner_is_shown_without_names(service, host):
    for _ in range(2):
        done = jwqlscan(service, host, "run", "--no-report", "-c", host / "c.toml")
        assert (done.returncode, done.stderr) == (0, "")
        (host / "archive/new.fits").write_text("x" * 100)
    arguments = ("growth", "--by", "owner", "--json", "-c", host / "c.toml")
    done = jwqlscan(service, host, *arguments, NAMES_SECONDS=FOR_EVER)
    assert done.returncode == 0, done.stderr
    assert [row["owner"] for row in json.loads(done.stdout)["rows"]] == [str(os.geteuid())]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("interrupted", [{}, {"NAMES_EINTR": "1"}], ids=["deaf", "EINTR"])
def test_a_signal_ends_a_run_that_waits_for_names(service, host, number, interrupted):
    process = subprocess.Popen(
        command("run", "-c", host / "c.toml"),
        env={
            **service,
            "HOME": str(host),
            "LOGNAME": "somebody",
            "NAMES_SECONDS": FOR_EVER,
            "NAMES_ASKED": str(host / "asked"),
            **interrupted,
        },
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up = time.monotonic() + WAIT_S
    while not (host / "asked").exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err.count("\n")) == (128 + number, 1), err


def test_a_signal_ends_a_scan_that_waits_for_names(service, host):
    process = subprocess.Popen(
        command("scan", "--by", "owner", host / "archive"),
        env={
            **service,
            "HOME": str(host),
            "LOGNAME": "somebody",
            "NAMES_SECONDS": FOR_EVER,
            "NAMES_ASKED": str(host / "asked"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up = time.monotonic() + WAIT_S
    while not (host / "asked").exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 130


def test_a_group_that_nobody_answers_for_is_one_line(service, host):
    with (host / "c.toml").open("a") as file:
        file.write("outputs.mode = '0640'\noutputs.group = 'daemon'\n")
    done = jwqlscan(service, host, "run", "-c", host / "c.toml", NAMES_SECONDS=FOR_EVER)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "the name service gave no answer within" in line


def test_what_has_no_name_is_shown_as_its_number():
    assert user_names((0, 4_000_000_000)) == {0: "root", 4_000_000_000: "4000000000"}
    assert group_names((0, 4_000_000_000)) == {0: "root", 4_000_000_000: "4000000000"}


def test_the_time_limit_is_for_all_questions_together_and_is_renewed(monkeypatch):
    monkeypatch.setattr(accounts, "LIMIT_S", 0.2)
    service = accounts._Service()
    gate = threading_gate()
    assert service.ask(gate.wait_for, (1, 2)) == {}
    assert service.ask(str, (1,)) == {}  # no time is left for another question
    gate.open()
    monkeypatch.setattr(accounts, "RENEW_S", 0.0)
    monkeypatch.setattr(accounts, "LIMIT_S", 60.0)
    assert service.ask(str, (1,)) == {1: "1"}


def threading_gate():
    import threading

    event = threading.Event()

    class Gate:
        @staticmethod
        def wait_for(key):
            event.wait(WAIT_S)
            return key

        open = event.set

    return Gate


def test_threads_that_can_not_be_started_leave_numbers(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(accounts.threading.Thread, "start", refuse)
    assert accounts._Service().ask(str, (1, 2)) == {}


@pytest.mark.parametrize("arguments", [("scan", "--by", "owner"), ("growth", "--by", "owner")])
def test_a_backslash_in_a_name_is_printed_once_by_every_command(host, arguments):
    uid = os.geteuid()
    (host / "passwd").write_text(f"STSCI\\jdoe:x:{uid}:0::/:/bin/sh\n")
    for file in (host / "archive").iterdir():
        os.chown(file, uid, -1)
    config = ("-c", host / "c.toml")
    for _ in range(2):
        done = jwqlscan({}, host, "run", "--no-report", *config)
        assert (done.returncode, done.stderr) == (0, "")
        (host / "archive/new.fits").write_text("x" * 100)
    before = in_mount_namespace(f"mount --bind '{host}/passwd' /etc/passwd")
    place = [host / "archive"] if arguments[0] == "scan" else config
    done = subprocess.run(
        [*before, *command(*arguments, *place)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(host)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    assert "STSCI\\jdoe " in done.stdout


@only_root
def test_whose_a_directory_is_that_root_must_not_use_is_reported_without_a_name(service, host):
    (host / "state").mkdir()
    os.chown(host / "state", 1, 1)
    done = jwqlscan(service, host, "doctor", "-q", "-c", host / "c.toml", NAMES_SECONDS=FOR_EVER)
    assert done.returncode == 1
    assert "belongs to 1, and this is root: chown root" in done.stdout
