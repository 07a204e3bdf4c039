"""Reading from a store without the right to write: another user, a read-only mount."""

import grp
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from jwqlscan.errors import StoreError, StoreUnavailableError
from jwqlscan.store import Tables, open_store, sqlite_read_only
from jwqlscan.store.sqlite import SqliteStore
from tests.support.snapshots import make_snapshot
from tests.support.stores import look
from tests.support.trees import in_mount_namespace, required

NOBODY = 65534
LAST = ("last-attempt.json", 0o640)
COMMANDS = ("check", "status", "history", "metrics", "growth", "report")

only_root = pytest.mark.usefixtures("as_root")


def another_user():
    """Return what to put before a command to run it as a user who may read, but write nothing.

    The capability is for the interpreter, which other users may not be able to read.
    """
    caps = "-all,+dac_read_search"
    return [
        *(required("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *(f"--bounding-set={caps}", f"--inh-caps={caps}", f"--ambient-caps={caps}"),
    ]


@pytest.fixture
def shared():
    """Give a directory that every user can reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="jwqlscan-read-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


async def fill(path, days=3):
    async with open_store(f"sqlite:///{path}") as store:
        for day in range(days):
            snapshot = make_snapshot(day - days)
            look(snapshot.areas[0], day, 20)
            await store.record(snapshot)


def names(directory):
    return sorted(os.listdir(directory))


@contextmanager
def in_state(place, state):
    """Bring a store's files into a state, and keep what that needs open."""
    path = place / "s.db"
    if state == "no log":
        assert names(place) == ["s.db"]
        yield
    elif state == "rollback journal":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        yield
    elif state == "in use":
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE scan_run SET host = 'in the log'")
            assert names(place) == ["s.db", "s.db-shm", "s.db-wal"]
            yield
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE scan_run SET host = 'in the log'")
            shutil.copytree(place, place.parent / "killed")
        shutil.rmtree(place)
        os.rename(place.parent / "killed", place)
        if state == "a log without its index":
            (place / "s.db-shm").unlink()
        yield


STATES = ("no log", "rollback journal", "in use", "a log", "a log without its index")


@only_root
@pytest.mark.case("P33")
@pytest.mark.parametrize("reader", ["another user", "read-only mount"])
@pytest.mark.parametrize("state", STATES)
async def test_every_command_that_reads_works_without_the_right_to_write(shared, reader, state):
    place = shared / "place"
    await fill(place / "s.db")
    with in_state(place, state):
        os.chmod(place, 0o755)
        for name in names(place):
            os.chmod(place / name, 0o644)
        before = names(place)
        under = another_user()
        if reader == "read-only mount":
            bind = f"mount --bind '{place}' '{place}'"
            under = in_mount_namespace(bind, f"mount -o remount,ro,bind '{place}'")
        outputs = shared / "www"
        outputs.mkdir(mode=0o777)
        os.chmod(outputs, 0o777)
        for command in COMMANDS:
            more = ["--outputs", str(outputs)] if command == "report" else []
            done = subprocess.run(
                [
                    *(*under, sys.executable, "-m", "jwqlscan", command, *more),
                    *("--database", f"sqlite:///{place}/s.db"),
                ],
                env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
                cwd="/",
                capture_output=True,
                text=True,
                timeout=120,
            )
            if command == "check":
                assert "last complete run" in done.stdout, done.stdout
            else:
                assert (done.returncode, done.stderr) == (0, ""), (command, done.stderr)
            assert names(place) == before, command


@pytest.mark.case("P33")
@only_root
async def test_a_run_does_not_open_a_file_that_it_can_not_write(shared):
    place, state = shared / "place", shared / "state"
    (shared / "archive").mkdir()
    await fill(place / "s.db")
    before = names(place)
    under = in_mount_namespace(
        f"mount --bind '{place}' '{place}'", f"mount -o remount,ro,bind '{place}'"
    )
    for command in ("doctor", "db migrate"):
        done = subprocess.run(
            [*under, sys.executable, "-m", "jwqlscan", *command.split()],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(state),
                "JWQLSCAN_ARCHIVE": str(shared / "archive"),
                "JWQLSCAN_DATABASE": f"sqlite:///{place}/s.db",
            },
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 1, done.stderr
        assert f"{place}/s.db can't be written: give" in done.stdout + done.stderr
        assert names(place) == before, command


ASK = """
import anyio, sys
from jwqlscan.store import Tables, open_store

async def main():
    async with open_store(sys.argv[1], Tables.IF_PRESENT) as store:
        print(await store.select("SELECT count(*), min(host) FROM scan_run"))
        try:
            await store.record_failure(*[__import__("datetime").datetime.now()] * 2, "")
        except Exception as error:
            print(type(error).__name__)

anyio.run(main)
"""


@only_root
@pytest.mark.case("P33")
@pytest.mark.parametrize("state", STATES)
async def test_a_reader_sees_what_is_in_the_log_too_and_writes_nothing(shared, state):
    place = shared / "place"
    await fill(place / "s.db")
    with in_state(place, state):
        os.chmod(place, 0o755)
        done = subprocess.run(
            [*another_user(), sys.executable, "-c", ASK, f"sqlite:///{place}/s.db"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    host = (
        "in the log" if "log" in state.removeprefix("no log") or state == "in use" else "storage1"
    )
    assert done.stdout == f"[(3, '{host}')]\nStoreError\n", done.stderr


@pytest.mark.case("P33")
@pytest.mark.parametrize("way", ["immutable", "without locks"])
async def test_what_is_read_without_locks_while_others_write_is_read_again(
    tmp_path, monkeypatch, way
):
    place = tmp_path / "place"
    await fill(place / "s.db")
    if way == "without locks":
        with in_state(place, "a log without its index"):
            pass
    monkeypatch.setattr("jwqlscan.store.sqlite.may_write", lambda path: False)
    store = SqliteStore(str(place / "s.db"), tables=Tables.IF_PRESENT)
    async with store:
        assert store._unlocked is not None
        seen = []

        newest = "DELETE FROM scan_run WHERE date = (SELECT max(date) FROM scan_run)"

        def work(connection):
            seen.append(connection.execute("SELECT count(*) FROM scan_run").fetchone()[0])
            if len(seen) == 1:
                with closing(sqlite3.connect(place / "s.db", isolation_level=None)) as other:
                    other.execute(newest)
            return seen[-1]

        assert await store._call(work) == 2
        assert seen == [3, 2]


@pytest.mark.case("P33")
async def test_a_file_that_never_rests_is_reported_as_unavailable(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    await fill(path)
    monkeypatch.setattr("jwqlscan.store.sqlite.may_write", lambda path: False)
    async with SqliteStore(str(path), tables=Tables.IF_PRESENT) as store:
        if store._unlocked is None:
            pytest.fail("it was read with locks")
        with pytest.raises(StoreUnavailableError, match="changed while it was read"):
            await store._call(lambda _: os.utime(path))


@pytest.mark.case("P33")
async def test_an_older_schema_is_reported_to_who_can_not_bring_it_up(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    await fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")
    monkeypatch.setattr("jwqlscan.store.sqlite.may_write", lambda path: False)
    with pytest.raises(StoreError, match="run `jwqlscan db migrate` as its owner"):
        async with SqliteStore(str(path), tables=Tables.IF_PRESENT):
            pass


@pytest.mark.parametrize("name", ["a b.db", "q?.db", "h#.db", "%41.db", "é.db"])
async def test_a_strange_file_name_is_just_a_name_when_it_is_read(tmp_path, monkeypatch, name):
    await fill(tmp_path / name, 1)
    monkeypatch.setattr("jwqlscan.store.sqlite.may_write", lambda path: False)
    async with SqliteStore(str(tmp_path / name), tables=Tables.IF_PRESENT) as store:
        assert len((await store.history()).general.date) == 1


def test_the_owner_and_root_open_for_writing_and_others_do_not(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    path.touch()
    assert sqlite_read_only.may_write(str(path))
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(path).st_uid + 1)
    assert not sqlite_read_only.may_write(str(path))
    assert sqlite_read_only.may_write(str(tmp_path / "not there.db"))


@only_root
@pytest.mark.case("P33")
def test_the_state_is_shared_with_the_group_that_the_configuration_names(shared):
    archive = shared / "archive"
    archive.mkdir()
    (archive / "a.fits").write_text("x")
    config = shared / "c.toml"
    config.write_text(
        f"[archive]\npath = '{archive}'\n[state]\npath = '{shared}/state'\nmode = '0640'\n"
        "group = 'nogroup'\n"
    )
    config.chmod(0o644)
    for _ in range(2):  # the file is made by the first
        done = subprocess.run(
            [sys.executable, "-m", "jwqlscan", "run", "-c", config, "--no-report"],
            env={"PATH": "/usr/bin:/bin", "HOME": str(shared)},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, "")
        group = grp.getgrnam("nogroup").gr_gid
        for name, mode in (("", 0o750), ("jwqlscan.db", 0o640), ("spool", 0o750), LAST):
            status = os.stat(shared / "state" / name)
            assert stat.S_IMODE(status.st_mode) & 0o777 == mode, name
            assert status.st_gid == group, name
    before = names(shared / "state")
    done = subprocess.run(
        [*another_user(), sys.executable, "-m", "jwqlscan", "check", "-c", config],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "last complete run" in done.stdout, done.stdout
    assert names(shared / "state") == before


def test_a_state_that_nobody_configured_stays_private(tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/a.fits").write_text("x")
    subprocess.run(
        [sys.executable, "-m", "jwqlscan", "run", "--archive", tmp_path / "archive", "--no-report"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd="/",
        check=True,
        timeout=120,
    )
    state = tmp_path / ".local/share/jwqlscan"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "jwqlscan.db").stat().st_mode) == 0o600
