"""What insight takes beside time: memory, and a year of it in SQLite (its time: `runs.py`).

    python bench/insight.py memory DIR
    python bench/insight.py year [--programs N] [--days N]

``memory`` makes 10,000 programs in 110,001 directories in DIR and tells the peak of each process.
``year`` stores a made-up archive's runs, a night each, and tells the file's size.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

VARIANTS = ("plain", "cube", "insight")
SEED = 1


def scan_once(variant: str, path: str, reader: str, workers: int) -> dict:
    """Scan in this process's own child and tell its times (s) and peaks (KiB)."""
    from jwqlscan.model.directory_totals import DEFAULT_DIRECTORIES, NO_DIRECTORIES
    from jwqlscan.scanning.measure import scan
    from jwqlscan.settings import ScanSettings

    settings = ScanSettings(
        reader=reader,
        workers=workers,
        ages_from_s=0 if variant == "plain" else int(time.time()),
        directories=DEFAULT_DIRECTORIES if variant == "insight" else NO_DIRECTORIES,
    )
    started = time.perf_counter()
    found = asyncio.run(scan([path], settings))
    seconds = time.perf_counter() - started
    own = resource.getrusage(resource.RUSAGE_SELF)
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    tally = found.areas[0].tally
    return {
        "files": tally.files,
        "bytes": tally.apparent_bytes,
        "wall_s": seconds,
        "walk_s": found.seconds,
        "cpu_s": own.ru_utime + own.ru_stime + child.ru_utime + child.ru_stime,
        "parent_kib": own.ru_maxrss,
        "child_kib": child.ru_maxrss,
        "reader": found.reader,
        "cells": len(tally.cube.cells),
        "programs": len(tally.cube.programs),
        "directories": len(tally.tree.upper) + len(tally.tree.lower),
    }


def in_a_process(variant: str, path: str, reader: str, workers: int) -> dict:
    command = [sys.executable, __file__, "once", variant, path, reader, str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def memory(options: argparse.Namespace) -> None:
    path = Path(options.dir) / "programs-10000"
    if not path.exists():
        for number in range(10_000):
            for visit in range(10):
                name = f"jw{number:05}{visit:03}001"
                directory = path / f"jw{number:05}" / name
                directory.mkdir(parents=True)
                for suffix in ("cal", "rate"):
                    file = f"{name}_02101_00001_nrca1_{suffix}.fits"
                    with open(directory / file, "wb") as made:
                        made.truncate(1000 + number)
    for reader in ("native", "scandir"):
        for variant in VARIANTS:
            found = in_a_process(variant, str(path), reader, 0)
            print(json.dumps({"variant": variant} | found))


def year(options: argparse.Namespace) -> None:  # noqa: C901 - one case after the other
    """Store runs of an archive of which some hundred programs change a night."""
    from jwqlscan.history.insight_queries import read_insight
    from jwqlscan.model.cube import CellKey, FileClass
    from jwqlscan.model.directory_totals import DirectorySum
    from jwqlscan.model.snapshot import AreaSnapshot, Snapshot
    from jwqlscan.model.tally import Tally
    from jwqlscan.store import open_store

    rng = random.Random(SEED)
    area_names = ("all", "public", "proprietary")
    tallies = {name: Tally() for name in area_names}
    products = [
        FileClass(instrument, f"type{n}")
        for instrument in ("fgs", "miri", "nircam", "niriss", "nirspec")
        for n in range(25)
    ]

    def grow(program: int, files: int, new: bool) -> None:
        part = "proprietary" if program % 4 == 3 else "public"
        for _ in range(files):
            # Files of a product are of much the same size, and few accounts own an archive.
            which = rng.randrange(len(products))
            size = int(2 ** (14 + which % 14) * rng.lognormvariate(0, 0.7))
            key = CellKey(
                products[which], int(rng.random() < 0.1), 0,
                1 if new else rng.randrange(2, 9), size.bit_length(),
            )  # fmt: skip
            visit = f"jw{program:05}/jw{program:05}{rng.randrange(3):03}001"
            for name in ("all", part):
                tally = tallies[name]
                tally.files += 1
                tally.cube.add(key, 1, size, size)
                tally.cube.add_program(f"{program:05}", 1, size)
                for below in ("", f"jw{program:05}", visit):
                    if name == "all":
                        below = f"{part}/{below}".rstrip("/")
                    table = tally.tree.upper if below.count("/") < 2 else tally.tree.lower
                    table[below] = table.get(below, DirectorySum()).plus((1, size, size, 1, size))

    def age(tally: Tally) -> None:
        """A part of each cell's files passes into the next age, as a night does to them."""
        for key, cell in list(tally.cube.cells.items()):
            share = (1.0, 0.8, 0.16, 0.05, 0.02, 0.004, 0.003, 0.001, 0)[key.age]
            count = min(cell[0] - 1, round(cell[0] * share + rng.random() * 0.3))
            if count > 0:
                moved = [count, cell[1] * count // cell[0], cell[2] * count // cell[0]]
                tally.cube.cells[key] = [a - b for a, b in zip(cell, moved, strict=True)]
                tally.cube.add(key._replace(age=key.age + 1), *moved)

    for program in range(options.programs):
        grow(program, 12, new=False)

    async def store_all() -> None:
        start = datetime(2025, 1, 1, 3, 17, tzinfo=UTC)
        slowest = 0.0
        with tempfile.TemporaryDirectory(dir=options.dir) as place:
            path = f"{place}/year.db"
            async with open_store(f"sqlite:///{path}") as store:
                for day in range(options.days):
                    at = start + timedelta(days=day)
                    areas = tuple(
                        AreaSnapshot("archive", name, f"/archive/{name}".removesuffix("/all"),
                                     tallies[name], None)
                        for name in area_names
                    )  # fmt: skip
                    began = time.perf_counter()
                    await store.record(
                        Snapshot(str(uuid.uuid4()), at, at, "h", "1", "native", 8, 1.0, areas)
                    )
                    slowest = max(slowest, time.perf_counter() - began)
                    if day == 0:
                        first = os.stat(path).st_size
                    for tally in tallies.values():
                        age(tally)
                    for program in rng.sample(range(options.programs), options.programs // 40):
                        grow(program, 8, new=True)
                began = time.perf_counter()
                await read_insight(store)
                read_s = time.perf_counter() - began
                rows = (await store.select("SELECT count(*) FROM scan_value"))[0][0]
                series = (await store.select("SELECT count(*) FROM scan_series"))[0][0]
            print(
                json.dumps(
                    {
                        "days": options.days,
                        "programs": options.programs,
                        "cells": len(tallies["all"].cube.cells),
                        "series": series,
                        "values": rows,
                        "first_run_mb": round(first / 1e6, 1),
                        "year_mb": round(os.stat(path).st_size / 1e6, 1),
                        "slowest_record_s": round(slowest, 2),
                        "read_for_report_s": round(read_s, 2),
                    }
                )
            )

    asyncio.run(store_all())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("memory")
    one.add_argument("dir")
    one.set_defaults(work=memory)
    one = parts.add_parser("year")
    one.add_argument("--dir")
    one.add_argument("--programs", type=int, default=10_000)
    one.add_argument("--days", type=int, default=365)
    one.set_defaults(work=year)
    one = parts.add_parser("once")
    for name in ("variant", "path", "reader"):
        one.add_argument(name)
    one.add_argument("workers", type=int)
    one.set_defaults(
        work=lambda o: print(json.dumps(scan_once(o.variant, o.path, o.reader, o.workers)))
    )
    options = parser.parse_args()
    options.work(options)


if __name__ == "__main__":
    main()
