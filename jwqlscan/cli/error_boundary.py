"""How a command ends: a failure is one line on standard error, and an exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from jwqlscan.errors import (
    ExitCode,
    JwqlscanError,
    SignalledError,
    StandardOutputError,
    cause_of,
)
from jwqlscan.resource_limits import shortage
from jwqlscan.system.logs import LogFormat, json_line, logging_to_stderr
from jwqlscan.system.standard_streams import discard_output
from jwqlscan.text import escape

if TYPE_CHECKING:
    pass


def print_error(text: str, form: LogFormat = LogFormat.text, run_id: str = "") -> None:
    """Write a line to standard error; where nobody can read it, the exit code has to do."""
    line = json_line("error", text, run_id) if form is LogFormat.json else f"jwqlscan: {text}"
    with contextlib.suppress(OSError):  # the terminal is closed
        sys.stderr.write(f"{line}\n")


def usage_problem(error: Exception) -> tuple[str, str]:
    """Return what Typer found wrong with the command line, as one line, and the command."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "jwqlscan"
    problem = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    problem = " ".join(problem.split()).rstrip(".")
    return f"{escape(problem)}; see `{command} --help`", command


def unexpected_problem(error: Exception) -> str:
    """Return a line on an error that nobody expected: a bug, or a limit of the host."""
    if isinstance(error, FileNotFoundError) and error.filename is None and _is_removed("."):
        return "the current directory was removed: give absolute paths, or change to another one"
    where = "" if shortage(error) else "; --debug shows where"
    return f"{cause_of(error)}{where}"


def _is_removed(directory: str) -> bool:
    return os.stat(directory).st_nlink == 0


def wanted_log_format(arguments: Sequence[str], environment: Mapping[str, str]) -> LogFormat:
    """Return what ``--log-format`` asks for in a command line that could not be parsed."""
    form = environment.get("JWQLSCAN_LOG_FORMAT", "")
    for word, following in zip(arguments, (*arguments[1:], ""), strict=True):
        if word == "--log-format":
            form = following
        elif word.startswith("--log-format="):
            form = word.partition("=")[2]
    return LogFormat.json if form == LogFormat.json else LogFormat.text


@contextlib.contextmanager
def error_boundary(
    debug: bool,
    form: LogFormat = LogFormat.text,
    level: int = logging.WARNING,
    run_id: str = "",
    *,
    stores: bool = False,
) -> Iterator[None]:
    """Turn a failure into one line and its exit code, and log; what is made meanwhile is private.

    Parameters
    ----------
    debug : bool
        Let tracebacks through.
    form : LogFormat
    level : int
        Of the log lines that are written.
    run_id : str
        For lines in JSON.
    stores : bool
        Whether the command stores something, which a signal then keeps it from.
    """
    SignalledError.consequence = ", nothing more is stored" if stores else ""
    os.umask(0o077)  # what the configuration opens, it opens file by file
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # it was to end in silence until now
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with logging_to_stderr(level, form, run_id):
            yield
            sys.stdout.flush()
    except StandardOutputError:  # `__main__` reports it: output may also fail at the very end
        raise
    except SignalledError as error:
        print_error(f"{error}", form, run_id)
        raise typer.Exit(128 + error.number) from None
    except JwqlscanError as error:
        if debug:
            raise
        print_error(f"{error}", form, run_id)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        print_error(f"{SignalledError(signal.SIGINT)}", form, run_id)
        raise typer.Exit(128 + 2) from None
    except BrokenPipeError:  # `| head`: the reader has what it wants
        discard_output()
        raise typer.Exit(128 + signal.SIGPIPE) from None
    except (typer.Exit, typer.BadParameter, typer.Abort):
        raise
    except Exception as error:  # a bug, or a limit of the host: one line
        if debug:
            raise
        print_error(unexpected_problem(error), form, run_id)
        raise typer.Exit(ExitCode.FAILED) from None
