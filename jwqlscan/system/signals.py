"""Signals that end a command: in order, within a second, and a second one at once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import anyio

from jwqlscan.errors import SignalledError, single_errors
from jwqlscan.resource_limits import shortage
from jwqlscan.system.process_exit import SIGNALS, leave

# What does not end by then, such as a thread that waits for a disk, is left behind. Nothing is torn
# by that: files are renamed into place, and what is not committed is rolled back.
GRACE_S = 0.8

# The signal that ends this process, once it came.
_received: list[int] = []

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
                            signal.signal(second, lambda number, _: leave(number))
                        last_resort = threading.Timer(GRACE_S, leave, (number,))
                        last_resort.daemon = True
                        try:
                            last_resort.start()
                        except RuntimeError:  # no thread is left to see to it
                            leave(number)
                        # What is cancelled in the middle may complain to the event loop later.
                        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
                        tasks.cancel_scope.cancel()

                tasks.start_soon(watch)
                results.append(await job(*args, **kwargs))
                tasks.cancel_scope.cancel()

    try:
        with single_errors():
            anyio.run(main)
    except RuntimeError as error:
        # The event loop starts a thread to wait for others at its end: the job may be done.
        if not (results and shortage(error)):
            raise
    if not results:
        raise SignalledError(came[0])
    return results[0]


def received() -> int | None:
    """Return the signal that ends the process; None before one came."""
    return _received[0] if _received else None


def _not_ignored() -> list[signal.Signals]:
    """Return the signals to be heeded: not those that were ignored at the start, as by nohup(1)."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
