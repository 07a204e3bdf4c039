"""Made-up histories for the tests of the report: seeded, without a store."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from jwqlscan.history.insight import AreaInsight, DirectoryRow, Growth, GrowthRow, Insight
from jwqlscan.history.rollups import Row
from jwqlscan.model.cube import Sum
from jwqlscan.model.history import (
    CentralColumns,
    FilesystemColumns,
    GeneralColumns,
    History,
    ProductColumns,
    RunColumns,
    Samples,
)
from jwqlscan.model.tally import Product
from jwqlscan.naming.jwst import FILETYPES, INSTRUMENT_LABELS
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


def insight_of(history: History, programs: int = 30, names: Sequence[str] = ()) -> Insight:
    """Return insight whose totals are those of the history's newest run.

    Parameters
    ----------
    history : History
    programs : int
        Each a directory with two below it, in one of two areas.
    names : sequence of str
        Of more directories, programs, owners and extensions.
    """
    rng = random.Random(7)
    general = history.general
    total = Sum(general.total_file_count[-1], round(general.total_file_size[-1] * TIB_BYTES))
    labels = [f"{1018 + 7 * n:05d}" for n in range(programs)] + list(names)
    weights = [rng.paretovariate(1.1) for _ in labels]
    share = 0.9 / sum(weights)
    sums = {
        label: Sum(int(total.files * w * share), int(total.apparent_bytes * w * share))
        for label, w in zip(labels, weights, strict=True)
    }
    areas = [
        _area_insight("archive", "all", total, sums, history, ("public", "proprietary")),
        _area_insight("central", "all", Sum(900, 7 * 2**40), {"tmp": Sum(500, 2**42)}, history, ()),
    ]
    growths = [
        _growth(area, by, window, days, history)
        for area in areas
        for by in ("program", "directory", "owner")
        for window, days in (("last", 1), ("7d", 7), ("30d", 30))
    ]
    return Insight(tuple(areas), tuple(growths))


def _area_insight(
    group: str,
    name: str,
    total: Sum,
    programs: dict[str, Sum],
    history: History,
    parts: Sequence[str],
) -> AreaInsight:
    def halves(label: str) -> tuple[Row, ...]:
        half = Sum(*(n // 2 for n in total))
        rest = Sum(*(n - n // 2 for n in total))
        return (Row(label, half), Row("other", rest))

    rows = [Row(label, amount) for label, amount in programs.items()]
    rows.sort(key=lambda row: -row.sum.apparent_bytes)
    directories = [DirectoryRow("", total, 0, 0)]
    for number, part in enumerate(parts or ("",)):
        mine = [row for n, row in enumerate(rows) if n % max(len(parts), 1) == number]
        if part:
            whole = sum((row.sum for row in mine), Sum(files=5, apparent_bytes=4096))
            directories.append(DirectoryRow(part, whole, 0, 0))
        for row in mine:
            path = f"{part}/jw{row.label}" if part else row.label
            directories.append(DirectoryRow(path, row.sum, 0, 0))
            for below in (1, 2):
                third = Sum(*(n // 3 for n in row.sum))
                directories.append(DirectoryRow(f"{path}/obs{below}", third, 0, 0))
    directories.sort(key=lambda row: (-row.sum.apparent_bytes, -row.sum.files, row.path))
    named = [label for label in programs if label not in ("tmp",)][-3:]
    ages = (Row("under 7 days", Sum(total.files // 9, total.apparent_bytes // 9)),)
    old = Sum(*(a - b for a, b in zip(total, ages[0].sum, strict=True)))
    return AreaInsight(
        group,
        name,
        f"/{group}",
        history.general.date[-1],
        history.general.date[-1] not in history.incomplete_dates,
        total,
        {
            "age": (*ages, Row("under 2 years", old)),
            "size": (
                Row("empty", Sum(3)),
                Row("4 B to under 8 B", Sum(total.files - 3, total.apparent_bytes)),
            ),
            "owner": halves(named[0] if named else "alice"),
            "group": halves("staff"),
            "program": tuple(rows),
            "extension": halves(named[-1] if named else "fits"),
        },
        tuple(directories),
        {"directories": 12} if parts else {},
    )


def _growth(area: AreaInsight, by: str, window: str, days: int, history: History) -> Growth:
    dates = history.general.date[-31:]
    kinds = {
        "program": [(row.label, row.sum) for row in area.projections["program"]],
        "directory": [(row.path, row.sum) for row in area.directories],
        "owner": [(row.label, row.sum) for row in area.projections["owner"]],
    }
    rows = []
    for number, (label, after) in enumerate(kinds[by]):
        change = Sum(*(n * days // (400 + 90 * number) for n in after))
        before = Sum(*(a - b for a, b in zip(after, change, strict=True)))
        steps = len(dates)
        series = tuple(
            before.apparent_bytes + change.apparent_bytes * n // max(steps - 1, 1)
            for n in range(steps)
        )
        if number == 1:  # one that shrank
            before, after = after, before
        rows.append(GrowthRow(label, before, after, number != 2, series))
    rows.sort(key=lambda row: -abs(row.bytes_change))
    told = rows if by != "directory" else [row for row in rows if not row.label]
    whole = Sum(
        area.total.files - sum(row.files_change for row in told),
        area.total.apparent_bytes - sum(row.bytes_change for row in told),
    )
    return Growth(
        area.group,
        area.name,
        by,
        window,
        dates[-1] - timedelta(days=days),
        dates[-1],
        True,
        (),
        whole,
        area.total,
        tuple(rows),
        None,
        tuple(dates),
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
    "constructor",
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
