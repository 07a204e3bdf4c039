"""What `status`, `history` and `growth` show: runs, one series over time, what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from jwqlscan.errors import ConfigError
from jwqlscan.history.growth import growth
from jwqlscan.history.insight import Growth
from jwqlscan.history.insight_queries import (
    add_series,
    area_changes,
    base_look,
    read_looks,
    read_parts,
    read_values,
    series_looks,
)
from jwqlscan.model.baseline import baseline
from jwqlscan.model.snapshot import ALL, area_label
from jwqlscan.state.local_state import LocalState
from jwqlscan.store import Store, Tables, open_store
from jwqlscan.store.failures import Failure, newest_failure
from jwqlscan.store.queries import (
    AreaRow,
    Point,
    RunRow,
    archive_area_points,
    archive_points,
    central_points,
    future_dates,
    last_products,
    last_runs,
    product_points,
)
from jwqlscan.system.clock import latest_date
from jwqlscan.text import escape
from jwqlscan.units import format_minute, format_time

# Among this many runs before one there is a complete one to compare it with, or it is compared with
# none.
COMPLETE_WITHIN = 30


@dataclass(frozen=True, slots=True)
class Total:
    """A group's whole, and what changed since the complete run before; None if that is unknown."""

    area: AreaRow
    files_change: int | None
    bytes_change: int | None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run, how old it is, and its totals."""

    run: RunRow
    age: timedelta
    totals: tuple[Total, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The newest runs, newest first, and where they are.

    Attributes
    ----------
    store : str
    runs : tuple of RunStatus
        Without those dated in the future.
    failed : Failure or None
        The newest run that failed, after all of them; or the newest of them, without a report.
    future : tuple of datetime
        Dates of runs in the future, newest first.
    local : LocalState
        What the state directory knows; `failed` of the store is not the last word then.
    """

    store: str
    runs: tuple[RunStatus, ...]
    failed: Failure | None = None
    future: tuple[datetime, ...] = ()
    local: LocalState = field(default_factory=LocalState)

    @property
    def failure(self) -> Failure | None:
        """The failed run to report, as the store and the state directory know it together."""
        newest = self.runs[0].run.date if self.runs else None
        return self.local.failure(self.failed, newest)


@dataclass(frozen=True, slots=True)
class Series:
    """One series: what it is of, and its points, ascending by date.

    Points later than `latest` are dated in the future.
    """

    area: str
    instrument: str
    filetype: str
    points: tuple[Point, ...]
    latest: datetime = field(default_factory=latest_date)

    def is_future(self, point: Point) -> bool:
        """Return whether a point is dated in the future."""
        return point.date > self.latest


async def status(database_url: str, count: int, now: datetime | None = None) -> Status:
    """Return the newest runs.

    Parameters
    ----------
    database_url : str
    count : int
    now : datetime, optional
        Aware; what ages count from.
    """
    now = now or datetime.now(UTC)
    async with open_store(database_url, Tables.IF_PRESENT) as store:
        until = latest_date(now)
        runs = await last_runs(store, count + COMPLETE_WITHIN, until)
        found = [
            RunStatus(run, now - run.date, _totals(run, baseline(runs, run)))
            for run in runs[:count]
        ]
        failed = await newest_failure(store, runs[0].date if runs else None, until)
        future = await future_dates(store, until)
        return Status(store.location, tuple(found), failed, tuple(future))


async def series(
    database_url: str,
    area: str = "",
    instrument: str = "",
    filetype: str = "",
    since: datetime | None = None,
) -> Series:
    """Return one series.

    Parameters
    ----------
    database_url : str
    area : str
        ``archive``, ``central``, ``archive/AREA`` or ``central/AREA``; "" is the archive.
    instrument, filetype : str
        Only those files of the archive; "" is any.
    since : datetime, optional
        Aware.

    Raises
    ------
    ConfigError
        If there is no such area or product, or the area is not kept by product.
    """
    group, _, name = (area or "archive").partition("/")
    if group not in ("archive", "central") or (area and area.endswith("/")):
        raise ConfigError(
            f"no area {escape(area)}: write archive, central, archive/AREA or central/AREA"
        )
    if (instrument or filetype) and (group, name) != ("archive", ""):
        raise ConfigError(
            f"products are kept for the whole archive only: leave out --area {escape(area)},"
            " or --instrument and --filetype"
        )
    points: Sequence[Point] = ()
    async with open_store(database_url, Tables.IF_PRESENT) as store:
        asked = (group, name, instrument.casefold(), filetype.casefold())
        points = await _points(store, *asked, since)
        if not points and not await _points(store, *asked, None):
            await _check_known(store, *asked)
    return Series(area or "archive", instrument, filetype, tuple(points))


