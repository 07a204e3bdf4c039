"""A PostgreSQL database with years of JWQL history, used as it is."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import asyncpg
import pytest

from jwqlscan.model.baseline import JWQL as JWQL_ORIGIN
from jwqlscan.model.tally import Amount, Product
from jwqlscan.store import MONITOR_NAME, LastArea, open_store
from jwqlscan.store.jwql_areas import jwql_areas
from jwqlscan.store.known_areas import last_areas, last_complete_areas
from jwqlscan.system.clock import LATEST
from tests.support.snapshots import START, make_area, make_snapshot, make_tally

DAYS = 731

JWQL = """
CREATE TYPE instrument_enum AS ENUM ('nircam', 'niriss', 'nirspec', 'miri', 'fgs');
CREATE TYPE filetype_enum AS ENUM ('uncal', 'rate', 'cal');
CREATE TYPE monitor_status AS ENUM ('SUCCESS', 'FAILURE');
CREATE TABLE filesystem_general (
    id SERIAL PRIMARY KEY,
    date TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    total_file_count INTEGER NOT NULL,
    total_file_size FLOAT NOT NULL,
    fits_file_count INTEGER NOT NULL,
    fits_file_size FLOAT NOT NULL,
    used FLOAT NOT NULL,
    available FLOAT NOT NULL
);
CREATE TABLE filesystem_instrument (
    id SERIAL PRIMARY KEY,
    date TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    instrument instrument_enum NOT NULL,
    filetype filetype_enum NOT NULL,
    count INTEGER NOT NULL,
    size FLOAT NOT NULL
);
CREATE TABLE central_storage (
    id SERIAL PRIMARY KEY,
    date TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    area VARCHAR NOT NULL,
    size FLOAT NOT NULL,
    used FLOAT NOT NULL,
    available FLOAT NOT NULL
);
CREATE TABLE monitor (
    id SERIAL PRIMARY KEY,
    monitor_name VARCHAR NOT NULL,
    start_time TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    end_time TIMESTAMP WITHOUT TIME ZONE,
    status monitor_status,
    log_file VARCHAR NOT NULL
);
"""

OLD_DAYS = f"generate_series(0, {DAYS - 1}) AS day"
OLD_DATE = "TIMESTAMP '2024-01-01 05:00:00' + day * INTERVAL '1 day'"
HISTORY = f"""
INSERT INTO filesystem_general
    (date, total_file_count, total_file_size, fits_file_count, fits_file_size, used, available)
    SELECT {OLD_DATE}, 1000 + day, 1.5, 900 + day, 1.25, 2.0, 8.0 FROM {OLD_DAYS};
INSERT INTO filesystem_instrument (date, instrument, filetype, count, size)
    SELECT {OLD_DATE}, instrument, filetype, day, day * 0.5 FROM {OLD_DAYS},
    unnest(enum_range(NULL::instrument_enum)) AS instrument,
    unnest(enum_range(NULL::filetype_enum)) AS filetype;
INSERT INTO central_storage (date, area, size, used, available)
    SELECT {OLD_DATE}, area, 10.0, used, 5.0 FROM {OLD_DAYS},
    (VALUES ('all', 0.5), ('logs', 0.0)) AS areas (area, used);
INSERT INTO monitor (monitor_name, start_time, end_time, status, log_file)
    SELECT 'dark_monitor', {OLD_DATE}, {OLD_DATE}, 'SUCCESS', 'dark.log' FROM {OLD_DAYS};
