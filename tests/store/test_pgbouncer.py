"""Stores behind PgBouncer: a real one, with session and transaction pooling."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import anyio
import asyncpg
import pytest

from jwqlscan.errors import StoreUnavailableError
from jwqlscan.history.insight_queries import read_insight
from jwqlscan.store import Tables, open_store, spool, spool_contents
from jwqlscan.store.known_areas import last_areas
from jwqlscan.store.postgresql import PostgresqlStore
from jwqlscan.store.schema import APPLICATION_ID
from jwqlscan.store.transfer.copy import copy
from tests.support.postgres import unprivileged_user
from tests.support.snapshots import make_snapshot
from tests.support.stores import everything, look, record, runs

START_TIMEOUT_S = 60


def pgbouncer():
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("this test needs pgbouncer: install the package of that name")
        pytest.skip("pgbouncer is not installed; with CI set this fails")
    return found


@contextmanager
def pooled(url, pool_mode, more=""):
    """Run a PgBouncer of Debian's defaults in front of a database, and give its URL."""
    server = urlsplit(url)
    program = pgbouncer()
    with tempfile.TemporaryDirectory(prefix="jwqlscan-pool-") as name, socket.socket() as taken:
        place = Path(name)
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        (place / "users").write_text(f'"{server.username}" "{server.password}"\n')
        (place / "ini").write_text(
            f"[databases]\n* = host={server.hostname} port={server.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {place}/users\n"
            f"pool_mode = {pool_mode}\nlogfile = {place}/log\n{more}"
        )
        as_user = {}
        if os.geteuid() == 0:  # PgBouncer refuses to run as root
            account = unprivileged_user()
            for path in (place, place / "users", place / "ini"):
                os.chown(path, account.pw_uid, account.pw_gid)
            as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        process = subprocess.Popen(
            [program, "-q", place / "ini"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **as_user,
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None, (place / "log").read_text()
                    assert time.monotonic() < deadline, "PgBouncer does not answer"
                    time.sleep(0.05)
            place_of = f"{server.username}:{server.password}@127.0.0.1:{port}"
            yield urlunsplit(server._replace(netloc=place_of))
        finally:
            process.terminate()
            process.wait(START_TIMEOUT_S)


@pytest.fixture(params=["session", "transaction"])
def pool_url(request, pg_url):
    with pooled(pg_url, request.param) as url:
        yield url


@pytest.fixture
def transaction_url(pg_url):
    with pooled(pg_url, "transaction") as url:
        yield url


async def query(url, sql):
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


@pytest.mark.case("P32")
async def test_what_is_stored_through_a_pooler_is_what_is_stored_without(
    pool_url, pg_url, tmp_path
):
    snapshots = runs(6)
    async with open_store(pool_url) as store, open_store(f"sqlite:///{tmp_path}/s.db") as other:
        await record(store, snapshots)
        await record(other, snapshots)
        assert await everything(store) == await everything(other)
        assert (await store.history()).general == (await other.history()).general
        assert (await read_insight(store)).areas == (await read_insight(other)).areas
        assert await last_areas(store) == await last_areas(other)
    async with open_store(pg_url) as direct:
        assert len((await direct.history()).general.date) == 6


@pytest.mark.case("P32")
async def test_several_hosts_store_through_one_pooler_at_once(transaction_url, tmp_path):
    async def host(number):
        directory = str(tmp_path / f"spool{number}")
        for day in range(3):
            snapshot = make_snapshot(10 * day + number)
            look(snapshot.areas[0], day, 20)
            await spool.put(directory, snapshot)
        async with open_store(transaction_url) as store:
            flushed = await spool.store_waiting(directory, store)
            assert (flushed.stored, flushed.set_aside, flushed.warnings) == (3, {}, ())

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(host, number)
    async with open_store(transaction_url) as store:
        assert len((await store.history()).general.date) == 12


@pytest.mark.case("P32")
async def test_the_lock_of_a_host_that_stores_holds_and_ends_through_a_pooler(pool_url, pg_url):
    async def locks():
        return await query(
            pg_url,
            "SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype ="
            " 'advisory' AND granted AND datname = current_database()"
            f" AND classid = {APPLICATION_ID} AND objid = 1",
        )

    async with (
        PostgresqlStore(pool_url) as one,
        PostgresqlStore(pool_url, exclusive_timeout_s=0.5) as two,
    ):
        async with one.exclusive():
            await one.record(make_snapshot(1))
            assert len(await locks()) == 1
            with pytest.raises(StoreUnavailableError, match="another host is storing"):
                async with two.exclusive():
                    raise AssertionError
            await one.record(make_snapshot(2))
        assert await locks() == []
        async with two.exclusive():
            await two.record(make_snapshot(3))
    assert await locks() == []


@pytest.mark.case("P32")
async def test_nothing_is_left_set_on_a_connection_that_others_get_next(transaction_url):
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "work_mem")
    question = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    async with asyncpg.create_pool(
        transaction_url, min_size=1, max_size=1, statement_cache_size=0
    ) as others:
        before = tuple(await others.fetchrow(question))
        async with open_store(transaction_url) as store:
            await store.record(make_snapshot(1))
            await store.history()
            assert tuple(await others.fetchrow(question)) == before
        for _ in range(5):
            assert tuple(await others.fetchrow(question)) == before


@pytest.mark.case("P32")
async def test_the_limits_of_a_statement_hold_in_each_transaction(pool_url):
    async with PostgresqlStore(pool_url) as store:
        [(limit, zone)] = await store.select(
            "SELECT current_setting('statement_timeout'), current_setting('timezone')"
        )
    assert (limit, zone) == ("110s", "UTC")


@pytest.mark.case("P32")
async def test_a_pool_that_is_cut_off_in_the_middle_costs_no_snapshot(pg_url, tmp_path):
    directory = str(tmp_path / "spool")
    with pooled(pg_url, "transaction") as url:
        async with open_store(url) as store:
            await store.record(make_snapshot(1))
            await spool.put(directory, make_snapshot(2))
            await query(
                pg_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                " current_database() AND pid <> pg_backend_pid()",
            )
            try:
                await spool.store_waiting(directory, store)
            except StoreUnavailableError:
                assert len(spool_contents.waiting(directory)) == 1
                await spool.store_waiting(directory, store)
            assert spool_contents.waiting(directory) == []
            assert len((await store.history()).general.date) == 2


@pytest.mark.case("P32")
async def test_a_copy_between_stores_works_through_a_pooler(transaction_url, tmp_path):
    async with open_store(transaction_url) as pooled_store:
        await record(pooled_store, runs(6))
        async with open_store(f"sqlite:///{tmp_path}/s.db") as other:
            await copy(pooled_store, other)
            assert await everything(other) == await everything(pooled_store)
            late = make_snapshot(100)
            await other.record(late)
            await copy(other, pooled_store)
            assert await everything(other) == await everything(pooled_store)


@pytest.mark.case("P32")
async def test_a_second_reader_with_a_schema_that_is_there_makes_none(transaction_url):
    async with open_store(transaction_url) as store:
        await store.record(make_snapshot(1))
    async with open_store(transaction_url, Tables.EXPECTED) as store:
        assert len((await store.history()).general.date) == 1
