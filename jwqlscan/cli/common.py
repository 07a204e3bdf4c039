"""What every command needs: options that several have, output, and how a failure is told."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.errors import (
    ConfigError,
    ExitCode,
    JwqlscanError,
    SignalledError,
    StandardOutputError,
    cause_of,
)
from jwqlscan.resource_limits import shortage
from jwqlscan.system.logs import LogFormat, json_line, logging_to_stderr
from jwqlscan.system.standard_streams import discard_output
from jwqlscan.text import shown

if TYPE_CHECKING:
    from jwqlscan.scanning.display import Display
    from jwqlscan.settings import ScanOverrides, ScanSettings, Scheme

# Exit codes of the commands that show what is stored.
LOOKED_CODES = (
    "0 shown · 1 the store can't be read · 2 usage or configuration"
    " · 4 the database can't be reached"
)

SCHEMA_VERSION = 1  # of the JSON objects: raised if a field is renamed or removed

ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="JWQLSCAN_CONFIG",
        help=(
            "The configuration. Default: ~/.config/jwqlscan/config.toml or, if there is none,"
            " /etc/jwqlscan/config.toml."
        ),
    ),
]


def without_password(context: typer.Context, text: str | None) -> str | None:
    """Refuse a password among the arguments: ``ps`` shows them to every user of the host."""
    source = context.get_parameter_source("database")
    if text is None or source is None or source.name != "COMMANDLINE":
        return text
    from jwqlscan.config.loader import holds_password

    if holds_password(text):
        raise typer.BadParameter(
            "a password here can be read by every user of this host; keep it in ~/.pgpass, in "
            "PGPASSWORD, in JWQLSCAN_DATABASE, or in database.url of a file with mode 0600"
        )
    return text


Database = Annotated[
    str | None,
    typer.Option(
        callback=without_password,
        metavar="URL",
        envvar="JWQLSCAN_DATABASE",
        help="sqlite:///FILE (below the current directory, or //// and an absolute path) or"
        " postgresql://USER@HOST/DATABASE; password: ~/.pgpass.",
    ),
]


def examples(*lines: str, codes: str = "") -> str:
    """Return the end of a command's help: examples as they are typed, and its exit codes."""
    text = "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)])
    if codes:
        text += "\n\n\b\nExit codes:\n" + "\n".join(f"  {one}" for one in codes.split(" · "))
    return text


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


class ReaderName(StrEnum):
    """The readers that can be asked for."""

    auto = "auto"
    native = "native"
    scandir = "scandir"


ReaderOption = Annotated[
    ReaderName | None,
    typer.Option(envvar="JWQLSCAN_READER", help="How directories are read. Default: auto."),
]
LogForm = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        envvar="JWQLSCAN_LOG_FORMAT",
        help="How messages on standard error are written; json: one object a line.",
    ),
]


def age_in_seconds(text: str | None) -> str | None:
    """Check a duration, and return it in seconds, as text."""
    from jwqlscan.units import parse_duration

    try:
        return text if text is None else str(parse_duration(text).total_seconds())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def long_ago(seconds: str | None) -> datetime | None:
    """Return the moment so many seconds ago; None for None."""
    if seconds is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=float(seconds))
    except OverflowError:
        raise typer.BadParameter("longer ago than dates go back", param_hint="--since") from None


def settings_of_scan(scheme: str | None, config: str | None, over: ScanOverrides) -> ScanSettings:
    """Return how `scan` walks trees: ``[scan]`` of a configuration, and the options.

    Without ``--config`` none is read, except for a scheme that is not built in: directories on the
    command line need not be those of the configuration.

    Parameters
    ----------
    scheme : str or None
        ``--scheme``.
    config : str or None
        ``--config``.
    over : ScanOverrides
        The other options.

    Raises
    ------
    ConfigError
    """
    from jwqlscan.settings import JWST, ScanSettings

    settings = ScanSettings()
    if config:
        from jwqlscan.config.loader import load_config

        settings = load_config(config).scan
    settings = settings.overridden(over)
    if scheme in (None, settings.scheme.name):
        return settings
    found = _find_scheme(scheme or "", config)
    # These are suffixes of JWST's products.
    extra = settings.extra_filetypes if found.name == JWST else ()
    return replace(settings, scheme=found, extra_filetypes=extra)


def _find_scheme(name: str, config: str | None) -> Scheme:
    """Return the naming scheme of that name: a built-in one or one of the configuration."""
    from jwqlscan.naming.schemes import BUILT_IN

    schemes = dict(BUILT_IN)
    if name not in schemes:
        from jwqlscan.config.loader import load_config

        schemes = {scheme.name: scheme for scheme in load_config(config).schemes}
    if found := schemes.get(name):
        return found
    raise ConfigError(f"--scheme: there is no scheme {name!r}; there are {', '.join(schemes)}")


def print_line(text: str) -> None:
    """Print a line of text to standard output."""
    sys.stdout.write(shown(text) + "\n")


def json_text(data: Mapping[str, object]) -> str:
    """Return one JSON object as it is printed; the files in ``schemas`` describe them."""
    import json

    versioned = {"schema_version": SCHEMA_VERSION, **data}
    return json.dumps(versioned, indent=2 if sys.stdout.isatty() else None) + "\n"


def print_json(data: Mapping[str, object]) -> None:
    """Print one JSON object to standard output."""
    sys.stdout.write(json_text(data))


def show_in_browser(path: str) -> None:
    """Open a file in the browser that the desktop names; say so where there is none."""
    import webbrowser
    from pathlib import Path

    if not webbrowser.open(Path(path).absolute().as_uri()):
        sys.stderr.write("jwqlscan: no browser could be started; open the file named above\n")


def tell(text: str, form: LogFormat = LogFormat.text, run_id: str = "") -> None:
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
    return f"{shown(problem)}; see `{command} --help`", command


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
def display_on_terminal(wanted: bool) -> Iterator[Display]:
    """Show on standard error what is done or, if it shall not be or is no terminal, log it."""
    from jwqlscan.scanning.display import LogDisplay

    if not (wanted and sys.stderr.isatty()):
        yield LogDisplay()
        return
    from rich.console import Console

    from jwqlscan.output.progress import TerminalDisplay

    with TerminalDisplay(Console(stderr=True)) as display:
        yield display


@contextlib.contextmanager
def told(
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
        tell(f"{error}", form, run_id)
        raise typer.Exit(128 + error.number) from None
    except JwqlscanError as error:
        if debug:
            raise
        tell(f"{error}", form, run_id)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        tell(f"{SignalledError(signal.SIGINT)}", form, run_id)
        raise typer.Exit(128 + 2) from None
    except BrokenPipeError:  # `| head`: the reader has what it wants
        discard_output()
        raise typer.Exit(128 + signal.SIGPIPE) from None
    except (typer.Exit, typer.BadParameter, typer.Abort):
        raise
    except Exception as error:  # a bug, or a limit of the host: one line
        if debug:
            raise
        tell(unexpected_problem(error), form, run_id)
        raise typer.Exit(ExitCode.FAILED) from None
