"""What threads wait for: storage, or the interpreter's lock.

Both look alike in the counters of a process: little done, many waits. The kernel has the system
call that a thread is in (proc(5), /proc/pid/task/tid/syscall): a thread that waits for another is
in futex(2), one that waits for storage is not.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

# futex(2) by number, as no module has it: x86-64, and the generic table of newer architectures.
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "loongarch64": 98}.get(os.uname().machine)


def in_storage(threads: Iterable[int]) -> float | None:
    """Return the part of some threads of this process that storage keeps waiting, 0 to 1.

    Parameters
    ----------
    threads : iterable of int
        As `threading.get_native_id` gives them.

    Returns
    -------
    float or None
        None if the kernel does not report it, or there are no threads.
    """
    found = waiting = 0
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended, or this kernel has no such file
            with open(f"/proc/self/task/{thread}/syscall", "rb") as file:
                call = file.read(8).partition(b" ")[0]
            found += 1
            waiting += call.isdigit() and int(call) != _FUTEX  # else "running"
    return waiting / found if found and _FUTEX is not None else None
