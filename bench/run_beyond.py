"""What `jwqlscan run` takes beyond the scan itself, with years of daily history in its store.

    python bench/run_beyond.py [--years 5] [--runs 5] [--work DIR]

A store is made with one snapshot a day of 200 products and 6 areas, then `jwqlscan scan` and
`jwqlscan run` read the same tree in turn, each as a whole process. `run` asks df too, stores the
snapshot and writes the report of all the history. What is printed is the median of the difference.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jwqlscan.names import FILETYPES, INSTRUMENT_LABELS
from jwqlscan.snapshot import AreaSnapshot, Capacity, Snapshot
from jwqlscan.store import open_store
from jwqlscan.tally import Amount, Product, Tally

HERE = Path(__file__).resolve().parent

CENTRAL = ("all", "logs", "outputs", "preview_images", "test")


def snapshots(days: int) -> list[Snapshot]:
    """Return a snapshot a day until yesterday."""
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


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--files", type=int, default=400_000)
    parser.add_argument("--jwqlscan", default="jwqlscan", help="the command; default: on PATH")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="where trees are made")
    options = parser.parse_args()
    tree = options.work / f"jwst-{options.files}"
    if not tree.exists():
        sys.exit(f"{tree} is not there: `python bench/compare.py --works jwst` makes it")
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        url = f"sqlite:///{place}/store.db"
        days = round(options.years * 365.25)
        print(f"storing {days} days", file=sys.stderr)
        asyncio.run(fill(url, days))
        config = Path(place, "config.toml")
        config.write_text(
            f'archive.path = "{tree}"\nstate.path = "{place}/state"\n'
            f'outputs.path = "{place}/outputs"\ndatabase.url = "{url}"\n'
        )
        config.chmod(0o600)
        scan = [options.jwqlscan, "scan", "-q", str(tree)]
        run = [options.jwqlscan, "run", "-q", "-c", str(config)]
        pairs = []
        for number in range(options.runs + 1):
            pair = seconds(scan), seconds(run)
            if number:  # the first warms up
                pairs.append(pair)
                print(f"  scan {pair[0]:.2f} s, run {pair[1]:.2f} s", file=sys.stderr)
    beyond = statistics.median(run - scan for scan, run in pairs)
    print(f"run beyond the scan, {days} days of history: {beyond:.2f} s (bar: under 2 s)")


if __name__ == "__main__":
    main()
