"""Signals that end a command: in order, within a second, and a second one at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import ParamSpec, TypeVar

import anyio

from jwqlscan.errors import SignalledError, first_cause

# What does not end by then, such as a thread that waits for a disk, is left behind. Nothing is torn
# by that: files are renamed into place, and what is not committed is rolled back.
GRACE_S = 0.8

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR = "\x1b[?25h"

# The signal that ends this process, once it came.
_received: list[int] = []

_last_acts: list[Callable[[], object]] = []

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def run_until_signalled(
    job: Callable[Parameters, Awaitable[Result]],
    *args: Parameters.args,
    **kwargs: Parameters.kwargs,
) -> Result:
    """Run a coroutine function in an event loop until it is done or a signal ends it.

    Raises
    ------
    SignalledError
        If SIGINT, SIGTERM or SIGHUP came; the job was cancelled.
    """
    came: list[int] = []
    results: list[Result] = []  # not returned by main: asyncio would make its repr (Python 3.11)

    async def main() -> None:
        heeded = _not_ignored()
        with anyio.open_signal_receiver(*heeded) as signals:
            async with anyio.create_task_group() as tasks:

                async def watch() -> None:
                    async for number in signals:
                        came.append(number)
                        _received.append(number)
                        for second in heeded:  # this task is cancelled with the others
                            signal.signal(second, lambda number, _: _leave(number))
                        last_resort = threading.Timer(GRACE_S, _leave, (number,))
                        last_resort.daemon = True
                        last_resort.start()
                        # What is cancelled in the middle may complain to the event loop later.
                        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
                        tasks.cancel_scope.cancel()

                tasks.start_soon(watch)
                results.append(await job(*args, **kwargs))
                tasks.cancel_scope.cancel()

    try:
        anyio.run(main)
    except BaseExceptionGroup as group:
        raise first_cause(group) from None
    if not results:
        raise SignalledError(came[0])
    return results[0]


def received() -> int | None:
    """Return the signal that ends the process; None before one came."""
    return _received[0] if _received else None


def _not_ignored() -> list[signal.Signals]:
    """Return the signals to be heeded: not those that nohup(1), say, had ignored."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def before_leaving(act: Callable[[], object]) -> Iterator[None]:
    """Have something done even when a signal ends the process at once while the block runs.

    It must not wait for anything: other threads may hang.
    """
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


def _leave(number: int) -> None:
    """End the process at once, with the terminal as it was."""
    for act in tuple(_last_acts):
        with contextlib.suppress(OSError):
            act()
    cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(2, f"{cursor}jwqlscan: {SignalledError(number)}\n".encode())
    os._exit(128 + number)
