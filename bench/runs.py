"""Whole runs, as cron starts them: with insight and without, with the report and without.

    python bench/runs.py [--files 400000] [--rounds 7] [--years 0] [--variants run,plain,...]
                         [--jwqlscan COMMAND] [--other COMMAND] [--work DIR]

==========  ===================================================================================
floor       what a C program takes to count the tree's files and add up their sizes, 2 threads
scan        `jwqlscan scan`
plain       `jwqlscan run --no-report` with ``insight.enabled = false``
run         `jwqlscan run --no-report`
report      `jwqlscan run`
other-...   the same of another installation, named with --other: of the commit before, say
==========  ===================================================================================

All read one tree, warm, in turn, each as a whole process and in another order each round. Each
variant has its own database, in which there are ``--years`` of daily runs, and one run of the tree
more, so that there is something to compare with. A run whose totals are not the tree's ends the
benchmark. Ratios are the median over the rounds of the ratio within a round, of wall time and of
processor time; beside them stand the ratios of the fastest rounds, which a busy machine spoils
less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from compare import build
from trees import make_tree

from jwqlscan.model.snapshot import AreaSnapshot, Capacity, Snapshot
from jwqlscan.model.tally import Amount, Product, Tally
from jwqlscan.naming.jwst import FILETYPES, INSTRUMENT_LABELS
from jwqlscan.store import open_store

HERE = Path(__file__).resolve().parent

VARIANTS = ("floor", "scan", "plain", "run", "report")
CENTRAL = ("all", "logs", "outputs", "preview_images", "test")

# What is divided by what, and the most that the ratio may be, by number of files.
BARS = {
    ("run", "plain"): {400_000: 1.12, 4_000_000: 1.08},
    ("run", "floor"): {4_000_000: 1.2},
    ("scan", "floor"): {},
    ("report", "run"): {},
    ("run", "other-run"): {},
    ("plain", "other-plain"): {},
    ("report", "other-report"): {},
}


class Times(NamedTuple):
    """What a process and its children took, in seconds."""

    wall: float
    cpu: float


def snapshots(days: int) -> list[Snapshot]:
    """Return a snapshot a day until yesterday, of 200 products and 6 areas."""
    rng = random.Random(1)
    products = [
        Product(instrument, filetype)
        for instrument in INSTRUMENT_LABELS
        for filetype in sorted(FILETYPES)[: 200 // len(INSTRUMENT_LABELS)]
    ]
    made = []
    for day in range(days):
        amounts = {p: Amount(1000 + day * rng.randint(1, 9), day * 10**9 + 1) for p in products}
        tally = Tally(
            files=sum(amount.count for amount in amounts.values()),
            apparent_bytes=sum(amount.bytes for amount in amounts.values()),
            products=amounts,
        )
        small = Tally(files=10 + day, apparent_bytes=day * 10**8)
        capacity = Capacity(10**15, 10**12 * (1 + day // 30), 9 * 10**14)
        at = datetime.now(UTC) - timedelta(days=days - day)
        areas = [AreaSnapshot("archive", "all", "/archive", tally, capacity)]
        areas += [AreaSnapshot("central", name, f"/c/{name}", small, capacity) for name in CENTRAL]
        made.append(
            Snapshot(
                run_id=str(uuid.UUID(int=rng.getrandbits(128))),
                timestamp=at,
                ended=at + timedelta(seconds=60),
                host="storage1",
                version="0",
                reader="native",
                workers=8,
                seconds=60.0,
                areas=tuple(areas),
            )
        )
    return made


async def fill(url: str, days: int) -> None:
    async with open_store(url) as store:
        for snapshot in snapshots(days):
            await store.record(snapshot)


def timed(command: list[str]) -> Times:
    """Run a command and return its times, its children's included."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return Times(wall, usage.ru_utime + usage.ru_stime)


