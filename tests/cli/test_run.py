"""The main job on real trees and a real SQLite store."""

import contextlib
import errno
import json
import os
import sqlite3
import subprocess
import sys
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest

from jwqlscan.config.loader import load_config
from jwqlscan.errors import ConfigError, ExitCode, LockedError, ScanFailedError
from jwqlscan.operations.report import report
from jwqlscan.operations.run import run
from jwqlscan.scanning.display import Display
from jwqlscan.store import open_store
from jwqlscan.store.postgresql import PostgresqlStore
from jwqlscan.system.lock import run_lock
from tests.support.proxy import proxied
from tests.support.snapshots import damage
from tests.support.trees import required

CAL = "jw01018001001_02101_00001_nrca1_cal.fits"
UNCAL = "jw01018001001_02101_00001_nrca1_uncal.fits"


def write(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


def make_config(
    tmp_path, text="", *, archive="archive", outputs="outputs", database="sqlite:///store.db"
):
    file = tmp_path / "config.toml"
    file.write_text(
        f'[archive]\npath = "{archive}"\n[central]\npath = "central"\n'
        f'[central.areas]\nlogs = "logs"\n[database]\nurl = "{database}"\n'
        f'[outputs]\npath = "{outputs}"\n[state]\npath = "state"\n{text}'
    )
    file.chmod(0o600)
    return load_config(str(file))


@pytest.fixture
def tree(tmp_path):
    write(tmp_path / "archive/public/jw01018" / CAL, 2**30)
    write(tmp_path / "archive/public/jw01018" / UNCAL, 2**31)
    write(tmp_path / "archive/proprietary/jw01019" / CAL, 2**30)
    write(tmp_path / "archive/proprietary/strange.fits", 7)
    write(tmp_path / "central/loose.txt", 100)
    write(tmp_path / "central/logs/a.log", 1000)
    return tmp_path


def rows(tmp_path, sql):
    connection = sqlite3.connect(tmp_path / "store.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


async def test_a_run_stores_exact_numbers_and_writes_the_report(tree):
    outcome = await run(make_config(tree))
    assert outcome.exit_code == ExitCode.COMPLETE
    assert outcome.warnings == ()
    total = rows(
        tree,
        "SELECT total_file_count, total_file_size, fits_file_count, fits_file_size"
        " FROM filesystem_general",
    )
    size = (2**32 + 7) / 2**40
    assert total == [(4, size, 4, size)]
    products = rows(
        tree, "SELECT instrument, filetype, count, size FROM filesystem_instrument ORDER BY 2"
    )
    assert products == [("nircam", "cal", 2, 2**31 / 2**40), ("nircam", "uncal", 1, 2**31 / 2**40)]
    central = rows(tree, "SELECT area, used FROM central_storage ORDER BY area")
    assert central == [("all", 1100 / 2**40), ("logs", 1000 / 2**40)]
    monitor = rows(tree, "SELECT monitor_name, status FROM monitor")
    assert monitor == [("monitor_filesystem", "SUCCESS")]
    assert outcome.written[0].endswith("outputs/monitor_filesystem/filesystem_monitor.html")
    assert all(os.path.exists(path) for path in outcome.written)


async def test_a_second_run_adds_a_second_snapshot(tree):
    config = make_config(tree)
    await run(config, with_report=False)
    write(tree / "central/more.txt", 5)
    await run(config, with_report=False)
    async with open_store(config.database_url) as store:
        history = await store.history()
    assert len(history.general.date) == 2
    assert history.central["all"].used == [1100 / 2**40, 1105 / 2**40]


async def test_the_archive_counts_one_filesystem_once(tree):
    outcome = await run(make_config(tree), with_report=False)
    archive = outcome.snapshot.area("archive", "all")
    public = outcome.snapshot.area("archive", "public")
    assert archive.capacity.size_bytes == public.capacity.size_bytes


async def test_without_public_and_proprietary_the_archive_is_its_own_area(tmp_path):
    write(tmp_path / "archive/x/a.fits", 3)
    (tmp_path / "central/logs").mkdir(parents=True)
    outcome = await run(make_config(tmp_path), with_report=False)
    assert [a.name for a in outcome.snapshot.areas if a.group == "archive"] == ["all"]
    assert outcome.snapshot.area("archive", "all").tally.files == 1


async def test_an_archive_inside_central_storage_is_counted_in_both(tmp_path):
    write(tmp_path / "central/archive/public/a.fits", 10)
    write(tmp_path / "central/logs/b", 1)
    config = make_config(tmp_path, archive=str(tmp_path / "central/archive"))
    outcome = await run(config, with_report=False)
    assert outcome.snapshot.area("central", "all").tally.files == 2
    assert outcome.snapshot.area("archive", "public").tally.apparent_bytes == 10


@pytest.mark.case("F04")
@pytest.mark.parametrize("closed", ["archive/public/jw01018", "archive/public"])
@pytest.mark.parametrize("before", ["files", "nothing known"])
def test_an_area_that_only_permissions_keep_from_being_read_is_reported_as_such(
    tree, closed, before
):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tree)}
    file = tree / "c.toml"
    file.write_text("archive.path = 'archive'\nstate.path = 'state'\n")
    # without capabilities root, too, is bound by the mode of what it owns
    under = [required("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]
    under = under if os.geteuid() == 0 else []
    command = [*under, sys.executable, "-m", "jwqlscan", "run", "-c", file, "--no-report"]
    if before == "files":
        subprocess.run(command, env=environment, check=True, timeout=120)
    else:
        environment["JWQLSCAN_DATABASE"] = "postgresql://nobody@127.0.0.1:1/none"
    os.chmod(tree / closed, 0)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    finally:
        os.chmod(tree / closed, 0o700)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert f"{tree / closed}" in line and "Permission denied" in line
    assert "let the user who runs jwqlscan read and search it" in line
    assert "--allow-empty" not in line and "mount" not in line


@pytest.mark.parametrize("gone", ["archive/public", "central/logs"])
async def test_an_area_that_is_suddenly_empty_fails_the_run(tree, gone):
    config = make_config(tree)
    await run(config, with_report=False)
    for directory, _, names in os.walk(tree / gone):
        for name in names:
            os.unlink(os.path.join(directory, name))
    with pytest.raises(ScanFailedError, match="no files, and the last run found"):
        await run(config, with_report=False)
    assert len(rows(tree, "SELECT id FROM filesystem_general")) == 1
    assert rows(tree, "SELECT status FROM monitor ORDER BY id") == [("SUCCESS",), ("FAILURE",)]
    [(code, cause)] = rows(tree, "SELECT exit_code, cause FROM scan_failure")
    assert code == 1 and str(tree / gone) in cause and "the last run found" in cause
    outcome = await run(config, with_report=False, allow_empty=True)
    assert outcome.exit_code == ExitCode.COMPLETE


async def test_a_missing_archive_directory_is_a_configuration_error(tree):
    (tree / "archive").rename(tree / "elsewhere")
    with pytest.raises(ConfigError, match=r"archive \(archive.path in .*config.toml\): No such"):
        await run(make_config(tree))


async def test_an_unreadable_entry_makes_the_run_incomplete(tree):
    # A name that no filesystem can open is not to be had; a df without an answer is.
    config = make_config(tree, '[df]\ntimeout = "0.000001s"\n')
    outcome = await run(config)
    assert outcome.exit_code == ExitCode.INCOMPLETE
    assert any("capacity unknown" in warning for warning in outcome.warnings)
    assert rows(tree, "SELECT * FROM filesystem_general") == []
    assert rows(tree, "SELECT status FROM scan_run") == [("incomplete",)]
    assert len(rows(tree, "SELECT * FROM filesystem_instrument")) == 2


@pytest.mark.case("P09")
async def test_a_store_that_is_down_keeps_the_snapshot_for_the_next_run(tree):
    down = make_config(tree, database="postgresql://nobody:s3cr3t@127.0.0.1:1/none")
    outcome = await run(down)
    assert outcome.exit_code == ExitCode.SPOOLED
    assert os.path.exists(outcome.store)
    assert "s3cr3t" not in "".join(outcome.warnings)
    later = await run(make_config(tree), with_report=False)
    assert later.exit_code == ExitCode.COMPLETE
    stored = rows(tree, "SELECT run_id FROM scan_run ORDER BY date")
    assert stored == [(outcome.snapshot.run_id,), (later.snapshot.run_id,)]
    assert os.listdir(tree / "state/spool") == []


async def test_a_store_that_is_down_can_not_vouch_for_an_empty_area(tree):
    (tree / "central/logs/a.log").unlink()
    down = make_config(tree, database="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(ScanFailedError, match="can't be asked whether it had files"):
        await run(down)


async def test_a_report_that_can_not_be_written_leaves_the_snapshot_stored(tree):
    (tree / "outputs/monitor_filesystem/filesystem_monitor.html/in the way").mkdir(parents=True)
    outcome = await run(make_config(tree))
    assert outcome.exit_code == ExitCode.REPORT_FAILED
    assert len(rows(tree, "SELECT id FROM filesystem_general")) == 1


async def test_a_bug_in_the_report_leaves_the_snapshot_stored_and_is_told(tree, monkeypatch):
    async def fail(*args, **more):
        raise ZeroDivisionError

    monkeypatch.setattr("jwqlscan.operations.report.write_report", fail)
    outcome = await run(make_config(tree))
    assert outcome.exit_code == ExitCode.REPORT_FAILED
    assert "the report: a bug: ZeroDivisionError" in outcome.warnings[-1]
    assert len(rows(tree, "SELECT id FROM filesystem_general")) == 1


async def test_metrics_that_can_not_be_written_leave_a_stored_run_complete(tree, monkeypatch):
    async def fail(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("jwqlscan.operations.attempt_recorder.write_metrics", fail)
    config = make_config(tree, f"[metrics]\npath = '{tree}/j.prom'\n")
    outcome = await run(config, with_report=False)
    assert outcome.exit_code == ExitCode.COMPLETE
    assert [warning for warning in outcome.warnings if warning.startswith("metrics: ")]


async def test_totals_that_fall_too_far_are_stored_as_suspect_until_they_are_accepted(tree):
    for number in range(10):
        write(tree / f"archive/public/{number}", 10)
    config = make_config(tree)
    assert (await run(config, with_report=False)).snapshot.status == "complete"
    for number in range(10):
        (tree / f"archive/public/{number}").unlink()
    for _ in range(2):  # a suspect run is never what the next one is compared with
        outcome = await run(config, with_report=False)
        assert (outcome.snapshot.status, outcome.exit_code) == ("suspect", ExitCode.INCOMPLETE)
        (warning,) = outcome.warnings
        assert warning.startswith(
            "suspect: archive all: 4 files where the last complete run found 14, down by 71 %"
        )
        assert "--allow-drop" in warning
    accepted = await run(config, allow_drop=True, with_report=False)
    assert (accepted.snapshot.status, accepted.exit_code) == ("complete", ExitCode.COMPLETE)
    assert (await run(config, with_report=False)).snapshot.status == "complete"
    stored = rows(tree, "SELECT status, suspicions = '[]' FROM scan_run ORDER BY date")
    assert stored == [("complete", 1), *[("incomplete", 0)] * 2, *[("complete", 1)] * 2]


async def test_bytes_that_fall_too_far_make_a_run_suspect_too(tree):
    config = make_config(tree, "[scan]\nmax_drop = 70\n")
    await run(config, with_report=False)
    write(tree / "archive/public/jw01018" / UNCAL, 1)  # half of the bytes: not too far yet
    write(tree / "archive/public/jw01018" / CAL, 1)
    outcome = await run(config, with_report=False)
    (doubt,) = outcome.snapshot.suspicions
    assert doubt == (
        "archive all: 1.00 GiB where the last complete run found 4.00 GiB, down by 74 %"
    )


async def test_the_report_can_be_written_from_an_empty_store(tree):
    (tree / "outputs").mkdir()
    async with open_store(make_config(tree).database_url):
        pass
    written = await report(make_config(tree))
    assert os.path.exists(written[0])


@pytest.mark.case("P14")
async def test_two_runs_do_not_overlap(tree):
    config = make_config(tree)
    locked = pytest.raises(LockedError, match=f"process {os.getpid()}")
    with run_lock(os.path.join(config.state_path, "lock")), locked:
        await run(config)


async def test_missing_outputs_are_found_before_the_scan(tree):
    config = make_config(tree, outputs=str(tree / "no/such/place"))
    with pytest.raises(ConfigError, match=r"outputs.path"):
        await run(config)


@pytest.mark.case("P20")
async def test_a_damaged_store_is_kept_aside_and_snapshots_wait(tree):
    config = make_config(tree)
    for _ in range(3):
        await run(config)
    damaged = damage(tree / "store.db", "scan_run")
    for waiting in (1, 2):
        outcome = await run(config)
        assert outcome.exit_code == ExitCode.SPOOLED
        assert "store.db: was damaged, and is kept as " in outcome.warnings[0]
        assert len(os.listdir(tree / "state/spool")) == waiting
        assert not (tree / "store.db").exists()
    [aside] = tree.glob("store.db.corrupt-*")
    assert aside.read_bytes() == damaged
    aside.rename(tree / "looked at")  # and nothing is to come back from it
    outcome = await run(config)
    assert outcome.exit_code == ExitCode.COMPLETE
    assert rows(tree, "SELECT count(*) FROM scan_run") == [(3,)]


@pytest.mark.case("P20")
async def test_damage_that_the_report_meets_is_told_and_nothing_more_is_written_to_it(tree):
    config = make_config(tree)
    for _ in range(3):
        await run(config)
    damage(tree / "store.db", "central_storage")
    outcome = await run(config)
    assert outcome.exit_code in (ExitCode.REPORT_FAILED, ExitCode.SPOOLED)
    assert "store.db: was damaged, and is kept as " in outcome.warnings[-1]
    assert (await run(config)).exit_code == ExitCode.SPOOLED


@pytest.mark.case("P13")
async def test_a_snapshot_that_the_store_refuses_is_no_success(tree, pg_server):
    connection = await asyncpg.connect(pg_server)
    await connection.execute("DROP DATABASE IF EXISTS latin")
    await connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    await connection.close()
    database = pg_server.rpartition("/")[0] + "/latin"
    config = make_config(tree, database=database)
    assert (await run(config)).exit_code == ExitCode.COMPLETE
    (tree / "archive").rename(tree / "観測")
    outcome = await run(make_config(tree, database=database, archive=str(tree / "観測")))
    assert outcome.exit_code == ExitCode.FAILED
    assert outcome.store == str(tree / "state/spool/bad")
    assert "set aside in" in outcome.warnings[0] and "LATIN1" in outcome.warnings[0]
    assert len(list((tree / "state/spool/bad").glob("*.json"))) == 1
    (tree / "観測").rename(tree / "archive")
    assert (await run(config)).exit_code == ExitCode.COMPLETE
    async with open_store(database) as store:
        found = await store.select("SELECT status FROM monitor ORDER BY id")
        causes = await store.select("SELECT exit_code, cause FROM scan_failure")
    assert [status for (status,) in found] == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert causes[0][0] == 1 and "set aside in" in causes[0][1]


SHORT = {"connect_timeout_s": 0.5, "call_timeout_s": 1.0, "exclusive_timeout_s": 0.3}


@pytest.mark.case("P09", "P10", "P11", "P12", "P17", "S09")
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("down", "check the server and the network"),
        ("not listening yet", "check the server and the network"),
        ("no answer", "no answer within the time limit"),
        ("no answer to COMMIT", "no answer within the time limit"),
        ("cut at COMMIT", "connection was closed in the middle of operation"),
        ("another host", "another host is storing"),
        ("wrong password", "check the user and the password"),
        ("no database", "create it with createdb"),
        ("TLS required", "the server has no TLS"),
        ("read only", "name the primary server"),
        ("newer schema", "is newer than"),
        ("no privilege", "GRANT this user"),
    ],
)
async def test_whatever_ails_the_database_the_run_ends_with_4_and_the_next_stores_both(  # noqa: C901 - one case after the other
    tree, pg_url, monkeypatch, what, said
):
    def opened(url):
        return PostgresqlStore(url, **SHORT)

    async def execute(*statements):
        connection = await asyncpg.connect(pg_url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async with opened(pg_url):
        pass
    monkeypatch.setattr("jwqlscan.operations.run.open_store", opened)
    parts = urlsplit(pg_url)
    database = parts.path[1:]
    ail, mend, url, display = (), (), pg_url, Display()
    if what == "down":
        url = parts._replace(netloc=f"{parts.username}@127.0.0.1:1").geturl()
    elif what == "wrong password":
        place = f"{parts.username}:no@{parts.hostname}:{parts.port}"
        url = parts._replace(netloc=place).geturl()
    elif what == "no database":
        url = parts._replace(path="/none").geturl()
    elif what == "TLS required":
        url += "?sslmode=require"
    elif what == "read only":
        ail = (f"ALTER DATABASE {database} SET default_transaction_read_only = on",)
        mend = (
            "SET default_transaction_read_only = off",
            f"ALTER DATABASE {database} RESET default_transaction_read_only",
        )
    elif what == "newer schema":
        ail = ("INSERT INTO scan_schema (version) VALUES (99)",)
        mend = ("DELETE FROM scan_schema WHERE version = 99",)
    elif what == "no privilege":
        ail = (
            "DROP ROLE IF EXISTS weak",
            "CREATE ROLE weak LOGIN PASSWORD 'weak'",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO weak",
        )
        place = f"weak:weak@{parts.hostname}:{parts.port}"
        url = parts._replace(netloc=place).geturl()
        mend = ("DROP OWNED BY weak",)
    await execute(*ail)
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxied(url))
        if what == "not listening yet":
            proxy.arm("cut", b"\0")
        elif what == "no answer":
            proxy.arm("stall")
        elif what == "no answer to COMMIT":
            display.phase = lambda text: text == "storing" and proxy.arm("deaf", b"COMMIT")
        elif what == "cut at COMMIT":
            display.phase = lambda text: text == "storing" and proxy.arm("cut", b"COMMIT")
        elif what == "another host":
            other = await stack.enter_async_context(opened(pg_url))
            await stack.enter_async_context(other.exclusive())
        through = url if what in ("down", "TLS required") else proxy.url
        with anyio.fail_after(120):
            config = make_config(tree, database=through)
            outcome = await run(config, with_report=False, display=display)
        assert proxy.fault == "none" or proxy.hit.is_set()
    assert outcome.exit_code == ExitCode.SPOOLED, outcome
    assert said in outcome.warnings[-1], outcome.warnings
    assert ", the next run stores it" in outcome.warnings[-1]  # some, once that is repaired
    assert len(os.listdir(tree / "state/spool")) == 1
    await execute(*mend)
    later = await run(make_config(tree, database=pg_url), with_report=False)
    assert later.exit_code == ExitCode.COMPLETE
    assert os.listdir(tree / "state/spool") == []
    async with opened(pg_url) as store:
        found = await store.select("SELECT run_id FROM scan_run ORDER BY date")
    assert [str(run_id) for (run_id,) in found] == [
        outcome.snapshot.run_id,
        later.snapshot.run_id,
    ]


async def test_the_record_in_the_spool_is_the_snapshot(tree):
    config = make_config(tree, database="postgresql://nobody@127.0.0.1:1/none")
    outcome = await run(config)
    with open(outcome.store, encoding="utf-8") as file:
        record = json.load(file)
    assert record.pop("for_store") == config.database_url and record.pop("configured")
    assert record == outcome.snapshot.to_record()
    assert os.stat(outcome.store).st_mode & 0o777 == 0o600


async def test_postgresql_takes_a_run_and_gives_its_history(tree, pg_url):
    config = make_config(tree, database=pg_url)
    first = await run(config)
    second = await run(config)
    assert first.exit_code == second.exit_code == ExitCode.COMPLETE
    async with open_store(pg_url) as store:
        history = await store.history()
    assert len(history.general.date) == 2
    assert history.general.total_file_count == [4, 4]
