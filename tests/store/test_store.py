"""One contract over both stores, then what is each one's own."""

import asyncio
import json
import os
import socket
import sqlite3
import stat
import traceback
import uuid
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import timedelta, timezone
from urllib.parse import urlsplit, urlunsplit

import anyio
import asyncpg
import pytest

from jwqlscan.errors import ConfigError, StoreError, StoreUnavailableError
from jwqlscan.model.tally import Amount, Product, Tally
from jwqlscan.store import MONITOR_NAME, LastArea, Store, open_store, schema
from jwqlscan.store.dsn import redacted
from jwqlscan.store.known_areas import last_areas, last_complete_areas
from jwqlscan.store.postgresql import PostgresqlStore
from jwqlscan.store.postgresql_errors import in_words
from jwqlscan.store.schema import migrations
from jwqlscan.store.sqlite import SqliteStore
from jwqlscan.text import escape
from tests.support.marks import STORES
from tests.support.snapshots import (
    BAD_NAME,
    CAPACITY,
    PRODUCTS,
    START,
    hostile_tally,
    make_area,
    make_snapshot,
    make_tally,
)

SECRET = "s3cret"
TABLES = (
    *("filesystem_general", "filesystem_instrument", "central_storage", "monitor"),
    *("scan_run", "scan_area", "scan_product"),
)


