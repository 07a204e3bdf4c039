"""The commands that look back: `status`, `history` and `growth`."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.cli.common import (
    LOOKED_CODES,
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
from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.operations.views import Series

app = typer.Typer()


class Format(StrEnum):
    """How a series is printed."""

    table = "table"
    csv = "csv"
    json = "json"


class GrowthBy(StrEnum):
    """What growth can be told by: `jwqlscan.history.insight.GROWTH_BY`."""

    program = "program"
    directory = "directory"
    filetype = "filetype"
    instrument = "instrument"
    stage = "stage"
    extension = "extension"
    owner = "owner"


@app.command(epilog=examples("jwqlscan status", "jwqlscan status -n 14", codes=LOOKED_CODES))
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
    """Show the last runs: complete or not, how old, what changed.

    Also the run in progress, a run that failed, and snapshots that wait for the database.
    """
    with told(debug, log_format):
        from dataclasses import replace

        from jwqlscan.config.loader import Overrides, load_config
        from jwqlscan.errors import StoreError
        from jwqlscan.operations.views import status as last
        from jwqlscan.output.console import Terminal
        from jwqlscan.output.tables import print_attempts, print_status
        from jwqlscan.state.local_state import look_at_state
        from jwqlscan.system.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
        local = run_until_signalled(look_at_state, settings)
        try:
            found = run_until_signalled(last, settings.database_url, runs)
        except StoreError as error:
            if not json:  # this much is known without the store
                local = local.without_cause(str(error))
                print_attempts(local, local.failure(), Terminal())
            raise
        found = replace(found, local=local)
        if json:
            from jwqlscan.output.json_objects import status_object

            print_json(status_object(found))
        else:
            print_status(found, Terminal())


@app.command(
    epilog=examples(
        "jwqlscan history",
        "jwqlscan history --area central/logs --since 30d",
        "jwqlscan history --instrument nircam --filetype cal --since 2y --format csv",
        codes=LOOKED_CODES,
    )
)
def history(
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
    with told(debug, log_format):
        from jwqlscan.config.loader import Overrides, load_config
        from jwqlscan.operations.views import series
        from jwqlscan.system.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
        start = long_ago(since)
        found = run_until_signalled(
            series, settings.database_url, area, instrument, filetype, start
        )
        _print_series(found, Format.json if json else form)


@app.command(
    epilog=examples(
        "jwqlscan growth",
        "jwqlscan growth --since 7d --by program",
        "jwqlscan growth --since last",
        codes=LOOKED_CODES,
    )
)
def growth(
    since: Annotated[
        str,
        typer.Option(
            metavar="AGE|DATE|last",
            help="Since the run nearest to 7d, 6mo, 2y before the newest, to a date such as "
            "2026-11-01 (UTC), or since the run before it.",
        ),
    ] = "7d",
    by: Annotated[GrowthBy, typer.Option("--by", help="What to tell it by.")] = GrowthBy.directory,
    area: Annotated[
        str,
        typer.Option(metavar="AREA", help="archive, central, archive/public, central/logs, ..."),
    ] = "",
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Rows, at most.")] = 20,
    config: ConfigFile = None,
    database: Database = None,
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Show what was added, removed and changed most between two runs."""
    with told(debug, log_format):
        from jwqlscan.config.loader import Overrides, load_config
        from jwqlscan.operations.views import grown
        from jwqlscan.system.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
        start = _start(since)
        found = run_until_signalled(grown, settings.database_url, start, by.value, area, top)
        if json:
            from jwqlscan.output.json_objects import growth_object

            print_json(growth_object(found))
        else:
            from jwqlscan.output.console import Terminal
            from jwqlscan.output.tables import print_growth

            print_growth(found, Terminal())


def _start(since: str) -> str | datetime | timedelta:
    from jwqlscan.units import parse_duration

    if since == "last":
        return since
    try:
        date = datetime.fromisoformat(since)
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return parse_duration(since)
    except ValueError:
        raise typer.BadParameter(
            f"{since!r} is neither last, nor a date such as 2026-11-01, nor an age such as 7d",
            param_hint="--since",
        ) from None


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
