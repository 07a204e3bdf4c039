"""What the tests of moving need: a store with everything in it, and all that a store holds."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from jwqlscan.model.cube import CellKey, FileClass
from jwqlscan.model.directory_totals import DirectorySum
from jwqlscan.model.snapshot import AreaSnapshot, Snapshot
from jwqlscan.store import Store
from jwqlscan.store.failures import Failure
from jwqlscan.store.transfer.rows import neutral_rows
from tests.support.snapshots import START, hostile_tally, make_area, make_snapshot

IDS = {"id", "series_id"}


def runs(count: int, series: int = 30) -> list[Snapshot]:
    """Return runs of all kinds, a day apart; most have looked where what lies."""
    made = []
    for day in range(count):
        snapshot = make_snapshot(day)
        if day % 5 == 1:
            areas = (make_area(tally=hostile_tally(), state="partial"), make_area(capacity=None))
            snapshot = replace(snapshot, areas=(areas[0], replace(areas[1], name="public")))
        if day % 4:
            for area in snapshot.areas[:2]:
                look(area, day, series)
        made.append(
            replace(
                snapshot,
                timestamp=START + timedelta(days=day, microseconds=day % 3),
                sample=day == 0,
                suspicions=("fewer files",) if day % 7 == 3 else (),
            )
        )
    return made


def failures() -> list[Failure]:
    """Return failed runs before the first of `runs`: one that said why, and one that was killed."""
    began = START - timedelta(days=8)
    return [
        Failure(str(UUID(int=1)), began, START, "host", "0.2", 1, "/a\\xff: é|'", "f.log"),
        Failure(str(UUID(int=2)), began, None, "host", "0.2", None, "killed"),
    ]


def look(area: AreaSnapshot, seed: int, series: int) -> None:
    """Let a run find cells, programs and directories: most are like those of other runs."""
    rng = random.Random(seed)
    cube, tree = area.tally.cube, area.tally.tree
    for number in range(series):
        if rng.random() < 0.9:
            value = rng.randrange(2) if number % 2 else number
            if number % 3 == 0:
                key = CellKey(FileClass("", f"x{number}"), 0, 0, 1, 1)
                cube.cells[key] = [value, value * 10, 2**53 + value]
            elif number % 3 == 1:
                cube.programs[f"{number:05d}"] = [value, value * 7]
            else:
                tree.upper[f"\udcff\u00e9 {number}"] = DirectorySum(
                    value, 2**62 + value, 1, value, 2
                )


async def record(store: Store, snapshots: list[Snapshot]) -> None:
    """Store runs."""
    for snapshot in snapshots:
        assert await store.record(snapshot) == []


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
