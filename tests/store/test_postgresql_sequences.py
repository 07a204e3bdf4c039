"""Sequences behind the rows of their tables: never the snapshot's fault, and repaired."""

import json
import os
import re
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jwqlscan.errors import SnapshotRefusedError, StoreError
from jwqlscan.store import open_store, postgresql_sequences, spool, spool_contents
from jwqlscan.store.postgresql_errors import IdTakenError
from tests.support.snapshots import make_snapshot
from tests.support.stores import look

TABLES = (
    "filesystem_general",
    "filesystem_instrument",
    "central_storage",
    "monitor",
    "scan_series",
)
STATEMENT = re.compile(r"SELECT setval\(.*\)")


def snapshot_with_insight(day):
    snapshot = make_snapshot(day)
    look(snapshot.areas[0], day, 30)
    snapshot.areas[0].tally.cube.programs[f"new on day {day}"] = [1, 1]
    return snapshot


async def query(url, sql):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


async def set_back(url, table, value=1):
    sequence = f"pg_get_serial_sequence('{table}', 'id')"
    await query(url, f"SELECT setval({sequence}, {value}, false)")


async def numbers(url):
    return {table: (await query(url, f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES}


@pytest.mark.case("P30")
@pytest.mark.parametrize("table", TABLES)
async def test_a_sequence_that_is_behind_is_advanced_with_a_warning(pg_url, tmp_path, table):
    async with open_store(pg_url) as store:
        for day in (-2, -1, 0):
            await store.record(snapshot_with_insight(day))
        before = await numbers(pg_url)
        await set_back(pg_url, table)
        await spool.put(str(tmp_path), snapshot_with_insight(2))
        flushed = await spool.store_waiting(str(tmp_path), store)
        assert (flushed.stored, flushed.set_aside) == (1, {})
        [warning] = flushed.warnings
        assert f"{table}_id_seq was behind the rows of {table}" in warning
        assert await store.record(snapshot_with_insight(3)) == []
        assert len((await store.history()).general.date) == 5
    after = await numbers(pg_url)
    assert all(after[table] > before[table] for table in TABLES[:4])


@pytest.mark.case("P30")
async def test_300_rows_restored_with_their_ids_cost_no_run_and_other_programs_go_on(pg_url):
    insert = (
        "INSERT INTO filesystem_general (date, total_file_count, total_file_size, fits_file_count,"
        " fits_file_size, used, available) VALUES ('{}', 1, 1, 1, 1, 1, 1)"
    )
    async with open_store(pg_url) as store:
        await query(
            pg_url,
            "INSERT INTO filesystem_general SELECT n, timestamptz '2020-01-01' + n * interval"
            " '1 day', 1, 1, 1, 1, 1, 1 FROM generate_series(1, 300) n",
        )
        [warning] = await store.record(make_snapshot())
        assert "ids up to 300 were taken" in warning
        await query(pg_url, insert.format("2019-01-01"))
        assert await store.record(make_snapshot(1)) == []
    assert (await numbers(pg_url))["filesystem_general"] == 303


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(gaps=st.dictionaries(st.sampled_from(TABLES), st.integers(1, 50), min_size=1))
def test_whatever_sequences_are_behind_a_run_is_stored_whole(pg_url, gaps):
    import asyncio

    async def work():
        async with open_store(pg_url) as store:
            runs = len((await store.history()).general.date)
            await store.record(snapshot_with_insight(2 * runs))
            holes = set()  # tables where a row may take an id below the highest
            for table, gap in gaps.items():
                [(highest,)] = await query(pg_url, f"SELECT max(id) FROM {table}")
                first = max(1, highest - gap)
                taken = f"SELECT count(*) FROM {table} WHERE id >= {first}"
                if (await query(pg_url, taken))[0][0] < highest - first + 1:
                    holes.add(table)
                await set_back(pg_url, table, first)
            await store.record(snapshot_with_insight(2 * runs + 1))
            assert len((await store.history()).general.date) == runs + 2
            for table in TABLES:
                [(highest,)] = await query(pg_url, f"SELECT max(id) FROM {table}")
                sequence = f"pg_get_serial_sequence('{table}', 'id')"
                # Not nextval(): an id that no row takes is a hole, in which the next row fits.
                last = f"SELECT pg_sequence_last_value({sequence}::regclass)"
                [(given_last,)] = await query(pg_url, last)
                assert table in holes or table not in gaps or given_last >= highest

    asyncio.run(work())


@pytest.mark.case("P30")
@pytest.mark.parametrize("table", TABLES)
async def test_what_is_not_advanced_is_named_with_the_statement_that_repairs_it(
    pg_url, tmp_path, monkeypatch, table
):
    monkeypatch.setattr(postgresql_sequences, "MAX_STEPS", 0)
    async with open_store(pg_url) as store:
        for day in (-1, 0, 1):
            await store.record(snapshot_with_insight(day))
        await set_back(pg_url, table)
        await spool.put(str(tmp_path), snapshot_with_insight(2))
        with pytest.raises(IdTakenError) as caught:
            await spool.store_waiting(str(tmp_path), store)
        assert len(spool_contents.waiting(str(tmp_path))) == 1
        assert not os.path.exists(tmp_path / "bad")
        await query(pg_url, STATEMENT.search(str(caught.value))[0])
        assert (await spool.store_waiting(str(tmp_path), store)).stored == 1


@pytest.mark.case("P30")
@pytest.mark.parametrize("granted", [True, False])
async def test_a_user_without_the_right_to_set_a_sequence_stores_or_is_given_the_statement(
    pg_url, granted
):
    role = f"writer_{os.getpid()}"
    parts = urlsplit(pg_url)
    url = urlunsplit(
        parts._replace(netloc=f"{role}:s3cr3t@{parts.hostname}:{parts.port}"),
    )
    async with open_store(pg_url) as store:
        for day in (-1, 0, 1):
            await store.record(make_snapshot(day))
    await query(pg_url, f"CREATE ROLE {role} LOGIN PASSWORD 's3cr3t'")
    try:
        await query(pg_url, f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role}")
        if granted:  # an identity column needs no right of its own to insert
            await query(pg_url, f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
        await set_back(pg_url, "monitor")
        async with open_store(url) as store:
            if not granted:
                with pytest.raises(IdTakenError) as caught:
                    await store.record(make_snapshot(2))
                await query(pg_url, STATEMENT.search(str(caught.value))[0])
            warnings = await store.record(make_snapshot(2))
        assert len(warnings) == granted
    finally:
        await query(pg_url, f"DROP OWNED BY {role}")
        await query(pg_url, f"DROP ROLE {role}")


@pytest.mark.case("P30")
async def test_a_sequence_that_no_column_owns_is_advanced_too(pg_url):
    async with open_store(pg_url) as store:
        for day in (-1, 0, 1):
            await store.record(make_snapshot(day))
        await query(pg_url, "ALTER TABLE monitor ALTER COLUMN id DROP IDENTITY")
        await query(pg_url, """CREATE SEQUENCE "it's one" """)
        await query(
            pg_url, """ALTER TABLE monitor ALTER COLUMN id SET DEFAULT nextval('"it''s one"')"""
        )
        [warning] = await store.record(make_snapshot(2))
        assert "it's one" in warning


@pytest.mark.case("P30")
async def test_a_sequence_at_its_end_is_the_fault_of_the_store(pg_url, tmp_path):
    async with open_store(pg_url) as store:
        for day in (0, 1):
            await store.record(make_snapshot(day))
        await query(pg_url, "ALTER TABLE monitor ALTER COLUMN id SET MAXVALUE 2")
        await spool.put(str(tmp_path), make_snapshot(2))
        with pytest.raises(StoreError, match="AS bigint") as caught:
            await spool.store_waiting(str(tmp_path), store)
    assert not isinstance(caught.value, SnapshotRefusedError)
    assert len(spool_contents.waiting(str(tmp_path))) == 1


@pytest.mark.case("P31")
async def test_a_key_that_no_snapshot_gives_twice_is_the_fault_of_the_store(pg_url, tmp_path):
    async with open_store(pg_url) as store:
        await store.record(snapshot_with_insight(1))
        # What a damaged index does: a row that is there is not found, and inserted again.
        await query(
            pg_url,
            "CREATE RULE lost AS ON UPDATE TO scan_value DO INSTEAD INSERT INTO scan_value SELECT"
            " * FROM scan_value LIMIT 1",
        )
        await spool.put(str(tmp_path), snapshot_with_insight(2))
        with pytest.raises(StoreError, match="scan_value") as caught:
            await spool.store_waiting(str(tmp_path), store)
    assert not isinstance(caught.value, SnapshotRefusedError)
    assert len(spool_contents.waiting(str(tmp_path))) == 1


def set_aside(directory, name, content):
    (directory / "bad").mkdir(parents=True, exist_ok=True)
    (directory / "bad" / name).write_text(content)
    (directory / "bad" / f"{name}.reason").write_text("it was refused\n")


@pytest.mark.case("P30")
async def test_what_was_set_aside_is_tried_again_on_demand(tmp_path):
    one, two = (json.dumps(make_snapshot(day).to_record()) for day in (1, 2))
    set_aside(tmp_path, "01.json", one)
    set_aside(tmp_path, "01.json.2", two)
    set_aside(tmp_path, "02.json", "{")
    async with open_store(f"sqlite:///{tmp_path}/s.db") as store:
        assert (await spool.store_waiting(str(tmp_path), store)).stored == 0
        flushed = await spool.store_waiting(str(tmp_path), store, retry_bad=True)
        assert flushed.stored == 2
        assert list(flushed.set_aside) == [str(tmp_path / "02.json")]
        assert len((await store.history()).general.date) == 2
    assert sorted(os.listdir(tmp_path / "bad")) == ["02.json", "02.json.reason"]
    assert "Expecting" in (tmp_path / "bad/02.json.reason").read_text()


async def test_trying_again_what_was_set_aside_replaces_nothing_that_waits(tmp_path):
    one, two = (make_snapshot(day) for day in (1, 2))
    await spool.put(str(tmp_path), one)
    [waits] = spool_contents.waiting(str(tmp_path))
    set_aside(tmp_path, os.path.basename(waits), json.dumps(two.to_record()))
    async with open_store(f"sqlite:///{tmp_path}/s.db") as store:
        assert (await spool.store_waiting(str(tmp_path), store, retry_bad=True)).stored == 2
