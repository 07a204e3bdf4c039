"""The pool: worker threads over one shared stack of work.

A stack, not a queue: depth first keeps the frontier small. Workers are producers too, so nothing
is bounded here: a bounded queue would deadlock once every worker waits to put.
"""

from __future__ import annotations

import random
import resource
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jwqlscan.model.tally import Tally
from jwqlscan.scanning.io_wait import in_storage
from jwqlscan.scanning.readers.base import (
    ANSWERS,
    ENTRIES,
    Batch,
    Link,
    Reader,
    Root,
    Work,
    WorkerProgress,
)

# Work handed over at once, at most: a worker with few large items leaves the rest to others.
TAKE_ITEMS = 64

# The processor time used, in cores, at which more threads can only be in each other's way: those
# of a reader that holds the GIL use one core together. Below `LOW` they mostly wait for storage.
HIGH_LOAD = 0.85
LOW_LOAD = 0.6

# A processor that others use shows as a low load too. Slow storage differs from it in that
# workers wait (voluntary context switches), or that next to no processor time is used at all:
# at 100 ms an answer one worker waits ten times a second, less than once an interval.
IDLE_LOAD = 0.05

# Interval of these checks, if the last one changed something and if nothing has changed for some
# time: each takes the interpreter's lock from a worker some times.
MIN_INTERVAL_S = 0.01
MAX_INTERVAL_S = 0.08

# As many workers a core wait for storage most of the time; more are of no use unless they do.
MANY_WORKERS = 4

# A processor that is busy with the workers of slow storage looks like one that is busy with workers
# in each other's way. While storage keeps this share of them waiting, they are not.
FEW_IN_STORAGE = 0.5
MANY_IN_STORAGE = 0.7
SAMPLED_WORKERS = 8


class _Clock(NamedTuple):
    """What this process has used: seconds of wall and processor time, and its workers' waits.

    getrusage(2): ru_nvcsw counts the times a thread gave up the processor, mostly to wait.
    """

    wall: float
    cpu: float
    waits: int

    @classmethod
    def now(cls) -> _Clock:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        own = resource.getrusage(resource.RUSAGE_THREAD)  # it waits between two looks
        waits = usage.ru_nvcsw - own.ru_nvcsw
        return cls(time.monotonic(), usage.ru_utime + usage.ru_stime, waits)


class Progress(NamedTuple):
    """Where a scan is.

    Attributes
    ----------
    entries, files, apparent_bytes : int
        Read until now.
    waiting : int
        Pieces of work that wait.
    path : str
    answers : int
        Calls that the storage has answered: it hangs when that no longer grows.
    """

    entries: int
    files: int
    apparent_bytes: int
    waiting: int
    path: str
    answers: int


