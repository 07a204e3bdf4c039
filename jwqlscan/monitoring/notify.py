"""Tell others that a run begins and how it ended: a dead-man's switch by URL, and a command.

Neither fails a run nor holds up its scan. They get counts and sizes only: no path, no
name from the filesystem, no error text, and nothing of the environment, which may hold a password.

Notes
-----
The URL is used as that of a healthchecks.io check (https://healthchecks.io/docs/http_api/):
``URL/start``, ``URL`` for a success and ``URL/fail``, with ``rid=`` the run's identifier.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from subprocess import DEVNULL
from urllib.parse import urlencode, urlsplit, urlunsplit

import anyio
import anyio.to_thread
from anyio.abc import Process

from jwqlscan._version import __version__
from jwqlscan.errors import ExitCode, LockedError, single_errors
from jwqlscan.resource_limits import shortage
from jwqlscan.settings import Notifications
from jwqlscan.system.ownership import untrusted_reason
from jwqlscan.text import escape

log = logging.getLogger(__name__)

TRIES = 3
TRY_TIMEOUT_S = 5.0
PAUSE_S = 0.5
POLL_S = 0.02
KILL_WAIT_S = 0.5
PASSED_ON = ("HOME", "LANG", "LC_ALL", "LOGNAME", "TZ", "USER")

# Commands that SIGKILL could not end. Kept, as a collected one warns that it was never awaited.
_abandoned: list[Process] = []


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Attributes
    ----------
    status : str
        ``complete``, ``incomplete``, ``suspect`` or ``failed``.
    exit_code : ExitCode
    summary : str
        One line, without paths.
    """

    status: str
    exit_code: ExitCode
    summary: str


class Notifier:
    """The notifications of one run.

    Parameters
    ----------
    notifications : Notifications
    run_id : str
    """

    def __init__(self, notifications: Notifications, run_id: str) -> None:
        self._notifications = notifications
        self._run_id = run_id
        self._pinging: threading.Thread | None = None
        self._ping_problems: list[str] = []
        self._call_problems: list[str] = []
        self.ending: Ending | None = None

    def begin(self) -> None:
        """Say that the run begins; nobody waits for the answer."""
        self._ping("/start", "the run begins")

    async def end(self, ending: Ending) -> None:
        """Say how the run ended, and wait for the answers, at most ``notify.timeout``."""
        with single_errors():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._end_ping, ending)
                if self._notifications.command:
                    tasks.start_soon(self._call, ending)
        for problem in (*self._ping_problems, *self._call_problems):
            log.warning("%s; the run itself is not affected", problem)

    async def _end_ping(self, ending: Ending) -> None:
        bad = ending.exit_code not in (ExitCode.COMPLETE, ExitCode.INCOMPLETE) or (
            ending.exit_code == ExitCode.INCOMPLETE and self._notifications.incomplete_is_failure
        )
        self._ping("/fail" if bad else "", ending.summary)
        with anyio.move_on_after(self._notifications.timeout_s):
            while self._pinging is not None and self._pinging.is_alive():
                await anyio.sleep(POLL_S)
            return
        if not self._ping_problems:  # the failure of the start is reported already
            problem = f"{self._label('')}: no answer within {self._notifications.timeout_s:g} s"
            self._ping_problems.append(problem)

    def _ping(self, suffix: str, body: str) -> None:
        """Ping in a thread: a name server that hangs can't be cancelled, but left behind."""
        url, timeout_s = self._notifications.ping_url, self._notifications.timeout_s
        if url is None:
            return
        before = self._pinging

        def work() -> None:
            if before is not None:
                before.join(timeout_s)  # the ping of the start comes before that of the end
            if problem := ping(_extended(url, suffix, self._run_id), body, timeout_s):
                self._ping_problems.append(f"{self._label(suffix)}: {problem}")

        self._pinging = threading.Thread(target=work, name="ping", daemon=True)
        try:
            self._pinging.start()
        except RuntimeError as error:
            self._pinging = None
            self._ping_problems.append(f"{self._label(suffix)}: {shortage(error)}")

    def _label(self, suffix: str) -> str:
        """Return which ping it is; of the URL, which is as good as a password, only the host."""
        host = urlsplit(self._notifications.ping_url or "").hostname or ""
        return f"notify.ping_url: {escape(host)}{' at the start' if suffix == '/start' else ''}"

    async def _call(self, ending: Ending) -> None:
        program = self._notifications.command[0]
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "JWQLSCAN_RUN_ID": self._run_id,
            "JWQLSCAN_STATUS": ending.status,
            "JWQLSCAN_EXIT_CODE": str(int(ending.exit_code)),
            "JWQLSCAN_SUMMARY": ending.summary,
        }
        problem = await call(
            self._notifications.command, environment, self._notifications.timeout_s
        )
        if problem:
            self._call_problems.append(f"notify.command: {escape(program)}: {problem}")


