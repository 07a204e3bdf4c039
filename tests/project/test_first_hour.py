"""A first hour with jwqlscan, from an empty directory to PostgreSQL and cron."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.store.test_copy import without_password

SCRIPT = Path(__file__).with_name("first_hour.sh")


@pytest.fixture
def home(tmp_path):
    """An empty home; and a directory with the command, as an installation has it."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/jwqlscan"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m jwqlscan "$@"\n')
    program.chmod(0o755)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_the_first_hour(home, pg_url):
    url, environment = without_password(pg_url)
    environment |= {"PATH": f"{home.parent}/bin:/usr/bin:/bin", "HOME": str(home)}
    done = subprocess.run(
        ["sh", SCRIPT, home, url],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[-1] == "done", done.stdout + done.stderr
    # init: no web server could read the report; and it does not overwrite.
    private, *others = done.stderr.splitlines()
    assert "outputs.mode" in private, done.stderr
    assert len(others) == 1 and "jwqlscan.toml" in others[0], done.stderr
    assert not [line for line in lines if line.startswith("FAIL")]
    assert lines.count("ok    reader: native, scandir") in (0, 2)
    copies = [line for line in lines if line.startswith(("sqlite:", "postgresql:"))]
    assert "scan_run 3" in copies[0] and "scan_run 1" in copies[1]
    assert "nothing was missing" in copies[2]
    assert re.search(r"0 runs removed, 4 left$", copies[3])
    assert "--config" in (home / "crontab").read_text() and (home / "mail").read_text() == ""
    names = {
        one.name for one in text_string_to_metric_families((home / "jwqlscan.prom").read_text())
    }
    assert "jwqlscan_area_files" in names
    status = subprocess.run(
        [home.parent / "bin/jwqlscan", "status", "--json", "-c", home / "jwqlscan.toml"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    runs = json.loads(status.stdout)["runs"]
    assert [run["status"] for run in runs] == ["complete"] * 4
    # Nothing is where it was not asked for.
    made = {path.name for path in home.iterdir()}
    assert made == {
        *("archive", "central", "www", "jwqlscan.toml", "jwqlscan.prom", "crontab", "units"),
        *("mail", ".local"),
    }