class Segment:
    """What was counted below one root and below no other root inside it."""

    __slots__ = ("nested", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.nested: set[int] = set()


class Pool:
    """Worker threads that read some roots.

    Parameters
    ----------
    reader : Reader
    roots : sequence of Root
    devices : sequence of int
        st_dev of each root.
    workers : int
        Threads.
    cores : float
        Processor cores that the reader can keep busy: 1 for one that holds the GIL.
    slow : bool
        Whether the storage is known to answer slowly: then all workers are active from the start.
    finished : callable
        Called once by the last worker.

    Notes
    -----
    Invariants, all under `_lock`. `_busy` counts the workers between taking work and handing in
    its batch; only they add work. So `_busy == 0` with an empty stack means that nothing is left
    and nothing can come: the worker that brings this about wakes all others and they end. Every
    change that could let a waiting worker go on notifies, so none sleeps through its work.
    """

    def __init__(
        self,
        reader: Reader,
        roots: Sequence[Root],
        devices: Sequence[int],
        workers: int,
        cores: float,
        *,
        slow: bool,
        finished: Callable[[], object],
    ) -> None:
        self.wanted = array("i", [0, 0])
        self.failure: BaseException | None = None
        self.segments = {root.number: Segment() for root in roots}
        self._reader = reader
        self._finished = finished
        self._workers = workers
        self._cores = cores
        self._limit = workers if slow else min(workers, max(1, round(cores)))
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._stack = [
            Work(root, root.path, ".", root.opened, device)
            for root, device in zip(roots, devices, strict=True)
        ]
        self._busy = 0
        self._waiting = 0
        self._alive = 0
        self._links: dict[tuple[int, int], list[int]] = {}
        self._linked: dict[int, int] = {}
        self._worker_list: list[WorkerProgress] = []
        self._clock = _Clock.now()
        self._held: dict[int, float] = {}  # seconds by how many workers could be active
        self.next_look = MIN_INTERVAL_S

    def start(self) -> None:
        """Start the workers that can be active now; `adjust` starts more when they can be."""
        with self._lock:
            new = self._recruit()
        self._start(new)

    def share(self, work: list[Work]) -> None:
        """Give work to the other workers."""
        with self._lock:
            self._stack.extend(work)
            self._settle(len(work))

    def more(self, root: Root) -> list[Work]:
        """Return more work of a root for a worker that has done its own; [] if it is to hand in."""
        with self._lock:
            if self._busy > self._limit or self.failure is not None:
                return []
            return self._pick(root)

    @property
    def most_active(self) -> int:
        """How many workers there were; fewer than allowed if more would have been of no use."""
        return len(self._worker_list)

    @property
    def usual_workers(self) -> int:
        """How many workers were active at most for the longest time.

        More may have been tried for a moment, such as all of them where the first directory took
        long to open.
        """
        if not self._held:
            return min(self._limit, self.most_active)
        return min(max(self._held, key=self._held.__getitem__), self.most_active)

    @property
    def progress(self) -> Progress:
        """Where the scan is now; read without stopping anyone."""
        worker_list = self._worker_list
        return Progress(
            sum(worker.progress_counts[ENTRIES] for worker in worker_list),
            sum(worker.files for worker in worker_list),
            sum(worker.apparent_bytes for worker in worker_list),
            len(self._stack) + self._busy,
            next((self._reader.where(worker) for worker in worker_list if worker.root >= 0), ""),
            sum(worker.progress_counts[ANSWERS] + len(worker.answered) for worker in worker_list),
        )

    def unfinished(self) -> dict[int, list[str]]:
        """Return the roots that something is still to be read of, and where workers are in them.

        What those workers have read since they took their work is not in `segments` yet.
        """
        with self._lock:
            found: dict[int, list[str]] = {work.root.number: [] for work in self._stack}
            for worker in self._worker_list:
                if worker.root >= 0:
                    found.setdefault(worker.root, []).append(self._reader.where(worker))
            return found

    def adjust(self) -> None:
        """Let as many workers be active as the storage and the processor can use.

        Called every `next_look` seconds. Threads that wait for storage cost nothing, so all may be
        active; threads that wait for the GIL slow each other down, and show as a busy processor.
        """
        clock, before = _Clock.now(), self._clock
        elapsed = clock.wall - before.wall
        if elapsed < self.next_look / 2:
            return
        self._clock = clock
        self._held[self._limit] = self._held.get(self._limit, 0.0) + elapsed
        load = (clock.cpu - before.cpu) / elapsed / self._cores
        slow = clock.waits > before.waits or load < IDLE_LOAD
        least = max(1, round(self._cores))
        limit = self._limit
        if load < LOW_LOAD:
            # A processor that others keep busy leaves workers waiting, too, but not in the kernel:
            # then there are some more, as others have theirs, but never all that are allowed.
            waiting = in_storage(self._sample())
            enough = MANY_WORKERS * least
            more = slow and (waiting != 0 or limit < enough)
            less = waiting == 0 and limit > enough
        elif limit > least:
            in_kernel = in_storage(self._sample()) or 0.0
            more = load < HIGH_LOAD and in_kernel >= MANY_IN_STORAGE
            less = load > HIGH_LOAD and in_kernel < FEW_IN_STORAGE
        else:
            more = less = False
        if less:
            limit = max(least, limit // 2)
        elif more:
            limit = min(self._workers, limit * 2)
        if limit == self._limit:
            self.next_look = min(MAX_INTERVAL_S, 2 * self.next_look)
            return
        self.next_look = MIN_INTERVAL_S
        with self._lock:
            self._limit = limit
            self._settle(self._workers)
            new = self._recruit()
        self._start(new)

    def _sample(self) -> list[int]:
        """Return the threads of some workers that read."""
        reading = [worker.thread for worker in self._worker_list if worker.root >= 0]
        return random.sample(reading, min(SAMPLED_WORKERS, len(reading)))

    def shared_link_bytes(self) -> dict[int, int]:
        """Return allocated bytes of hard-linked inodes by the roots, a bit mask, they are in.

        An area counts the bytes of every mask that shares a root with it: each inode once.
        """
        linked = dict(self._linked)
        for _, mask, allocated in self._links.values():
            linked[mask] = linked.get(mask, 0) + allocated
        return linked

    def open_links(self) -> list[tuple[int, int, int, int]]:
        """Return the inodes of which some names were not found.

        As (device, inode, bit mask of its roots, allocated bytes); they are in `shared_link_bytes`.
        """
        return [
            (device, inode, mask, allocated)
            for (device, inode), (_, mask, allocated) in self._links.items()
        ]

    def directories(self, number: int) -> dict[str, Any]:
        """Return the record of a root's directories, as far as these were read."""
        return self._reader.directories(number)

    def _recruit(self) -> list[WorkerProgress]:
        """Enlist the workers that the limit allows and that are not there yet (under the lock).

        Not once the scan is over: the last worker has reported it, or is about to.
        """
        if self._over:
            return []
        new = [WorkerProgress(self) for _ in range(self._limit - len(self._worker_list))]
        self._worker_list.extend(new)
        self._alive += len(new)
        return new

    def _start(self, worker_list: list[WorkerProgress]) -> None:
        for number, worker in enumerate(worker_list):
            try:  # daemons, since one stuck in the kernel can't be joined
                threading.Thread(target=self._work, args=(worker,), daemon=True).start()
            except RuntimeError:  # the system has no more: those that there are will do
                with self._lock:
                    missing = set(map(id, worker_list[number:]))
                    self._worker_list = [one for one in self._worker_list if id(one) not in missing]
                    self._alive -= len(missing)
                    self._workers = self._limit = max(1, len(self._worker_list))
                    if not self._worker_list:
                        raise
                    done = self._alive == 0  # those that there are were done before these failed
                if done:
                    self._finished()
                return

    def _settle(self, added: int) -> None:
        """Wake those who can go on, and return how many more could (under the lock)."""
        room = min(self._waiting, self._limit - self._busy)
        if self._stack and room > 0 and added > 0:
            self._ready.notify(min(added, room))
        self.wanted[0] = 0 if self._stack else max(0, room)
        # All workers of slow storage would run dry together while the one that lists a directory
        # for them reads a block itself.
        slow = self._limit >= MANY_WORKERS * self._cores
        self.wanted[1] = self._limit if slow and 2 * len(self._stack) < self._limit else 0

    def _work(self, worker: WorkerProgress) -> None:
        worker.thread = threading.get_native_id()
        try:
            while (work := self._take(worker)) is not None:
                self._hand_in(worker, self._reader.read(work, worker))
        except BaseException as error:  # a bug: it fails the scan, and is shown whole
            with self._lock:
                self.failure = self.failure or error
                self._ready.notify_all()
        with self._lock:
            self._alive -= 1
            last = self._alive == 0
        if last:
            self._finished()

    def _take(self, worker: WorkerProgress) -> list[Work] | None:
        """Wait for work of one root; None when there is none left."""
        with self._lock:
            self._waiting += 1
            while not self._stack or self._busy >= self._limit:
                if self._over:
                    break
                self._settle(0)
                self._ready.wait()
            self._waiting -= 1
            if self._over:
                self._ready.notify_all()
                return None
            self._busy += 1
            work = self._pick(self._stack[-1].root)
            worker.root = work[0].root.number
            return work

    def _pick(self, root: Root) -> list[Work]:
        """Take a share of the work of one root that lies on top (under the lock)."""
        stack = self._stack
        count = max(1, min(TAKE_ITEMS, len(stack) // (2 * self._limit)))
        work: list[Work] = []
        while stack and len(work) < count and stack[-1].root is root:
            work.append(stack.pop())
        work.reverse()
        self._settle(0)
        return work

    @property
    def _over(self) -> bool:
        return self.failure is not None or (not self._stack and self._busy == 0)

    def _hand_in(self, worker: WorkerProgress, batch: Batch) -> None:
        with self._lock:
            root, worker.root = worker.root, -1
            segment = self.segments[root]
            segment.tally.merge(batch.tally)
            segment.nested |= batch.nested
            for link in batch.links:
                self._add_link(root, link)
            self._stack.extend(batch.left)
            self._busy -= 1
            self._settle(len(batch.left))

    def _add_link(self, root: int, link: Link) -> None:
        """Note a name of an inode, and forget the inode once all its names were seen."""
        key = (link.device, link.inode)
        seen = self._links.get(key)
        if seen is None:
            seen = self._links[key] = [link.links, 0, link.allocated_bytes]
        seen[0] -= 1
        seen[1] |= 1 << root
        if seen[0] <= 0:
            del self._links[key]
            self._linked[seen[1]] = self._linked.get(seen[1], 0) + link.allocated_bytes
