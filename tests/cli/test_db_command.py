"""`jwqlscan db flush` as a user has it: whole processes."""

import fcntl
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial

import anyio
import pytest

from jwqlscan.store import spool, spool_contents
from tests.support.snapshots import make_snapshot


@pytest.fixture
def state(tmp_path):
    """A home with a configuration, and two snapshots that wait."""
    place = tmp_path / ".config/jwqlscan"
    place.mkdir(parents=True)
    (place / "config.toml").write_text(
        f'[state]\npath = "{tmp_path}/state"\n[database]\nurl = "sqlite:///{tmp_path}/s.db"\n'
    )
    for day in range(2):
        anyio.run(spool.put, str(tmp_path / "state/spool"), make_snapshot(day))
    return tmp_path / "state"


def flush(state, *arguments, **env):
    return run(state, "db", "flush", *arguments, **env)


def run(state, *arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(state.parent), **env},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


def stored(state):
    with closing(sqlite3.connect(state.parent / "s.db")) as connection:
        return connection.execute("SELECT count(*) FROM scan_run").fetchone()[0]


def test_flush_stores_what_waits_and_says_how_many(state):
    done = flush(state)
    assert (done.returncode, done.stdout, done.stderr) == (0, "snapshots stored: 2\n", "")
    assert stored(state) == 2
    assert os.listdir(state / "spool") == []
    assert flush(state).stdout == "snapshots stored: 0\n"


def test_flush_makes_no_sqlite_file_where_nothing_waits(state):
    for path in (state / "spool").iterdir():
        path.unlink()
    done = flush(state)
    assert (done.returncode, "s.db: is not there" in done.stderr) == (1, True), done.stderr
    assert not (state.parent / "s.db").exists()


def test_flush_into_a_postgresql_that_the_environment_names(state, pg_url):
    done = flush(state, JWQLSCAN_DATABASE=pg_url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "snapshots stored: 2\n", "")
    assert not (state.parent / "s.db").exists()


def test_flush_with_a_configuration_file_of_its_own(state, tmp_path):
    file = tmp_path / "other.toml"
    file.write_text(f'[state]\npath = "state"\n[database]\nurl = "sqlite:///{tmp_path}/o.db"\n')
    assert flush(state, "--config", file).stdout == "snapshots stored: 2\n"
    assert (tmp_path / "o.db").exists()


def test_flush_leaves_what_waits_for_another_database_until_told(state):
    theirs = "postgresql://jwql@dbhost/jwql"
    put = partial(spool.put, configured=False)
    anyio.run(put, str(state / "spool"), make_snapshot(day=5), theirs)
    line = (
        f"1 snapshot for another database waits in {state}/spool: `jwqlscan db flush"
        " --from-others` stores them in this one"
    )
    assert run(state, "db", "migrate").returncode == 0
    for command in ("status", "check"):
        shown = " ".join(run(state, command).stdout.split())
        assert line in shown and f"2 snapshots wait in {state}/spool: " in shown, shown
    found = json.loads(run(state, "status", "--json").stdout)
    assert (found["spooled"], found["spooled_for_others"]) == (3, 1)
    assert "\njwqlscan_spooled_snapshots_for_others 1\n" in run(state, "metrics").stdout
    done = flush(state)
    assert (done.returncode, done.stdout) == (0, "snapshots stored: 2\n")
    assert theirs in done.stderr and "`jwqlscan db flush --from-others`" in done.stderr
    assert flush(state, "--from-others").stdout == "snapshots stored: 1\n"


def test_flush_to_a_database_that_is_down_exits_4_and_keeps_the_spool(state):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://u@127.0.0.1:{taken.getsockname()[1]}/jwql"
        done = flush(state, "--database", url, PGPASSWORD="s3cr3t")
    assert (done.returncode, done.stdout) == (4, "")
    assert "127.0.0.1" in done.stderr and "s3cr3t" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(os.listdir(state / "spool")) == 2


def test_flush_while_a_run_has_the_lock_exits_11(state):
    with (state / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = flush(state)
    assert done.returncode == 11
    assert len(done.stderr.splitlines()) == 1
    assert len(os.listdir(state / "spool")) == 2


def test_flush_says_what_it_sets_aside_and_exits_3(state):
    (state / "spool/00.json").write_text("{")
    done = flush(state)
    assert (done.returncode, done.stdout) == (3, "snapshots stored: 2\n")
    [line] = done.stderr.splitlines()
    assert str(state / "spool/00.json") in line and "set aside" in line


@pytest.mark.case("P30")
def test_flush_tries_again_what_was_set_aside_if_it_is_asked_to(state):
    directory = state / "spool"
    (directory / "bad").mkdir()
    for path in spool_contents.waiting(str(directory)):
        name = os.path.basename(path)
        os.rename(path, directory / "bad" / name)
        (directory / "bad" / f"{name}.reason").write_text("UNIQUE constraint failed\n")
    assert flush(state).stdout == "snapshots stored: 0\n"
    done = flush(state, "--bad")
    assert (done.returncode, done.stdout, done.stderr) == (0, "snapshots stored: 2\n", "")
    assert stored(state) == 2
    assert os.listdir(directory / "bad") == []


def test_the_help_of_a_group_names_each_of_its_commands():
    done = subprocess.run(
        [sys.executable, "-m", "jwqlscan", "db", "--help"], capture_output=True, text=True
    )
    summary, _, commands = done.stdout.partition("Options:")
    names = re.findall(r"^  ([a-z]+)", commands.partition("Commands:")[2], re.MULTILINE)
    assert len(names) >= 5
    assert [name for name in names if name not in summary] == []


def test_flush_says_that_too_much_waited(state):
    os.utime(spool_contents.waiting(str(state / "spool"))[0], (0, 0))
    done = flush(state)
    assert (done.returncode, done.stdout) == (0, "snapshots stored: 2\n")
    [line] = done.stderr.splitlines()
    assert "2 snapshots" in line and "days" in line


def test_flush_into_a_file_that_is_no_database_exits_1_and_keeps_both(state):
    text = "no database, but long enough for the header of one" * 20
    (state.parent / "s.db").write_text(text)
    done = flush(state)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not an SQLite database" in done.stderr
    assert len(os.listdir(state / "spool")) == 2
    assert (state.parent / "s.db").read_text() == text


def test_migrate_makes_the_tables_and_says_where_without_the_password(state, pg_url):
    done = subprocess.run(
        [sys.executable, "-m", "jwqlscan", "db", "migrate"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(state.parent), "JWQLSCAN_DATABASE": pg_url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "schema version" in done.stdout and pg_url.split(":")[2].split("@")[0] not in done.stdout


@pytest.mark.parametrize("option", ["--keep", "--weekly-after"])
@pytest.mark.parametrize("age", ["1min", "1h", "23h"])
def test_prune_keeps_a_day_at_least(tmp_path, option, age):
    done = subprocess.run(
        [sys.executable, "-m", "jwqlscan", "db", "prune", option, age],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert option in done.stderr and "expected 1d or more" in done.stderr
