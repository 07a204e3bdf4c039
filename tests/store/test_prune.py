"""Removing old runs from a store."""

import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jwqlscan.errors import ClockError
from jwqlscan.history.insight_queries import read_insight
from jwqlscan.store import open_store
from jwqlscan.store.failures import record_failure
from jwqlscan.store.known_areas import last_areas, last_complete_areas
from jwqlscan.store.queries import last_runs
from jwqlscan.store.rows import TableRows
from jwqlscan.store.transfer.prune import prune
from tests.store.test_copy import filled, jwqlscan, told
from tests.store.test_jwql import DAYS, jwql_url  # noqa: F401
from tests.support import stores
from tests.support.marks import STORES
from tests.support.snapshots import START, make_area, make_snapshot

DAY = timedelta(days=1)


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/a.db"
    return request.getfixturevalue("pg_url")


async def pruned(url, before=None, weekly_before=None, **more):
    """Prune what is older than a date: ages count from the newest run."""
    async with open_store(url) as store:
        [run] = await last_runs(store, 1)
        ages = [None if date is None else run.date - date for date in (before, weekly_before)]
        done = await prune(store, *ages, **more)
        return done, await stores.everything(store)


def incomplete(day):
    return make_snapshot(day, make_area(state="partial"))


async def test_what_is_older_goes_with_all_that_hangs_on_it(url, tmp_path):
    snapshots = stores.runs(10)
    await filled(url, snapshots)
    kept = f"sqlite:///{tmp_path}/kept.db"
    await filled(kept, snapshots[4:], jwql=False)
    done, rows = await pruned(url, snapshots[4].timestamp)
    assert (done.runs, done.kept, done.jwql_dates) == (4, 6, 1)
    async with open_store(kept) as store, open_store(url) as pruned_store:
        expected = await stores.everything(store)
        assert (insight := await read_insight(store)).areas
        assert await read_insight(pruned_store) == insight
    others = [row for row in rows["monitor"] if row[0] == "dark_monitor"]
    assert len(others) == 3  # another monitor's rows are not ours to remove
    rows["monitor"] = [row for row in rows["monitor"] if row not in others]
    for table in ("scan_series", "scan_value"):
        rows.pop(table), expected.pop(table)
    assert rows == expected


async def test_pruning_again_changes_nothing(url):
    snapshots = stores.runs(40)
    await filled(url, snapshots)
    dates = (snapshots[5].timestamp, snapshots[30].timestamp)
    _, rows = await pruned(url, *dates)
    done, again = await pruned(url, *dates)
    assert (done.runs, done.jwql_dates, again) == (0, 0, rows)


async def test_a_dry_run_tells_the_same_and_removes_nothing(url):
    snapshots = stores.runs(40)
    whole = await filled(url, snapshots)
    dates = (snapshots[5].timestamp, snapshots[30].timestamp)
    dry, rows = await pruned(url, *dates, dry=True)
    assert rows == whole
    done, _ = await pruned(url, *dates)
    assert done == dry and done.runs > 20


async def test_the_newest_run_and_the_newest_complete_one_stay(url):
    async with open_store(url) as store:
        for day in range(5):
            await store.record(incomplete(day) if day > 2 else make_snapshot(day))
    done, rows = await pruned(url, START + 100 * DAY, START + 100 * DAY)
    kept = sorted(row[1][8:10] for row in rows["scan_run"])
    assert kept == ["03", "05"]  # the others went week by week
    assert done.runs == 3
    async with open_store(url) as store:
        assert await last_complete_areas(store) and await last_areas(store)


async def test_of_each_week_the_newest_complete_run_stays(url):
    # 2026-03-01 is a Sunday
    failing = {6, 7, 15, *range(16, 23)}
    async with open_store(url) as store:
        for day in range(40):
            suspicions = ("fewer files",) if day == 14 else ()
            make = incomplete if day in failing else make_snapshot
            await store.record(replace(make(day), suspicions=suspicions))
    _, rows = await pruned(url, weekly_before=datetime(2026, 3, 31, tzinfo=UTC))
    days = [
        int((datetime.fromisoformat(row[1]) - START).days)
        for row in sorted(rows["scan_run"], key=lambda row: row[1])
    ]
    # weeks of 1 (Sunday alone), 2..8, 9..15, 16..22, 23..29 March; that of the 30th is not over
    assert days == [0, 5, 13, 21, 28, *range(29, 40)]
    for table in ("filesystem_general", "monitor"):
        assert len(rows[table]) == len(days)


async def test_jwqls_own_rows_are_thinned_table_by_table(url):
    columns = (
        *("date", "total_file_count", "total_file_size", "fits_file_count", "fits_file_size"),
        *("used", "available"),
    )
    begin = datetime(2020, 1, 6, 3, tzinfo=UTC)  # a Monday
    general = [
        ((begin + n * DAY).isoformat(timespec="microseconds").replace("+00:00", "Z"), n, *[1.0] * 5)
        for n in range(15)
    ]
    central = [
        (f"{row[0][:-1]}Z".replace("T03:00", "T03:09"), "all", 1.0, 1.0, 1.0) for row in general
    ]
    async with open_store(url) as store:
        await store.write(
            [
                TableRows("filesystem_general", columns, [(*r[:3], 1, *r[4:]) for r in general]),
                TableRows(
                    "central_storage", ("date", "area", "size", "used", "available"), central
                ),
            ]
        )
        await store.record(make_snapshot())
    done, rows = await pruned(url, weekly_before=START)
    kept = [row[0][:10] for row in rows["filesystem_general"]][:-1]
    assert kept == ["2020-01-12", "2020-01-19", "2020-01-20"]
    assert [row[0][:10] for row in rows["central_storage"] if row[1] == "all"][:-1] == kept
    assert (done.runs, done.jwql_dates) == (0, 24)


