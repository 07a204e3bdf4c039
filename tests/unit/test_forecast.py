"""The forecast: made-up series whose answers are known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from jwqlscan.history.forecast import FARTHEST, WINDOW, Trend, reached, trend

START = datetime(2026, 1, 1, 3, 0, tzinfo=UTC)


def days(count: int, step: float = 1.0) -> list[datetime]:
    return [START + timedelta(days=step * number) for number in range(count)]


def test_a_straight_line_is_full_on_the_very_day():
    dates = days(60)
    line = trend(dates, [100 + 2.0 * number for number in range(60)])
    assert line is not None
    assert line.per_day == line.low_per_day == line.high_per_day == 2.0
    found = reached(line, 218.0, 318.0)
    assert found.date == found.earliest == found.latest == dates[-1] + timedelta(days=50)


def test_under_seven_days_nothing_is_said():
    assert trend(days(13, 0.5), list(range(13))) is None
    assert trend(days(14, 0.5), list(range(14))) is None
    assert trend(days(15, 0.5), list(range(15))) is not None


def test_a_few_runs_are_not_a_trend():
    assert trend(days(4, 10), [1, 2, 3, 4]) is None
    assert trend([], []) is None


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_what_does_not_grow_has_no_date(slope):
    line = trend(days(30), [100 + slope * number for number in range(30)])
    assert reached(line, 100, 200) is None


def test_a_limit_that_is_passed_is_over_trend_or_not():
    assert reached(None, 200, 200).over
    line = trend(days(30), list(range(30)))
    assert reached(line, 250, 200).over


def test_outliers_do_not_bend_the_trend():
    values = [100 + 2.0 * number for number in range(80)]
    for row in range(0, 80, 5):
        values[row] = 0.0  # a mount that was missing every fifth day
    line = trend(days(80), values)
    assert line.per_day == pytest.approx(2.0)
    assert line.level == pytest.approx(258.0)


def test_a_clean_up_moves_the_level_and_hardly_the_slope():
    values = [100 + 2.0 * number - (60 if number >= 70 else 0) for number in range(90)]
    line = trend(days(90), values)
    assert line.per_day == pytest.approx(2.0, rel=0.05)
    assert line.level == pytest.approx(values[-1], abs=1)


def test_only_the_recent_window_counts():
    old = [1000.0 - number for number in range(200)]
    recent = [800.0 + 3 * number for number in range(WINDOW.days + 1)]
    line = trend(days(200 + len(recent)), old + recent)
    assert line.per_day == pytest.approx(3.0)
    assert line.days == WINDOW.days


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_the_truth_of_a_noisy_series(seed):
    noise = np.random.default_rng(seed).normal(0, 3, size=90)
    dates = days(90)
    line = trend(dates, (500 + 1.5 * np.arange(90) + noise).tolist())
    found = reached(line, 633.5, 633.5 + 150)
    truth = dates[-1] + timedelta(days=100)
    assert found.earliest < truth < found.latest
    assert found.earliest < found.date < found.latest
    assert found.latest - found.earliest < timedelta(days=60)


def test_nine_intervals_of_ten_hold_the_true_slope():
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        line = trend(days(40), (2.0 * np.arange(40) + rng.normal(0, 5, size=40)).tolist())
        held += line.low_per_day <= 2.0 <= line.high_per_day
    assert 170 <= held <= 193


def test_a_growth_that_may_be_none_has_no_latest_day():
    line = Trend(START, 100.0, 1.0, -0.5, 2.0, 0.0, 60.0)
    found = reached(line, 100, 200)
    assert found.latest is None
    assert found.earliest == START + timedelta(days=50)
    assert found.date == START + timedelta(days=100)


def test_a_day_too_far_away_is_not_named():
    line = trend(days(30), [100 + 0.001 * number for number in range(30)])
    found = reached(line, 100.0, 100.1 + 0.001 * FARTHEST.days)
    assert (found.over, found.date) == (False, None)


def test_more_points_than_are_needed_give_the_same_trend():
    dates = days(2000, 0.04)
    line = trend(dates, [0.04 * number for number in range(2000)])
    assert line.per_day == pytest.approx(1.0)
    assert line.start == dates[-1]


def test_the_band_widens_with_time():
    noise = np.random.default_rng(1).normal(0, 3, size=60)
    line = trend(days(60), (np.arange(60) + noise).tolist())
    middle, low, high = line.at(np.array([0.0, 100.0]))
    assert (low < middle).all() and (middle < high).all()
    assert high[1] - low[1] > high[0] - low[0]
