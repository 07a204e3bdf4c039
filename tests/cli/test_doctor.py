"""`jwqlscan doctor`, on hosts that are well and that are not."""

import json
import socket
import subprocess
import sys

import pytest


@pytest.fixture
def file(tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/a.fits").write_text("x")
    return configured(tmp_path)


def configured(tmp_path, archive="archive", more=""):
    file = tmp_path / "c.toml"
    file.write_text(f"[archive]\npath = '{archive}'\n[state]\npath = 'state'\n{more}")
    return file


def doctor(file, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", "doctor", "-c", str(file), *arguments],
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


def failures(done):
    return [line for line in done.stdout.splitlines() if line.startswith("FAIL")]


def test_a_host_that_is_well_exits_0(file):
    done = doctor(file)
    assert (done.returncode, done.stderr, failures(done)) == (0, "", [])
    assert "schema up to date, no run yet" in done.stdout


def test_an_archive_that_is_missing_is_told_with_what_to_do(tmp_path):
    done = doctor(configured(tmp_path, "nowhere"))
    assert done.returncode == 1
    assert any("areas" in line and "nowhere" in line for line in failures(done))


def test_a_database_that_is_down_is_told_and_the_rest_is_looked_at(tmp_path, file):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://u@127.0.0.1:{taken.getsockname()[1]}/jwql"
        done = doctor(file, "--database", url)
        assert done.returncode == 1
        [line] = failures(done)
        assert line.startswith("FAIL  database: ") and "check the server" in line
        assert "ok    clock" in done.stdout
        # A snapshot that waits for it does not repeat why.
        command = [sys.executable, "-m", "jwqlscan", "run", "-c", file, "--database", url]
        assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 4
        done = doctor(file, "--database", url)
        assert done.stdout.count("Connection refused") == 1
        assert len(failures(done)) == 2 and "1 snapshot waits" in failures(done)[1]


def test_outputs_that_can_not_be_made_are_told(tmp_path, file):
    done = doctor(configured(tmp_path, more="[outputs]\npath = 'no/such/place'\n"))
    assert done.returncode == 1
    assert "outputs.path" in failures(done)[0]


@pytest.mark.parametrize(
    ("what", "more"),
    [
        ("directories", "[log]\npath = 'no/logs'\n"),
        ("notifications", "[metrics]\npath = 'no/place/j.prom'\n"),
        ("notifications", "[metrics]\npath = 'j.txt'\n"),
        ("notifications", "[notify]\ncommand = ['/no/such/hook']\n"),
        ("notifications", "[notify]\ncommand = ['/etc/passwd']\n"),
    ],
)
def test_what_only_shows_at_the_end_of_a_run_is_looked_at(tmp_path, file, what, more):
    done = doctor(configured(tmp_path, more=more))
    [line] = failures(done)
    assert done.returncode == 1 and line.startswith(f"FAIL  {what}")


def test_nobody_is_told_and_no_secret_is_shown(tmp_path, file):
    done = doctor(configured(tmp_path, more="[notify]\nping_url = 'https://hc.example/uuid'\n"))
    assert done.returncode == 0
    assert "dead-man" in done.stdout and "uuid" not in done.stdout


def test_quiet_prints_failures_only(tmp_path, file):
    assert doctor(file, "-q").stdout == ""
    done = doctor(configured(tmp_path, "nowhere"), "-q")
    assert done.stdout.splitlines() == failures(done) != []


def test_a_wrong_configuration_exits_2(tmp_path):
    done = doctor(configured(tmp_path, more="[nonsense]\n"))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_json_says_the_same(file):
    result = json.loads(doctor(file, "--json").stdout)
    assert result["well"] and {"what", "well", "text"} == set(result["checks"][0])
