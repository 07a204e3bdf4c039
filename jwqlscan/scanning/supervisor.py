"""A scanning process and the event loop: orders go out, answers are waited for."""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import anyio

from jwqlscan.errors import ScanFailedError
from jwqlscan.scanning.child_process import ChildProcess, take
from jwqlscan.scanning.messages import (
    NO_OTHER_ROOTS,
    STOP_ORDER,
    OtherRoots,
    Roots,
    probe_order,
    scan_order,
)
from jwqlscan.scanning.pool import Progress
from jwqlscan.settings import ScanSettings
from jwqlscan.text import escape
from jwqlscan.units import format_seconds

_READ_BYTES = 1 << 16

# A process that closed its output is about to be over.
END_SECONDS = 1.0

# A process that is to stop answers at once, unless the machine is very busy.
STOP_SECONDS = 5.0


class RootInfo(NamedTuple):
    """What a root path turned out to be: a directory's identity, or an errno.

    `real` is what the kernel calls it: without symbolic links, as the mount table does.
    `empty` is whether it has no entries, as the mount point of what is not mounted.
    """

    device: int = 0
    inode: int = 0
    errno: int = 0
    real: str = ""
    empty: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether there is no such directory; other errors leave open what it holds."""
        return self.errno in (errno.ENOENT, errno.ENOTDIR)


class Deadlines(NamedTuple):
    """How long a walk may take.

    Attributes
    ----------
    stall_timeout_s : float
        Without any answer from the storage.
    deadline : float
        On the clock of `time.monotonic`.
    """

    stall_timeout_s: float = math.inf
    deadline: float = math.inf


class ScanResult(NamedTuple):
    """What became of some roots on one filesystem.

    Attributes
    ----------
    roots : tuple of int
    record : dict
        The child's result; {} if it gave none.
    state : str
        ``complete``; ``stalled`` if the storage no longer answered, ``stopped`` if time was up:
        then some roots are unfinished; ``failed`` if the process died, and nothing is known.
    note : str
        Why it is not complete.
    """

    roots: tuple[int, ...]
    record: Mapping[str, Any]
    state: str = "complete"
    note: str = ""


class _Watch:
    """Tells a slow walk from one that hangs: by whether the storage still answers.

    Attributes
    ----------
    state, note : str
        Why the walk was given up; "" if it was not.
    """

    def __init__(self, deadlines: Deadlines) -> None:
        self.state = ""
        self.note = ""
        self._deadlines = deadlines
        self._answers = -1
        self._until = 0.0
        self._see_life()

    @property
    def left(self) -> float:
        """Seconds until the next answer must be here."""
        return max(0.0, self._until - time.monotonic())

    def see(self, answers: int) -> None:
        """Take note of how many calls the storage has answered."""
        if answers != self._answers and not self.state:
            self._answers = answers
            self._see_life()

    def give_up(self) -> None:
        """Set the reason, and leave the child time to send what it has."""
        if time.monotonic() >= self._deadlines.deadline:
            self.state, self.note = "stopped", "the time allowed by scan.max_runtime was over"
        else:
            limit = format_seconds(self._deadlines.stall_timeout_s)
            self.state, self.note = "stalled", f"no answer from its storage for {limit}"
        self._until = time.monotonic() + STOP_SECONDS

    def _see_life(self) -> None:
        alive = time.monotonic() + self._deadlines.stall_timeout_s
        self._until = min(alive, self._deadlines.deadline)


class Supervisor:
    """A scanning process.

    Its pipe is read when the event loop reports it as ready, and the process is not waited for:
    one that is stuck in the kernel can't be.

    Parameters
    ----------
    process : ChildProcess, optional
        One that was given its probe order already; it goes on to scan where it can.
    """

    def __init__(self, process: ChildProcess | None = None) -> None:
        self._ordered = process is not None
        self._process = process or take()
        self._received = bytearray()

    async def answer(self) -> dict[str, Any] | None:
        """Wait for the child's next answer; None once it has ended."""
        end = self._received.find(b"\n")
        while end < 0:
            await anyio.wait_readable(self._process.answers)
            data = os.read(self._process.answers, _READ_BYTES)
            if not data:
                return None
            start = len(self._received)
            self._received += data
            end = self._received.find(b"\n", start)  # the result is one line of some megabytes
        answer: dict[str, Any] = json.loads(self._received[:end])
        del self._received[: end + 1]
        return answer

    async def probe(self, paths: Sequence[str], timeout_s: float) -> dict[str, RootInfo]:
        """Open each path as a directory, in the child, and return what was found.

        A path that gives no answer in time is found as ETIMEDOUT.

        Raises
        ------
        ScanFailedError
            If the child died.
        RuntimeError
            With the child's traceback, if it met a bug.
        """
        found = dict.fromkeys(paths, RootInfo(errno=errno.ETIMEDOUT))
        if not self._ordered:
            self._process.order(probe_order(list(paths), None))
        with anyio.move_on_after(timeout_s):
            waiting = len(paths)
            while waiting:
                answer = await self.answer()
                if answer is None:
                    raise ScanFailedError(f"nothing is stored: {await self._end()}")
                if "failed" in answer:
                    raise RuntimeError(f"the scanning process met a bug:\n{answer['failed']}")
                if "probe" in answer:
                    waiting -= 1
                    index = answer.pop("probe")
                    found[paths[index]] = RootInfo(**answer)
        return found

    async def scan(
        self,
        device: int,
        roots: Roots,
        settings: ScanSettings,
        on_progress: Callable[[Progress], None],
        deadlines: Deadlines,
        other_roots: OtherRoots = NO_OTHER_ROOTS,
    ) -> ScanResult:
        """Scan the roots on one filesystem; others are read `elsewhere`, by other processes.

        Raises
        ------
        RuntimeError
            With the child's traceback, if it met a bug.
        """
        numbers = tuple(number for number, _ in roots.by_device[device])
        if not (self._ordered and len(roots.by_device) == 1):
            scanned = roots.by_device[device]
            self._process.order(scan_order(scanned, roots.numbers, settings, other_roots))
        watch = _Watch(deadlines)
        while True:
            answer: dict[str, Any] | None = {}
            with anyio.move_on_after(watch.left):
                answer = await self.answer()
            if answer is None:
                return ScanResult(numbers, {}, "failed", await self._end())
            if "progress" in answer:
                progress = Progress(*answer["progress"])
                watch.see(progress.answers)
                on_progress(progress)
            elif "lost" in answer:
                lost = f"{escape(answer['lost'])}: {os.strerror(answer['errno'])}"
                return ScanResult(
                    numbers, {}, "failed", f"{lost}, and it was there a moment ago: see its mount"
                )
            elif "failed" in answer:
                raise RuntimeError(f"the scanning process met a bug:\n{answer['failed']}")
            elif "result" in answer:
                record = answer["result"]
                if record["unfinished"]:
                    return ScanResult(numbers, record, watch.state, watch.note)
                return ScanResult(numbers, record)
            if watch.left <= 0:
                if watch.state:
                    return ScanResult(numbers, {}, watch.state, watch.note)
                watch.give_up()
                self._process.order(STOP_ORDER)

    async def _end(self) -> str:
        """Say how the process ended early, now that it has closed its output."""
        with anyio.move_on_after(END_SECONDS):
            while self._process.ended() is None:
                await anyio.sleep(0.01)
        status = self._process.status
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        words = escape(self._process.last_words())
        why = words or "look for the kernel's out-of-memory messages"
        return f"its scanning process ended early ({how}): {why}"

    def close(self) -> None:
        """End the process; never wait for it."""
        self._process.close()
