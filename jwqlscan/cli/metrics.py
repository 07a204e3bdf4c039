"""The command `metrics`: the last run, for Prometheus."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    pass

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import READ_CODES, examples
from jwqlscan.cli.options import ConfigFile, Database, Debug, LogForm, load_settings

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan metrics",
        "jwqlscan metrics -o /var/lib/prometheus/node-exporter/jwqlscan.prom",
        codes=READ_CODES,
    )
)
def metrics(
    context: typer.Context,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.prom",
            help="Default: metrics.path of the configuration, else standard output.",
        ),
    ] = None,
    config: ConfigFile = None,
    database: Database = None,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Write the last run as Prometheus metrics.

    They are in the format of the node exporter's textfile collector. The file is replaced whole,
    or not at all; a run writes it by itself if metrics.path is set. If the database can't be read,
    what the state directory knows of the last run is written, and an existing file's other metrics
    stay.
    """
    with error_boundary(debug, log_format):
        from jwqlscan.errors import StoreError
        from jwqlscan.monitoring.metrics import (
            check_name,
            local_metrics,
            metrics_text,
            write_metrics,
        )
        from jwqlscan.system.signals import run_until_signalled

        settings = load_settings(context, config)
        path = output or settings.metrics_path
        if path:
            check_name(path)
        problem: StoreError | None = None
        try:
            text = run_until_signalled(metrics_text, settings)
        except StoreError as error:
            text = run_until_signalled(local_metrics, settings, path or "")
            if not text:
                raise
            written = "only what the state directory knows of the last run is written"
            problem = type(error)(f"{error}; {written}")
        if path:
            run_until_signalled(write_metrics, path, text)
        else:
            sys.stdout.write(text)
        if problem is not None:
            raise problem
