"""Insight, read back from a store: one wording for both dialects, as in `store.questions`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import add
from typing import Any

import anyio.to_thread

from jwqlscan.history.area_rows import CELLS, AreaRows, kind_of, points_of
from jwqlscan.history.growth import (
    Look,
    Part,
    area_insight,
    growth,
    is_below,
    is_collapsed,
    with_series,
)
from jwqlscan.history.insight import GROWTH_BY, AreaChange, Growth, Insight
from jwqlscan.model.baseline import COMPLETE, baseline
from jwqlscan.model.cube import PRODUCT_EXTENSION, CellKey, FileClass, Sum
from jwqlscan.model.directory_totals import MissingBounds
from jwqlscan.store.queries import Asked
from jwqlscan.store.validity import cell_key, plain
from jwqlscan.system.clock import LATEST, latest_date
from jwqlscan.text import escape_controls

# Limits of the report, per area: three windows, rows per window, points per row.
WINDOWS = {"last": None, "7d": timedelta(days=7), "30d": timedelta(days=30)}
REPORT_ROWS = 20
SERIES_POINTS = 30
SERIES_SPAN = timedelta(days=30)

_LOOKS = (
    "SELECT i.area_group, i.area, i.date_us, i.complete,"
    " CASE WHEN r.suspicions = '[]' THEN r.status ELSE 'suspect' END, r.sample, a.path, i.details"
    " FROM scan_insight i JOIN scan_run r ON r.run_id = i.run_id"
    " LEFT JOIN scan_area a ON a.run_id = i.run_id AND a.area_group = i.area_group"
    " AND a.area = i.area WHERE r.date <= {date:$1} ORDER BY i.date_us"
)
# Of what lasts from run to run, what some runs had: of the runs themselves, not of those between.
RUNS_AT_ONCE = 4
_VALUES = (  # what is put in are numbers of parameters
    "SELECT s.kind, s.key, v.first_us, v.last_us, v.files, v.apparent_bytes, v.allocated_bytes,"  # noqa: S608 - names of our own
    " v.fits_files, v.fits_bytes FROM scan_value v JOIN scan_series s ON s.id = v.series_id"
    " WHERE s.area_group = $1 AND s.area = $2 AND v.last_us >= $3 AND ("
    + " OR ".join(f"v.first_us <= ${n} AND v.last_us >= ${n}" for n in range(3, 3 + RUNS_AT_ONCE))
    + ")"
)
_CELLS_OVER_TIME = (
    "SELECT s.key, v.first_us, v.last_us, v.apparent_bytes"
    " FROM scan_value v JOIN scan_series s ON s.id = v.series_id"
    " WHERE s.area_group = $1 AND s.area = $2 AND s.kind = 'cell' AND v.last_us >= $3"
    " AND v.first_us <= $4"
)
_AREA_TOTALS = (
    "SELECT a.area_group, a.area, a.files, a.apparent_bytes, a.state FROM scan_area a"
    " JOIN scan_insight i ON i.run_id = a.run_id WHERE i.area_group = $1 AND i.area = $2"
    " AND (i.date_us = $3 OR i.date_us = $4) ORDER BY i.date_us"
)
KEYS_AT_ONCE = 20
_KEYS_OVER_TIME = (
    "SELECT s.key, v.first_us, v.last_us, v.apparent_bytes"  # noqa: S608 - names of our own
    " FROM scan_series s JOIN scan_value v ON v.series_id = s.id"
    " WHERE s.area_group = $1 AND s.area = $2 AND s.kind = $3 AND v.last_us >= $4"
    " AND v.first_us <= $5"
    f" AND s.key IN ({', '.join(f'${n}' for n in range(6, 6 + KEYS_AT_ONCE))})"
)

Area = tuple[str, str]


async def read_insight(store: Asked, until: datetime | None = None) -> Insight:
    """Return the insight of the newest run up to `until`, and the growth until then."""
    looks = await read_looks(store, until or LATEST)
    newest = max((found[-1].date_us for found in looks.values()), default=0)
    # An area whose newest run is older is none any more.
    current = [area for area in sorted(looks, key=_order) if looks[area][-1].date_us == newest]
    bases: dict[Area, dict[str, Look]] = {}
    rows: dict[Area, AreaRows] = {}
    for area in current:
        found = looks[area]
        before = {window: base_look(found, back) for window, back in WINDOWS.items()}
        bases[area] = {window: base for window, base in before.items() if base is not None}
        rows[area] = await read_values(store, area, [*bases[area].values(), found[-1]])
    growths: list[Growth] = []
    for area in current:
        last = looks[area][-1]
        since = min([last.date - SERIES_SPAN, *(base.date for base in bases[area].values())])
        found_growths = []
        for window, base in bases[area].items():
            parts = [
                Part((bases[one][window], looks[one][-1]), rows[one])
                for one in current
                if one != area
                and window in bases[one]
                and bases[one][window].date_us == base.date_us
            ]
            found_growths += [
                growth(*area, by, window, (base, last), rows[area], top=REPORT_ROWS, parts=parts)
                for by in GROWTH_BY
            ]
        drawn = series_looks(looks[area], since)
        growths += await add_series(store, found_growths, rows[area], drawn)
    areas = (area_insight(*area, looks[area][-1], rows[area]) for area in current)
    return Insight(tuple(areas), tuple(growths))


async def read_parts(
    store: Asked, looks: Mapping[Area, Sequence[Look]], area: Area, both: tuple[Look, Look]
) -> list[Part]:
    """Return the areas below another one in the same two runs, if these dropped directories."""
    parts = []
    if any(is_collapsed("directory", look) for look in both):
        for other, found in looks.items():
            pair = [look for one in both for look in found if look.date_us == one.date_us]
            if other != area and len(pair) == 2 and is_below(pair[1], both[1]):
                rows = await read_values(store, other, pair)
                parts.append(Part((pair[0], pair[1]), rows))
    return parts


async def area_changes(store: Asked, area: Area, both: tuple[Look, Look]) -> list[AreaChange]:
    """Return how the totals of the other areas changed between two runs that have an area."""
    dates = [look.date_us for look in both]
    found: dict[Area, list[tuple[Sum, bool]]] = {}
    for group, name, files, size, state in await store.select(_AREA_TOTALS, *area, *dates):
        found.setdefault((group, escape_controls(name)), []).append(
            (Sum(files, size), state == COMPLETE)
        )
    return [
        AreaChange(*other, rows[0][0], rows[1][0], rows[0][1] and rows[1][1])
        for other, rows in sorted(found.items(), key=lambda item: _order(item[0]))
        if other != area and len(rows) == 2
    ]


async def read_looks(store: Asked, until: datetime | None = None) -> dict[Area, list[Look]]:
    """Return the insight of every run per area, ascending by date; default: none in the future."""
    looks: dict[Area, list[Look]] = {}
    rows = await store.select(_LOOKS, until or latest_date())
    for group, area, date_us, complete, status, sample, path, details in rows:
        fields = json.loads(details)
        looks.setdefault((group, escape_controls(area)), []).append(
            Look(
                date_us,
                datetime.fromtimestamp(0, UTC) + timedelta(microseconds=date_us),
                bool(complete),
                status,
                bool(sample),
                escape_controls(path or ""),
                fields["folded"],
                fields["least_bytes"],
                fields.get("product_extension", PRODUCT_EXTENSION),
                MissingBounds(*fields["untold"]) if "untold" in fields else None,
            )
        )
    return looks


async def read_values(store: Asked, area: Area, looks: Sequence[Look]) -> AreaRows:
    """Return what was in an area in some runs, ascending by date and `RUNS_AT_ONCE` at most."""
    dates = [look.date_us for look in looks]
    dates += dates[-1:] * (RUNS_AT_ONCE - len(dates))
    rows = await store.select(_VALUES, *area, min(dates), *sorted(dates)[1:])
    values = AreaRows(rows, _cell, _text, looks[-1].product_extension)
    # In a thread: the name service may not answer for seconds, and signals are to be heeded then.
    await anyio.to_thread.run_sync(values.look_up_names, abandon_on_cancel=True)
    return values


async def add_series(
    store: Asked, growths: Sequence[Growth], rows: AreaRows, looks: Sequence[Look]
) -> list[Growth]:
    """Return what grew in one area with the rows' apparent bytes in some runs, ascending."""
    if not growths or not looks:
        return list(growths)
    area = (growths[0].group, growths[0].name)
    dates, moments = [look.date for look in looks], [look.date_us for look in looks]
    cells: dict[str, list[int]] | None = None
    series: dict[str, dict[str, list[int | None]]] = {}
    for by in dict.fromkeys(found.by for found in growths):
        listed = {row.label for found in growths if found.by == by for row in found.rows}
        if kind_of(by) != CELLS:
            keys = [key for key, label in rows.labels(by).items() if label in listed]
            points = await _points_of_keys(store, area, kind_of(by), keys, moments)
        else:
            if cells is None:
                found = await store.select(_CELLS_OVER_TIME, *area, moments[0], moments[-1])
                cells = points_of(found, moments)
            points = cells
        hidden = [is_collapsed(by, look) for look in looks]
        labelled = await anyio.to_thread.run_sync(
            _by_label, by, rows, points, listed, abandon_on_cancel=True
        )
        series[by] = {
            # What is missing from a run may have been too small to be kept.
            label: [None if n == 0 and h else n for n, h in zip(numbers, hidden, strict=True)]
            for label, numbers in labelled.items()
        }
    return [with_series(found, dates, series[found.by]) for found in growths]


