"""Removing old runs from a store: all before a date, or all but one a week."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from jwqlscan.errors import ClockError
from jwqlscan.store import MONITOR_NAME, OLD_MONITOR_NAME, Statement, Store
from jwqlscan.store.invalid_rows import SPAN, dated
from jwqlscan.store.transfer.rows import FAILURES, KEYS, MONITOR, RUNS, date_column, neutral_rows
from jwqlscan.system.clock import check_clock, latest_date
from jwqlscan.units import counted, format_day, format_time

_MONITOR_NAMES = (MONITOR_NAME, OLD_MONITOR_NAME)

# Of one transaction: with all that hangs on a run, a few seconds' work.
_DATES_A_TIME = 100

_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)

# Runs are made daily or weekly: a longer gap may be a clock that is ahead.
_MIN_GAP = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be.

    Attributes
    ----------
    store : str
        Where, without any password.
    runs, kept : int
        Runs removed, and left.
    jwql_dates : int
        Dates removed that only JWQL's monitor had rows of.
    before : datetime or None
        Everything older was removed: the date asked for, or that of the newest complete run.
    future : int
        Dates in the future that were removed; the runs among them count in `runs`.
    """

    store: str
    runs: int
    kept: int
    jwql_dates: int
    before: datetime | None
    future: int = 0


class _Run(NamedTuple):
    date: datetime
    complete: bool
    sample: bool


async def prune(
    store: Store,
    keep: timedelta | None,
    weekly_after: timedelta | None,
    *,
    future: bool = False,
    now: datetime | None = None,
    dry: bool = False,
) -> Pruned:
    """Remove old runs, with JWQL's rows of the same dates.

    Ages count from the newest run, or from now if that is earlier: where the clock is ahead by
    years, or no run was stored for long, no run is older than it was.

    The newest run and the newest complete one stay whatever is asked for: the next run compares
    itself with them. Rows that other monitors have in `monitor` stay.

    Parameters
    ----------
    store : Store
        Entered.
    keep : timedelta, optional
        Remove what is older.
    weekly_after : timedelta, optional
        Of each week that ended longer ago (Monday to Sunday, UTC) keep the newest complete run, or
        the newest if there is none.
    future : bool
        Remove what is dated in the future.
    now : datetime, optional
        Aware; default: what the system clock reads.
    dry : bool
        Only count.

    Raises
    ------
    ClockError
        If the clock seems to be behind, or only the newest run's date makes the others old enough
        to go.
    """
    runs = [
        _Run(_date(date), bool(complete), bool(sample))
        for date, complete, sample in neutral_rows(
            await store.select(
                "SELECT date, status = 'complete' AND suspicions = '[]', sample FROM scan_run"
                " ORDER BY date"
            )
        )
    ]
    until = latest_date(now)
    ours = {run.date for run in runs}
    stored = {table: await _dates_of(store, table) for table in KEYS}
    ahead = {date for date in ours.union(*stored.values()) if future and date > until}
    every_run, runs = runs, [run for run in runs if run.date <= until]
    newest = min(
        until, max((date for date in ours.union(*stored.values()) if date <= until), default=until)
    )
    if future:
        _check_clock_of(now or datetime.now(UTC), every_run, runs)
    _check_gap(runs, keep, weekly_after)
    before = _before(newest, keep)
    weekly_before = _before(newest, weekly_after)
    if before is not None:
        before = min((before, *_needed(runs)))
    others = {
        table: {date for date in found - ours if date <= until} for table, found in stored.items()
    }
    too_old = {date for date in ours.union(*others.values()) if before and date < before}
    thinned = _thinned([run for run in runs if run.date not in too_old], weekly_before)
    weeks = {_week(run.date) for run in runs if run.date not in too_old}
    more = {
        table: _thinned_dates(dates - too_old, weeks, weekly_before)
        for table, dates in others.items()
    }
    if not dry:
        for some in _chunks(sorted(ahead, reverse=True)):
            await store.write([], list(_beyond(some[-1])))
        if future:  # failed runs have no other row
            await store.write([], list(_beyond(until + timedelta(microseconds=1))))
        for some in _chunks(sorted(too_old)):
            # A range, not the dates: failed runs have no other row.
            await store.write([], list(_older_than(some[-1])))
        for some in _chunks(sorted(thinned)):
            await store.write([], list(_at(some, (*KEYS, MONITOR, FAILURES, RUNS))))
        for table, dates in more.items():
            for some in _chunks(sorted(dates)):
                await store.write([], list(_at(some, (table,))))
        await store.thin_insight(None)  # sweeps what only those runs knew
    removed = len(ours & (too_old | ahead)) + len(thinned)
    return Pruned(
        store.location,
        runs=removed,
        kept=len(every_run) - removed,
        jwql_dates=len((too_old | ahead) - ours) + len(set().union(*more.values())),
        before=before,
        future=len(ahead),
    )


def _check_clock_of(now: datetime, every_run: Sequence[_Run], past: Sequence[_Run]) -> None:
    """Refuse to remove runs as dated in the future where it is rather the clock that is behind."""
    check_clock(now)
    ahead = len(every_run) - len(past)
    if ahead and (ahead > len(past) or not any(run.complete for run in past)):
        raise ClockError(
            f"nothing was removed: by this host's clock, {format_time(now)},"
            f" {ahead:,} of {counted(len(every_run), 'run')} would go, and a complete run has to"
            " stay: the clock may be behind; set it or enable NTP, then run this again"
        )


