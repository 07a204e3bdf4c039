"""Damage that shows as a constraint or a wrong answer, and rights that are missing."""

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from jwqlscan.errors import SnapshotRefusedError, StoreDamagedError, StoreError
from jwqlscan.store import open_store, spool, spool_contents
from tests.support.snapshots import make_snapshot
from tests.support.stores import look

PAGE = 4096
DAYS = 12


def snapshot(day):
    made = make_snapshot(day)
    look(made.areas[0], day, 60)
    return made


async def fill(path):
    async with open_store(f"sqlite:///{path}") as store:
        for day in range(DAYS):
            await store.record(snapshot(day))


def pages_of(path, name):
    """Return the numbers of the pages that a table or an index has."""
    with closing(sqlite3.connect(path)) as connection:
        try:
            rows = connection.execute("SELECT pageno FROM dbstat WHERE name = ?", (name,))
            return [number for (number,) in rows]
        except sqlite3.OperationalError:  # built without dbstat
            root = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
            return [connection.execute(root, (name,)).fetchone()[0]]


def flip(path, page, offset, bit=1):
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE + offset)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ bit]))


def hide_a_key(path):
    """Flip one bit of a key in the index of `scan_series`: its row is not found any more."""
    [page, *_] = pages_of(path, "sqlite_autoindex_scan_series_1")
    content = path.read_bytes()[(page - 1) * PAGE : page * PAGE]
    flip(path, page, content.rindex(b"directory") + 3)


@pytest.mark.case("P31")
async def test_one_flipped_bit_in_an_index_is_the_stores_fault_and_costs_no_snapshot(tmp_path):
    path, directory = tmp_path / "s.db", str(tmp_path / "spool")
    await fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        [(number,)] = connection.execute(
            "SELECT count(*) FROM scan_series WHERE kind = 'directory'"
        ).fetchall()
    assert number
    hide_a_key(path)
    await spool.put(directory, snapshot(DAYS))
    async with open_store(f"sqlite:///{path}") as store:
        # What a search that misses the row does: insert it again.
        with pytest.raises(StoreDamagedError, match="is damaged"):
            await store.obstacles()
        try:
            flushed = await spool.store_waiting(directory, store)
        except StoreDamagedError:
            assert len(spool_contents.waiting(directory)) == 1
            assert ".corrupt-" in await store.quarantine()
        else:
            assert (flushed.stored, flushed.set_aside) == (1, {})
    assert not os.path.exists(os.path.join(directory, "bad"))


@pytest.mark.case("P31")
async def test_a_constraint_that_fails_in_a_damaged_file_is_no_fault_of_the_snapshot(tmp_path):
    path, directory = tmp_path / "s.db", str(tmp_path / "spool")
    await fill(path)
    # A unique index of which the table's rows know nothing: every new row has a key that is there.
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(
            "CREATE UNIQUE INDEX one ON scan_product (run_id, area, instrument)"
            " WHERE instrument = 'none'"
        )
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX one ON scan_product (area)'"
            " WHERE name = 'one'"
        )
        connection.commit()
    await spool.put(directory, snapshot(DAYS))
    async with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(StoreDamagedError, match="is damaged"):
            await spool.store_waiting(directory, store)
        assert len(spool_contents.waiting(directory)) == 1
        assert ".corrupt-" in await store.quarantine()


