"""Copying a store into another: exact, resumable, without harm; whole commands at the end."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwqlscan.errors import StoreError, StoreUnavailableError
from jwqlscan.history.insight_queries import read_insight
from jwqlscan.store import Tables, open_store
from jwqlscan.store.failures import record_failure
from jwqlscan.store.rows import TableRows
from jwqlscan.store.schema import migrations
from jwqlscan.store.transfer import copy as moving
from jwqlscan.store.transfer import copy_insight
from jwqlscan.store.transfer.copy import copy, layout_of
from jwqlscan.store.transfer.merge import Span, Timeline
from jwqlscan.store.transfer.rows import LEFT_OUT, ConflictError
from jwqlscan.store.validity import FOREVER_US, microseconds
from tests.store.test_jwql import jwql_url  # noqa: F401
from tests.support import stores
from tests.support.proxy import proxied
from tests.support.snapshots import START, make_snapshot


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(moving, "CHUNK_ROWS", 40)
    monkeypatch.setattr(copy_insight, "_CHUNK_ROWS", 40)
    monkeypatch.setattr(copy_insight, "_PARAMETERS", 16)


@pytest.fixture
def urls(tmp_path, pg_url):
    return {"sqlite": f"sqlite:///{tmp_path}/a.db", "postgresql": pg_url}


async def filled(url, snapshots, jwql=True):
    """Make a store with runs, insight, a failure and rows that JWQL left; return all it holds."""
    async with open_store(url) as store:
        await stores.record(store, snapshots)
        if jwql:
            await store.record_failure(START - timedelta(days=9), START, "f.log")
            for failure in stores.failures():
                await record_failure(store, failure)
            date = "2020-01-02T03:04:05.678901Z"
            await store.write(
                [
                    TableRows(
                        "filesystem_general",
                        (
                            *("date", "total_file_count", "total_file_size", "fits_file_count"),
                            *("fits_file_size", "used", "available"),
                        ),
                        [(date, 7, 0.1, 6, 1 / 3, 2.0**-40, 5e300)],
                    ),
                    TableRows(
                        "filesystem_instrument",
                        ("date", "instrument", "filetype", "count", "size"),
                        [(date, "miri", f"type {n}", n, n / 3) for n in range(100)],
                    ),
                    TableRows(
                        "monitor",
                        ("monitor_name", "start_time", "end_time", "status", "log_file"),
                        [("dark_monitor", date, None, None, "é\t'")] * 3,
                    ),
                ]
            )
        return await stores.everything(store)


async def copied(source, target):
    async with open_store(source, Tables.EXPECTED) as one, open_store(target) as other:
        done = await copy(one, other)
        return done, await stores.everything(other)


async def test_a_copy_there_and_back_is_the_same_row_for_row(urls, tmp_path, small_pieces):
    whole = await filled(urls["sqlite"], stores.runs(12))
    assert all(whole.values()), "a table without rows is not tested"
    done, there = await copied(urls["sqlite"], urls["postgresql"])
    assert there == whole
    assert (done.runs, done.present, done.warnings) == (12, 0, ())
    assert done.rows == {table: len(rows) for table, rows in whole.items()}
    done, back = await copied(urls["postgresql"], f"sqlite:///{tmp_path}/back.db")
    assert back == whole
    assert done.rows == {table: len(rows) for table, rows in whole.items()}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_copying_again_changes_nothing_and_then_copies_what_is_new(urls, tmp_path, kind):
    snapshots = stores.runs(6)
    target = urls["postgresql"] if kind == "postgresql" else f"sqlite:///{tmp_path}/b.db"
    whole = await filled(urls["sqlite"], snapshots)
    await copied(urls["sqlite"], target)
    done, there = await copied(urls["sqlite"], target)
    assert (done.runs, done.present, done.rows, there) == (0, 6, {}, whole)
    async with open_store(urls["sqlite"]) as store:
        await store.record(make_snapshot(40))
        whole = await stores.everything(store)
    done, there = await copied(urls["sqlite"], target)
    assert (done.runs, there) == (1, whole)


async def test_runs_go_on_in_the_copy_as_they_would_have_in_the_first(urls, small_pieces):
    snapshots = stores.runs(12)
    await filled(urls["sqlite"], snapshots[:8])
    await copied(urls["sqlite"], urls["postgresql"])
    held = [await filled(url, snapshots[8:], jwql=False) for url in urls.values()]
    assert held[0] == held[1]
    async with open_store(urls["sqlite"]) as one, open_store(urls["postgresql"]) as other:
        assert await read_insight(one) == await read_insight(other)
        assert await one.history() == await other.history()


@pytest.mark.parametrize("first", [range(0, 6), range(6, 12), range(0, 12, 2), range(3, 8)])
async def test_what_two_stores_hold_is_put_together_by_date(urls, tmp_path, first, small_pieces):
    snapshots = stores.runs(12)
    some = [one for day, one in enumerate(snapshots) if day in first]
    others = [one for one in snapshots if one not in some]
    whole = await filled(f"sqlite:///{tmp_path}/whole.db", snapshots)
    await filled(urls["sqlite"], some)
    await filled(urls["postgresql"], others, jwql=False)
    done, there = await copied(urls["sqlite"], urls["postgresql"])
    assert there == whole
    assert done.runs == len(some)


async def test_runs_in_both_stores_are_taken_once(urls, tmp_path):
    snapshots = stores.runs(10)
    whole = await filled(f"sqlite:///{tmp_path}/whole.db", snapshots)
    await filled(urls["sqlite"], snapshots[:7])
    await filled(urls["postgresql"], snapshots[4:])
    done, there = await copied(urls["sqlite"], urls["postgresql"])
    assert there == whole
    assert (done.runs, done.present) == (4, 3)


# ---- conflicts ----


def another_run(snapshot):
    return make_snapshot(timestamp=snapshot.timestamp)


def other_numbers(snapshot):
    return replace(snapshot, seconds=snapshot.seconds + 1)


@pytest.mark.parametrize("change", [another_run, other_numbers])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_conflict_of_runs_is_one_line_and_changes_nothing(urls, tmp_path, change, kind):
    snapshots = stores.runs(4)
    target = urls["postgresql"] if kind == "postgresql" else f"sqlite:///{tmp_path}/b.db"
    await filled(urls["sqlite"], snapshots)
    before = await filled(target, [change(snapshots[-1])], jwql=False)
    with pytest.raises(ConflictError, match="nothing is copied") as caught:
        await copied(urls["sqlite"], target)
    assert "\n" not in str(caught.value) and "2026-03-04" in str(caught.value)
    async with open_store(target) as store:
        assert await stores.everything(store) == before


async def test_a_conflict_of_jwqls_rows_is_one_line_and_changes_nothing(urls, tmp_path):
    await filled(urls["sqlite"], stores.runs(4))
    async with open_store(urls["postgresql"]) as store:
        row = ("2020-01-02T03:04:05.678901Z", "miri", "type 99", 99, 33.5)
        columns = ("date", "instrument", "filetype", "count", "size")
        await store.write([TableRows("filesystem_instrument", columns, [row])])
        before = await stores.everything(store)
        with pytest.raises(ConflictError, match=r"type 99.* has other numbers") as caught:
            await copied(urls["sqlite"], urls["postgresql"])
        assert "\n" not in str(caught.value)
        assert await stores.everything(store) == before


async def test_into_a_jwql_database_what_its_columns_lack_costs_that_row(jwql_url, urls):  # noqa: F811
    await filled(urls["sqlite"], stores.runs(3))
    done, there = await copied(urls["sqlite"], jwql_url)
    assert done.runs == 3
    # of each run that measured it, the archive's products are in the ENUMs; JWQL's own 100 are not
    assert len(done.warnings) == 100 and all("filetype_enum" in one for one in done.warnings)
    async with open_store(urls["sqlite"]) as store:
        whole = await stores.everything(store)
    for table in ("scan_run", "scan_area", "scan_product", "scan_insight", "scan_value"):
        assert there[table] == whole[table]
    assert set(whole["filesystem_general"]) < set(there["filesystem_general"])
    url, environment = without_password(jwql_url)
    done = jwqlscan("db", "copy", urls["sqlite"], url, **environment)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 100 and "left out" in done.stderr


# ---- no table is forgotten ----


async def test_every_table_is_copied_or_named_as_left_out(urls):
    for url in urls.values():
        async with open_store(url) as store:
            catalog = await store.catalog()
        layout = layout_of(catalog, catalog)
        assert set(layout.columns) | set(LEFT_OUT) == set(catalog) | set(LEFT_OUT)
        created = {
            line.split()[-2]
            for step in migrations("postgresql")
            for line in step.sql.splitlines()
            if line.startswith("CREATE TABLE")
        }
        assert created <= set(layout.columns) | set(LEFT_OUT)


async def test_a_table_that_nobody_thought_of_is_told(urls):
    async with open_store(urls["sqlite"]) as store:
        catalog = dict(await store.catalog())
    catalog["scan_surprise"] = {"id": None, "text": None}
    with pytest.raises(StoreError, match="scan_surprise"):
        layout_of(catalog, catalog)


async def test_a_new_table_of_runs_is_copied_without_being_named(urls, tmp_path):
    source, target = urls["sqlite"], f"sqlite:///{tmp_path}/b.db"
    await filled(source, stores.runs(3))
    made = "CREATE TABLE scan_more (run_id TEXT REFERENCES scan_run ON DELETE CASCADE, n INTEGER)"
    async with open_store(source) as one, open_store(target) as other:
        for store in (one, other):
            await store.write([], [(made, ())])
        await one.write([], [("INSERT INTO scan_more SELECT run_id, 5 FROM scan_run", ())])
        done = await copy(one, other)
        assert done.rows["scan_more"] == 3
        assert await stores.everything(other) == await stores.everything(one)


# ---- spans ----

DATES = st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True)
VALUE = st.sampled_from([None, (1,), (2,)])


def encoded(function):
    """Return the spans of a function of dates, as few as there can be."""
    spans, last = [], None
    for date in sorted(function):
        value = function[date]
        if value is not None:
            if spans and spans[-1].last == last and spans[-1].values == value:
                spans[-1] = spans[-1]._replace(last=date)
            else:
                spans.append(Span(date, date, value))
        last = date
    if spans and spans[-1].last == last:
        spans[-1] = spans[-1]._replace(last=FOREVER_US)
    return spans


@given(
    new=st.dictionaries(st.integers(0, 30), VALUE, min_size=1),
    known=st.dictionaries(st.integers(0, 30), VALUE),
)
def test_spans_put_together_are_those_of_all_dates(new, known):
    whole = encoded({**new, **known})
    if set(new) <= set(known):
        return
    timeline = Timeline(new, known)
    first, last = timeline.dates[0], timeline.dates[-1]

    def touching(spans):
        return [span for span in spans if span.last >= first and span.first <= last]

    before = encoded(known)
    there = touching(before)
    after = [span for span in before if span not in there] + timeline.merged(
        touching(encoded(new)), there
    )
    assert sorted(after) == whole


# ---- what is cut off ----

COPY = """
import sys, anyio
from jwqlscan.store.transfer import copy as moving, copy_insight as moving_insight
from jwqlscan.store import open_store
moving.CHUNK_ROWS = moving_insight._CHUNK_ROWS = 60
async def main():
    async with open_store(sys.argv[1]) as source, open_store(sys.argv[2]) as target:
        await moving.copy(source, target)
