"""What the tests of moving need: a store with everything in it, and all that a store holds."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from snapshots import START, hostile_tally, make_area, make_snapshot

from jwqlscan.snapshot import Snapshot
from jwqlscan.store import Store
from jwqlscan.store.moving import neutral_rows
from jwqlscan.store.rows import TableRows

OPEN = 2**63 - 1
IDS = {"id", "series_id"}


def microseconds(date: datetime) -> int:
    return (date - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def runs(count: int) -> list[Snapshot]:
    """Return runs of all kinds, a day apart."""
    made = []
    for day in range(count):
        snapshot = make_snapshot(day)
        if day % 5 == 1:
            areas = (make_area(tally=hostile_tally(), state="partial"), make_area(capacity=None))
            snapshot = replace(snapshot, areas=(areas[0], replace(areas[1], name="public")))
        made.append(
            replace(
                snapshot,
                timestamp=START + timedelta(days=day, microseconds=day % 3),
                sample=day == 0,
                suspicions=("fewer files",) if day % 7 == 3 else (),
            )
        )
    return made


def insight_of(seed: int, series: int = 30) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return what a run found: values by a series' kind and key; most like those of the others."""
    rng = random.Random(seed)
    found = {}
    for number in range(series):
        if rng.random() < 0.9:
            kind = ("cell", "program", "directory")[number % 3]
            value = rng.randrange(2) if number % 2 else number
            found[kind, f"key {number} \u00e9"] = (value, value * 10, 2**53 + value, 0, number)
    return found


async def record(store: Store, snapshots: list[Snapshot], series: int = 30) -> None:
    """Store runs, with an insight that follows from each run's date, as few rows as it takes."""
    for snapshot in snapshots:
        assert await store.record(snapshot) == []
    dates = {
        microseconds(one.timestamp): one
        for one in sorted(snapshots, key=lambda one: one.timestamp)
        if microseconds(one.timestamp) % 4  # some did not look
    }
    for area in ("all", "public"):
        rows: dict[tuple[str, str], list[list[int]]] = {}
        last = None
        for date in dates:
            for key, values in insight_of(date, series).items():
                spans = rows.setdefault(key, [])
                if spans and spans[-1][1] == last and tuple(spans[-1][2:]) == values:
                    spans[-1][1] = date
                else:
                    spans.append([date, date, *values])
            last = date
        names = ("area_group", "area", "kind", "key")
        known = [("archive", area, *key) for key in rows]
        await store.write([TableRows("scan_series", names, known)])
        ids = {
            (kind, key): number
            for kind, key, number in await store.select(
                "SELECT kind, key, id FROM scan_series WHERE area = $1", area
            )
        }
        values = (
            *("series_id", "first_us", "last_us", "files", "apparent_bytes", "allocated_bytes"),
            *("fits_files", "fits_bytes"),
        )
        spans = [
            (ids[key], one[0], OPEN if one[1] == last else one[1], *one[2:])
            for key, some in rows.items()
            for one in some
        ]
        looked = [(one.run_id, "archive", area, date, 1, "{}") for date, one in dates.items()]
        columns = ("run_id", "area_group", "area", "date_us", "complete", "details")
        await store.write(
            [TableRows("scan_value", values, spans), TableRows("scan_insight", columns, looked)]
        )


async def everything(store: Store) -> dict[str, list[tuple]]:
    """Return every row of every table but for the ids, which are each store's own."""
    found = {}
    for table, columns in (await store.catalog()).items():
        if table == "scan_schema":
            continue
        names = [name for name in columns if name not in IDS]
        if table == "scan_value":
            question = (
                f"SELECT s.area, kind, key, {', '.join(names)} FROM scan_value v"
                " JOIN scan_series s ON s.id = v.series_id"
            )
        else:
            question = f"SELECT {', '.join(names)} FROM {table}"
        found[table] = sorted(neutral_rows(await store.select(question)), key=repr)
    return found
