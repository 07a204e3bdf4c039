"""Measure areas: every directory read once, every area with its own right numbers.

Each distinct root directory makes a *segment*: what lies below it and below no other root. An area
is its root's segment and, through what the walk met, the segments nested in it. So areas may nest,
overlap, repeat or be symlinks to each other, and no directory is read twice.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import anyio

from jwqlscan.errors import ScanFailedError, single_errors
from jwqlscan.model.area_directories import rooted
from jwqlscan.model.directory_totals import Directories
from jwqlscan.model.snapshot import MISSING, incomplete_reason, worst_state
from jwqlscan.model.tally import ScanError, Tally
from jwqlscan.scanning.child_process import ChildProcess
from jwqlscan.scanning.messages import (
    OtherRoots,
    begin_scan,
    distinct_paths,
    number_roots,
    scan_areas,
)
from jwqlscan.scanning.pool import Progress
from jwqlscan.scanning.readers import fallback_warning
from jwqlscan.scanning.readers.base import error_kind
from jwqlscan.scanning.supervisor import Deadlines, RootInfo, ScanResult, Supervisor
from jwqlscan.settings import Area, ScanSettings
from jwqlscan.system.mounts import meet, mount_table_problem
from jwqlscan.text import escape

log = logging.getLogger(__name__)

# A root that can't even be opened in this time is on a filesystem that hangs.
PROBE_SECONDS = 60.0

# A root that hangs must leave the others some of the time allowed in all.
PROBE_SHARE = 0.5


def probe_seconds(settings: ScanSettings) -> float:
    """Return how long the roots may take to be opened."""
    allowed = settings.max_runtime_s or math.inf
    return min(PROBE_SECONDS, settings.stall_timeout_s, PROBE_SHARE * allowed)


@dataclass(frozen=True, slots=True)
class AreaMeasure:
    """What was found in one area.

    Attributes
    ----------
    area : Area
    tally : Tally
    state : str
        One of `jwqlscan.model.snapshot.STATES`.
    device : int
        st_dev of its root; 0 if that is not known.
    segments : frozenset of int
        The segments it is made of, for unions of areas.
    note : str
        Why it is missing, failed, stalled or stopped.
    """

    area: Area
    tally: Tally
    state: str
    device: int
    segments: frozenset[int]
    note: str = ""

    @property
    def incomplete_reason(self) -> str:
        """Why the area is not complete, in one line; "" if it is."""
        if self.state == "complete":
            return ""
        return incomplete_reason(escape(self.area.path), self.state, self.note, self.tally)


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
        found: Mapping[str, RootInfo],
        numbers: Mapping[tuple[int, int], int],
        walks: Sequence[ScanResult],
        settings: ScanSettings,
    ) -> None:
        self._limits = settings.directories
        workers = settings.workers
        results = [walk.record for walk in walks if walk.record]
        # 0 is auto: then the number that was of use.
        self.workers: int = workers or max((result["workers"] for result in results), default=0)
        self.seconds: float = max((result["seconds"] for result in results), default=0.0)
        self.reader = results[0]["reader"] if results else ""
        self._tallies: dict[int, Tally] = {}  # without their directories: an area's are its own
        self._trees: dict[int, Directories] = {}
        self._paths: dict[int, tuple[str, str]] = {}
        self._nested: dict[int, set[int]] = {}
        self._linked: list[tuple[int, int]] = []
        self._broken = {root: walk for walk in walks for root in _unfinished(walk)}
        for result in results:
            for segment in result["segments"]:
                self._tallies[segment["root"]] = Tally.from_record(segment["tally"])
                self._trees[segment["root"]] = Directories.from_record(segment["tree"])
                self._nested[segment["root"]] = set(segment["nested"])
                self._paths[segment["root"]] = (segment["path"], segment["real_path"])
            self._linked.extend((mask, size) for mask, size in result["linked"])
            for root, paths in result["unfinished"]:
                for path in paths if self._broken[root].state == "stalled" else ():
                    error = ScanError(path, "wait", errno.ETIMEDOUT, error_kind(errno.ETIMEDOUT))
                    self._tallies[root].add_error(error)
        self._linked.extend(_counted_once([result["open_links"] for result in results]))
        self.areas = tuple(self._measure(area, found[area.path], numbers) for area in areas)

    @property
    def complete(self) -> bool:
        """Whether everything in every area was read."""
        return all(one.state == "complete" for one in self.areas)

    @property
    def entries(self) -> int:
        """Entries read, each once."""
        return sum(tally.entries for tally in self._tallies.values())

    @property
    def entries_per_second(self) -> float:
        """Entries read, each once, over the wall time."""
        return self.entries / self.seconds if self.seconds else 0.0

    def union(self, areas: Sequence[AreaMeasure], path: str = "/") -> Tally:
        """Return the tally of several areas together: what they share counts once.

        Its directories are relative to `path`.
        """
        segments = frozenset[int]().union(*(area.segments for area in areas))
        tally = self._sum(segments)
        trees = {
            walked: self._trees[one] for one, (walked, _) in self._paths.items() if one in segments
        }
        if any(trees.values()):
            tally.tree = rooted(trees, path, self._limits, whole=True)
        return tally

    def _measure(
        self, area: Area, found: RootInfo, numbers: Mapping[tuple[int, int], int]
    ) -> AreaMeasure:
        if found.errno:
            state, note = "failed", f"its root directory: {os.strerror(found.errno)}"
            if found.is_missing:
                state, note = MISSING, os.strerror(found.errno)
            elif found.errno == errno.ETIMEDOUT:
                state, note = "stalled", "no answer from its root directory"
            return AreaMeasure(area, Tally(), state, 0, frozenset(), note)
        number = numbers[found.device, found.inode]
        segments = self._closure(number)
        tally = self._sum(segments)
        # Only the kernel's own paths show where the roots in it lie: one may be configured as a
        # symbolic link to what lies in another.
        trees = {
            real: self._trees[one] for one, (_, real) in self._paths.items() if one in segments
        }
        if any(trees.values()):
            top = self._paths[number][1]
            tally.tree = rooted(trees, top, self._limits, whole=False)
        broken = [self._broken[segment] for segment in sorted(segments & self._broken.keys())]
        state = worst_state(
            ["complete" if tally.complete else "partial", *(walk.state for walk in broken)]
        )
        note = next((walk.note for walk in broken if walk.state == state), "")
        hung = min((e.path for e in tally.error_samples if e.operation == "wait"), default="")
        if hung:
            note += f", last seen at {escape(hung)}"
        return AreaMeasure(area, tally, state, found.device, segments, note)

    def _closure(self, root: int) -> frozenset[int]:
        seen: set[int] = set()
        waiting = [root]
        while waiting:
            segment = waiting.pop()
            if segment not in seen:
                seen.add(segment)
                waiting.extend(self._nested.get(segment, ()))
        return frozenset(seen)

    def _sum(self, segments: frozenset[int]) -> Tally:
        total = Tally()
        for segment in segments:
            if segment in self._tallies:
                total.merge(self._tallies[segment])
        mask = sum(1 << segment for segment in segments)
        total.allocated_bytes += sum(size for links, size in self._linked if links & mask)
        return total


async def measure(
    supervisor: Supervisor,
    areas: Sequence[Area],
    found: Mapping[str, RootInfo],
    settings: ScanSettings,
    on_progress: Callable[[Progress], None],
    started: float | None = None,
) -> Measurement:
    """Scan the areas' roots, one process a filesystem, side by side.

    A filesystem that hangs, or whose process dies, does not keep the others from being read.

    Parameters
    ----------
    supervisor : Supervisor
        The process that probed the roots; it scans the first filesystem.
    areas : sequence of Area
    found : mapping of str to RootInfo
        The probe; areas whose roots were not found are ``missing``.
    settings : ScanSettings
    on_progress : callable
        Called with the sum over the processes, some times a second.
    started : float, optional
        When `settings.max_runtime_s` began, on the clock of `time.monotonic`; default: now.

    Raises
    ------
    ScanFailedError
        If nothing of any area is known in the end.
    """
    if problem := mount_table_problem():
        log.warning("%s", problem)
    begun = time.monotonic() if started is None else started
    deadline = begun + settings.max_runtime_s if settings.max_runtime_s else math.inf
    deadlines = Deadlines(settings.stall_timeout_s, deadline)
    there = [(area.path, found[area.path]) for area in areas if not found[area.path].errno]
    roots = number_roots((path, root.device, root.inode) for path, root in there)
    reals: dict[int, list[str]] = {}
    for _, root in there:
        reals.setdefault(root.device, []).append(root.real)
    together = len(reals) > 1 and meet(reals.values())
    walks: list[ScanResult] = []
    latest: dict[int, Progress] = {}

    async def walk(device: int, supervisor: Supervisor) -> None:
        def forward(progress: Progress) -> None:
            latest[device] = progress
            on_progress(_total(list(latest.values())))

        other_roots = OtherRoots(
            tuple(real for other in reals if other != device for real in reals[other]), together
        )
        walks.append(
            await supervisor.scan(device, roots, settings, forward, deadlines, other_roots)
        )

    others = [Supervisor() for _ in list(roots.by_device)[1:]]
    try:
        with single_errors():
            async with anyio.create_task_group() as tasks:
                for device, process in zip(roots.by_device, [supervisor, *others], strict=False):
                    tasks.start_soon(walk, device, process)
    finally:
        for process in others:
            process.close()
    measurement = Measurement(areas, found, roots.numbers, walks, settings)
    for one in measurement.areas:
        if not any(other.segments and other.state != "failed" for other in measurement.areas):
            raise ScanFailedError(
                f"{escape(one.area.path)} {one.state}: {one.note}; nothing was stored; "
                "fix this and run again"
            )
    return measurement


def _unfinished(walk: ScanResult) -> list[int]:
    """Return the roots of which not everything was read."""
    if walk.record:
        return [root for root, _ in walk.record["unfinished"]]
    return list(walk.roots)


def _counted_once(
    parts: Sequence[Iterable[tuple[int, int, int, int]]],
) -> Iterator[tuple[int, int]]:
    """Correct for inodes of which several processes met names: each counted its bytes.

    Yields bit masks of roots and bytes, some of which are to be taken away.
    """
    met: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for part in parts:
        for device, inode, mask, size in part:
            met.setdefault((device, inode), []).append((mask, size))
    for names in met.values():
        if len(names) > 1:
            union = 0
            for mask, size in names:
                union |= mask
                yield mask, -size
            yield union, max(size for _, size in names)


def _total(parts: Sequence[Progress]) -> Progress:
    return Progress(
        sum(part.entries for part in parts),
        sum(part.files for part in parts),
        sum(part.apparent_bytes for part in parts),
        sum(part.waiting for part in parts),
        max(parts, key=lambda part: part.waiting).path,
        sum(part.answers for part in parts),
    )


async def scan(
    paths: Sequence[str],
    settings: ScanSettings | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    begun: ChildProcess | None = None,
) -> Measurement:
    """Measure directories; nothing is stored.

    Parameters
    ----------
    paths : sequence of str
        Directories; they may overlap.
    settings : ScanSettings, optional
    on_progress : callable, optional
    begun : ChildProcess, optional
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
    started = time.monotonic()
    settings = settings or ScanSettings()
    areas = scan_areas(paths)
    supervisor = Supervisor(begun or begin_scan(paths, settings))
    try:
        found = await supervisor.probe(distinct_paths(areas), probe_seconds(settings))
        for area in areas:
            number = found[area.path].errno
            if number and number != errno.ETIMEDOUT:
                raise ScanFailedError(
                    f"{escape(area.key)}: {os.strerror(number)}; give directories that you can read"
                )
        measurement = await measure(supervisor, areas, found, settings, on_progress, started)
    finally:
        supervisor.close()
    if problem := fallback_warning(settings.reader, measurement.reader):
        log.warning("%s", problem)
    return measurement
