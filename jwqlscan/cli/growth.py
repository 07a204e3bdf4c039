"""The command `growth`: what changed between two runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    pass

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import READ_CODES, examples
from jwqlscan.cli.options import ConfigFile, Database, Debug, Json, LogForm, load_settings
from jwqlscan.cli.printing import print_json

app = typer.Typer()


class GrowthBy(StrEnum):
    """What growth can be grouped by: `jwqlscan.history.insight.GROWTH_BY`."""

    program = "program"
    directory = "directory"
    filetype = "filetype"
    instrument = "instrument"
    stage = "stage"
    extension = "extension"
    owner = "owner"


@app.command(
    epilog=examples(
        "jwqlscan growth",
        "jwqlscan growth --since 7d --by program",
        "jwqlscan growth --since last",
        codes=READ_CODES,
    )
)
def growth(
    context: typer.Context,
    since: Annotated[
        str,
        typer.Option(
            metavar="AGE|DATE|last",
            help="Since the run nearest to 7d, 6mo, 2y before the newest, to a date such as "
            "2026-11-01 (UTC), or since the run before it.",
        ),
    ] = "7d",
    by: Annotated[
        GrowthBy, typer.Option("--by", help="Group changes by this.")
    ] = GrowthBy.directory,
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
    with error_boundary(debug, log_format):
        from jwqlscan.operations.views import compare_runs
        from jwqlscan.system.signals import run_until_signalled

        settings = load_settings(context, config)
        start = _start(since)
        found = run_until_signalled(compare_runs, settings.database_url, start, by.value, area, top)
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
