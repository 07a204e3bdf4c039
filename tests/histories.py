"""Made-up histories for the tests of the report: seeded, without a store."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from jwqlscan.history import (
    CentralColumns,
    FilesystemColumns,
    GeneralColumns,
    History,
    ProductColumns,
    RunColumns,
    Samples,
)
from jwqlscan.names import FILETYPES, INSTRUMENT_LABELS
from jwqlscan.tally import Product
from jwqlscan.units import TIB_BYTES

NEWEST = datetime(2026, 3, 1, 5, 30, 12, 345678, tzinfo=UTC)
AREAS = ("all", "logs", "outputs", "preview_images", "test", "thumbnails")


def history_of(
    runs: int,
    *,
    filetypes: int = 40,
    instruments: Sequence[str] = tuple(INSTRUMENT_LABELS),
    sample_runs: int = 0,
    incomplete: Sequence[int] = (),
    seed: int = 1,
) -> History:
    """Return a history of daily runs that grows and wobbles; the first runs are the sample."""
    rng = random.Random(seed)
    dates = [NEWEST - timedelta(days=runs - 1 - day, seconds=rng.random()) for day in range(runs)]
    dates[-1] = NEWEST
    types = sorted(FILETYPES)[:filetypes]
    products = {}
    for instrument in instruments:
        for number, filetype in enumerate(types):
            start = 0 if number % 7 else min(runs - 1, runs * number // (3 * len(types)))
            rate = rng.uniform(20, 900) / (1 + number % 9)
            count, counts = rng.uniform(10, 200_000), []
            for _ in range(start, runs):
                count += rng.uniform(0, 2) * rate
                counts.append(int(count * (1 - (rng.random() < 0.01) * 0.02)))
            size = rng.uniform(1e-5, 8e-5)
            products[Product(instrument, filetype)] = ProductColumns(
                date=dates[start:],
                count=counts,
                size=[n * size for n in counts],
            )
    files = [0] * runs
    sizes = [0.0] * runs
    for column in products.values():
        start = runs - len(column.date)
        for row, (count, size) in enumerate(zip(column.count, column.size, strict=True), start):
            files[row] += count
            sizes[row] += size
    capacity = max(sizes, default=1) * 1.7
    central = {}
    for number, area in enumerate(AREAS):
        used = [
            (9 if area == "all" else 0.2 + number / 2) * (1 + 0.3 * n / runs) for n in range(runs)
        ]
        central[area] = CentralColumns(
            date=list(dates),
            size=[40.0] * runs,
            used=list(used),
            available=[40.0 - 14 * (1 + 0.3 * n / runs) for n in range(runs)],
        )
    return History(
        general=GeneralColumns(
            date=dates,
            total_file_count=[int(n * 1.4) for n in files],
            total_file_size=[s * 1.1 for s in sizes],
            fits_file_count=files,
            fits_file_size=sizes,
            used=[s * 1.15 for s in sizes],
            available=[capacity - s * 1.15 for s in sizes],
        ),
        products=products,
        central=central,
        sample_dates=frozenset(dates[:sample_runs]),
        incomplete_dates=frozenset(dates[row] for row in incomplete),
        filesystems={
            "/archive": FilesystemColumns(
                "nfs:/archive",
                "nfs4",
                ["archive all", "archive public"],
                dates,
                [int(capacity * TIB_BYTES)] * runs,
                [int(s * 1.15 * TIB_BYTES) for s in sizes],
                [int((capacity - s * 1.15) * TIB_BYTES) for s in sizes],
            )
        },
        runs=RunColumns(
            date=dates,
            status=["incomplete" if row in incomplete else "complete" for row in range(runs)],
            reasons=[
                ["archive all: partial, 3 errors"] if row in incomplete else []
                for row in range(runs)
            ],
            host=["archive1"] * runs,
            version=["0.1.0"] * runs,
            reader=["native"] * runs,
            seconds=[300 + rng.uniform(0, 200) for _ in range(runs)],
            files=files,
            directories=[n // 40 for n in files],
            vanished=[rng.randrange(9) for _ in range(runs)],
            unrecognized=[40 + n // 50 for n in range(runs)],
            errors=[{"io": 1, "permission": 2} if row in incomplete else {} for row in range(runs)],
            skipped=[{"snapshot": 2}] * runs,
        ),
        samples=Samples(["/archive/public/jw_wonder.fits"], [("io", "stat", "/archive/bad")]),
    )


HOSTILE = (
    "<img src=x onerror=window.__pwned=1>",
    "</script><script>window.__pwned=1</script>",
    '"onmouseover="window.__pwned=1',
    "{{7*7}}",
    "@y{safe}",
    "$name{safe}",
    "$$\\sum_i x_i$$",
    "\\(x^2\\)",
    "line\nbreak\x00\udcff\u202e",
    "&lt;b&gt;",
    "__proto__",
    "",
)


def hostile_history(runs: int = 30) -> History:
    """Return a history whose labels all try to be something else than text."""
    plain = history_of(runs, filetypes=len(HOSTILE), instruments=["miri"])
    columns = list(plain.products.values())
    return replace(
        plain,
        products={
            Product(instrument, name): column
            for instrument in ("miri", HOSTILE[0])
            for name, column in zip(HOSTILE, columns, strict=True)
        },
        central=dict.fromkeys(HOSTILE, plain.central["logs"]),
        filesystems=dict.fromkeys(HOSTILE, plain.filesystems["/archive"]),
        runs=replace(
            plain.runs,
            host=[HOSTILE[0]] * runs,
            status=["incomplete"] * runs,
            reasons=[list(HOSTILE)] * runs,
            errors=[dict.fromkeys(HOSTILE, 2)] * runs,
            skipped=[dict.fromkeys(HOSTILE, 2)] * runs,
        ),
        samples=Samples(list(HOSTILE), [(name, name, name) for name in HOSTILE]),
    )
