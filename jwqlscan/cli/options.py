"""The options that several commands have, each once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.config.loader import Config
    from jwqlscan.settings import ScanOverrides


from jwqlscan.settings import ScanOverrides, parse_workers

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
    """Return the time this many seconds ago; None for None."""
    if seconds is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=float(seconds))
    except OverflowError:
        raise typer.BadParameter("longer ago than dates go back", param_hint="--since") from None


def _workers(text: str | None) -> str | None:
    try:
        return text if text is None else str(parse_workers(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Workers = Annotated[
    str | None,
    typer.Option(
        callback=_workers,
        metavar="N|auto",
        envvar="JWQLSCAN_WORKERS",
        help="Threads that read a filesystem, at most. Default: auto, as many as are of use.",
    ),
]


MaxRate = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        envvar="JWQLSCAN_MAX_RATE",
        help="Metadata operations a second on a filesystem, at most. Default: 0, no limit.",
    ),
]


Background = Annotated[
    bool | None,
    typer.Option(
        "--background/--no-background",
        help="Give way to all else on the host, as nice and ionice do.",
        show_default=False,
    ),
]


MaxRuntime = Annotated[
    str | None,
    typer.Option(
        callback=age_in_seconds,
        metavar="TIME",
        envvar="JWQLSCAN_MAX_RUNTIME",
        help="End the walk after this long (10min, 12h) and keep what is known. Default: no limit.",
    ),
]


ScanConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="JWQLSCAN_CONFIG",
        help="Scan as a run does: apply [scan] of this configuration; options come first."
        " Default: no file.",
    ),
]


def scan_overrides(
    workers: str | None,
    reader: ReaderName | None,
    max_rate: int | None,
    background: bool | None,
    max_runtime: str | None,
) -> ScanOverrides:
    """Return the options of a scan as one record."""
    return ScanOverrides(
        None if workers is None else int(workers),
        None if reader is None else reader.value,
        max_rate,
        background,
        None if max_runtime is None else float(max_runtime),
    )


def load_settings(
    context: typer.Context, config: str | None, scan: ScanOverrides | None = None
) -> Config:
    """Read the configuration, under the options and environment variables of a command.

    Raises
    ------
    ConfigError
    """
    from jwqlscan.config.loader import Overrides, load_config

    names = ("archive", "central", "outputs", "database")
    values = {name: context.params[name] for name in names if name in context.params}
    variables: dict[str, str] = {}
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if source is not None and source.name == "ENVIRONMENT":
            variables[name] = str(option.envvar)
    return load_config(
        config, Overrides(**values, scan=scan or ScanOverrides(), variables=variables)
    )
