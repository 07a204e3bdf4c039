"""The command `report`: write the report again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    pass

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import ConfigFile, Database, Debug, Json, LogForm, load_settings
from jwqlscan.cli.printing import print_json, print_line, show_in_browser

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan report --open",
        "jwqlscan report --since 2y --outputs /tmp/two-years",
        codes="0 written · 1 the store can't be read · 2 usage or configuration"
        " · 4 the database can't be reached · 5 not written",
    )
)
def report(
    context: typer.Context,
    config: ConfigFile = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Draw only this long back: 30d, 6mo, 2y. Default: all."),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(metavar="DIR", envvar="JWQLSCAN_OUTPUTS", help="Where the report goes."),
    ] = None,
    database: Database = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Write the report again, and print where it is."""
    with error_boundary(debug, log_format):
        from jwqlscan.operations.report import report_again
        from jwqlscan.system.signals import run_until_signalled
        from jwqlscan.units import parse_duration

        try:
            start = datetime.now(UTC) - parse_duration(since) if since else None
        except (ValueError, OverflowError) as error:
            raise typer.BadParameter(str(error), param_hint="--since") from None
        settings = load_settings(context, config)
        written = run_until_signalled(report_again, settings, start)
        if json:
            from jwqlscan.output.json_objects import report_object

            print_json(report_object(written))
        else:
            print_line(written[0])
        if open_it:
            show_in_browser(written[0])
