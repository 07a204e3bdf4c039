"""A scanning process and the event loop: orders go out, answers are waited for."""

from __future__ import annotations

import errno
import json
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import anyio

from jwqlscan.errors import ScanFailedError
from jwqlscan.paths import shown
from jwqlscan.scanning.orders import Roots, scan_order, survey_order
from jwqlscan.scanning.pool import Progress
from jwqlscan.scanning.process import ScannerProcess, take
from jwqlscan.settings import ScanSettings

_READ_BYTES = 1 << 16

# A process that closed its output is about to be over.
END_SECONDS = 1.0


class Found(NamedTuple):
    """What a root path turned out to be: a directory's identity, or an errno."""

    device: int = 0
    inode: int = 0
    errno: int = 0


class Scanner:
    """A scanning process.

    Its pipe is read when the event loop says that it is ready, and the process is not waited for:
    one that is stuck in the kernel can't be.

    Parameters
    ----------
    process : ScannerProcess, optional
        One that was given its survey order already; it goes on to scan where it can.
    """

    def __init__(self, process: ScannerProcess | None = None) -> None:
        self._ordered = process is not None
        self._process = process or take()
        self._lines: deque[bytes] = deque()
        self._pending = b""

    async def answer(self) -> dict[str, Any] | None:
        """Wait for the child's next answer; None once it has ended."""
        while not self._lines:
            await anyio.wait_readable(self._process.answers)
            data = os.read(self._process.answers, _READ_BYTES)
            if not data:
                return None
            *lines, self._pending = (self._pending + data).split(b"\n")
            self._lines.extend(lines)
        answer: dict[str, Any] = json.loads(self._lines.popleft())
        return answer

    async def survey(self, paths: Sequence[str], timeout_s: float) -> dict[str, Found]:
        """Open each path as a directory, in the child, and say what was found.

        A path that gives no answer in time is found as ETIMEDOUT.

        Raises
        ------
        ScanFailedError
            If the child died.
        """
        found = dict.fromkeys(paths, Found(errno=errno.ETIMEDOUT))
        if not self._ordered:
            self._process.order(survey_order(list(paths), None))
        with anyio.move_on_after(timeout_s):
            waiting = len(paths)
            while waiting:
                answer = await self.answer()
                if answer is None:
                    raise ScanFailedError("the scanning process could not start; nothing is stored")
                if "survey" in answer:
                    waiting -= 1
                    found[paths[answer["survey"]]] = Found(
                        answer.get("device", 0), answer.get("inode", 0), answer.get("errno", 0)
                    )
        return found

    async def scan(
        self,
        device: int,
        roots: Roots,
        settings: ScanSettings,
        on_progress: Callable[[Progress], None],
    ) -> Mapping[str, Any]:
        """Walk the roots on one filesystem and return the child's result record.

        Raises
        ------
        ScanFailedError
            If the child died before it had a result, or a root is no longer what was surveyed.
        RuntimeError
            With the child's traceback, if it met a bug.
        """
        if not (self._ordered and len(roots.by_device) == 1):
            self._process.order(scan_order(roots.by_device[device], roots.numbers, settings))
        while (answer := await self.answer()) is not None:
            if "progress" in answer:
                on_progress(Progress(*answer["progress"]))
            elif "lost" in answer:
                raise ScanFailedError(
                    f"{shown(answer['lost'])}: {os.strerror(answer['errno'])}, and it was there a "
                    "moment ago; nothing is stored: look at its mount, then run again"
                )
            elif "failed" in answer:
                raise RuntimeError(f"the scanning process met a bug:\n{answer['failed']}")
            elif "result" in answer:
                result: Mapping[str, Any] = answer["result"]
                return result
        raise ScanFailedError(
            f"the process scanning {shown(roots.by_device[device][0][1])} ended early "
            f"({await self._end()}); nothing is stored: look for the kernel's out-of-memory "
            "messages, then run again"
        )

    async def _end(self) -> str:
        """Say how the process ended, now that it has closed its output."""
        with anyio.move_on_after(END_SECONDS):
            while self._process.ended() is None:
                await anyio.sleep(0.01)
        status = self._process.status
        return f"signal {-status}" if status is not None and status < 0 else f"status {status}"

    def close(self) -> None:
        """End the process; never wait for it."""
        self._process.close()
