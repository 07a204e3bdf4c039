"""The commands that set jwqlscan up on a host: `init`, `doctor` and `schedule`."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.cli.common import (
    ConfigFile,
    Database,
    Debug,
    Json,
    LogForm,
    examples,
    print_json,
    print_line,
    told,
    without_password,
)
from jwqlscan.errors import ConfigError
from jwqlscan.system.logs import LogFormat
from jwqlscan.text import shown

if TYPE_CHECKING:
    from jwqlscan.config.template import Values

log = logging.getLogger(__name__)

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan init",
        "jwqlscan init --archive /data/jwst --central /data/central",
        "jwqlscan init --from-jwql /home/jwql/config.json --config /etc/jwqlscan/config.toml",
        codes="0 written · 2 not written: the line says why",
    )
)
def init(
    archive: Annotated[
        str | None, typer.Option(metavar="DIR", help="The archive: archive.path.")
    ] = None,
    central: Annotated[
        str | None, typer.Option(metavar="DIR", help="The central storage: central.path.")
    ] = None,
    outputs: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the report goes: outputs.path.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            callback=without_password,
            metavar="URL",
            help="sqlite:///FILE or postgresql://USER@HOST/DATABASE: database.url.",
        ),
    ] = None,
    from_jwql: Annotated[
        str | None,
        typer.Option(
            "--from-jwql",
            metavar="config.json",
            help="Take over what JWQL's configuration says. The options above come first.",
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            envvar="JWQLSCAN_CONFIG",
            help="The file to write. Default: ~/.config/jwqlscan/config.toml.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there already.")
    ] = False,
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Write a commented configuration, from questions or options.

    Without options it asks. A file that is there already stays as it is without --force.
    """
    with told(debug, log_format):
        from jwqlscan.config.from_jwql import read_jwql_config
        from jwqlscan.config.loader import user_file
        from jwqlscan.config.template import (
            PRIVATE_REPORT,
            asked,
            check_new,
            given,
            missing_directories,
            report_is_private,
            write_config,
        )
        from jwqlscan.system.signals import run_until_signalled

        path = os.path.abspath(config or user_file())
        if not force:
            check_new(path)  # before any question
        if archive or central or outputs or database or from_jwql:
            known = read_jwql_config(from_jwql) if from_jwql else {}
            values = {**known, **given(archive, central, outputs, database)}
        else:
            values = {**asked(_answer)}
        values |= _mode_of_report(values)
        run_until_signalled(partial(write_config, path, values, replace=force))
        warnings = run_until_signalled(missing_directories, values)
        if report_is_private(values):
            warnings.append(PRIVATE_REPORT.format(path=shown(str(values["outputs.path"]))))
        for warning in warnings:
            log.warning("%s", warning)
        if json:
            print_json({"written": shown(path), "set": sorted(values), "warnings": warnings})
        else:
            print_line(f"written: {path}")
            option = "" if path == user_file() else f" --config {shown(shlex.quote(path))}"
            sys.stdout.write(f"next: jwqlscan doctor{option}\n")


def _mode_of_report(values: Values) -> dict[str, str]:
    """Ask a person at the terminal who may read the report, where others may look for it."""
    from jwqlscan.config.template import OPEN_MODE, PRIVATE_MODE, report_is_private

    if not (report_is_private(values) and sys.stdin.isatty() and sys.stderr.isatty()):
        return {}
    place = shown(str(values["outputs.path"]))
    question = f"May all users read the report in {place}, such as a web server? [y/N] "
    answer = _answer(question).strip().lower()
    return {"outputs.mode": OPEN_MODE if answer in ("y", "yes") else PRIVATE_MODE}


def _answer(question: str) -> str:
    """Ask a person at the terminal, on standard error: standard output is for what was done."""
    if not sys.stdin.isatty():
        raise ConfigError(
            "no terminal to ask at: give --archive DIR, --central DIR or --from-jwql config.json"
        )
    sys.stderr.write(question)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line.endswith("\n"):  # Ctrl-D
        sys.stderr.write("\n")
        raise ConfigError("no answer, so nothing is written")
    return line


@app.command(
    epilog=examples(
        "jwqlscan doctor",
        "jwqlscan doctor --config /etc/jwqlscan/config.toml --quiet",
        codes="0 all is well · 1 something is not · 2 the configuration is wrong",
    )
)
def doctor(
    config: ConfigFile = None,
    database: Database = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")] = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Check everything that a run needs, and say what to do.

    Nothing is measured. Directories and tables that a run would make are made.
    """
    with told(debug, log_format):
        from jwqlscan.config.loader import Overrides, load_config
        from jwqlscan.operations.doctor import examine
        from jwqlscan.output.json_objects import doctor_object
        from jwqlscan.system.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
        found = run_until_signalled(examine, settings)
        if json:
            print_json(doctor_object(found))
        for one in () if json else found:
            if quiet and one.well:
                continue
            # its names are escaped already
            sys.stdout.write(f"{'ok  ' if one.well else 'FAIL'}  {one.what}: {one.text}\n")
        raise typer.Exit(0 if all(one.well for one in found) else 1)


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
    with told(debug, log_format):
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
