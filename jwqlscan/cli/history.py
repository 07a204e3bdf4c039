"""The command `history`: an area or a product over time."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.operations.views import Series

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import READ_CODES, examples
from jwqlscan.cli.options import (
    ConfigFile,
    Database,
    Debug,
    LogForm,
    age_in_seconds,
    load_settings,
    long_ago,
)
from jwqlscan.cli.printing import print_json

app = typer.Typer()


class Format(StrEnum):
    """How a series is printed."""

    table = "table"
    csv = "csv"
    json = "json"


@app.command(
    epilog=examples(
        "jwqlscan history",
        "jwqlscan history --area central/logs --since 30d",
        "jwqlscan history --instrument nircam --filetype cal --since 2y --format csv",
        codes=READ_CODES,
    )
)
def history(
    context: typer.Context,
    area: Annotated[
        str,
        typer.Option(metavar="AREA", help="archive, central, archive/public, central/logs, ..."),
    ] = "archive",
    instrument: Annotated[
        str, typer.Option(metavar="NAME", help="Only files of this one: nircam, miri, ...")
    ] = "",
    filetype: Annotated[
        str, typer.Option(metavar="NAME", help="Only files of this one: cal, rate, uncal, ...")
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            callback=age_in_seconds, metavar="AGE", help="Only this long back: 30d, 6mo, 100y."
        ),
    ] = "90d",
    form: Annotated[
        Format, typer.Option("--format", help="How it is printed; csv and json have exact bytes.")
    ] = Format.table,
    config: ConfigFile = None,
    database: Database = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Show an area, an instrument or a filetype over time."""
    with error_boundary(debug, log_format):
        from jwqlscan.operations.views import series
        from jwqlscan.system.signals import run_until_signalled

        settings = load_settings(context, config)
        start = long_ago(since)
        found = run_until_signalled(
            series, settings.database_url, area, instrument, filetype, start
        )
        _print_series(found, Format.json if json else form)


def _print_series(series: Series, form: Format) -> None:
    if form is Format.json:
        from jwqlscan.output.json_objects import history_object

        print_json(history_object(series))
    elif form is Format.csv:
        from jwqlscan.store.queries import Point

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(Point._fields)
        writer.writerows((point.date.isoformat(), *point[1:]) for point in series.points)
    else:
        from jwqlscan.output.console import Terminal
        from jwqlscan.output.tables import print_series

        print_series(series, Terminal())
