"""The scanning process: probes roots and walks them, by order of its parent.

It alone touches the scanned trees, so that a mount that hangs takes only this process with it.
Orders come as JSON lines on standard input, answers go as JSON lines to standard output; nothing
of jwqlscan that needs another package is imported here. End of input ends the process.

Orders::

    {"op": "probe", "paths": [...], "then_scan": settings or null}
    {"op": "scan", "roots": [...], "identities": [...], "settings": {...}, "elsewhere": [...]}
    {"op": "stop"}

Answers: one ``{"probe": index, ...}`` a path; ``{"progress": [...]}`` now and then; at the end
one ``{"result": {...}}``, or ``{"lost": path, "errno": n}`` for a root that is no longer what was
probed, or ``{"failed": traceback}`` for a bug. A probe with `then_scan` goes on
to scan what it found, without another order, if all is there and on one filesystem. When ordered to
stop, the result is what is known by then: this thread never touches a tree once workers walk it, so
it can answer while all of them hang.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import resource
import select
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jwqlscan.model.directory_totals import Limits
from jwqlscan.naming.jwst import Classifier
from jwqlscan.resource_limits import shortage
from jwqlscan.scanning.messages import NO_OTHER_ROOTS, OtherRoots, number_roots
from jwqlscan.scanning.pool import Pool
from jwqlscan.scanning.rate_limit import RateLimit, give_way
from jwqlscan.scanning.readers import make_reader, useful_cores
from jwqlscan.scanning.readers.base import OpenDirectory, Root
from jwqlscan.scanning.rules import ScanRules
from jwqlscan.settings import AUTO_WORKERS, JWST, Scheme
from jwqlscan.system.mounts import read_mount_table

if TYPE_CHECKING:
    from jwqlscan.naming.schemes import NameClassifier

# Interval of progress messages to the parent, about.
PROGRESS_SECONDS = 0.1

# A root that took this long to open and look into is on storage that answers slowly: all workers
# are of use from the start. From a warm cache it takes 0.1 ms.
SLOW_PROBE_SECONDS = 0.001

# New objects between two searches for garbage. A scan makes next to none that is cyclic, and its
# stats, of which each worker holds some hundred for a moment, would cause one search after another.
YOUNG_OBJECTS = 50_000

# Roots are opened following symlinks: a root may be one. Nothing below it is.
ROOT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC


def main() -> None:
    """Serve the parent until it closes standard input."""
    gc.set_threshold(YOUNG_OBJECTS)
    descriptors = _raise_descriptor_limit()
    with contextlib.suppress(BrokenPipeError):  # the parent is gone: nobody reads this
        _Child(descriptors).serve()
    os._exit(0)  # at once, whatever the threads are doing


def _raise_descriptor_limit() -> int:
    """Take all the descriptors allowed: each level of each worker's descent keeps one open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A hard limit of "infinity" or millions makes no sense to reach for.
    descriptors = min(hard, 65536) if hard > 0 else 65536
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    return descriptors


