"""Insight, read back from a store: one wording for both dialects, as in `store.questions`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from jwqlscan.cube import PRODUCT_EXTENSION, CellKey, FileClass, Sum
from jwqlscan.growth import CELLS, AreaRows, Lasting, Look, area_insight, growth
from jwqlscan.insight import GROWTH_BY, AreaInsight, Growth, Insight
from jwqlscan.paths import harmless
from jwqlscan.store.intervals import cell_key, plain
from jwqlscan.store.questions import Asked

# What the report tells of each area: three windows, so many rows of each, so many points a row.
WINDOWS = {"last": None, "7d": timedelta(days=7), "30d": timedelta(days=30)}
REPORT_ROWS = 20
SERIES_POINTS = 30
SERIES_SPAN = timedelta(days=30)

_LOOKS = (
    "SELECT i.area_group, i.area, i.date_us, i.complete, r.sample, a.path, i.details"
    " FROM scan_insight i JOIN scan_run r ON r.run_id = i.run_id"
    " LEFT JOIN scan_area a ON a.run_id = i.run_id AND a.area_group = i.area_group"
    " AND a.area = i.area ORDER BY i.date_us"
)
_VALUES = (
    "SELECT s.kind, s.key, v.first_us, v.last_us, v.files, v.apparent_bytes, v.allocated_bytes,"
    " v.fits_files, v.fits_bytes FROM scan_value v JOIN scan_series s ON s.id = v.series_id"
    " WHERE v.last_us >= $3 AND v.first_us <= $4 AND s.area_group = $1 AND s.area = $2"
)

Area = tuple[str, str]


async def read_insight(store: Asked) -> Insight:
    """Return what the newest run that looked knows, and what grew until then, for the report."""
    looks = await read_looks(store)
    newest = max((found[-1].date_us for found in looks.values()), default=0)
    areas: list[AreaInsight] = []
    growths: list[Growth] = []
    for area in sorted(looks, key=_order):
        found = looks[area]
        last = found[-1]
        if last.date_us < newest:
            continue  # it is no area any more
        bases = {
            window: base
            for window, back in WINDOWS.items()
            if (base := look_before(found, back)) is not None
        }
        dates = series_looks(
            found, min([last.date - SERIES_SPAN, *(b.date for b in bases.values())])
        )
        start = min([*(base.date_us for base in bases.values()), dates[0].date_us])
        rows = await read_values(store, area, start, last)
        areas.append(area_insight(*area, last, rows))
        growths += [
            growth(*area, by, window, (base, last), rows, top=REPORT_ROWS, dates=dates)
            for window, base in bases.items()
            for by in GROWTH_BY
        ]
    return Insight(tuple(areas), tuple(growths))


async def read_looks(store: Asked) -> dict[Area, list[Look]]:
    """Return every run's look into each area, ascending by date."""
    looks: dict[Area, list[Look]] = {}
    for group, area, date_us, complete, sample, path, details in await store.select(_LOOKS):
        told = json.loads(details)
        looks.setdefault((group, harmless(area)), []).append(
            Look(
                date_us,
                datetime.fromtimestamp(0, UTC) + timedelta(microseconds=date_us),
                bool(complete),
                bool(sample),
                harmless(path or ""),
                told["folded"],
                told["least_bytes"],
                told.get("product_extension", PRODUCT_EXTENSION),
            )
        )
    return looks


async def read_values(store: Asked, area: Area, first_us: int, last: Look) -> AreaRows:
    """Return what was in an area in any run from a date to another."""
    rows = await store.select(_VALUES, *area, first_us, last.date_us)
    return AreaRows(map(_lasting, rows), last.product_extension)


def look_before(looks: Sequence[Look], back: timedelta | None) -> Look | None:
    """Return the look nearest to so long before the newest one; None: the one before.

    None if there is but one.
    """
    if len(looks) < 2:
        return None
    if back is None:
        return looks[-2]
    return nearest(looks, looks[-1].date - back)


def nearest(looks: Sequence[Look], date: datetime) -> Look:
    """Return the look nearest to a date, of those before the newest."""
    return min(looks[:-1], key=lambda look: abs(look.date - date))


def series_looks(looks: Sequence[Look], since: datetime) -> list[Look]:
    """Return the looks that a series is drawn of, spread evenly; the newest is always one."""
    found = [look for look in looks if look.date >= since]
    if len(found) <= SERIES_POINTS:
        return found
    step = (len(found) - 1) / (SERIES_POINTS - 1)
    return [found[round(number * step)] for number in range(SERIES_POINTS)]


def _order(area: Area) -> tuple[bool, str, bool, str]:
    group, name = area
    return group != "archive", group, name != "all", name


def _lasting(row: Sequence[Any]) -> Lasting:
    kind, text, first_us, last_us, files, apparent, allocated, fits_files, fits_bytes = row
    key = _cell(text) if kind == CELLS else _text(text)
    return Lasting(
        kind, key, first_us, last_us, Sum(files, apparent, allocated), fits_files, fits_bytes
    )


@cache
def _cell(text: str) -> CellKey:
    key = cell_key(text)
    return key._replace(file_class=FileClass(*map(harmless, key.file_class)))


@cache
def _text(text: str) -> str:
    return harmless(plain(text))
