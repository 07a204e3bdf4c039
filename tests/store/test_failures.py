"""Failed runs in the store: their causes, and what older versions wrote of them."""

from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from jwqlscan.store import open_store
from jwqlscan.store.failures import MAX_CAUSE, Failure, newest_failure, record_failure
from jwqlscan.store.rows import TableRows
from tests.support.marks import STORES
from tests.support.snapshots import START, make_snapshot

DAY = timedelta(days=1)


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/a.db"
    return request.getfixturevalue("pg_url")


def failure(number, day=0, **fields):
    began = START + day * DAY
    made = Failure(
        str(UUID(int=number)), began, began + DAY / 2, "h", "1.0", 1, f"cause {number}", "x.log"
    )
    return made._replace(**fields)


async def test_the_newest_failed_run_comes_back_as_it_was_stored(url):
    async with open_store(url) as store:
        assert await newest_failure(store) is None
        for number, day in ((1, 3), (2, 5), (3, 4)):
            await record_failure(store, failure(number, day))
        assert await newest_failure(store) == failure(2, 5)
        killed = failure(4, 6, ended=None, exit_code=None)
        await record_failure(store, killed)
        assert await newest_failure(store) == killed


async def test_a_failure_is_looked_for_from_the_newest_stored_run_on(url):
    async with open_store(url) as store:
        await record_failure(store, failure(1, 3))
        assert await newest_failure(store, START + 3 * DAY) == failure(1, 3)
        assert await newest_failure(store, START + 3.1 * DAY) is None


async def test_a_failure_is_stored_once_however_often_it_is_recorded(url):
    async with open_store(url) as store:
        await record_failure(store, failure(1))
        await record_failure(store, failure(1, cause="another"))
        assert await newest_failure(store) == failure(1)
        assert (await store.select("SELECT count(*) FROM scan_failure"))[0][0] == 1


async def test_a_failed_run_hangs_on_no_stored_run(url):
    async with open_store(url) as store:
        snapshot = make_snapshot(0)
        await store.record(snapshot)
        report = failure(1)._replace(run_id=snapshot.run_id, exit_code=5)
        await record_failure(store, report)
        await store.write([], [("DELETE FROM scan_run WHERE {text:run_id} = $1", (report.run_id,))])
        assert await newest_failure(store) == report


async def test_a_failure_that_only_the_monitor_table_has_is_found_without_a_cause(url):
    async with open_store(url) as store:
        await record_failure(store, failure(1, 1))
        await store.record_failure(START + DAY, START + 2 * DAY, "")  # the same run's
        assert await newest_failure(store) == failure(1, 1)
        await store.record_failure(START + 2 * DAY, START + 2 * DAY, "")
        newest = await newest_failure(store)
    assert newest is not None and newest.started == START + 2 * DAY
    assert "not known" in newest.cause and newest.exit_code is None


async def test_a_cause_is_cut_to_its_greatest_length_and_shown_harmless(url):
    row = failure(1, cause="x" * 2 * MAX_CAUSE)
    async with open_store(url) as store:
        await record_failure(store, row)
        assert (await newest_failure(store)).cause == "x" * MAX_CAUSE
        row = failure(2, 1, cause="a\n\x1b[2J")
        names = tuple(Failure._fields)
        values = tuple(v if not hasattr(v, "isoformat") else v.isoformat() for v in row)
        await store.write([TableRows("scan_failure", names, [values])])
        assert (await newest_failure(store)).cause == "a\\x0a\\x1b[2J"


async def test_a_cause_that_the_databases_encoding_lacks_is_stored_escaped(pg_server):
    connection = await asyncpg.connect(pg_server)
    await connection.execute(
        "CREATE DATABASE latin_failures ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    )
    await connection.close()
    async with open_store(pg_server.rpartition("/")[0] + "/latin_failures") as store:
        await record_failure(store, failure(1, cause="/観測: no files"))
        assert (await newest_failure(store)).cause == "/\\u89b3\\u6e2c: no files"
