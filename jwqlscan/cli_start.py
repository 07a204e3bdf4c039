"""The commands that set jwqlscan up on a host: `schedule`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from jwqlscan.cli_common import ConfigFile, Debug, told

app = typer.Typer()


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
