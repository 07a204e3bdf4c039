"""Measure areas: every directory read once, every area with its own right numbers.

Each distinct root directory makes a *segment*: what lies below it and below no other root. An area
is its root's segment and, through what the walk met, the segments nested in it. So areas may nest,
overlap, repeat or be symlinks to each other, and no directory is read twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from jwqlscan.errors import ScanFailedError, first_cause
from jwqlscan.paths import shown
from jwqlscan.scanning.orders import begin_scan, distinct_paths, number_roots, scan_areas
from jwqlscan.scanning.pool import Progress
from jwqlscan.scanning.process import ScannerProcess
from jwqlscan.scanning.scanner import Found, Scanner
from jwqlscan.settings import Area, ScanSettings
from jwqlscan.tally import Tally

# A root that can't even be opened in this time is on a filesystem that hangs.
SURVEY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class AreaMeasure:
    """What was found in one area.

    Attributes
    ----------
    area : Area
    tally : Tally
    state : str
        ``complete``, ``partial`` or ``missing``.
    device : int
        st_dev of its root; 0 if it is missing.
    segments : frozenset of int
        The segments it is made of, for unions of areas.
    """

    area: Area
    tally: Tally
    state: str
    device: int
    segments: frozenset[int]


class Measurement:
    """The result of a scan.

    Attributes
    ----------
    areas : tuple of AreaMeasure
        In the order asked for.
    seconds : float
        Wall time of the walk; of the longest, where filesystems were walked side by side.
    reader : str
    workers : int
    """

    def __init__(
        self,
        areas: Sequence[Area],
        found: Mapping[str, Found],
        numbers: Mapping[tuple[int, int], int],
        results: Sequence[Mapping[str, Any]],
        workers: int,
    ) -> None:
        # 0 is auto: then the number that was of use is told.
        self.workers: int = workers or max((result["workers"] for result in results), default=0)
        self.seconds: float = max((result["seconds"] for result in results), default=0.0)
        self.reader = results[0]["reader"] if results else ""
        self._tallies: dict[int, Tally] = {}
        self._nested: dict[int, set[int]] = {}
        self._linked: list[tuple[int, int]] = []
        for result in results:
            for segment in result["segments"]:
                self._tallies[segment["root"]] = Tally.from_record(segment["tally"])
                self._nested[segment["root"]] = set(segment["nested"])
            self._linked.extend((mask, size) for mask, size in result["linked"])
        self.areas = tuple(self._measure(area, found[area.path], numbers) for area in areas)

    @property
    def entries(self) -> int:
        """Entries read, each once."""
        return sum(tally.entries for tally in self._tallies.values())

    @property
    def entries_per_second(self) -> float:
        """Entries read, each once, over the wall time."""
        return self.entries / self.seconds if self.seconds else 0.0

    def union(self, areas: Sequence[AreaMeasure]) -> Tally:
        """Return the tally of several areas together: what they share counts once."""
        return self._sum(frozenset().union(*(area.segments for area in areas)))

    def _measure(
        self, area: Area, found: Found, numbers: Mapping[tuple[int, int], int]
    ) -> AreaMeasure:
        if found.errno:
            return AreaMeasure(area, Tally(), "missing", 0, frozenset())
        segments = self._closure(numbers[found.device, found.inode])
        tally = self._sum(segments)
        state = "complete" if tally.complete else "partial"
        return AreaMeasure(area, tally, state, found.device, segments)

    def _closure(self, root: int) -> frozenset[int]:
        seen: set[int] = set()
        waiting = [root]
        while waiting:
            segment = waiting.pop()
            if segment not in seen:
                seen.add(segment)
                waiting.extend(self._nested[segment])
        return frozenset(seen)

    def _sum(self, segments: frozenset[int]) -> Tally:
        total = Tally()
        for segment in segments:
            total.merge(self._tallies[segment])
        mask = sum(1 << segment for segment in segments)
        total.allocated_bytes += sum(size for links, size in self._linked if links & mask)
        return total


async def measure(
    scanner: Scanner,
    areas: Sequence[Area],
    found: Mapping[str, Found],
    settings: ScanSettings,
    on_progress: Callable[[Progress], None],
) -> Measurement:
    """Walk the areas' roots, one process a filesystem, side by side.

    Parameters
    ----------
    scanner : Scanner
        The process that surveyed the roots; it scans the first filesystem.
    areas : sequence of Area
    found : mapping of str to Found
        The survey; areas whose roots were not found are ``missing``.
    settings : ScanSettings
    on_progress : callable
        Called with the sum over the processes, some times a second.

    Raises
    ------
    ScanFailedError
        If a process died.
    """
    there = [(area.path, found[area.path]) for area in areas if not found[area.path].errno]
    roots = number_roots((path, root.device, root.inode) for path, root in there)
    results: list[Mapping[str, Any]] = []
    latest: dict[int, Progress] = {}

    async def walk(device: int, scanner: Scanner) -> None:
        def told(progress: Progress) -> None:
            latest[device] = progress
            on_progress(_total(list(latest.values())))

        results.append(await scanner.scan(device, roots, settings, told))

    others = [Scanner() for _ in list(roots.by_device)[1:]]
    try:
        async with anyio.create_task_group() as tasks:
            for device, process in zip(roots.by_device, [scanner, *others], strict=False):
                tasks.start_soon(walk, device, process)
    except BaseExceptionGroup as group:
        raise first_cause(group) from None
    finally:
        for process in others:
            process.close()
    return Measurement(areas, found, roots.numbers, results, settings.workers)


def _total(parts: Sequence[Progress]) -> Progress:
    return Progress(
        sum(part.entries for part in parts),
        sum(part.files for part in parts),
        sum(part.apparent_bytes for part in parts),
        sum(part.waiting for part in parts),
        max(parts, key=lambda part: part.waiting).path,
    )


async def scan(
    paths: Sequence[str],
    settings: ScanSettings | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    begun: ScannerProcess | None = None,
) -> Measurement:
    """Measure directories; nothing is stored.

    Parameters
    ----------
    paths : sequence of str
        Directories; they may overlap.
    settings : ScanSettings, optional
    on_progress : callable, optional
    begun : ScannerProcess, optional
        What `begin_scan` returned for the same paths and settings.

    Returns
    -------
    Measurement
        One area a path, in their order.

    Raises
    ------
    ConfigError
        If a path is empty.
    ScanFailedError
        If a path can't be read as a directory. What can't be read below it is counted.
    """
    settings = settings or ScanSettings()
    areas = scan_areas(paths)
    scanner = Scanner(begun or begin_scan(paths, settings))
    try:
        found = await scanner.survey(distinct_paths(areas), SURVEY_SECONDS)
        for area in areas:
            if number := found[area.path].errno:
                raise ScanFailedError(
                    f"{shown(area.key)}: {os.strerror(number)}; give directories that you can read"
                )
        return await measure(scanner, areas, found, settings, on_progress)
    finally:
        scanner.close()
