"""Rows of JWQL's tables without a number or a date: gaps for every reader, reported once."""

import pytest

from jwqlscan.config.loader import Overrides, load_config
from jwqlscan.monitoring.check import gather, judge
from jwqlscan.monitoring.metrics import metrics_text
from jwqlscan.operations.doctor import examine
from jwqlscan.operations.run import report
from jwqlscan.operations.views import compare_runs, series, status
from jwqlscan.settings import Thresholds
from jwqlscan.store import open_store
from jwqlscan.store.invalid_rows import DATES, NUMBERS, jwql_gaps
from jwqlscan.store.transfer.copy import copy
from jwqlscan.store.transfer.prune import prune
from tests.store.test_import_jwql import imported
from tests.store.test_insight import looked, snapshot
from tests.store.test_jwql import DAYS, connected, jwql_url  # noqa: F401
from tests.support import stores
from tests.support.snapshots import make_snapshot

# In the oldest row, a middle one, and JWQL's newest.
NUMBER_GAPS = "".join(
    f"UPDATE {table} SET {column} = '{value}' WHERE date = (SELECT {which}(date) FROM {table}"
    f" WHERE date < '2026-01-01' AND date > '{after}');"
    for table, columns in NUMBERS.items()
    for value, which, after in (
        ("-Infinity", "min", "2024-01-01 00:00"),
        ("Infinity", "min", "2025-01-01 00:00"),
        ("NaN", "max", "2025-01-01 00:00"),
    )
    for column in columns
)
DATE_GAPS = "".join(
    f"UPDATE {table} SET {column} = '{value}' WHERE {columns[0]}::date = '{day}'::date;"
    for table, columns in DATES.items()
    for column in columns
    for value, day in (
        ("infinity", "2025-12-31"),
        ("-infinity", "2025-12-30"),
        ("20000-01-01", "2025-12-29"),
        ("4000-01-01 BC", "2025-12-28"),
    )
)
REMOVED = {
    "numbers": "".join(
        f"DELETE FROM {table} WHERE date::date IN ('2024-01-01', '2025-01-01', '2025-12-31');"
        for table in NUMBERS
    ),
    "dates": "".join(
        f"DELETE FROM {table} WHERE {columns[0]}::date BETWEEN '2025-12-28' AND '2025-12-31';"
        for table, columns in DATES.items()
    ),
}
GAPS = {"numbers": NUMBER_GAPS, "dates": DATE_GAPS}

pytestmark = pytest.mark.case("P30")


async def execute(url, sql):
    async with connected(url) as connection:
        await connection.execute(sql)


@pytest.fixture(params=["numbers", "dates"])
async def pair(request, jwql_url, pg_server):  # noqa: F811
    """Two databases with years of JWQL's rows and two runs of ours: with gaps, and without rows."""
    from urllib.parse import urlsplit, urlunsplit

    for day in range(2):
        async with open_store(jwql_url) as store:
            await store.record(snapshot(day, looked(day + 1, **{"01018": 5})))
    name = urlsplit(jwql_url).path.strip("/")
    other = f"without_{name}"
    await execute(pg_server, f"CREATE DATABASE {other} TEMPLATE {name}")
    without = urlunsplit(urlsplit(jwql_url)._replace(path=f"/{other}"))
    try:
        await execute(jwql_url, GAPS[request.param])
        await execute(without, REMOVED[request.param])
        yield jwql_url, without
    finally:
        await execute(pg_server, f"DROP DATABASE {other} WITH (FORCE)")


async def history_of(url):
    async with open_store(url) as store:
        return await store.history()


async def verdict_of(url):
    evidence = await gather(url)
    return judge(evidence, Thresholds(), evidence.runs[0].date).line


async def status_of(url):
    found = await status(url, 5)
    return [(one.run.date, one.totals) for one in found.runs]


async def growth_of(url):
    found = await compare_runs(url, "last", "directory")
    return found.rows