class Variant:
    """A command, and where it stores what it finds, if it does."""

    def __init__(self, name: str, options: argparse.Namespace, tree: Path, place: Path) -> None:
        self.name = name
        self.database: Path | None = None
        kind = name.removeprefix("other-")
        jwqlscan = options.jwqlscan if kind == name else options.other
        if kind == "floor":
            binaries = options.work / "bin"
            binaries.mkdir(parents=True, exist_ok=True)
            self.command = [str(build("floor", binaries)), "-t", "2", str(tree)]
        elif kind == "scan":
            self.command = [jwqlscan, "scan", "-q", str(tree)]
        else:
            own = place / name
            own.mkdir()
            self.database = own / "store.db"
            config = own / "config.toml"
            config.write_text(
                f'archive.path = "{tree}"\nstate.path = "{own}/state"\n'
                f'outputs.path = "{own}/outputs"\ndatabase.url = "sqlite:///{self.database}"\n'
                f"insight.enabled = {str(kind != 'plain').lower()}\n"
                # Made-up history is of another archive, and larger or smaller.
                "scan.max_drop = 100\n"
            )
            config.chmod(0o600)
            if options.years:
                url = f"sqlite:///{self.database}"
                asyncio.run(fill(url, round(options.years * 365.25)))
            self.command = [jwqlscan, "run", "-q", "-c", str(config)]
            self.command += [] if kind == "report" else ["--no-report"]

    def check(self, manifest: dict) -> None:
        """End the benchmark if the last run found something else than there is."""
        if self.database is None:
            return
        with closing(sqlite3.connect(self.database)) as store:
            [found] = store.execute(
                "SELECT files, apparent_bytes FROM scan_area JOIN scan_run USING (run_id)"
                " WHERE area_group = 'archive' AND area = 'all' ORDER BY date DESC LIMIT 1"
            )
        if found != (manifest["files"], manifest["apparent_bytes"]):
            sys.exit(f"{self.name}: wrong totals {found}: its times mean nothing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--years", type=float, default=0.0, help="daily runs in each database")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--jwqlscan", default="jwqlscan", help="the command; default: on PATH")
    parser.add_argument("--other", help="the command of another installation, to pair with")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="where trees are made")
    options = parser.parse_args()
    tree = (options.work / f"jwst-{options.files}").resolve()
    manifest = make_tree("jwst", tree, options.files)
    names = options.variants.split(",")
    if options.other:
        names += [f"other-{name}" for name in names if name != "floor"]
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        variants = [Variant(name, options, tree, Path(place).resolve()) for name in names]
        rounds: list[dict[str, Times]] = []
        for number in range(options.rounds + 1):
            shift = number % len(variants)
            times = {}
            for variant in variants[shift:] + variants[:shift]:
                times[variant.name] = timed(variant.command)
                variant.check(manifest)
            if number:  # the first warms up, and gives each database a run to compare with
                rounds.append(times)
                told = ", ".join(f"{name} {one.wall:.2f}" for name, one in times.items())
                print(f"  round {number}: {told}", file=sys.stderr)
    show(options.files, names, rounds)


def show(files: int, names: list[str], rounds: list[dict[str, Times]]) -> None:
    print(f"{files:,} files, {len(rounds)} rounds, whole processes, seconds")
    print(f"{'':14}{'wall min':>10}{'median':>8}{'cpu min':>10}{'median':>8}")
    for name in names:
        walls, cpus = zip(*(one[name] for one in rounds), strict=True)
        print(
            f"{name:14}{min(walls):10.3f}{statistics.median(walls):8.3f}"
            f"{min(cpus):10.3f}{statistics.median(cpus):8.3f}"
        )
    for (over, under), bars in BARS.items():
        if over not in names or under not in names:
            continue
        row: dict[str, float | str] = {"ratio": f"{over} / {under}"}
        for measure in Times._fields:
            pairs = [(getattr(one[over], measure), getattr(one[under], measure)) for one in rounds]
            row[measure] = round(statistics.median(a / b for a, b in pairs), 3)
            row[f"{measure} of the fastest"] = round(
                min(a for a, _ in pairs) / min(b for _, b in pairs), 3
            )
        if files in bars:
            row["bar"] = bars[files]
        print(json.dumps(row))


if __name__ == "__main__":
    main()