async def test_in_a_jwql_database_only_the_rows_of_this_monitor_go(jwql_url):  # noqa: F811
    async with open_store(jwql_url) as store:
        await store.record(make_snapshot())
    done, rows = await pruned(jwql_url, datetime(2025, 1, 1, tzinfo=UTC), START)
    # 2024 has 366 days; 2025 has 52 Sundays, and its last day is the newest of its own week
    assert (done.runs, done.kept, done.jwql_dates) == (0, 1, 366 + 365 - 53)
    dates = [row[0][:10] for row in rows["filesystem_general"]]
    assert dates[:3] == ["2025-01-05", "2025-01-12", "2025-01-19"]
    assert dates[-2:] == ["2025-12-31", "2026-03-01"]
    assert len(dates) == 54
    assert len(rows["filesystem_instrument"]) == 53 * 15 + 2
    assert sum(row[0] == "dark_monitor" for row in rows["monitor"]) == DAYS


async def ahead(url, *years):
    """Store ten daily runs, and one so many years later, as a clock that is ahead does."""
    async with open_store(url) as store:
        for day in (*range(10), *(365 * year for year in years)):
            await store.record(make_snapshot(day))


async def test_runs_dated_in_the_future_are_removed_with_all_that_hangs_on_them(url, tmp_path):
    snapshots = stores.runs(10)
    expected = await filled(url, snapshots)
    async with open_store(url) as store:
        late = replace(snapshots[-1], run_id=str(uuid.uuid4()), timestamp=START + 4000 * DAY)
        await store.record(late)
        await store.record_failure(START + 4001 * DAY, START + 4002 * DAY, "")
        late_failure = stores.failures()[0]._replace(run_id=str(uuid.uuid4()))
        await record_failure(store, late_failure._replace(started=START + 4003 * DAY))
        done = await prune(store, None, None, future=True)
        assert (done.runs, done.kept, done.future) == (1, 10, 1)
        rows = await stores.everything(store)
    assert rows == expected
    dry, _ = await pruned(url, future=True, dry=True)
    assert (dry.runs, dry.future) == (0, 0)


async def test_a_clock_that_is_behind_does_not_make_the_history_future(url):
    await ahead(url)
    async with open_store(url) as store:
        whole = await stores.everything(store)
        for now in (datetime(1970, 1, 2, tzinfo=UTC), START - 9 * DAY, START + 2 * DAY):
            with pytest.raises(ClockError, match="clock"):
                await prune(store, None, None, future=True, now=now)
        assert await stores.everything(store) == whole
        assert (await prune(store, None, None, future=True, now=START + 7 * DAY)).runs == 2


async def test_failed_runs_dated_in_the_future_go_without_any_other(url):
    await ahead(url)
    async with open_store(url) as store:
        whole = await stores.everything(store)
        await store.record_failure(START + 4000 * DAY, START + 4001 * DAY, "")
        assert (await prune(store, None, None, future=True)).future == 0
        assert await stores.everything(store) == whole


async def test_old_runs_do_not_go_because_a_run_is_dated_in_the_future(url):
    await ahead(url, 20)
    done, rows = await pruned(url, START + 4 * DAY)
    assert (done.runs, done.kept, len(rows["scan_run"])) == (4, 7, 7)


async def test_a_clock_that_is_ahead_does_not_make_the_history_old(url):
    await ahead(url, 20)
    now = START + 365 * 20 * DAY
    async with open_store(url) as store:
        with pytest.raises(ClockError, match="nothing was removed: the newest run is of 2046"):
            await prune(store, 365 * DAY, None, now=now)
        with pytest.raises(ClockError, match="db prune --future"):
            await prune(store, None, 365 * DAY, now=now)
        assert (await prune(store, 365 * 25 * DAY, None, now=now)).runs == 0


# ---- the command ----


async def test_the_command_removes_only_what_it_is_told_to(tmp_path):
    now = datetime.now(UTC)
    url = f"sqlite:///{tmp_path}/.local/share/jwqlscan/jwqlscan.db"
    async with open_store(url) as store:
        for days in (4000, 800, 799, 1):
            await store.record(make_snapshot(timestamp=now - days * DAY))
    home = {"HOME": str(tmp_path)}
    done = jwqlscan("db", "prune", "--keep", "10y", "--dry-run", **home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{url}: 1 run would be removed, 3 left\n"
    assert (
        jwqlscan("db", "prune", "--keep", "10y", **home).stdout == f"{url}: 1 run removed, 3 left\n"
    )
    assert '"runs": 0' in jwqlscan("db", "prune", "--keep", "10y", "--json", **home).stdout
    assert "give --keep" in told(jwqlscan("db", "prune", **home), 2)
    assert "not a duration" in told(jwqlscan("db", "prune", "--keep", "ten", **home), 2)
    assert os.listdir(tmp_path) == [".local"]