@pytest.mark.case("P31")
async def test_no_flipped_bit_anywhere_sets_a_snapshot_aside(tmp_path):
    whole = tmp_path / "whole.db"
    await fill(whole)
    with closing(sqlite3.connect(whole)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    content = whole.read_bytes()
    waiting = snapshot(DAYS)
    rng = random.Random(31)
    fates = dict.fromkeys(("stored", "damaged", "refused"), 0)
    for number in range(120):
        path, directory = tmp_path / f"{number}.db", str(tmp_path / f"spool{number}")
        path.write_bytes(content)
        flip(path, rng.randrange(1, len(content) // PAGE), rng.randrange(PAGE), rng.choice((1, 32)))
        await spool.put(directory, waiting)
        try:
            async with open_store(f"sqlite:///{path}") as store:
                flushed = await spool.store_waiting(directory, store)
            assert flushed.set_aside == {}, f"page and bit of number {number}"
            fates["stored"] += 1
        except StoreDamagedError:
            fates["damaged"] += 1
        except StoreError as error:
            assert not isinstance(error, SnapshotRefusedError)
            fates["refused"] += 1
        path.unlink()
    assert fates["stored"] and fates["damaged"], fates


@pytest.mark.case("P31")
async def test_what_doctor_calls_well_is_well_by_integrity_check(tmp_path):
    whole = tmp_path / "whole.db"
    await fill(whole)
    with closing(sqlite3.connect(whole)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    content = whole.read_bytes()
    rng = random.Random(7)
    for number in range(60):
        path = tmp_path / f"{number}.db"
        path.write_bytes(content)
        flip(path, rng.randrange(2, len(content) // PAGE), rng.randrange(PAGE), 4)
        with closing(sqlite3.connect(path)) as connection:
            try:
                well = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            except sqlite3.DatabaseError:
                well = False
        try:
            async with open_store(f"sqlite:///{path}") as store:
                found = await store.obstacles() == []
        except StoreError:
            found = False
        assert found == well, number


def jwqlscan(tmp_path, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def configured(tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/jw01018001001_02101_00001_nrca1_cal.fits").write_text("x")
    file = tmp_path / "c.toml"
    file.write_text("[archive]\npath = 'archive'\n[state]\npath = 'state'\n")
    return file


@pytest.mark.case("P31")
def test_a_run_looks_for_damage_and_doctor_reports_it(tmp_path, configured):
    assert jwqlscan(tmp_path, "run", "-c", configured, "--no-report").returncode == 0
    path = tmp_path / "state/jwqlscan.db"
    [page, *_] = pages_of(path, "monitor")
    flip(path, page, 5, 0x0F)  # where the page's content begins: nothing reads that of `monitor`
    done = jwqlscan(tmp_path, "doctor", "-c", configured)
    assert done.returncode == 1
    assert "FAIL  database: " in done.stdout and "is damaged" in done.stdout
    done = jwqlscan(tmp_path, "run", "-c", configured, "--no-report")
    assert done.returncode == 4, done.stderr
    assert ".corrupt-" in done.stderr
    assert len(spool_contents.waiting(str(tmp_path / "state/spool"))) == 1


@pytest.mark.case("P31")
def test_doctor_reports_a_file_that_can_not_be_written(tmp_path, configured):
    assert jwqlscan(tmp_path, "run", "-c", configured, "--no-report").returncode == 0
    with closing(sqlite3.connect(tmp_path / "state/jwqlscan.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        done = jwqlscan(tmp_path, "doctor", "-c", configured)
    assert "FAIL  database: " in done.stdout and "locked by another process" in done.stdout


async def query(url, sql):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


async def tables(url):
    rows = await query(
        url,
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = "
        "'public'::regnamespace AND relname <> 'scan_schema' ORDER BY 1",
    )
    return [name for (name,) in rows]


async def test_each_right_that_is_missing_is_reported_with_the_statement_that_grants_it(pg_url):
    role = f"least_{os.getpid()}"
    parts = urlsplit(pg_url)
    url = urlunsplit(parts._replace(netloc=f"{role}:s3cr3t@{parts.hostname}:{parts.port}"))
    async with open_store(pg_url) as store:
        await store.record(make_snapshot())
    await query(pg_url, f"CREATE ROLE {role} LOGIN PASSWORD 's3cr3t'")
    try:
        await query(pg_url, f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role}")
        await query(
            pg_url, f"GRANT UPDATE, DELETE ON scan_value, scan_series, scan_insight TO {role}"
        )
        async with open_store(url) as store:
            assert await store.obstacles() == []
            for table in await tables(pg_url):
                await query(pg_url, f"REVOKE INSERT ON {table} FROM {role}")
                [line] = await store.obstacles()
                assert f"GRANT INSERT ON {table} TO {role}" in line
                await query(pg_url, line.partition(": ")[2])
                assert await store.obstacles() == []
            await query(pg_url, f"REVOKE DELETE, UPDATE ON scan_value FROM {role}")
            lines = await store.obstacles()
            assert [line.partition(": ")[2] for line in lines] == [
                f"GRANT UPDATE ON scan_value TO {role}",
                f"GRANT DELETE ON scan_value TO {role}",
            ]
            await query(pg_url, "CREATE SEQUENCE s OWNED BY monitor.id")
            await query(pg_url, f"GRANT UPDATE, DELETE ON scan_value TO {role}")
            [line] = await store.obstacles()
            assert f"GRANT USAGE ON SEQUENCE s TO {role}" in line
    finally:
        await query(pg_url, f"DROP OWNED BY {role}")
        await query(pg_url, f"DROP ROLE {role}")