async def _points_of_keys(
    store: Asked, area: Area, kind: str, keys: Sequence[str], moments: Sequence[int]
) -> dict[str, list[int]]:
    rows: list[Sequence[Any]] = []
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = list(keys[start : start + KEYS_AT_ONCE])
        some += some[-1:] * (KEYS_AT_ONCE - len(some))
        rows += await store.select(_KEYS_OVER_TIME, *area, kind, moments[0], moments[-1], *some)
    return points_of(rows, moments)


def _by_label(
    by: str, rows: AreaRows, points: Mapping[str, list[int]], listed: set[str]
) -> dict[str, list[int]]:
    """Add up the points of the keys that are called the same."""
    series: dict[str, list[int]] = {}
    labels = rows.labels(by)
    labels = labels | rows.labels_of(by, points.keys() - labels.keys())
    for key, mine in points.items():
        label = labels[key]
        if label in listed:
            others = series.get(label)
            series[label] = mine if others is None else list(map(add, others, mine))
    return series


def base_look(looks: Sequence[Look], back: timedelta | datetime | None) -> Look | None:
    """Return the look that the newest one is compared with; None if there is none.

    Parameters
    ----------
    looks : sequence of Look
        Of one area, ascending by date.
    back : timedelta or datetime or None
        The baseline is the complete run nearest to this long before the newest, or to this date;
        None: the newest complete one.
    """
    newest = looks[-1]
    wanted = newest.date - back if isinstance(back, timedelta) else back
    return baseline(looks, newest, wanted)


def series_looks(looks: Sequence[Look], since: datetime) -> list[Look]:
    """Return the looks that a series is drawn of, spread evenly; the newest is always one.

    What an incomplete run could not read would be drawn as a fall that never was.
    """
    newest = looks[-1].date
    found = [
        look for look in looks if look.date >= since and (look.complete or look.date == newest)
    ]
    if len(found) <= SERIES_POINTS:
        return found
    step = (len(found) - 1) / (SERIES_POINTS - 1)
    return [found[round(number * step)] for number in range(SERIES_POINTS)]


def _order(area: Area) -> tuple[bool, str, bool, str]:
    group, name = area
    return group != "archive", group, name != "all", name


@cache
def _cell(text: str) -> CellKey:
    key = cell_key(text)
    return key._replace(file_class=FileClass(*map(escape_controls, key.file_class)))


@cache
def _text(text: str) -> str:
    return escape_controls(plain(text))
