"""The commands that set jwqlscan up on a host: `doctor` and `schedule`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from jwqlscan.cli_common import (
    ConfigFile,
    Database,
    Debug,
    Json,
    print_json,
    told,
)

app = typer.Typer()


@app.command(epilog="Exit codes: 0 all is well · 1 something is not · 2 the configuration is wrong")
def doctor(
    config: ConfigFile = None, database: Database = None, json: Json = False, debug: Debug = False
) -> None:
    """Look at everything a run needs, and say for each failure what to do.

    Nothing is measured. Directories and tables that a run would make are made.
    """
    with told(debug):
        from jwqlscan.config import Overrides, load_config
        from jwqlscan.doctor import examine
        from jwqlscan.json_output import doctor_object
        from jwqlscan.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
        found = run_until_signalled(examine, settings)
        if json:
            print_json(doctor_object(found))
        for one in found if not json else ():
            # its names are escaped already
            sys.stdout.write(f"{'ok  ' if one.well else 'FAIL'}  {one.what}: {one.text}\n")
        raise typer.Exit(0 if all(one.well for one in found) else 1)


@app.command()
def schedule(
    cron: Annotated[bool, typer.Option("--cron", help="Print a crontab line.")] = False,
    systemd: Annotated[
        bool, typer.Option("--systemd", help="Print a service and a timer unit.")
    ] = False,
    config: ConfigFile = None,
    debug: Debug = False,
) -> None:
    """Print what makes this host run jwqlscan every night with this configuration.

    Example: (crontab -l; jwqlscan schedule --cron) | crontab -
    """
    with told(debug):
        if cron == systemd:
            raise typer.BadParameter("give one of --cron and --systemd")
        import getpass

        from jwqlscan.config import load_config
        from jwqlscan.schedule import crontab_line, systemd_units

        settings = load_config(config)
        program = [sys.executable, "-m", "jwqlscan"]
        if cron:
            sys.stdout.write(crontab_line(settings, program) + "\n")
        else:
            sys.stdout.write(
                "\n".join(systemd_units(settings, program, getpass.getuser()).values())
            )