@contextlib.asynccontextmanager
async def notified(notifications: Notifications, run_id: str) -> AsyncIterator[Notifier]:
    """Tell how what is done meanwhile ended: by `Notifier.ending`, or by an exception.

    A run that finds the lock taken is not notified. One that a signal ends has no time for it: the
    switch finds out by itself.
    """
    notifier = Notifier(notifications, run_id)
    try:
        yield notifier
    except LockedError:
        raise
    except Exception as error:  # whatever ended the run is notified, and raised again
        code = getattr(error, "exit_code", ExitCode.FAILED)
        await notifier.end(Ending("failed", code, f"failed with exit code {int(code)}"))
        raise
    if notifier.ending is not None:
        await notifier.end(notifier.ending)


def ping(url: str, body: str, timeout_s: float) -> str:
    """Send a POST request, and try again what may pass; return what went wrong, "" if nothing did.

    Raises nothing, and repeats nothing of the URL.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    headers = {"User-Agent": f"jwqlscan/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
    give_up = time.monotonic() + timeout_s
    problem = ""
    for number in range(TRIES):
        if number:
            time.sleep(min(PAUSE_S, max(0.0, give_up - time.monotonic())))
        left = give_up - time.monotonic()
        if left <= 0:
            break
        try:
            request = Request(url, body.encode(), headers)  # noqa: S310 - http or https, see config
            with urlopen(request, timeout=min(left, TRY_TIMEOUT_S)):  # noqa: S310 - http or https: the configuration was checked
                return ""
        except HTTPError as error:
            problem = f"HTTP status {error.code}"
            error.close()
            if error.code < 500 and error.code != 429:
                return problem
        except (OSError, HTTPException, ValueError) as error:
            problem = _reason(error)
    return problem or f"no answer within {timeout_s:g} s"


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)  # URLError wraps what happened
    if isinstance(reason, TimeoutError):
        return "no answer"
    if isinstance(reason, OSError) and reason.strerror:
        return escape(reason.strerror)
    return f"no answer in HTTP ({type(error).__name__})"


async def call(command: tuple[str, ...], environment: dict[str, str], timeout_s: float) -> str:
    """Run a command, for at most this time; return the problem, or "".

    What it prints is discarded: it may be anything, and a run that is well prints nothing.
    """
    try:
        with anyio.fail_after(timeout_s):
            status = await anyio.to_thread.run_sync(os.stat, command[0], abandon_on_cancel=True)
        if reason := untrusted_reason(command[0], status):
            return f"not called: it {reason}"
        process = await anyio.open_process(
            command,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            cwd="/",
            env=environment,
            start_new_session=True,  # a group of its own, which is killed as one
        )
    except TimeoutError:
        return f"its disk gives no answer within {timeout_s:g} s"
    except OSError as error:
        if words := shortage(error):
            return words
        return f"{error.strerror}; it must be a program or a script with its #! line"
    try:
        with anyio.move_on_after(timeout_s):
            code = await process.wait()
            return "" if code == 0 else f"exit code {code}" if code > 0 else f"signal {-code}"
        return f"killed, as it took more than {timeout_s:g} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with anyio.move_on_after(KILL_WAIT_S, shield=True):
                await process.wait()
            if process.returncode is None:
                _abandoned.append(process)


def _extended(url: str, suffix: str, run_id: str) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode({"rid": run_id}))))
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + suffix, query=query))
