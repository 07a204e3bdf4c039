"""The parent's side of a scanning process: start it, give orders, take answers."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from jwqlscan.errors import ScanFailedError
from jwqlscan.pool import Progress
from jwqlscan.settings import ScanSettings

# The child runs this very copy of the package, and nothing else: no site-packages, no environment
# variables, no current directory on its path (-I -S), which also saves a third of its start-up.
_CHILD = (
    "import sys; sys.path.insert(0, sys.argv[1]); from jwqlscan.scanner_child import main; main()"
)
_PACKAGE_PARENT = str(Path(__file__).resolve().parent.parent)
_CHILD_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}

_READ_BYTES = 1 << 16


class Found(NamedTuple):
    """What a root path turned out to be: a directory's identity, or an errno."""

    device: int = 0
    inode: int = 0
    errno: int = 0


class Scanner:
    """A scanning process.

    The pipes are read when the event loop says that they are ready, and the process is not waited
    for: one that is stuck in the kernel can't be.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, an argument list
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", _CHILD, _PACKAGE_PARENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_CHILD_ENVIRONMENT,
            bufsize=0,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders = self._process.stdin
        self._answers = self._process.stdout
        self._lines: deque[bytes] = deque()
        self._pending = b""

    def order(self, order: dict[str, Any]) -> None:
        """Send an order; the child reads its orders at once, so that this never waits."""
        data = memoryview(json.dumps(order).encode("ascii") + b"\n")
        with contextlib.suppress(BrokenPipeError):  # it died: its answers' end says so
            while data:
                data = data[self._orders.write(data) :]

    async def answer(self) -> dict[str, Any] | None:
        """Wait for the child's next answer; None once it has ended."""
        while not self._lines:
            await anyio.wait_readable(self._answers)
            data = os.read(self._answers.fileno(), _READ_BYTES)
            if not data:
                return None
            *lines, self._pending = (self._pending + data).split(b"\n")
            self._lines.extend(lines)
        answer: dict[str, Any] = json.loads(self._lines.popleft())
        return answer

    async def survey(self, paths: Sequence[str], timeout_s: float) -> dict[str, Found]:
        """Open each path as a directory, in the child, and say what was found.

        A path that gives no answer in time is found as ETIMEDOUT.
        """
        found = dict.fromkeys(paths, Found(errno=errno.ETIMEDOUT))
        self.order({"op": "survey", "paths": list(paths)})
        with anyio.move_on_after(timeout_s):
            for _ in paths:
                answer = await self.answer()
                if answer is None:
                    raise ScanFailedError("the scanning process could not start; nothing is stored")
                found[paths[answer["survey"]]] = Found(
                    answer.get("device", 0), answer.get("inode", 0), answer.get("errno", 0)
                )
        return found

    async def scan(
        self,
        roots: Sequence[tuple[int, str]],
        identities: Sequence[tuple[int, int, int]],
        settings: ScanSettings,
        on_progress: Callable[[Progress], None],
    ) -> dict[str, Any]:
        """Walk some roots and return the child's result record.

        Raises
        ------
        ScanFailedError
            If the child died before it had a result.
        RuntimeError
            With the child's traceback, if it met a bug.
        """
        self.order(
            {
                "op": "scan",
                "roots": roots,
                "identities": identities,
                "workers": settings.workers,
                "reader": settings.reader,
                "rules": {
                    "exclude": settings.exclude,
                    "snapshot_names": settings.snapshot_names,
                    "one_file_system": settings.one_file_system,
                    "follow_file_symlinks": settings.follow_file_symlinks,
                    "extra_filetypes": settings.extra_filetypes,
                },
            }
        )
        while (answer := await self.answer()) is not None:
            if "progress" in answer:
                on_progress(Progress(*answer["progress"]))
            elif "failed" in answer:
                raise RuntimeError(f"the scanning process met a bug:\n{answer['failed']}")
            elif "result" in answer:
                result: dict[str, Any] = answer["result"]
                return result
        code = self._process.poll()
        raise ScanFailedError(
            f"the process scanning {roots[0][1]} ended early (status {code}); nothing is stored: "
            "look for the kernel's out-of-memory messages, then run again"
        )

    def close(self) -> None:
        """End the process: closing its input does, killing makes sure; never wait for it."""
        for pipe in (self._orders, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        if self._process.returncode is None:
            # Stuck in the kernel: let go of it, or its destructor would warn of a live process.
            self._process.returncode = 0