anyio.run(main)
"""


async def count(url, table):
    async with open_store(url) as store:
        return (await store.select(f"SELECT count(*) FROM {table}"))[0][0]


@pytest.mark.case("P01", "P10")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_copy_that_was_killed_and_started_again_is_like_one_that_was_not(
    urls, tmp_path, kind
):
    source = f"sqlite:///{tmp_path}/from.db"
    target = urls[kind]
    whole = await filled(source, stores.runs(60, series=60))
    async with open_store(target):
        pass
    waits = [("scan_run", 3), ("scan_run", 30), ("scan_value", 40), ("scan_insight", 1)]
    killed = 0
    for table, rows in waits:
        process = subprocess.Popen([sys.executable, "-c", COPY, source, target])
        deadline = time.monotonic() + 60
        while process.poll() is None and await count(target, table) < rows:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        async with open_store(target) as store:
            part = await stores.everything(store)
        assert len(part["scan_run"]) <= len(whole["scan_run"])
        # What is there of runs is whole.
        ids = {row[0] for row in part["scan_run"]}
        assert part["scan_area"] == [row for row in whole["scan_area"] if row[0] in ids]
        assert part["scan_product"] == [row for row in whole["scan_product"] if row[0] in ids]
    assert killed >= 3
    _, there = await copied(source, target)
    assert there == whole


@pytest.mark.case("P10")
@pytest.mark.parametrize("fault", ["cut", "stall"])
async def test_a_database_that_goes_away_in_the_middle_is_one_line_and_no_harm(
    urls, tmp_path, fault, small_pieces, monkeypatch
):
    from jwqlscan.store.postgresql import PostgresqlStore

    whole = await filled(urls["sqlite"], stores.runs(12))
    async with proxied(urls["postgresql"]) as proxy, open_store(urls["sqlite"]) as source:
        for after in (b'COPY "scan_product"', b'COPY "scan_value"', b"COMMIT"):
            target = PostgresqlStore(proxy.url, call_timeout_s=1.0)
            with pytest.raises(StoreUnavailableError) as caught:
                async with target:
                    proxy.arm(fault, after)
                    await copy(source, target)
            assert "\n" not in str(caught.value)
            assert (after == b"COMMIT") != ("copy again" in str(caught.value))
            proxy.heal()
    _, there = await copied(urls["sqlite"], urls["postgresql"])
    assert there == whole


async def test_a_run_that_is_stored_meanwhile_is_not_spoilt(urls, tmp_path, small_pieces):
    snapshots = stores.runs(8)
    await filled(urls["sqlite"], snapshots[:4])
    target = f"sqlite:///{tmp_path}/b.db"
    await filled(target, snapshots[4:6], jwql=False)
    async with open_store(urls["sqlite"]) as one, open_store(target) as other:
        write = other.write
        stored = []

        async def disturbed(tables, statements=(), expected=None):
            if expected and not stored:
                stored.append(True)
                date = microseconds(snapshots[7].timestamp)
                await write(
                    [],
                    [
                        (
                            "INSERT INTO scan_insight SELECT run_id, 'archive', 'all', "
                            f"{date}, 1, '{{}}' FROM scan_run LIMIT 1",
                            (),
                        ),
                    ],
                )
            return await write(tables, statements, expected)

        other.write = disturbed
        before = (await stores.everything(other))["scan_value"]
        with pytest.raises(StoreUnavailableError, match="stored meanwhile"):
            await copy(one, other)
        assert (await stores.everything(other))["scan_value"] == before


# ---- the command ----


def jwqlscan(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


def without_password(url):
    parts = urlsplit(url)
    bare = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()
    return bare, {"PGPASSWORD": parts.password}


async def test_the_command_copies_and_says_how_much(urls):
    await filled(urls["sqlite"], stores.runs(3))
    url, environment = without_password(urls["postgresql"])
    done = jwqlscan("db", "copy", urls["sqlite"], url, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "scan_run 3" in done.stdout and len(done.stdout.splitlines()) == 1
    done = jwqlscan("db", "copy", url, urls["sqlite"], **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing was missing" in done.stdout


def told(done, code):
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == 1 or "Usage" in done.stderr
    return " ".join(done.stderr.replace("│", " ").split())


async def test_what_is_no_store_is_refused_in_one_line(urls, tmp_path):
    missing = f"sqlite:///{tmp_path}/missing.db"
    assert "is not there" in told(jwqlscan("db", "copy", missing, urls["sqlite"]), 1)
    assert os.listdir(tmp_path) == []
    (tmp_path / "empty.db").touch()
    assert "holds no runs" in told(
        jwqlscan("db", "copy", f"sqlite:///{tmp_path}/empty.db", urls["sqlite"]), 1
    )
    url, environment = without_password(urls["postgresql"])
    assert "holds no runs" in told(jwqlscan("db", "copy", url, urls["sqlite"], **environment), 1)
    connection = await asyncpg.connect(urls["postgresql"])
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relname ~ '^scan'") == 0
    await connection.close()
    assert "expected sqlite:///FILE" in told(jwqlscan("db", "copy", "a.db", "b.db"), 2)


async def test_a_store_is_not_copied_to_itself(urls, tmp_path):
    await filled(urls["sqlite"], stores.runs(1))
    os.symlink(tmp_path / "a.db", tmp_path / "same.db")
    done = jwqlscan("db", "copy", urls["sqlite"], f"sqlite:///{tmp_path}/same.db")
    assert "to itself" in told(done, 1)


@pytest.mark.case("S01")
@pytest.mark.parametrize("arguments", [("{}", "sqlite:////x"), ("sqlite:////x", "{}")])
def test_a_password_among_the_arguments_is_refused(arguments):
    url = "postgresql://u:s3cret@127.0.0.1:1/x"
    done = jwqlscan("db", "copy", *(one.format(url) for one in arguments))
    text = told(done, 2)
    assert "~/.pgpass" in text and "s3cret" not in text


def test_a_database_that_is_down_exits_4(tmp_path):
    async def make():
        await filled(f"sqlite:///{tmp_path}/a.db", stores.runs(1))

    asyncio.run(make())
    done = jwqlscan("db", "copy", f"sqlite:///{tmp_path}/a.db", "postgresql://u@127.0.0.1:1/x")
    assert "127.0.0.1" in told(done, 4)