def _check_gap(runs: Sequence[_Run], *ages: timedelta | None) -> None:
    """Refuse where the newest run alone makes the others old: its clock may have been ahead."""
    if len(runs) < 2:
        return
    gap = runs[-1].date - runs[-2].date
    if any(age is not None and gap > max(age, _MIN_GAP) for age in ages):
        raise ClockError(
            f"nothing was removed: the newest run is of {format_day(runs[-1].date)},"
            f" {counted(gap.days, 'day')} after the one before; if the clock was ahead, set it"
            " and run `jwqlscan db prune --future`, else prune again after the next run"
        )


def _before(newest: datetime, age: timedelta | None) -> datetime | None:
    """Return the date an age before the newest run; None for None."""
    return None if age is None else newest - min(age, newest - _EARLIEST)


def _needed(runs: Sequence[_Run]) -> Iterator[datetime]:
    """Yield the dates of the newest run and of the newest that later ones are compared with."""
    real = [run for run in runs if not run.sample]
    complete = [run for run in real if run.complete]
    for some in (runs, real, complete):
        if some:
            yield some[-1].date


def _week(date: datetime) -> datetime:
    """Return the Monday, 0 h UTC, of a date's week."""
    return (date - timedelta(days=date.weekday())).replace(
        hour=0, minute=0, second=0, microsecond=0
    )


def _is_over(week: datetime, before: datetime | None) -> bool:
    return before is not None and week + timedelta(days=7) <= before


def _thinned(runs: Sequence[_Run], before: datetime | None) -> set[datetime]:
    """Return the dates of the runs that go where one a week is kept."""
    needed = set(_needed(runs))
    weeks: dict[datetime, list[_Run]] = {}
    for run in runs:
        if _is_over(_week(run.date), before):
            weeks.setdefault(_week(run.date), []).append(run)
    gone = set()
    for some in weeks.values():
        kept = max(some, key=lambda run: (run.complete, run.date))
        gone |= {run.date for run in some if run is not kept and run.date not in needed}
    return gone


def _thinned_dates(
    dates: Iterable[datetime], with_runs: set[datetime], before: datetime | None
) -> set[datetime]:
    """Return the dates of JWQL's own rows that go: all but the newest of a week without runs."""
    newest: dict[datetime, datetime] = {}
    gone = set()
    for date in sorted(dates):
        week = _week(date)
        if not _is_over(week, before):
            continue
        if week in with_runs:
            gone.add(date)
        elif week in newest:
            gone.add(newest[week])
        newest[week] = date
    return gone


async def _dates_of(store: Store, table: str) -> set[datetime]:
    question = f"SELECT DISTINCT date FROM {table} WHERE {dated(('date',), 1)}"  # noqa: S608 - names of our own
    rows = await store.select(question, *SPAN)
    return {_date(date) for (date,) in neutral_rows(rows)}


def _date(text: Any) -> datetime:  # noqa: ANN401 - either store's
    return datetime.fromisoformat(str(text))


def _chunks(dates: Sequence[datetime]) -> Iterator[Sequence[datetime]]:
    for start in range(0, len(dates), _DATES_A_TIME):
        yield dates[start : start + _DATES_A_TIME]


def _older_than(last: datetime) -> Iterator[Statement]:
    """Yield what removes everything up to a date, that included."""
    for table in (*KEYS, FAILURES, RUNS):
        yield f"DELETE FROM {table} WHERE {{date:{date_column(table)}}} <= {{date:$1}}", (last,)  # noqa: S608 - names of our own
    yield (
        "DELETE FROM monitor WHERE {date:start_time} <= {date:$1} AND monitor_name IN ($2, $3)",
        (last, *_MONITOR_NAMES),
    )


def _beyond(first: datetime) -> Iterator[Statement]:
    """Yield what removes everything from a date on; failed runs have no other row."""
    for table in (*KEYS, FAILURES, RUNS):
        yield f"DELETE FROM {table} WHERE {{date:{date_column(table)}}} >= {{date:$1}}", (first,)  # noqa: S608 - names of our own
    yield (
        "DELETE FROM monitor WHERE {date:start_time} >= {date:$1} AND monitor_name IN ($2, $3)",
        (first, *_MONITOR_NAMES),
    )


def _at(dates: Sequence[datetime], tables: Sequence[str]) -> Iterator[Statement]:
    """Yield what removes all of some dates."""
    marks = ", ".join(f"{{date:${number}}}" for number, _ in enumerate(dates, 1))
    for table in tables:
        if table == MONITOR:
            names = f"monitor_name IN (${len(dates) + 1}, ${len(dates) + 2})"
            where = f"{{date:start_time}} IN ({marks}) AND {names}"
            yield f"DELETE FROM monitor WHERE {where}", (*dates, *_MONITOR_NAMES)  # noqa: S608 - names of our own
        else:
            yield f"DELETE FROM {table} WHERE {{date:{date_column(table)}}} IN ({marks})", dates  # noqa: S608 - names of our own
