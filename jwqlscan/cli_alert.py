"""The commands that monitoring calls: `check` and `metrics`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from jwqlscan.cli_common import ConfigFile, Database, Debug, told

app = typer.Typer()


@app.command(epilog="Exit codes: 0 OK · 1 WARNING · 2 CRITICAL · 3 UNKNOWN")
def check(config: ConfigFile = None, database: Database = None, debug: Debug = False) -> None:
    """Compare the last runs with the thresholds of the configuration, as a Nagios or Icinga plugin.

    One line and performance data. What can't be judged, a wrong configuration or a database that
    is down, is UNKNOWN.
    """
    with told(debug):
        from jwqlscan.check import Finding, Level, Verdict, gather, judge
        from jwqlscan.config import Overrides, load_config
        from jwqlscan.errors import JwqlscanError, SignalledError
        from jwqlscan.signals import run_until_signalled

        try:
            settings = load_config(config, Overrides(database=database))
            evidence = run_until_signalled(gather, settings.database_url)
            verdict = judge(evidence, settings.thresholds)
        except SignalledError:
            raise
        except JwqlscanError as error:
            verdict = Verdict((Finding(Level.UNKNOWN, str(error)),))
        sys.stdout.write(verdict.line + "\n")
        raise typer.Exit(verdict.level)


@app.command()
def metrics(
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
    debug: Debug = False,
) -> None:
    """Write the last run as Prometheus metrics, for the node exporter's textfile collector.

    Example: jwqlscan metrics -o /var/lib/node_exporter/jwqlscan.prom
    """
    with told(debug):
        from jwqlscan.config import Overrides, load_config
        from jwqlscan.metrics import metrics_text, write_metrics
        from jwqlscan.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
        path = output or settings.metrics_path
        if path:
            run_until_signalled(write_metrics, settings.database_url, path)
        else:
            sys.stdout.write(run_until_signalled(metrics_text, settings.database_url))
