"""The baseline: the same run for every command and the page, whatever the newest runs were."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwqlscan.history.insight_queries import read_insight
from jwqlscan.model.baseline import COMPLETE, JWQL, JWQLSCAN, baseline
from jwqlscan.model.history import PastRun
from jwqlscan.model.snapshot import Capacity
from jwqlscan.monitoring.check import Level, gather, judge
from jwqlscan.monitoring.metrics import exposition
from jwqlscan.operations.views import compare_runs, status
from jwqlscan.reporting.filesystems import filesystems
from jwqlscan.reporting.summary import summarize
from jwqlscan.settings import Thresholds
from jwqlscan.store import open_store
from jwqlscan.store.rows import TableRows
from tests.store.test_insight import looked
from tests.support.marks import STORES
from tests.support.snapshots import START, make_area, make_snapshot, make_tally

case = pytest.mark.case
DAY = timedelta(days=1)
TIB = 2**40


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/s.db"
    return request.getfixturevalue("pg_url")


def run(day, scale, kind="complete", *, timestamp=None):
    """Return a run of 10 * scale + 5 files in the archive."""
    tally = looked(scale)
    tally.files = 10 * scale + 5
    state = "partial" if kind == "incomplete" else "complete"
    snapshot = make_snapshot(day, make_area(tally=tally, state=state))
    return replace(
        snapshot,
        timestamp=timestamp or snapshot.timestamp,
        suspicions=("fewer files",) if kind == "suspect" else (),
        accepted=kind == "accepted",
    )


async def store(url, *snapshots):
    async with open_store(url) as opened:
        for snapshot in snapshots:
            await opened.record(snapshot)


runs = st.lists(
    st.builds(
        PastRun,
        st.integers(0, 40).map(lambda day: START + day * DAY),
        st.sampled_from([COMPLETE, "incomplete", "suspect"]),
        st.sampled_from([JWQLSCAN, JWQL]),
        st.just(0),
    ),
    unique_by=lambda one: one.date,
    min_size=1,
)


@given(runs, st.none() | st.integers(-5, 45))
def test_no_other_run_is_a_better_baseline(past, days):
    of = past[0]
    wanted = None if days is None else START + days * DAY
    found = baseline(past, of, wanted)
    fit = [
        one
        for one in past
        if one.date < of.date and (one.status, one.origin) == (COMPLETE, of.origin)
    ]
    if not fit:
        assert found is None
    elif wanted is None:
        assert found.date == max(one.date for one in fit)
    else:
        assert abs(found.date - wanted) == min(abs(one.date - wanted) for one in fit)


async def changes_everywhere(url, now):
    """Return the change in files since the baseline as each command and the page have it."""
    newest = (await status(url, 1, now)).runs[0]
    growth = await compare_runs(url, "last", "extension")
    evidence = await gather(url, now)
    async with open_store(url) as opened:
        page = summarize(await opened.history(until=now))
        insight = await read_insight(opened, until=now)
    [files] = [fact for fact in page.facts if fact.name == "Files"]
    tab = insight.growth("archive", "all", "extension", "last")
    return {
        "status": newest.totals[0].files_change,
        "growth": growth.after.files - growth.before.files,
        "page": files.changes[0].by if files.changes else None,
        "insight": tab.after.files - tab.before.files,
        "check": evidence.before and newest.totals[0].area.files - evidence.before.areas[0].files,
    }


@case("P37")
@pytest.mark.parametrize("between", [(), ("incomplete",), ("suspect",), ("incomplete", "suspect")])
async def test_the_baseline_is_the_newest_complete_run_everywhere(url, between):
    others = [run(2 + day, 1, kind) for day, kind in enumerate(between)]
    await store(url, run(0, 3), run(1, 5), *others, run(9, 7))
    changes = await changes_everywhere(url, START + 10 * DAY)
    assert set(changes.values()) == {20}, changes


@case("P37")
async def test_runs_dated_in_the_future_are_no_baseline_and_not_the_newest(url):
    now = datetime.now(UTC)
    days = [run(0, scale, timestamp=now - back * DAY) for scale, back in ((3, 3), (5, 2), (7, 1))]
    await store(url, *days, run(0, 1, timestamp=now + 4000 * DAY), run(0, 2, timestamp=now + DAY))
    changes = await changes_everywhere(url, now)
    assert set(changes.values()) == {20}, changes


@case("P37")
async def test_a_fall_that_the_operator_accepted_is_no_alarm(url):
    await store(url, run(0, 30), run(1, 1, "accepted"))
    limits = Thresholds(max_age_s=None, min_free_percent=None, max_errors=None)
    verdict = judge(await gather(url), limits, START + 2 * DAY)
    assert verdict.level is Level.OK, verdict.line
    await store(url, run(2, 30), run(3, 1))
    assert judge(await gather(url), limits, START + 4 * DAY).level is Level.CRITICAL


@case("P37")
async def test_names_not_recognized_are_compared_with_the_baseline(url):
    def names(day, number, state="complete"):
        return make_snapshot(day, make_area(tally=make_tally(unrecognized=number), state=state))

    await store(url, names(0, 2), names(1, 0, "partial"), names(2, 2))
    async with open_store(url) as opened:
        facts = summarize(await opened.history()).facts
    [names_fact] = [fact for fact in facts if fact.name == "Unrecognized names"]
    assert [(change.sign, change.by) for change in names_fact.changes] == [("±", 0)]


async def test_a_run_that_was_asked_for_by_its_date_may_be_incomplete(url):
    await store(url, run(0, 3, "incomplete"), run(1, 5))
    found = await compare_runs(url, START, "extension")
    assert found.since == START and not found.exact
    with pytest.raises(Exception, match="no run before that of 2026-03-02 03:17 UTC is complete"):
        await compare_runs(url, "last", "extension")


# ---- two origins ----

SIZE, USED = 100 * TIB, 60 * TIB


async def jwql_rows(url, days, *, until_day=0):
    """Store rows as JWQL does: the df of both areas added up, twice what the filesystem has."""
    columns = (
        *("date", "total_file_count", "total_file_size", "fits_file_count", "fits_file_size"),
        *("used", "available"),
    )
    rows = []
    for day in range(until_day - days, until_day):
        date = (START + day * DAY).isoformat(timespec="microseconds").replace("+00:00", "Z")
        used = 2 * (60 + 0.1 * day)
        rows.append((date, 1000, 1.0, 900, 1.0, used, 200 - used))
    async with open_store(url) as opened:
        await opened.write([TableRows("filesystem_general", columns, rows)])


def own(day):
    used = USED + day * TIB // 10
    capacity = Capacity(SIZE, used, SIZE - used, 1000, 10, 990, "dev", "xfs", "/archive")
    return make_snapshot(day, make_area(tally=make_tally(1000), capacity=capacity))


@case("P36")
@pytest.mark.parametrize("count", [1, 4])
async def test_no_forecast_is_made_across_the_switch_from_jwql(url, count):
    await jwql_rows(url, 100)
    await store(url, *(own(day) for day in range(count)))
    evidence = await gather(url)
    verdict = judge(evidence, Thresholds(max_age_s=None), START + (count + 1) * DAY)
    assert evidence.days_until_full("archive") is None
    assert verdict.level is Level.OK, verdict.line
    assert "seconds_until_full" not in exposition(evidence)
    async with open_store(url) as opened:
        [disk] = filesystems(await opened.history())
    assert disk.trend is None and disk.full is None
    assert disk.limit == pytest.approx(100)


@case("P36")
async def test_the_forecast_of_our_own_runs_does_not_see_jwqls(url):
    await jwql_rows(url, 100)
    await store(url, *(own(day) for day in range(20)))
    evidence = await gather(url)
    # 100 - 60 - 1.9 TiB at 0.1 TiB a day
    assert evidence.days_until_full("archive") == pytest.approx(381, abs=1)
    async with open_store(url) as opened:
        [disk] = filesystems(await opened.history())
    assert (disk.full.date - START) / DAY == pytest.approx(400, abs=1)


@case("P36")
async def test_the_page_does_not_compare_a_run_with_jwqls(url):
    await jwql_rows(url, 100)
    await store(url, own(0))
    async with open_store(url) as opened:
        history = await opened.history()
    facts = {fact.name: fact for fact in summarize(history).facts}
    assert facts["Files"].changes == () and facts["Files"].value == 1000


@case("P36")
async def test_jwqls_rows_alone_have_a_forecast_and_changes(url):
    await jwql_rows(url, 100)
    async with open_store(url) as opened:
        history = await opened.history()
    [disk] = filesystems(history)
    assert disk.full is not None and disk.full.date is not None
    facts = {fact.name: fact for fact in summarize(history).facts}
    assert [change.since for change in facts["Files"].changes] == ["last run", "7 days", "30 days"]


@case("P36")
async def test_a_curve_is_broken_where_the_origin_changes(url):
    import numpy as np

    from jwqlscan.reporting.plots.jwql import plots

    await jwql_rows(url, 5)
    await store(url, own(0), own(1))
    async with open_store(url) as opened:
        counts = plots(await opened.history()).counts
    blank = np.flatnonzero(~np.isfinite(counts.series[0].values))
    assert len(blank) == 1
    assert START - DAY < datetime.fromtimestamp(counts.times[blank[0]] / 1000, UTC) < START


# ---- the commands, under clocks that are wrong ----


def faked(when, *arguments):
    command = ["faketime", when, sys.executable, "-m", "jwqlscan", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def configured(tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/jw00001001001_02101_00001_nrca1_cal.fits").write_text("x")
    config = tmp_path / "c.toml"
    config.write_text(
        f'[archive]\npath = "{tmp_path}/archive"\n[state]\npath = "{tmp_path}/state"\n'
        f'[outputs]\npath = "{tmp_path}/out"\n'
    )
    return ("-c", str(config))


@case("P24")
def test_a_run_under_a_clock_that_was_ahead_hides_no_missing_run(tmp_path):
    config = configured(tmp_path)
    ahead = faked("2036-06-01 03:17:00", "run", *config, "--no-report")
    assert ahead.returncode == 0, ahead.stderr
    today = faked("2026-12-01 03:17:00", "run", *config)
    assert today.returncode == 0
    assert "dated in the future (2036-06-01 03:17 UTC)" in today.stderr
    late = faked("2027-06-01 08:00:00", "check", *config)
    assert late.returncode == 2 and "last complete run 182 d ago" in late.stdout, late.stdout
    fresh = faked("2026-12-01 08:00:00", "check", *config)
    assert fresh.returncode == 1 and "1 run is dated in the future" in fresh.stdout, fresh.stdout
    doctor = faked("2026-12-01 08:00:00", "doctor", *config)
    assert doctor.returncode == 1 and "db prune --future" in doctor.stdout + doctor.stderr
    found = json.loads(faked("2026-12-01 08:00:00", "status", "--json", *config).stdout)
    assert [one["timestamp"][:10] for one in found["runs"]] == ["2026-12-01"]
    assert [date[:10] for date in found["future"]] == ["2036-06-01"]
    metrics = faked("2026-12-01 08:00:00", "metrics", *config).stdout
    assert "jwqlscan_future_runs 1" in metrics
    listed = faked("2026-12-01 08:00:00", "history", *config).stdout
    assert ["future" in line for line in listed.splitlines() if "20" in line[:2]] == [False, True]
    series = faked("2026-12-01 08:00:00", "history", "--json", *config).stdout
    assert [point["future"] for point in json.loads(series)["points"]] == [False, True]
    [manifest] = tmp_path.glob("out/**/manifest.json")
    assert "2026-12-01" in manifest.read_text() and "2036" not in manifest.read_text()
    page = next(tmp_path.glob("out/**/filesystem_monitor.html")).read_text()
    assert "1 run is dated in the future" in page
    pruned = faked("2026-12-01 08:00:00", "db", "prune", "--future", *config)
    assert pruned.returncode == 0 and "dates in the future: 1 removed" in pruned.stdout
    assert faked("2026-12-01 08:00:00", "check", *config).returncode == 0


@case("P24")
def test_a_host_whose_clock_is_behind_does_not_report_age_0(tmp_path):
    config = configured(tmp_path)
    assert faked("2026-12-01 03:17:00", "run", *config, "--no-report").returncode == 0
    behind = faked("2026-11-01 08:00:00", "check", *config)
    assert behind.returncode == 2, behind.stdout
    assert "0 s ago" not in behind.stdout and "dated in the future" in behind.stdout


@case("P24")
def test_a_clock_that_was_never_set_dates_nothing(tmp_path):
    config = configured(tmp_path)
    done = faked("1970-01-01 00:01:00", "run", *config)
    assert done.returncode == 1, done.stderr
    assert "the system clock reads 1970-01-01" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("state/*.db"))
