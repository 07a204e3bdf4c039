"""The command `check`: a Nagios plugin."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.monitoring.check import Finding, Verdict

from jwqlscan.cli.error_boundary import error_boundary, unexpected_problem
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import (
    ConfigFile,
    Database,
    Debug,
    Json,
    LogForm,
    age_in_seconds,
    load_settings,
)
from jwqlscan.cli.printing import json_text

app = typer.Typer()

UNKNOWN = 3


def unknown_line(problem: str) -> str:
    """Return the plugin's line for what can't be judged."""
    from jwqlscan.monitoring.check import unknown

    return unknown(problem).line + "\n"


@app.command(
    epilog=examples(
        "jwqlscan check",
        "jwqlscan check --config /etc/jwqlscan/config.toml --timeout 30s",
        codes="0 OK · 1 WARNING · 2 CRITICAL · 3 UNKNOWN",
    )
)
def check(
    context: typer.Context,
    config: ConfigFile = None,
    database: Database = None,
    timeout: Annotated[
        str,
        typer.Option(
            "--timeout",
            "-t",
            callback=age_in_seconds,
            metavar="TIME",
            help="Give up after this time, with UNKNOWN: 10s, 1min.",
        ),
    ] = "10s",
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Check the last runs, as a Nagios or Icinga plugin does.

    They are compared with the thresholds under [check] in the configuration; one line
    with performance data is printed. What can't be judged, such as a wrong configuration or a
    database that is down, is UNKNOWN, or WARNING if snapshots wait for that database.
    """
    with error_boundary(debug, log_format, logging.ERROR), _given_up(timeout, json) as on_local:
        from jwqlscan.errors import JwqlscanError, SignalledError
        from jwqlscan.monitoring.check import check as check_runs
        from jwqlscan.monitoring.check import unknown
        from jwqlscan.system.signals import run_until_signalled

        try:
            settings = load_settings(context, config)
            verdict = run_until_signalled(check_runs, settings, on_local)
        except SignalledError:
            raise
        except JwqlscanError as error:
            verdict = unknown(str(error))
        except Exception as error:  # whatever it is, a plugin prints UNKNOWN in its one line
            if debug:
                raise
            verdict = unknown(unexpected_problem(error))
        sys.stdout.write(_text(verdict, json))
        raise typer.Exit(verdict.level)


def _text(verdict: Verdict, json: bool) -> str:
    """Return what is printed of a verdict."""
    if not json:
        return verdict.line + "\n"
    from jwqlscan.output.json_objects import check_object

    return json_text(check_object(verdict))


@contextlib.contextmanager
def _given_up(seconds: str, json: bool) -> Iterator[Callable[[Sequence[Finding]], None]]:
    """End the process after a time: its caller waits, and disks and databases hang.

    Yields what takes the findings that are known by then; without any the verdict is UNKNOWN.
    """
    from jwqlscan.monitoring.check import unknown

    def rendered(findings: Sequence[Finding]) -> tuple[bytes, int]:
        verdict = unknown(f"no answer within {float(seconds):g} s", findings)
        return _text(verdict, json).encode(), int(verdict.level)

    pending = [rendered(())]

    def keep(findings: Sequence[Finding]) -> None:
        pending[0] = rendered(findings)

    def give_up(*_: object) -> None:
        text, code = pending[0]
        with contextlib.suppress(OSError):  # a full disk, a closed pipe: the exit code has to do
            os.write(1, text)
        os._exit(code)

    try:
        signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, float(seconds))
    except (OverflowError, ValueError):
        raise typer.BadParameter("longer than a clock can be set", param_hint="--timeout") from None
    try:
        yield keep
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