@dataclass
class Backend:
    """A store's URL, and its tables behind the store's back."""

    url: str

    def open(self) -> Store:
        return open_store(self.url)

    async def query(self, sql: str) -> list[tuple]:
        if self.url.startswith("sqlite"):
            path = self.url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                return connection.execute(sql).fetchall()
        connection = await asyncpg.connect(self.url)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    async def counts(self) -> list[int]:
        return [(await self.query(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES]


@pytest.fixture(params=STORES)
def backend(request, tmp_path):
    if request.param == "sqlite":
        return Backend(f"sqlite:///{tmp_path}/store/jwqlscan.db")
    return Backend(request.getfixturevalue("pg_url"))


async def test_a_recorded_snapshot_comes_back_as_history(backend):
    snapshot = make_snapshot()
    async with backend.open() as store:
        assert await store.record(snapshot) == []
        history = await store.history()
    general = history.general
    assert general.date == [START]
    assert general.date[0].tzinfo is not None and general.date[0].utcoffset() == timedelta(0)
    assert (general.total_file_count, general.total_file_size) == ([10], [2.0])
    assert (general.fits_file_count, general.fits_file_size) == ([7], [1.5])
    assert (general.used, general.available) == ([5.0], [14.0])
    assert set(history.products) == set(PRODUCTS)
    cal = history.products[Product("nircam", "cal")]
    assert (cal.date, cal.count, cal.size) == ([START], [4], [1.0])
    assert set(history.central) == {"all", "logs"}
    logs = history.central["logs"]
    assert (logs.date, logs.size, logs.used, logs.available) == ([START], [20.0], [0.25], [14.0])
    assert history.sample_dates == history.incomplete_dates == frozenset()


async def test_an_empty_store_has_an_empty_history_and_no_areas(backend):
    async with backend.open() as store:
        assert (await store.history()).empty
        assert await last_areas(store) == {}


@pytest.mark.case("P21")
async def test_recording_a_snapshot_again_changes_nothing(backend):
    snapshot = make_snapshot()
    async with backend.open() as store:
        await store.record(snapshot)
        before = await backend.counts()
        assert await store.record(snapshot) == []
    async with backend.open() as store:
        await store.record(replace(snapshot, timestamp=START + timedelta(days=1)))
    assert await backend.counts() == before == [1, 2, 2, 1, 1, 4, 6]


@pytest.mark.case("P21")
async def test_the_same_snapshot_recorded_at_once_by_two_is_stored_once(backend):
    snapshot = make_snapshot()
    async with backend.open() as one, backend.open() as two, anyio.create_task_group() as tasks:
        for store in (one, two, one, two):
            tasks.start_soon(store.record, snapshot)
    assert await backend.counts() == [1, 2, 2, 1, 1, 4, 6]


async def test_a_store_opened_at_once_by_several_gets_one_schema(backend):
    async def use(day: int) -> None:
        async with backend.open() as store:
            await store.record(make_snapshot(day))

    async with anyio.create_task_group() as tasks:
        for day in range(6):
            tasks.start_soon(use, day)
    assert (await backend.counts())[0] == 6


async def test_runs_are_in_order_of_their_dates_however_they_were_recorded(backend):
    async with backend.open() as store:
        for day in (2, 0, 1):
            await store.record(make_snapshot(day))
        history = await store.history()
    dates = [START + timedelta(days=day) for day in range(3)]
    assert history.general.date == dates
    assert all(columns.date == dates for columns in history.products.values())
    assert all(columns.date == dates for columns in history.central.values())


async def test_another_run_of_the_same_date_is_refused(backend):
    async with backend.open() as store:
        await store.record(make_snapshot())
        before = await backend.counts()
        with pytest.raises(StoreError, match="another run is stored under the date"):
            await store.record(make_snapshot())
    assert await backend.counts() == before


async def test_history_since_a_date_starts_with_that_date(backend):
    async with backend.open() as store:
        for day in range(4):
            await store.record(make_snapshot(day, sample=day < 3))
        history = await store.history(since=START + timedelta(days=2))
    dates = [START + timedelta(days=2), START + timedelta(days=3)]
    assert history.general.date == dates
    assert history.products[Product("miri", "rate")].date == dates
    assert history.central["logs"].date == dates
    assert history.sample_dates == {dates[0]}


async def test_sample_and_incomplete_runs_are_flagged_by_their_dates(backend):
    async with backend.open() as store:
        await store.record(make_snapshot(0, sample=True))
        await store.record(make_snapshot(1, make_area(state="partial")))
        await store.record(make_snapshot(2))
        history = await store.history()
    assert history.sample_dates == {START}
    assert history.incomplete_dates == {START + timedelta(days=1)}
    assert len(history.general.date) == 3
    reasons = await backend.query("SELECT incomplete_reasons FROM scan_run ORDER BY date")
    assert json.loads(reasons[1][0]) == ["archive all: partial"]
    assert history.runs.status == ["complete", "incomplete", "complete"]
    assert history.runs.reasons[1] == ["archive all: partial"]


async def test_a_runs_quality_is_that_of_its_groups_together(backend):
    archive = make_tally(errors={"permission": 2}, skipped={"snapshot": 1}, vanished=3)
    central = make_tally(5, errors={"permission": 1, "io": 4}, unrecognized=0)
    snapshot = make_snapshot(
        0,
        make_area(tally=archive),
        make_area(name="public", tally=archive),  # a part of all: not counted again
        make_area("central", "all", central),
    )
    async with backend.open() as store:
        await store.record(snapshot)
        await store.record(make_snapshot(1))
        runs = (await store.history()).runs
    assert runs.date == [START, START + timedelta(days=1)]
    assert runs.errors == [{"permission": 3, "io": 4}, {}]
    assert runs.skipped == [{"snapshot": 1}, {}]
    assert (runs.files[0], runs.vanished[0], runs.unrecognized[0]) == (15, 3, 1)
    assert (runs.seconds[0], runs.host[0], runs.reader[0]) == (88.5, "storage1", "scandir")


async def test_capacity_is_told_by_filesystem_once_a_run(backend):
    other = replace(CAPACITY, target="/central", source="nfs:/central", used_bytes=2**40)
    unnamed = replace(CAPACITY, target="", source="")  # the sum over several
    async with backend.open() as store:
        for day in range(2):
            await store.record(
                make_snapshot(
                    day,
                    make_area(capacity=unnamed),
                    make_area(name="public"),
                    make_area(name="proprietary"),
                    make_area("central", "all", capacity=other),
                    make_area("central", "logs", capacity=None),
                )
            )
        filesystems = (await store.history()).filesystems
    assert set(filesystems) == {"/archive", "/central"}
    archive = filesystems["/archive"]
    assert archive.date == [START, START + timedelta(days=1)]
    assert archive.areas == ["archive proprietary", "archive public"]
    assert (archive.source, archive.fstype) == ("/dev/sda1", "xfs")
    assert archive.size_bytes == [CAPACITY.size_bytes] * 2
    assert filesystems["/central"].used_bytes == [2**40] * 2
    assert archive.available_bytes == [CAPACITY.available_bytes] * 2


async def test_samples_are_those_of_the_newest_run(backend):
    async with backend.open() as store:
        await store.record(make_snapshot(0))
        await store.record(make_snapshot(1, make_area(tally=hostile_tally())))
        samples = (await store.history()).samples
        assert (await store.history(START + timedelta(days=2))).empty
    shown_name = r"/archive/bad\xff\x0aname.fits"
    assert samples.unrecognized == [shown_name]
    assert samples.errors == [("permission", "stat", shown_name)]


async def test_the_last_areas_are_those_of_the_newest_real_run_that_measured_them(backend):
    gone = make_area("central", "logs", Tally(), state="missing", note="No such file or directory")
    async with backend.open() as store:
        await store.record(make_snapshot(1, make_area(tally=make_tally(21)), gone))
        await store.record(make_snapshot(0))
        await store.record(make_snapshot(2, sample=True))
        last, first = await last_areas(store), await last_areas(store, START)
    assert last["archive", "all"] == LastArea(21, 25, 2 * 2**40)
    assert last["archive", "public"] == first["archive", "public"]._replace(date=START)
    missing = ("/central/logs", "No such file or directory")
    assert last["central", "logs"] == LastArea(0, 0, missing=missing)
    assert last.keys() == first.keys() and first["archive", "all"].date is None


async def test_the_last_complete_areas_are_of_no_incomplete_suspect_or_sample_run(backend):
    incomplete = make_area(tally=make_tally(7), state="stalled", note="no answer")
    async with backend.open() as store:
        assert await last_complete_areas(store) == {}
        await store.record(make_snapshot(0, make_area(tally=make_tally(5))))
        await store.record(make_snapshot(1, make_area(tally=make_tally(6))))
        await store.record(make_snapshot(2, incomplete))
        await store.record(make_snapshot(3, suspicions=("archive all: fewer files",)))
        await store.record(make_snapshot(4, sample=True))
        assert await last_complete_areas(store) == {("archive", "all"): LastArea(6, 10, 2 * 2**40)}
        history = await store.history()
    assert history.incomplete_dates == {START + timedelta(days=day) for day in (2, 3)}
    assert history.runs.status[2:4] == ["incomplete", "suspect"]
    assert history.runs.reasons[3] == ["archive all: fewer files"]
    suspects = await backend.query("SELECT suspicions FROM scan_run ORDER BY date DESC LIMIT 2")
    assert suspects[1] == ('["archive all: fewer files"]',)
    assert await backend.query("SELECT DISTINCT note FROM scan_area WHERE note <> ''") == [
        ("no answer",)
    ]


async def test_an_area_of_which_nothing_is_known_gets_no_jwql_row(backend):
    lost = make_area("central", "logs", Tally(), state="failed")
    async with backend.open() as store:
        await store.record(make_snapshot(0, make_area(), make_area("central"), lost))
        await store.record(make_snapshot(1, make_area(tally=Tally(), state="failed")))
    assert await backend.query("SELECT area FROM central_storage") == [("all",)]
    assert await backend.query("SELECT count(*) FROM filesystem_general") == [(1,)]


async def test_mounts_that_were_crossed_are_stored(backend):
    tally = make_tally(mounts={"/archive/all/more": "nfs4"})
    async with backend.open() as store:
        await store.record(make_snapshot(0, make_area(tally=tally)))
    assert await backend.query("SELECT mounts FROM scan_area") == [
        ('{"/archive/all/more":"nfs4"}',)
    ]


@pytest.mark.parametrize("state", ["stopped", "stalled", "failed"])
async def test_an_area_that_the_last_run_could_not_read_is_unknown(backend, state):
    unread = make_area(name="public", tally=Tally(), state=state)
    async with backend.open() as store:
        await store.record(make_snapshot(0, make_area()))
        await store.record(make_snapshot(1, make_area(), unread))
        assert set(await last_areas(store)) == {("archive", "all")}
        await store.record(make_snapshot(-1, make_area(), make_area(name="public")))
        assert (await last_areas(store))["archive", "public"].files == 10


async def test_sample_runs_alone_leave_no_last_areas(backend):
    async with backend.open() as store:
        await store.record(make_snapshot(sample=True))
        assert await last_areas(store) == {}


async def test_a_failed_run_leaves_a_row_in_monitor_only(backend):
    ended = START + timedelta(minutes=1)
    async with backend.open() as store:
        await store.record_failure(START, ended, "/var/log/x.log")
        assert (await store.history()).empty
    rows = await backend.query("SELECT monitor_name, status, log_file FROM monitor")
    assert rows == [(MONITOR_NAME, "FAILURE", "/var/log/x.log")]
    assert await backend.counts() == [0, 0, 0, 1, 0, 0, 0]


@pytest.mark.case("F26")
async def test_names_that_are_not_utf8_are_stored_as_they_are_shown(backend):
    area = replace(make_area(tally=hostile_tally()), path="/bad\udcfe")
    async with backend.open() as store:
        await store.record(make_snapshot(0, area))
    ((path, errors, samples),) = await backend.query(
        "SELECT path, error_samples, unrecognized_samples FROM scan_area"
    )
    assert path == "/bad\\xfe"
    (error,) = json.loads(errors)
    assert (error["path"], error["kind"], error["errno"]) == (escape(BAD_NAME), "permission", 13)
    (sample,) = json.loads(samples).values()
    assert sample["path"] == escape(BAD_NAME) == "/archive/bad\\xff\\x0aname.fits"


@pytest.mark.case("S08")
@pytest.mark.parametrize(
    "name",
    [
        "'; DROP TABLE scan_run; --",
        '"; DELETE FROM scan_area; --',
        "$1 ? :name %s",
        "'||(SELECT 1)||'",
    ],
)
async def test_names_are_stored_and_never_run(backend, name):
    tally = make_tally(products={Product(name, name): Amount(1, 5)})
    areas = [make_area("central", name, tally), replace(make_area(tally=tally), path=name)]
    async with backend.open() as store:
        await store.record(make_snapshot(0))
        await store.record(make_snapshot(1, *areas, host=name, log_file=name))
    assert (await backend.counts())[TABLES.index("scan_run")] == 2
    assert (name,) in await backend.query("SELECT area FROM scan_area")
    assert (name,) in await backend.query("SELECT path FROM scan_area")
    assert (name,) in await backend.query("SELECT host FROM scan_run")
    assert (name, name) in await backend.query("SELECT instrument, filetype FROM scan_product")


async def test_numbers_that_a_double_can_not_hold_are_exact_in_scan_area(backend):
    size = 2**53 + 1
    tally = make_tally(apparent_bytes=size, allocated_bytes=size + 2, fits_bytes=size + 4)
    capacity = replace(CAPACITY, size_bytes=2**62 + 1, inodes=2**64 - 1)
    async with backend.open() as store:
        await store.record(make_snapshot(0, make_area(tally=tally, capacity=capacity)))
    columns = "apparent_bytes, allocated_bytes, fits_bytes, size_bytes, inodes, inodes_used"
    assert await backend.query(f"SELECT {columns} FROM scan_area") == [
        (size, size + 2, size + 4, 2**62 + 1, None, 400)
    ]


async def test_every_count_of_a_tally_has_its_own_column(backend):
    names = [name for name, value in Tally().to_record().items() if isinstance(value, int)]
    tally = Tally(**{name: number for number, name in enumerate(names, 1)})
    async with backend.open() as store:
        await store.record(make_snapshot(0, make_area(tally=tally)))
    rows = await backend.query(f"SELECT {', '.join(names)} FROM scan_area")
    assert rows == [tuple(range(1, len(names) + 1))]


async def test_an_unknown_capacity_is_not_made_up(backend):
    areas = (make_area(capacity=None), make_area("central", "all", capacity=None))
    async with backend.open() as store:
        assert await store.record(make_snapshot(0, *areas)) == []
        history = await store.history()
    general = history.general  # JWQL's table has no unknown: from our own
    assert (general.total_file_count, general.used, general.available) == ([10], [None], [None])
    assert await backend.query("SELECT count(*) FROM filesystem_general") == [(0,)]
    assert set(history.products) == set(PRODUCTS)
    central = history.central["all"]
    assert (central.size, central.used, central.available) == ([None], [2.0], [None])
    assert history.incomplete_dates == {START}
    assert await backend.query("SELECT size_bytes, source FROM scan_area") == [(None, None)] * 2


async def test_a_transaction_that_fails_leaves_nothing_and_the_store_goes_on(backend):
    twice = make_area("central", "logs")
    async with backend.open() as store:
        with pytest.raises(StoreError):
            await store.record(make_snapshot(0, make_area(), twice, twice))
        assert await backend.counts() == [0] * len(TABLES)
        await store.record(make_snapshot())
        assert len((await store.history()).general.date) == 1


async def test_a_sum_beyond_64_bits_is_stored_as_the_largest_number_there_is(backend):
    # Sizes that nobody can have on disk cost neither the run nor the other numbers.
    async with backend.open() as store:
        await store.record(make_snapshot(0, make_area(tally=make_tally(apparent_bytes=2**63))))
    [(stored,)] = await backend.query("SELECT apparent_bytes FROM scan_area")
    assert stored == 2**63 - 1


@pytest.mark.case("P17")
async def test_a_store_of_the_first_version_is_brought_up_with_what_it_holds(backend, monkeypatch):
    monkeypatch.setattr(schema, "migrations", lambda dialect: migrations(dialect)[:1])
    async with backend.open():
        pass
    monkeypatch.undo()
    sample = "0" if backend.url.startswith("sqlite") else "false"
    date = "2025-01-02T03:04:05.000000Z"
    await backend.query(
        "INSERT INTO scan_run (run_id, date, started, ended, host, version, reader, workers,"
        " seconds, status, incomplete_reasons, sample, log_file) VALUES"
        f" ('{uuid.UUID(int=7)}', '{date}', '{date}', '{date}', 'h', '0', 'native', 1, 2.5,"
        f" 'complete', '[]', {sample}, '')"
    )
    async with backend.open() as store:
        await store.record(make_snapshot(suspicions=("fewer",)))
        runs = (await store.history()).runs
    assert runs.status == ["complete", "suspect"]
    assert runs.reasons == [[], ["fewer"]]
    assert runs.seconds == [2.5, 88.5]


@pytest.mark.case("P17")
async def test_a_newer_schema_is_refused(backend):
    newer = migrations("sqlite")[-1].version + 1
    async with backend.open():
        pass
    if backend.url.startswith("sqlite"):
        await backend.query(f"PRAGMA user_version = {newer}")
    else:
        await backend.query(f"INSERT INTO scan_schema (version) VALUES ({newer})")
    with pytest.raises(StoreError, match="newer") as caught:
        async with backend.open():
            pass
    assert "update jwqlscan" in str(caught.value)
    assert not isinstance(caught.value, StoreUnavailableError)


async def test_dates_are_utc_whatever_zone_the_snapshot_has(backend):
    async with backend.open() as store:
        elsewhere = START.astimezone(timezone(timedelta(hours=9)))
        await store.record(make_snapshot(timestamp=elsewhere))
        (date,) = (await store.history()).general.date
    assert date == START and date.utcoffset() == timedelta(0)


def test_both_dialects_have_the_same_versions():
    versions = [[step.version for step in migrations(d)] for d in ("sqlite", "postgresql")]
    assert versions[0] == versions[1] == list(range(1, len(versions[0]) + 1))


# SQLite


async def test_the_sqlite_file_and_its_directory_are_private(tmp_path):
    path = tmp_path / "new" / "jwqlscan.db"
    async with SqliteStore(str(path)) as store:
        await store.record(make_snapshot())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_the_sqlite_file_says_whose_it_is(tmp_path):
    path = tmp_path / "jwqlscan.db"
    async with SqliteStore(str(path)):
        pass
    with closing(sqlite3.connect(path)) as connection:
        for pragma, value in (("application_id", 0x4A57514C), ("journal_mode", "wal")):
            assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)


async def test_dates_in_sqlite_are_text_of_fixed_width(tmp_path):
    async with SqliteStore(str(tmp_path / "x.db")) as store:
        await store.record(make_snapshot(timestamp=START.replace(microsecond=0)))
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        rows = connection.execute("SELECT date FROM filesystem_general").fetchall()
    assert rows == [("2026-03-01T03:17:10.000000Z",)]


def text_file(path):
    path.write_text("not a database, but long enough to have a header of one, were it one" * 20)


def foreign_database(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def foreign_application(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 7")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (text_file, "is not an SQLite database"),
        (foreign_database, "database of another program"),
        (foreign_application, "database of another program"),
        (os.mkdir, "is not a regular file"),
        (os.mkfifo, "is not a regular file"),
    ],
)
async def test_what_is_no_store_is_refused_and_left_alone(tmp_path, make, message):
    path = tmp_path / "x.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=message) as caught:
        async with SqliteStore(str(path)):
            pass
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, StoreUnavailableError)
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize("path", ["", "/proc/self/nowhere/x.db", "/proc/x.db", "/dev/null/x.db"])
async def test_a_place_where_no_file_can_be_made_is_refused(path):
    with pytest.raises(StoreError, match="name") as caught:
        async with SqliteStore(path):
            pass
    assert not isinstance(caught.value, StoreUnavailableError)


