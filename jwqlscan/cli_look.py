"""The commands that look back: `status` and `history`."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.cli_common import (
    ConfigFile,
    Database,
    Debug,
    Json,
    LogForm,
    age_in_seconds,
    examples,
    long_ago,
    print_json,
    told,
)
from jwqlscan.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.looking import Series

app = typer.Typer()


class Format(StrEnum):
    """How a series is printed."""

    table = "table"
    csv = "csv"
    json = "json"


@app.command(epilog=examples("jwqlscan status", "jwqlscan status -n 14"))
def status(
    runs: Annotated[
        int, typer.Option("--runs", "-n", min=1, max=1000, help="How many runs, at most.")
    ] = 5,
    config: ConfigFile = None,
    database: Database = None,
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Show the last runs: complete or not, how old, what changed."""
    with told(debug, log_format):
        from jwqlscan.config import Overrides, load_config
        from jwqlscan.looking import status as last
        from jwqlscan.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
        found = run_until_signalled(last, settings.database_url, runs)
        if json:
            from jwqlscan.json_output import status_object

            print_json(status_object(found))
        else:
            from jwqlscan.tables import print_status, stdout_console

            print_status(found, stdout_console())


@app.command(
    epilog=examples(
        "jwqlscan history",
        "jwqlscan history --area central/logs --since 30d",
        "jwqlscan history --instrument nircam --filetype cal --since 2y --format csv",
    )
)
def history(
    area: Annotated[
        str,
        typer.Option(metavar="AREA", help="archive, central, archive/public, central/logs, ..."),
    ] = "archive",
    instrument: Annotated[
        str, typer.Option(metavar="NAME", help="Only its files: nircam, miri, ...")
    ] = "",
    filetype: Annotated[
        str, typer.Option(metavar="NAME", help="Only those files: cal, rate, uncal, ...")
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            callback=age_in_seconds, metavar="AGE", help="Only this long back: 30d, 6mo, 100y."
        ),
    ] = "90d",
    form: Annotated[
        Format, typer.Option("--format", help="csv and json have exact bytes.")
    ] = Format.table,
    config: ConfigFile = None,
    database: Database = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Show one series: an area, an instrument or a filetype."""
    with told(debug, log_format):
        from jwqlscan.config import Overrides, load_config
        from jwqlscan.looking import series
        from jwqlscan.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
        start = long_ago(since)
        found = run_until_signalled(
            series, settings.database_url, area, instrument, filetype, start
        )
        _print_series(found, Format.json if json else form)


def _print_series(series: Series, form: Format) -> None:
    if form is Format.json:
        from jwqlscan.json_output import history_object

        print_json(history_object(series))
    elif form is Format.csv:
        from jwqlscan.store.questions import Point

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(Point._fields)
        writer.writerows((point.date.isoformat(), *point[1:]) for point in series.points)
    else:
        from jwqlscan.tables import print_series, stdout_console

        print_series(series, stdout_console())
