"""The command `doctor`: check what a run needs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    pass

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import ConfigFile, Database, Debug, Json, LogForm, load_settings
from jwqlscan.cli.printing import print_json

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan doctor",
        "jwqlscan doctor --config /etc/jwqlscan/config.toml --quiet",
        codes="0 all is well · 1 something is not · 2 the configuration is wrong",
    )
)
def doctor(
    context: typer.Context,
    config: ConfigFile = None,
    database: Database = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")] = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Check everything that a run needs, and name the remedies.

    Nothing is measured. Directories and tables that a run would make are made.
    """
    with error_boundary(debug, log_format):
        from jwqlscan.operations.doctor import examine
        from jwqlscan.output.json_objects import doctor_object
        from jwqlscan.system.signals import run_until_signalled

        settings = load_settings(context, config)
        found = run_until_signalled(examine, settings)
        if json:
            print_json(doctor_object(found))
        for one in () if json else found:
            if quiet and one.well:
                continue
            # its names are escaped already
            sys.stdout.write(f"{'ok  ' if one.well else 'FAIL'}  {one.what}: {one.text}\n")
        raise typer.Exit(0 if all(one.well for one in found) else 1)
