"""The options that `run` and `scan` share: how trees are walked."""

from __future__ import annotations

from typing import Annotated

import typer

from jwqlscan.cli.common import ReaderName, age_in_seconds
from jwqlscan.settings import ScanOverrides, parse_workers


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
