"""Processes that tests wait for: by what the kernel says of them, not by the time that passes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

LIMIT_S = 60


def wait_until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Wait for a condition while a process runs; that it ends, or takes too long, is a failure."""
    give_up = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < give_up, "it did not come to that"
        time.sleep(0.01)


def catches(process: subprocess.Popen, number: signal.Signals) -> bool:
    """Return whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)


def has_open(process: subprocess.Popen, path: Path) -> bool:
    """Return whether a process has a file open."""
    descriptors = Path(f"/proc/{process.pid}/fd")
    return any(_target(link) == str(path) for link in descriptors.iterdir())


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # closed meanwhile
        return ""


def child_waits_for_fuse(process: subprocess.Popen) -> bool:
    """Return whether a thread of a child waits for the answer of a FUSE filesystem."""
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
    ).stdout.split()
    places = [place for pid in children for place in Path(f"/proc/{pid}/task").glob("*/wchan")]
    return any("request_wait_answer" in place.read_text() for place in places)
