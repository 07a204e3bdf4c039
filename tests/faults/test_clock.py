"""Clocks that jump, and nights that have an hour twice."""

import sqlite3
import time
from datetime import UTC, datetime, timedelta

import pytest

from jwqlscan.errors import ExitCode
from jwqlscan.operations import run as job
from jwqlscan.store import open_store
from tests.cli.test_run import CAL, make_config, write

case = pytest.mark.case

# In New York the night of 2026-11-01 has the hour from 01:00 twice: 05:00 and 06:00 UTC.
FOLD = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


class Clock(datetime):
    """A clock that shows the times it is given, and then what the last of them was."""

    times = ()

    @classmethod
    def now(cls, zone=None):
        first, *rest = cls.times
        cls.times = rest or [first]
        return first.astimezone(zone)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(job, "datetime", Clock)
    return Clock


@pytest.fixture
def new_york(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def config(tmp_path):
    write(tmp_path / "archive/public" / CAL, 100)
    write(tmp_path / "central/logs/a", 100)
    return make_config(tmp_path)


def stored(config):
    with sqlite3.connect(config.database_url.removeprefix("sqlite:///")) as database:
        query = "SELECT date, ended, seconds FROM scan_run ORDER BY date"
        return database.execute(query).fetchall()


@case("F35")
async def test_runs_in_the_hour_that_comes_twice_are_two_in_their_order(config, clock, new_york):
    assert FOLD.astimezone().hour == (FOLD + timedelta(hours=1)).astimezone().hour == 1
    for started in (FOLD, FOLD + timedelta(hours=1)):
        # Looked at when it begins, and again when it has the lock.
        clock.times = [started, started, started + timedelta(minutes=1)]
        assert (await job.run(config, with_report=False)).exit_code == ExitCode.COMPLETE
    async with open_store(config.database_url) as store:
        dates = (await store.history()).general.date
    assert list(dates) == [FOLD, FOLD + timedelta(hours=1)]


@case("F35")
@pytest.mark.parametrize("jump", [timedelta(hours=-5), timedelta(days=400)])
async def test_a_clock_that_jumps_during_a_run_does_not_change_how_long_it_took(
    config, clock, jump
):
    clock.times = [FOLD, FOLD + jump]
    assert (await job.run(config)).exit_code == ExitCode.COMPLETE
    [(_, _, seconds)] = stored(config)
    assert 0 < seconds < 60


@case("F35")
async def test_a_clock_that_was_set_back_between_runs_costs_neither(config, clock):
    for started in (FOLD, FOLD - timedelta(days=1)):
        clock.times = [started]
        assert (await job.run(config)).exit_code == ExitCode.COMPLETE
    assert len(stored(config)) == 2


@case("F35")
async def test_a_leap_day_is_a_day(config, clock):
    clock.times = [datetime(2028, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)]
    assert (await job.run(config)).exit_code == ExitCode.COMPLETE
    [(date, _, _)] = stored(config)
    assert date.startswith("2028-02-29")
