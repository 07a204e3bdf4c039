"""How the process ends or goes on while one of its threads is stuck in the kernel."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from jwqlscan.errors import SignalledError

# A configuration is read and a log file made in a moment, on the slowest disk.
CALL_TIMEOUT_S = 60.0

# A wait ends at once where the clock was shifted for this process alone (faketime, set to 1970).
_EARLY_S = 0.01

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR = "\x1b[?25h"

_last_acts: list[Callable[[], object]] = []

Result = TypeVar("Result")


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


def leave(number: int) -> None:
    """End the process at once because of a signal, with the terminal as it was."""
    for act in tuple(_last_acts):
        with contextlib.suppress(OSError):
            act()
    cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(2, f"{cursor}jwqlscan: {SignalledError(number)}\n".encode())
    release_output()
    os._exit(128 + number)


def release_output() -> None:
    """Let go of standard output and standard error; the process is about to end.

    A thread that is stuck in the kernel keeps all descriptors open until it is free, and whoever
    reads the other end, cron or a pipe, would wait for it.
    """
    try:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # no descriptor is left
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        return
    for descriptor in (1, 2):
        os.dup2(null, descriptor)


def call_in_time(call: Callable[[], Result], limit_s: float | None = None) -> Result:
    """Call a function that may hang in the kernel, outside of an event loop.

    It runs in a thread of its own, which is left behind if it gives no answer. Signals end the
    process meanwhile, as they do while an event loop runs.

    Parameters
    ----------
    call : callable
    limit_s : float, optional
        Default: `CALL_TIMEOUT_S`.

    Raises
    ------
    TimeoutError
        If there is no answer within the limit; whatever the call itself raises, otherwise.
    """
    answers: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()

    def work() -> None:
        answer: Future[Result] = Future()
        try:
            answer.set_result(call())
        except BaseException as error:  # raised again where it is waited for
            answer.set_exception(error)
        answers.put(answer)

    threading.Thread(target=work, name="call_in_time", daemon=True).start()
    deadline = time.monotonic() + (CALL_TIMEOUT_S if limit_s is None else limit_s)
    with _signals_leave():
        while True:
            try:
                return answers.get(timeout=max(0.0, deadline - time.monotonic())).result()
            except queue.Empty:
                if time.monotonic() >= deadline:
                    raise TimeoutError from None
                time.sleep(_EARLY_S)


@contextlib.contextmanager
def _signals_leave() -> Iterator[None]:
    """End the process at once on the signals that would end it anyway, if this is its main thread.

    Their default action leaves a stuck thread with standard output and standard error.
    """
    changed = []
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, lambda number, _: leave(number))
                changed.append(number)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
