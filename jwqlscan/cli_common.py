"""What every command needs: options that several have, output, and how a failure is told."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.errors import ConfigError, ExitCode, JwqlscanError, SignalledError

if TYPE_CHECKING:
    from jwqlscan.settings import Scheme

ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="JWQLSCAN_CONFIG",
        help="TOML file; else ~/.config/jwqlscan/config.toml, else /etc/jwqlscan/config.toml.",
    ),
]


def _database(context: typer.Context, text: str | None) -> str | None:
    """Refuse a password among the arguments: ``ps`` shows them to every user of the host."""
    source = context.get_parameter_source("database")
    if text is None or source is None or source.name != "COMMANDLINE":
        return text
    from jwqlscan.config import holds_password

    if holds_password(text):
        raise typer.BadParameter(
            "a password here can be read by every user of this host; keep it in ~/.pgpass, in "
            "PGPASSWORD, in JWQLSCAN_DATABASE, or in database.url of a file with mode 0600"
        )
    return text


Database = Annotated[
    str | None,
    typer.Option(
        callback=_database,
        metavar="URL",
        envvar="JWQLSCAN_DATABASE",
        help="sqlite:///FILE or postgresql://USER@HOST/DATABASE; password: ~/.pgpass.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


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


def find_scheme(name: str | None, config: str | None) -> Scheme:
    """Return the naming scheme of that name: a built-in one or one of the configuration."""
    from jwqlscan.settings import JWST, Scheme

    if name in (None, JWST):
        return Scheme()
    from jwqlscan.schemes import BUILT_IN

    schemes = dict(BUILT_IN)
    if name not in schemes:
        from jwqlscan.config import load_config

        schemes = {scheme.name: scheme for scheme in load_config(config).schemes}
    if found := schemes.get(name or ""):
        return found
    raise ConfigError(f"--scheme: there is no scheme {name!r}; there are {', '.join(schemes)}")


def print_line(text: str) -> None:
    """Print a line of text to standard output."""
    from jwqlscan.paths import shown

    sys.stdout.write(shown(text) + "\n")


def print_json(data: object) -> None:
    """Print one JSON object to standard output."""
    import json

    sys.stdout.write(json.dumps(data, indent=2 if sys.stdout.isatty() else None) + "\n")


def show_in_browser(path: str) -> None:
    """Open a file in the browser that the desktop names; say so where there is none."""
    import webbrowser
    from pathlib import Path

    if not webbrowser.open(Path(path).absolute().as_uri()):
        sys.stderr.write("jwqlscan: no browser could be started; open the file named above\n")


def _tell(text: str) -> None:
    """Write a line to standard error; where nobody can read it, the exit code has to do."""
    with contextlib.suppress(OSError):  # the terminal is closed
        sys.stderr.write(f"jwqlscan: {text}\n")


@contextlib.contextmanager
def told(debug: bool) -> Iterator[None]:
    """Turn a failure into one line and its exit code; whatever is made meanwhile is private."""
    os.umask(0o077)  # what the configuration opens, it opens file by file
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # it was to end in silence until now
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
        sys.stdout.flush()
    except SignalledError as error:
        _tell(f"{error}")
        raise typer.Exit(128 + error.number) from None
    except JwqlscanError as error:
        if debug:
            raise
        _tell(f"{error}")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        _tell("interrupted, nothing more is stored")
        raise typer.Exit(128 + 2) from None
    except BrokenPipeError:  # `| head`: the reader has what it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(128 + 13) from None
    except (typer.Exit, typer.BadParameter, typer.Abort):
        raise
    except Exception as error:
        if debug:
            raise
        _tell(f"a bug: {type(error).__name__}; --debug shows where")
        raise typer.Exit(ExitCode.FAILED) from None
