"""Politeness: no more metadata operations a second than allowed, and way for everyone else."""

from __future__ import annotations

import os
import threading
import time
from array import array

# What was not used for this long may be made up for: otherwise short waits add up to a lower rate.
BURST_NS = 10_000_000

NICENESS = 19

# ioprio_set(2) by number, as neither os nor any header has it: x86-64, and the generic table
# that newer architectures share.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "loongarch64": 30}
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13


class RateLimit:
    """Slots in time for operations, shared by all workers.

    Parameters
    ----------
    rate : int
        Operations a second; 0 is no limit.

    Attributes
    ----------
    interval_ns : int
        Between two slots; 0 is no limit.
    next_ns : array of int64, shape (1,)
        CLOCK_MONOTONIC of the next free slot. The compiled reader takes slots with atomic
        operations on it; `wait` is the same in Python.
    """

    def __init__(self, rate: int = 0) -> None:
        self.interval_ns = 0 if rate == 0 else max(1, 1_000_000_000 // rate)
        self.next_ns = array("q", [0])
        self._lock = threading.Lock()

    def wait(self, operations: int) -> None:
        """Take slots for some operations and sleep until the first of them."""
        if self.interval_ns == 0:
            return
        with self._lock:
            slot = max(self.next_ns[0], time.monotonic_ns() - BURST_NS)
            self.next_ns[0] = slot + operations * self.interval_ns
        delay = slot - time.monotonic_ns()
        if delay > 0:
            time.sleep(delay / 1e9)


def give_way() -> None:
    """Give this process the lowest processor priority and the idle disk class.

    What the system refuses or does not know is left as it is: it is a courtesy.
    """
    os.nice(NICENESS)
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        import ctypes  # rarely needed, and slow to import

        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)