def useful_workers(wanted: int, descriptors: int) -> int:
    """Return how many workers there are descriptors for, or they would wait for each other.

    A quarter of them is not kept for waiting directories (`descriptors_to_keep`); a worker takes up
    to three at a time: the directory, its listing, and a step on the way to it.
    """
    return max(1, min(wanted, descriptors // 4 // 3))


def _classifier(settings: dict[str, Any]) -> NameClassifier:
    """Return the classifier of the scheme that `settings_record` wrote."""
    name, endings, patterns, instruments = settings["scheme"]
    if name == JWST:
        return Classifier(settings["extra_filetypes"])
    from jwqlscan.naming.schemes import PatternClassifier  # the usual scan begins sooner without

    tokens = tuple((text, instrument) for text, instrument in instruments)
    return PatternClassifier(Scheme(name, tuple(endings), tuple(patterns), tokens))


class _ProbedRoot(NamedTuple):
    """A root that could be opened."""

    opened: OpenDirectory
    device: int
    inode: int
    seconds: float  # that opening and reading it took
    real: str  # as `_real_path` returns it


def _real_path(fd: int, path: str) -> str:
    """Return what the kernel calls a root: without symbolic links, as the mount table does."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # /proc is not mounted: then there is no mount table either
        return os.path.realpath(path)


def _probed(
    path: str, opened: OpenDirectory, status: os.stat_result, started: float
) -> _ProbedRoot:
    """Return a root that was opened; `started` is on the clock of `time.monotonic`."""
    seconds = time.monotonic() - started
    return _ProbedRoot(opened, status.st_dev, status.st_ino, seconds, _real_path(opened.fd, path))


class _Child:
    def __init__(self, descriptors: int) -> None:
        self._descriptors = descriptors
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC)
        self._pool: Pool | None = None
        self._reader = ""
        self._probed: dict[str, _ProbedRoot] = {}
        self._paths: list[str] = []
        self._walked_paths: dict[int, tuple[str, str]] = {}
        self._unanswered = 0
        self._all_probed = False
        self._walked = False
        self._then_scan: dict[str, Any] | None = None
        self._other_roots = NO_OTHER_ROOTS
        self._started = 0.0

    def serve(self) -> None:
        pending = b""
        next_progress = 0.0
        while True:
            wait = None if self._pool is None else self._pool.next_look
            ready, _, _ = select.select([0, self._wake_read], [], [], wait)
            if 0 in ready:
                data = os.read(0, 1 << 16)
                if not data:
                    return
                pending += data
                *lines, pending = pending.split(b"\n")
                for line in lines:
                    self._guarded(partial(self._obey, json.loads(line)))
            if self._wake_read in ready:
                os.read(self._wake_read, 16)
                # The flags, not the byte, state what is to be done: a probe's may come
                # after the scan was ordered, and several may come as one.
                if self._all_probed:
                    self._all_probed = False
                    self._guarded(self._go_on)
                if self._walked and self._pool is not None:
                    self._walked = False
                    self._guarded(partial(self._finish, self._pool))
                    self._pool = None
            elif self._pool is not None:
                self._pool.adjust()
                if time.monotonic() >= next_progress:
                    next_progress = time.monotonic() + PROGRESS_SECONDS
                    self._send({"progress": list(self._pool.progress)})

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            if words := shortage(error):  # this filesystem is given up, as if we had been killed
                os.write(2, f"{words}\n".encode())
                os._exit(1)
            # A bug, or a reader that is not there: the parent shows it.
            self._send({"failed": traceback.format_exc()})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode("ascii") + b"\n"
        with self._lock:
            while data:
                data = data[os.write(1, data) :]

    def _wake(self) -> None:
        os.write(self._wake_write, b".")

    def _finished(self) -> None:
        self._walked = True
        self._wake()

    def _obey(self, order: dict[str, Any]) -> None:
        if order["op"] == "probe":
            self._paths = order["paths"]
            self._unanswered = len(self._paths)
            self._then_scan = order["then_scan"]
            # A thread a path: one that hangs must not keep the others waiting.
            for index, path in enumerate(self._paths):
                probe = partial(self._guarded, partial(self._probe, index, path))
                try:
                    threading.Thread(target=probe, daemon=True).start()
                except RuntimeError:  # the system has no more: then this thread has to wait
                    probe()
        elif order["op"] == "stop":
            if self._pool is not None:
                pool, self._pool = self._pool, None
                self._finish(pool)
        else:
            numbers = {(device, inode): number for device, inode, number in order["identities"]}
            roots = [tuple(root) for root in order["roots"]]
            self._other_roots = OtherRoots(*order["elsewhere"])
            self._start_scan(roots, numbers, order["settings"])

    def _probe(self, index: int, path: str) -> None:
        started = time.monotonic()
        try:
            opened = OpenDirectory(os.open(path, ROOT_FLAGS))
            stat = os.stat(".", dir_fd=opened.fd)  # can be searched, not just read
            with os.scandir(opened.fd) as listing:  # readable, not just there
                empty = next(listing, None) is None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            number = getattr(error, "errno", None) or errno.EINVAL
            self._send({"probe": index, "errno": number})
            return
        one = self._probed[path] = _probed(path, opened, stat, started)
        self._send(
            {
                "probe": index,
                "device": one.device,
                "inode": one.inode,
                "real": one.real,
                "empty": empty,
            }
        )
        with self._lock:
            self._unanswered -= 1
            last = self._unanswered == 0
        if last:
            self._all_probed = True
            self._wake()

    def _go_on(self) -> None:
        """Scan what was probed, if that was ordered and all is on one filesystem."""
        if self._then_scan is None or self._pool is not None:
            return
        found = [(path, self._probed[path]) for path in self._paths]
        roots = number_roots((path, one.device, one.inode) for path, one in found)
        if len(roots.by_device) == 1:
            [scanned] = roots.by_device.values()
            self._start_scan(scanned, roots.numbers, self._then_scan)

    def _start_scan(
        self,
        scanned: list[tuple[int, str]],
        numbers: dict[tuple[int, int], int],
        settings: dict[str, Any],
    ) -> None:
        identities = {number: identity for identity, number in numbers.items()}
        probed = []
        for number, path in scanned:
            try:
                one = self._open_root(path)
                error = 0 if (one.device, one.inode) == identities[number] else errno.ESTALE
            except OSError as failure:
                error = failure.errno or errno.EIO
            if error:  # another process probed it, and it was unmounted or moved away since
                self._send({"lost": path, "errno": error})
                return
            probed.append(one)
        real_paths = [one.real for one in probed]
        self._walked_paths = {
            number: (path, real) for (number, path), real in zip(scanned, real_paths, strict=True)
        }
        mounts = read_mount_table(
            {path: real for (_, path), real in zip(scanned, real_paths, strict=True)},
            self._other_roots.roots,
        )
        reader = make_reader(
            settings["reader"],
            ScanRules(
                exclude=tuple(settings["exclude"]),
                snapshot_names=frozenset(settings["snapshot_names"]),
                one_file_system=settings["one_file_system"],
                follow_file_symlinks=settings["follow_file_symlinks"],
                mounts=mounts,
                roots=numbers,
                age_limits=tuple(settings["age_limits"]),
                directories=Limits(*settings["directories"]),
            ),
            _classifier(settings),
            RateLimit(settings["max_rate"]),
        )
        if settings["background"]:
            give_way()
        self._reader = reader.name
        self._started = time.monotonic()
        self._pool = Pool(
            reader,
            [
                Root(number, path, one.opened)
                for (number, path), one in zip(scanned, probed, strict=True)
            ],
            [one.device for one in probed],
            useful_workers(settings["workers"] or AUTO_WORKERS, self._descriptors),
            useful_cores(reader.name),
            slow=any(one.seconds > SLOW_PROBE_SECONDS for one in probed),
            finished=self._finished,
        )
        for number, path in scanned:
            self._pool.segments[number].tally.mounts.update(
                (point, fstype)
                for point, fstype in mounts.crossed.items()
                if point.startswith(path.rstrip("/") + "/")
            )
        self._pool.start()

    def _open_root(self, path: str) -> _ProbedRoot:
        if path not in self._probed:  # probed by another process
            started = time.monotonic()
            opened = OpenDirectory(os.open(path, ROOT_FLAGS))
            self._probed[path] = _probed(path, opened, os.fstat(opened.fd), started)
        return self._probed[path]

    def _finish(self, pool: Pool) -> None:
        if pool.failure is not None and shortage(pool.failure):
            raise pool.failure
        if pool.failure is not None:
            self._send({"failed": "".join(traceback.format_exception(pool.failure))})
            return
        self._send({"progress": list(pool.progress)})
        result = {
            "reader": self._reader,
            "workers": pool.usual_workers,
            "seconds": time.monotonic() - self._started,
            "segments": [
                {
                    "root": index,
                    "path": self._walked_paths[index][0],
                    "real_path": self._walked_paths[index][1],
                    "nested": sorted(segment.nested),
                    "tally": segment.tally.to_record(),
                    "tree": pool.directories(index),
                }
                for index, segment in pool.segments.items()
            ],
            "linked": [[mask, size] for mask, size in pool.shared_link_bytes().items()],
            "open_links": pool.open_links() if self._other_roots.meets else [],
            "unfinished": list(pool.unfinished().items()),
        }
        self._send({"result": result})
