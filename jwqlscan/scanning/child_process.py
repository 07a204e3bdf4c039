"""A scanning process as its parent has it: started, given orders, let go of.

It imports next to nothing: a command starts the process first, and imports what it needs itself
while the process starts and begins to walk.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

from jwqlscan.errors import ConfigError

# The child runs this very copy of the package, and nothing else: no site-packages, no environment
# variables, no current directory on its path (-I -S), which also saves a third of its start-up. The
# package's directory comes last: it may be site-packages, and must not shadow the standard library.
_CHILD = (
    "import sys; sys.path.append(sys.argv[1]); from jwqlscan.scanning.child import main; main()"
)
_PACKAGE_PARENT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
_CHILD_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}

# How long a killed process is waited for; one that is stuck in the kernel is left.
REAP_SECONDS = 0.2
_REAP_STEP_S = 0.001


class ChildProcess:
    """A process that runs `scanning.child`, and the two pipes to it.

    Attributes
    ----------
    answers : int
        Descriptor to read its answers from.

    Notes
    -----
    It has none of our descriptors, standard error neither: one that is stuck in the kernel would
    keep them open, and who reads them, cron or a pipe, would wait for it.
    """

    __slots__ = ("_errors", "_orders", "_pid", "answers", "status")

    def __init__(self) -> None:
        if sys.getfilesystemencoding() != "utf-8":  # the process's: names would become others
            raise ConfigError(
                f"Python decodes file names as {sys.getfilesystemencoding()} here: start it in"
                " UTF-8 mode (PYTHONUTF8=1), as the command does by itself"
            )
        # Pipes are made close-on-exec (PEP 446): the child gets just the two ends it is given.
        orders_read, self._orders = os.pipe()
        self.answers, answers_write = os.pipe()
        self._errors, errors_write = os.pipe()
        os.set_blocking(self._errors, False)
        self.status: int | None = None
        self._pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", _CHILD, _PACKAGE_PARENT],
            _CHILD_ENVIRONMENT,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, orders_read, 0),
                (os.POSIX_SPAWN_DUP2, answers_write, 1),
                (os.POSIX_SPAWN_DUP2, errors_write, 2),
            ],
            setpgroup=0,  # Ctrl-C is for the parent, which then ends the child
        )
        os.close(orders_read)
        os.close(answers_write)
        os.close(errors_write)

    def order(self, order: dict[str, Any]) -> None:
        """Send an order; the child reads its orders at once, so that this never waits."""
        data = json.dumps(order).encode("ascii") + b"\n"
        with contextlib.suppress(BrokenPipeError):  # it died: the end of its messages shows it
            while data:
                data = data[os.write(self._orders, data) :]

    def ended(self) -> int | None:
        """Return the exit code (negative: a signal) if the process is over, else None."""
        if self.status is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self._pid, os.WNOHANG)
                if pid:
                    self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def last_words(self) -> str:
        """Return the last line it wrote to standard error until now; "" if none."""
        with contextlib.suppress(BlockingIOError):
            lines = os.read(self._errors, 1 << 16).decode("utf-8", "replace").splitlines()
            return lines[-1] if lines else ""
        return ""

    def close(self) -> None:
        """End the process: closing its input does, killing makes sure; never wait for long."""
        os.close(self._orders)
        os.close(self.answers)
        os.close(self._errors)
        if self.ended() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        give_up = time.monotonic() + REAP_SECONDS
        while self.ended() is None and time.monotonic() < give_up:
            time.sleep(_REAP_STEP_S)


_early: list[ChildProcess] = []


def start_early() -> None:
    """Start a process that the next `take` gives out."""
    _early.append(ChildProcess())


def close_unused() -> None:
    """End the processes that were started early and not taken.

    They end by themselves with their input, but a thread of this process that is stuck in the
    kernel would keep that open.
    """
    while _early:
        _early.pop().close()


def take() -> ChildProcess:
    """Return the process that was started early, or start one."""
    return _early.pop() if _early else ChildProcess()