async def _points(
    store: Store, group: str, name: str, instrument: str, filetype: str, since: datetime | None
) -> list[Point]:
    if instrument or filetype:
        return await product_points(store, instrument, filetype, since)
    if group == "central":
        return await central_points(store, name or ALL, since)
    if name:
        return await archive_area_points(store, name, since)
    return await archive_points(store, since)


async def _check_known(store: Store, group: str, name: str, instrument: str, filetype: str) -> None:
    """Refuse what the newest run knows nothing of, now that nothing is stored of it either."""
    products = await last_products(store) if instrument or filetype else []
    for what, label, known in (
        ("instrument", instrument, [one for one, _ in products]),
        ("filetype", filetype, [one for _, one in products]),
    ):
        if label and known and label not in known:
            there = escape(", ".join(sorted(set(known))))
            raise ConfigError(f"no {what} {escape(label)} is stored; there are {there}")
    areas = [area for run in await last_runs(store, 1) for area in run.areas]
    if areas and not any((one.group, one.name) == (group, name or ALL) for one in areas):
        wanted = f"{group}/{name}" if name else group
        there = escape(", ".join(one.label for one in areas))
        raise ConfigError(f"no run measured {escape(wanted)}; there are {there}")


async def compare_runs(
    database_url: str, since: str | datetime | timedelta, by: str, area: str = "", top: int = 20
) -> Growth:
    """Return what changed in an area between two stored runs.

    Parameters
    ----------
    database_url : str
    since : datetime or timedelta or str
        A date, aware; a time before the newest run; or ``last``, the run before that.
    by : str
        One of `jwqlscan.history.insight.GROWTH_BY`.
    area : str
        As in `series`; "" is the archive or, without one, central storage.
    top : int
        How many rows, at most.

    Raises
    ------
    ConfigError
        If there is no such area, or fewer than two runs looked into it.
    """
    async with open_store(database_url, Tables.IF_PRESENT) as store:
        looks = await read_looks(store)
        group, _, name = area.partition("/")
        wanted = (group, name or ALL)
        if not area:
            wanted = next((a for a in sorted(looks) if a[1] == ALL), ("archive", ALL))
        found = looks.get(wanted, [])
        if area and looks and not found:
            known = ", ".join(area_label(*one) for one in sorted(looks))
            raise ConfigError(f"no run looked into {escape(area)}; there are {escape(known)}")
        if len(found) < 2:
            raise ConfigError(
                f"{store.location}: growth needs two runs, and there"
                f" {'is one' if found else 'are none'} that kept insight: run again (with"
                " insight.enabled)"
            )
        if isinstance(since, datetime):
            if since >= found[-1].date:
                raise ConfigError(
                    f"no run is newer than {format_time(since)}: the newest is of"
                    f" {format_minute(found[-1].date)}"
                )
            # An incomplete run that was asked for by its date is compared with all the same.
            nearest = min(found[:-1], key=lambda look: abs(look.date - since))
            base = base_look(found, since) or nearest
        elif before := base_look(found, since if isinstance(since, timedelta) else None):
            base = before
        else:
            raise ConfigError(
                f"{store.location}: no run before that of {format_time(found[-1].date)} is"
                " complete; give --since DATE to compare with the run nearest to a date"
            )
        both = (base, found[-1])
        rows = await read_values(store, wanted, both)
        parts = await read_parts(store, looks, wanted, both) if by == "directory" else ()
        window = since if isinstance(since, str) else base.date.isoformat()
        grown = growth(*wanted, by, window, both, rows, top=top, parts=parts)
        if not area:
            grown = replace(grown, others=tuple(await area_changes(store, wanted, both)))
        [with_series] = await add_series(store, [grown], rows, series_looks(found, base.date))
    return with_series


def _totals(run: RunRow, previous: RunRow | None) -> tuple[Total, ...]:
    totals = []
    for area in run.areas:
        if area.name == ALL:
            old = previous.area(area.group) if previous else None
            totals.append(
                Total(
                    area,
                    None if old is None else area.files - old.files,
                    None if old is None else area.apparent_bytes - old.apparent_bytes,
                )
            )
    return tuple(totals)