@pytest.mark.case("P18")
async def test_a_locked_file_is_unavailable_after_the_time_limit(tmp_path):
    path = str(tmp_path / "x.db")
    async with SqliteStore(path, busy_timeout_s=0.05) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked"):
                await store.record(make_snapshot())
            assert (await store.history()).empty  # readers go on
            other.execute("ROLLBACK")
        await store.record(make_snapshot())


async def test_a_special_or_strange_file_name_is_just_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (":memory:", "file:x?mode=memory", "bad\udcff"):
        async with SqliteStore(name) as store:
            await store.record(make_snapshot())
            store.location.encode()
        assert os.path.exists(tmp_path / name)


# PostgreSQL


def with_account(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))


async def refused(url: str, error: type[Exception], **limits: float) -> str:
    """Open a store that can't be opened; return the message, and see that no secret shows."""
    store = PostgresqlStore(url, **limits)
    with pytest.raises(error) as caught:
        async with store:
            pass
    shown_text = "".join(traceback.format_exception(caught.value))
    for text in (str(caught.value), repr(caught.value), shown_text, store.location, repr(store)):
        assert SECRET not in text
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.case("P09")
async def test_a_closed_port_is_unavailable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can take it
        url = f"postgresql://jwqlscan:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/jwql"
        message = await refused(url, StoreUnavailableError)
    assert "postgresql://jwqlscan@127.0.0.1:" in message
    assert "Connection refused (127.0.0.1 port " in message and "Errno" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Multiple exceptions: [Errno 111] Connect call failed ('::1', 5432, 0, 0), [Errno 113]"
            " Connect call failed ('10.0.0.1', 5432)",
            "Connection refused (::1 port 5432), No route to host (10.0.0.1 port 5432)",
        ),
        ("[Errno -2] Name or service not known", "Name or service not known"),
        ("[Errno 2] No such file or directory", "No such file or directory"),
    ],
)
def test_the_causes_of_a_connection_that_failed_are_words(text, words):
    assert in_words(OSError(text)) == words


