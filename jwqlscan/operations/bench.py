"""`jwqlscan bench`: how fast this storage is read, by reader and number of workers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jwqlscan.errors import JwqlscanError
from jwqlscan.scanning.measure import scan
from jwqlscan.settings import AUTO, ScanSettings
from jwqlscan.units import counted

# 0 is auto.
DEFAULT_WORKERS = (0, 1, 2, 4, 8, 16, 32, 64)

# What counts as equally fast: less than the difference between two runs of the same on a host that
# is in use. Of equally fast settings the one with the fewest workers is the best neighbour.
EQUALLY_FAST = 0.95

# Fewer entries are read in some milliseconds, of which starting the workers is the most.
MIN_ENTRIES = 1_000


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast one setting is.

    Attributes
    ----------
    reader : str
    workers : int
        0 is auto.
    entries_per_second : float
        Median over the rounds.
    slowest, fastest : float
        Entries a second of the rounds at the ends.
    """

    reader: str
    workers: int
    entries_per_second: float
    slowest: float
    fastest: float


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured, and what to set.

    Attributes
    ----------
    entries : int
        What one scan reads.
    rounds : int
    rates : tuple of Rate
    recommended : Rate or None
        The fewest workers of those that are as fast as the fastest; auto before all. None with
        fewer than `MIN_ENTRIES`.
    """

    entries: int
    rounds: int
    rates: tuple[Rate, ...]
    recommended: Rate | None


async def benchmark(
    directory: str,
    readers: Sequence[str],
    workers: Sequence[int] = DEFAULT_WORKERS,
    rounds: int = 3,
    on_step: Callable[[str], None] = lambda _: None,
) -> Benchmark:
    """Scan a directory with each setting in turn, some rounds long, after one scan to warm up.

    Parameters
    ----------
    directory : str
    readers : sequence of str
    workers : sequence of int
    rounds : int
    on_step : callable
        Told which setting is measured.

    Raises
    ------
    ScanFailedError
        If the directory can't be read.
    JwqlscanError
        If there is too little in it to measure.
    """
    settings = [ScanSettings(reader=name, workers=n) for name in readers for n in workers]
    on_step("a scan to warm up")
    entries = (await scan([directory], settings[-1])).entries
    if entries < 2:
        raise JwqlscanError(f"{directory} is empty: name a directory with some thousand files")
    speeds: dict[ScanSettings, list[float]] = {one: [] for one in settings}
    for number in range(1, rounds + 1):
        for one in settings:  # interleaved, so that a busy moment does not fall on one of them
            count = counted(one.workers, "worker") if one.workers else f"{AUTO} workers"
            on_step(f"round {number} of {rounds}: {one.reader}, {count}")
            speeds[one].append((await scan([directory], one)).entries_per_second)
    rates = tuple(
        Rate(one.reader, one.workers, statistics.median(all_), min(all_), max(all_))
        for one, all_ in speeds.items()
    )
    best = recommended(rates) if entries >= MIN_ENTRIES else None
    return Benchmark(entries, rounds, rates, best)


def recommended(rates: Sequence[Rate]) -> Rate:
    """Return the setting with the fewest workers of those that are as fast as the fastest.

    That is within 5 % of it, or so unsteady that its fastest round reaches it.
    """
    best = max(rate.entries_per_second for rate in rates)
    as_fast = [
        rate
        for rate in rates
        if rate.entries_per_second >= best * EQUALLY_FAST or rate.fastest >= best
    ]
    return min(as_fast, key=_cost)


def _cost(rate: Rate) -> tuple[int, float]:
    """Order settings: fewest workers first, auto before all, then the fastest."""
    return rate.workers, -rate.entries_per_second