async def imported_into(url, tmp_path):
    done, rows = await imported(url, f"sqlite:///{tmp_path}/{len(url)}.db")
    return rows, done.rows


async def copied_into(url, tmp_path):
    async with (
        open_store(url) as source,
        open_store(f"sqlite:///{tmp_path}/{len(url)}.db") as target,
    ):
        await copy(source, target)
        return await stores.everything(target)


async def pruned(url):
    from datetime import timedelta

    async with open_store(url) as store:
        done = await prune(store, timedelta(days=200), None, dry=True)
        return done.runs, done.kept, done.jwql_dates


async def metrics_of(url):
    return await metrics_text(load_config(None, Overrides(database=url)))


@pytest.mark.parametrize("reader", [history_of, verdict_of, metrics_of, status_of, growth_of])
async def test_a_reader_finds_what_it_would_without_the_rows(pair, reader):
    gaps, without = [await reader(url) for url in pair]
    assert gaps == without


@pytest.mark.parametrize("pair", ["dates"], indirect=True)  # a row without a number has a date
async def test_prune_counts_what_it_would_without_the_rows(pair):
    gaps, without = [await pruned(url) for url in pair]
    assert gaps == without


@pytest.mark.parametrize("reader", [imported_into, copied_into])
async def test_rows_are_taken_elsewhere_as_without_them(pair, tmp_path, reader):
    gaps, without = [await reader(url, tmp_path) for url in pair]
    assert without[-1] if isinstance(without, tuple) else without
    if isinstance(gaps, tuple):
        gaps, without = gaps[0], without[0]
    for table in DATES:  # a size or available that is no number is unknown in central_storage
        known = [row for row in gaps[table] if None not in row]
        assert sorted(known) == sorted(row for row in without[table] if None not in row)


@pytest.mark.parametrize(
    "asked", [{}, {"area": "central"}, {"area": "central/logs"}, {"filetype": "cal"}]
)
async def test_a_series_has_no_number_where_there_is_none(pair, asked):
    gaps, without = [(await series(url, **asked)).points for url in pair]
    known = {point.date: point for point in without}
    assert [point for point in gaps if point.date in known] == list(without)
    others = [point for point in gaps if point.date not in known]
    assert all(point.bytes is None and point.used_bytes is None for point in others)


async def test_the_report_is_written(pair, tmp_path):
    (tmp_path / "c.toml").write_text("[archive]\npath = 'a'\n[state]\npath = 's'\n")
    config = load_config(str(tmp_path / "c.toml"), Overrides(database=pair[0]))
    (tmp_path / "s").mkdir()
    assert await report(config)


async def test_each_table_is_reported_with_the_statement_that_removes_its_gaps(pair):
    async with open_store(pair[0]) as store:
        lines = await jwql_gaps(store)
    assert len(lines) in (3, 4)
    assert all("gaps" in line and "such as id" in line for line in lines)
    for line in lines:
        await execute(pair[0], line.partition("remove them: ")[2])
    async with open_store(pair[0]) as store:
        assert await jwql_gaps(store) == []
        general = (await store.history()).general
    async with open_store(pair[1]) as store:
        assert general == (await store.history()).general


async def test_doctor_names_them(pair, tmp_path):
    (tmp_path / "c.toml").write_text("[archive]\npath = 'a'\n[state]\npath = 's'\n")
    config = load_config(str(tmp_path / "c.toml"), Overrides(database=pair[0]))
    [found] = [one for one in await examine(config) if one.what == "JWQL's tables"]
    assert not found.well and "DELETE FROM filesystem_general" in found.text


async def test_our_own_tables_are_not_looked_at_each_night(pg_url):
    async with open_store(pg_url) as store:
        await store.record(make_snapshot())
        assert await jwql_gaps(store) == []


def test_the_rows_that_are_compared_are_some():
    assert DAYS > 700 and NUMBER_GAPS.count("UPDATE") == 24 and DATE_GAPS.count("UPDATE") == 20