async def test_a_host_that_does_not_exist_is_unavailable():
    await refused(f"postgresql://u:{SECRET}@db.invalid/jwql", StoreUnavailableError)


async def test_a_wrong_password_is_unavailable_and_says_where_to_look(pg_url):
    message = await refused(with_account(pg_url, "jwqlscan", SECRET), StoreUnavailableError)
    assert ".pgpass" in message


async def test_a_missing_database_is_unavailable_and_says_how_to_make_it(pg_url):
    url = urlunsplit(urlsplit(pg_url)._replace(path="/nowhere"))
    message = await refused(url, StoreUnavailableError)
    assert '"nowhere" does not exist' in message and "createdb" in message


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@host:port/jwql",
        f"postgresql://u:{SECRET}/more@host/jwql",
        f"postgresql://u:pass@{SECRET}@host/jwql",
        f"postgresql://u:{SECRET}",
        f"postgresql://u@host/jwql?sslmode=strange&password={SECRET}",
        f"mysql://u:{SECRET}@host/jwql",
        f"{SECRET}",
        "",
    ],
)
async def test_a_bad_url_is_a_configuration_error(url):
    await refused(url, ConfigError, connect_timeout_s=2)


async def test_a_user_without_privileges_is_unavailable_and_told_what_to_grant(pg_url):
    backend = Backend(pg_url)
    role = f"poor_{os.getpid()}"
    await backend.query(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    try:
        # What PUBLIC may do in a new schema depends on the server's version.
        await backend.query("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        message = await refused(with_account(pg_url, role, SECRET), StoreUnavailableError)
        assert "`jwqlscan db migrate`" in message and "may create tables" in message
        assert "GRANT this user SELECT and INSERT" in message and "CREATE on" not in message
    finally:
        await backend.query(f"DROP ROLE {role}")


async def test_a_reader_without_the_right_to_create_can_read_history(pg_url):
    backend = Backend(pg_url)
    role = f"reader_{os.getpid()}"
    async with backend.open() as store:
        await store.record(make_snapshot())
    await backend.query(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    try:
        await backend.query("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        await backend.query(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        async with open_store(with_account(pg_url, role, SECRET)) as store:
            assert (await store.history()).general.date == [START]
            with pytest.raises(StoreUnavailableError, match="GRANT") as caught:
                await store.record(make_snapshot(1))
            assert "CREATE" not in str(caught.value)
    finally:
        await backend.query(f"DROP OWNED BY {role}")
        await backend.query(f"DROP ROLE {role}")


async def test_the_password_may_come_from_the_environment(pg_url, monkeypatch):
    parts = urlsplit(pg_url)
    monkeypatch.setenv("PGPASSWORD", str(parts.password))
    place = f"{parts.username}@{parts.hostname}:{parts.port}"
    async with PostgresqlStore(urlunsplit(parts._replace(netloc=place))) as store:
        await store.record(make_snapshot())


@asynccontextmanager
async def listening(serve):
    """Listen on a free port; at the end nothing of it is left."""
    tasks = []

    async def handle(reader, writer) -> None:
        tasks.append(asyncio.current_task())
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.case("P11")
async def test_a_server_that_accepts_and_never_answers_is_left_in_time():
    async with listening(lambda reader, writer: reader.read()) as port:
        url = f"postgresql://u:{SECRET}@127.0.0.1:{port}/jwql"
        with anyio.fail_after(60):
            message = await refused(url, StoreUnavailableError, connect_timeout_s=0.1)
    assert "no answer" in message


@asynccontextmanager
async def proxied(url: str):
    """Stand between a store and its server; setting the event holds the server's answers back."""
    parts = urlsplit(url)
    frozen = asyncio.Event()

    async def pump(reader, writer, holds: bool) -> None:
        try:
            while data := await reader.read(65536):
                if not (holds and frozen.is_set()):
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader, writer) -> None:
        back, forth = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pump(reader, forth, False), pump(back, writer, True))

    async with listening(serve) as port:
        place = f"{parts.username}:{parts.password}@127.0.0.1:{port}"
        yield urlunsplit(parts._replace(netloc=place)), frozen


@pytest.mark.case("P11")
async def test_a_server_that_falls_silent_during_a_record_is_left_in_time(pg_url):
    async with proxied(pg_url) as (url, frozen):
        with anyio.fail_after(60):
            async with PostgresqlStore(url, call_timeout_s=1, connect_timeout_s=1) as store:
                frozen.set()
                with pytest.raises(StoreUnavailableError, match="no answer"):
                    await store.record(make_snapshot())
    assert await Backend(pg_url).counts() == [0] * len(TABLES)


@pytest.mark.case("P10")
async def test_a_connection_that_was_cut_is_made_anew(pg_url):
    snapshot = make_snapshot()
    async with PostgresqlStore(pg_url) as store:
        await Backend(pg_url).query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'jwqlscan%' AND datname = current_database()"
        )
        try:
            await store.record(snapshot)
        except StoreUnavailableError:  # unless the client has noticed before
            await store.record(snapshot)
        assert len((await store.history()).general.date) == 1


async def test_a_cancelled_record_leaves_nothing_and_stays_cancelled(pg_url):
    async with proxied(pg_url) as (url, frozen), PostgresqlStore(url) as store:
        frozen.set()
        with anyio.move_on_after(0.2) as scope:
            await store.record(make_snapshot())
        assert scope.cancelled_caught
    assert await Backend(pg_url).counts() == [0] * len(TABLES)


@pytest.mark.parametrize(
    ("url", "shown_as"),
    [
        ("postgresql://u:pw@host:5432/jwql", "postgresql://u@host:5432/jwql"),
        ("postgres://u:p%40w@host/jwql?sslmode=require", "postgresql://u@host/jwql"),
        ("postgresql://host/jwql", "postgresql://host/jwql"),
        ("postgresql:///jwql?host=/run/postgresql", "postgresql:///jwql"),
        ("postgresql://u:pw@a:1,b:2/jwql", "postgresql://u@a:1,b:2/jwql"),
        ("postgresql://u:pw@[::1]:5432/jwql", "postgresql://u@[::1]:5432/jwql"),
        ("postgresql://u:p@w@host/jwql", "postgresql://…"),
        ("postgresql://u:p/w@host/jwql", "postgresql://u@host/jwql"),
        ("postgresql://u:pw?x@host/jwql", "postgresql://…"),
        ("postgresql://u@host/jwql?password=p@w", "postgresql://…"),
        ("postgresql://u:pw", "postgresql://…"),
        ("nonsense", "postgresql://…"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown_as):
    assert redacted(url) == shown_as
