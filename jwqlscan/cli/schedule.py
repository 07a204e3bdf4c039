"""The command `schedule`: a crontab line, or systemd units."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.errors import ConfigError
from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    pass

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import ConfigFile, Debug, Json, LogForm
from jwqlscan.cli.printing import print_json

app = typer.Typer()


@app.command(
    epilog=examples(
        "(crontab -l; jwqlscan schedule --cron) | crontab -",
        "jwqlscan schedule --systemd --config /etc/jwqlscan/config.toml",
        codes="0 printed · 2 usage or configuration",
    )
)
def schedule(
    cron: Annotated[bool, typer.Option("--cron", help="Print a crontab line.")] = False,
    systemd: Annotated[
        bool, typer.Option("--systemd", help="Print a service and a timer unit.")
    ] = False,
    config: ConfigFile = None,
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Print a crontab line, or systemd units, for a run every night.

    It is for this installation, this configuration and the account that runs this command. Units
    go into the files that their first lines name; then: systemctl enable --now jwqlscan.timer
    """
    with error_boundary(debug, log_format):
        if cron == systemd:
            raise ConfigError("give one of --cron and --systemd")
        from jwqlscan.config.loader import load_config
        from jwqlscan.operations.schedule import crontab_line, systemd_units
        from jwqlscan.system.accounts import own_entry

        settings = load_config(config)
        # -P: nothing is imported from the directory that cron or systemd starts it in.
        program = [sys.executable, "-P", "-m", "jwqlscan"]
        if cron:
            texts = {"crontab": crontab_line(settings, program) + "\n"}
        elif entry := own_entry():
            texts = systemd_units(settings, program, entry.pw_name)
        else:
            raise ConfigError(
                f"user {os.geteuid()} is not in the user database, and systemd starts a service"
                " only as a user who is: run this as the user that the service is to run as"
            )
        if json:
            print_json({"files": texts})
        else:
            sys.stdout.write("\n".join(texts.values()))