"""
SINCE = " WHERE date >= '2026-03-01'"  # no rows of JWQL's are so new


@asynccontextmanager
async def connected(url):
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def query(url, sql):
    async with connected(url) as connection:
        return [tuple(row) for row in await connection.fetch(sql)]


@pytest.fixture
async def jwql_url(pg_url):
    async with connected(pg_url) as connection:
        await connection.execute(JWQL + HISTORY)
    return pg_url


COLUMNS = """
SELECT table_name::text, column_name::text, udt_name::text, is_nullable::text
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name NOT LIKE 'scan%' ORDER BY 1, ordinal_position
"""


async def test_two_runs_add_to_years_of_history_and_alter_no_jwql_column(jwql_url):
    before = await query(jwql_url, COLUMNS)
    for day in range(2):
        async with open_store(jwql_url) as store:
            assert await store.record(make_snapshot(day)) == []
            history = await store.history()
    assert await query(jwql_url, COLUMNS) == before
    general = history.general
    assert len(general.date) == DAYS + 2
    assert general.date == sorted(general.date)
    assert general.date[0].isoformat() == "2024-01-01T05:00:00+00:00"
    assert general.date[-2:] == [START, START + timedelta(days=1)]
    assert general.total_file_count[-3:] == [1000 + DAYS - 1, 10, 10]
    cal = history.products[Product("nircam", "cal")]
    assert len(cal.date) == DAYS + 2
    assert (cal.count[-3:], cal.size[-3:]) == ([730, 4, 4], [365.0, 1.0, 1.0])
    assert len(history.products[Product("fgs", "uncal")].date) == DAYS
    assert history.central["logs"].used[-2:] == [0.25, 0.25]
    assert len(history.central["all"].date) == DAYS + 2


async def test_history_since_a_date_reads_dates_without_a_zone_as_utc(jwql_url):
    since = START.replace(year=2025, month=12, day=31, hour=5, minute=0, second=0, microsecond=0)
    async with open_store(jwql_url) as store:
        exact = await store.history(since.astimezone(timezone(timedelta(hours=-5))))
        later = await store.history(since + timedelta(microseconds=1))
    assert exact.general.date == exact.products[Product("miri", "cal")].date == [since]
    assert later.empty


async def test_dates_are_written_as_utc_without_a_zone(jwql_url):
    zone = timezone(timedelta(hours=9))
    async with open_store(jwql_url) as store:
        await store.record(make_snapshot(timestamp=START.astimezone(zone)))
    ((date,),) = await query(jwql_url, "SELECT max(date) FROM filesystem_general")
    assert date == START.replace(tzinfo=None)


async def test_a_filetype_that_the_enum_lacks_costs_its_rows_only(jwql_url):
    products = {
        Product("nircam", "cal"): Amount(4, 2**40),
        Product("miri", "ami-oi"): Amount(1, 2**20),
        Product("niriss", "ami-oi"): Amount(2, 2**20),
    }
    snapshot = make_snapshot(0, make_area(tally=make_tally(products=products)))
    async with open_store(jwql_url) as store:
        assert await store.record(snapshot) == [
            "filesystem_instrument: filetype 'ami-oi' is not in filetype_enum: 2 rows left out;"
            " ALTER TYPE filetype_enum ADD VALUE 'ami-oi' would take it"
        ]
        history = await store.history(START)
    assert set(history.products) == set(products)  # from our own table
    assert len(history.general.date) == 1
    assert await query(jwql_url, "SELECT count(*) FROM filesystem_instrument" + SINCE) == [(1,)]


async def test_products_of_another_archive_cost_their_rows_only(jwql_url):
    products = {
        Product("wfi", "cal"): Amount(4, 2**40),
        Product("wfi", "coadd"): Amount(1, 2**20),
        Product("acs", "cal"): Amount(2, 2**20),
    }
    snapshot = make_snapshot(0, make_area(tally=make_tally(products=products)))
    async with open_store(jwql_url) as store:
        warnings = await store.record(snapshot)
        history = await store.history(START)
    assert [warning.split("; ")[0] for warning in warnings] == [
        "filesystem_instrument: instrument 'acs' is not in instrument_enum: 1 row left out",
        "filesystem_instrument: instrument 'wfi' is not in instrument_enum: 2 rows left out",
    ]
    assert set(history.products) == set(products)
    assert len(history.general.date) == 1
    assert await query(jwql_url, "SELECT count(*) FROM filesystem_instrument" + SINCE) == [(0,)]


async def test_what_the_warning_advises_takes_the_row(jwql_url):
    products = {Product("it's", "cal"): Amount(1, 2**20)}
    snapshot = make_snapshot(0, make_area(tally=make_tally(products=products)))
    async with open_store(jwql_url) as store:
        (warning,) = await store.record(snapshot)
    advice = warning.split("; ")[1].removesuffix(" would take it")
    async with connected(jwql_url) as connection:
        await connection.execute(advice)
    async with open_store(jwql_url) as store:
        later = replace(make_snapshot(1), areas=snapshot.areas)
        assert await store.record(later) == []


async def test_a_count_beyond_its_integer_costs_its_row_only(jwql_url):
    products = {
        Product("nircam", "cal"): Amount(2**31, 2**50),
        Product("miri", "rate"): Amount(2**31 - 1, 2**50),
    }
    tally = make_tally(files=3 * 10**9, products=products)
    async with open_store(jwql_url) as store:
        warnings = await store.record(make_snapshot(0, make_area(tally=tally)))
        history = await store.history(START)
    assert warnings == [
        "filesystem_general: total_file_count 3000000000 of the archive does not fit INTEGER: 1 row"
        " left out; ALTER TABLE filesystem_general ALTER COLUMN total_file_count TYPE BIGINT would"
        " take it",
        "filesystem_instrument: count 2147483648 of 'nircam' 'cal' does not fit INTEGER: 1 row left"
        " out; ALTER TABLE filesystem_instrument ALTER COLUMN count TYPE BIGINT would take it",
    ]
    assert history.general.total_file_count == [3 * 10**9]  # from our own table
    assert await query(jwql_url, "SELECT count(*) FROM filesystem_general" + SINCE) == [(0,)]
    assert history.products[Product("miri", "rate")].count == [2**31 - 1]
    assert history.products[Product("nircam", "cal")].count == [2**31]
    assert await query(jwql_url, "SELECT files FROM scan_area") == [(3 * 10**9,)]


async def test_an_unknown_capacity_leaves_the_central_row_out_with_a_warning(jwql_url):
    areas = (make_area("central", "all", capacity=None), make_area("central", "logs"))
    async with open_store(jwql_url) as store:
        (warning,) = await store.record(make_snapshot(0, *areas))
        history = await store.history(START)
    assert warning.startswith("central_storage: size of 'all' is unknown")
    assert history.central["all"].size == history.central["all"].available == [None]
    assert history.central["all"].used == history.central["logs"].used == [2.0]  # from our own
    rows = await query(jwql_url, "SELECT area FROM central_storage" + SINCE)
    assert rows == [("logs",)]


async def test_the_monitor_row_has_the_enum_status_and_others_stay(jwql_url):
    async with open_store(jwql_url) as store:
        await store.record(make_snapshot())
        await store.record_failure(START, START + timedelta(minutes=1), "x.log")
    columns = "status::text, log_file, start_time"
    ours = f"SELECT {columns} FROM monitor WHERE monitor_name = '{MONITOR_NAME}'"
    date = START.replace(tzinfo=None)
    assert await query(jwql_url, ours + " ORDER BY id") == [
        ("SUCCESS", "/var/log/jwqlscan.log", date),
        ("FAILURE", "x.log", date),
    ]
    assert await query(jwql_url, "SELECT count(*) FROM monitor") == [(DAYS + 2,)]


async def test_recording_a_snapshot_again_changes_nothing_without_unique_constraints(jwql_url):
    snapshot = make_snapshot()
    for _ in range(2):
        async with open_store(jwql_url) as store:
            await store.record(snapshot)
    async with open_store(jwql_url) as store:
        history = await store.history(START)
    assert len(history.general.date) == 1
    assert history.products[Product("nircam", "cal")].count == [4]


async def test_before_our_first_run_jwql_says_what_each_area_had(jwql_url):
    async with open_store(jwql_url) as store:
        await store.record(make_snapshot(sample=True))
        assert await last_areas(store) == await last_complete_areas(store) == {}
        files, date = 1000 + DAYS - 1, datetime(2025, 12, 31, 5, tzinfo=UTC)
        expected = {
            ("archive", "all"): LastArea(files, files, 3 * 2**39, JWQL_ORIGIN, date),
            ("central", "all"): LastArea(1, 1, 0, JWQL_ORIGIN, date),
            ("central", "logs"): LastArea(0, 0, 0, JWQL_ORIGIN, date),
        }
        assert await jwql_areas(store, LATEST) == expected
        await store.record(make_snapshot(1))
        assert (await last_areas(store))["archive", "all"] == LastArea(10, 14, 2**41)
        assert await jwql_areas(store, LATEST) == expected


@pytest.mark.parametrize(
    ("day", "halved"),
    [("2021-04-30", False), ("2021-06-01", True), ("2022-01-31", True), ("2022-02-01", False)],
)
async def test_what_jwql_counted_twice_is_halved(jwql_url, day, halved):
    async with connected(jwql_url) as connection:
        await connection.execute("DELETE FROM filesystem_general WHERE id > 1")
        await connection.execute(f"UPDATE filesystem_general SET date = '{day}'")
    async with open_store(jwql_url) as store:
        area = (await jwql_areas(store, LATEST))["archive", "all"]
    assert (area.files, area.halved) == (500 if halved else 1000, halved)
    assert area.apparent_bytes == (3 * 2**38 if halved else 3 * 2**39)


async def test_jwql_tables_that_are_missing_are_made(jwql_url):
    async with connected(jwql_url) as connection:
        await connection.execute("DROP TABLE central_storage")
    async with open_store(jwql_url) as store:
        await store.record(make_snapshot())
        assert set((await store.history()).central) == {"all", "logs"}
