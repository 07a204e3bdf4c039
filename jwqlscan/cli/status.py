"""The command `status`: the last runs."""

from __future__ import annotations

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


@app.command(epilog=examples("jwqlscan status", "jwqlscan status -n 14", codes=READ_CODES))
def status(
    context: typer.Context,
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
    with error_boundary(debug, log_format):
        from dataclasses import replace

        from jwqlscan.errors import StoreError
        from jwqlscan.operations.views import status as last
        from jwqlscan.output.console import Terminal
        from jwqlscan.output.tables import print_attempts, print_status
        from jwqlscan.state.local_state import read_state
        from jwqlscan.system.signals import run_until_signalled

        settings = load_settings(context, config)
        local = run_until_signalled(read_state, settings)
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
