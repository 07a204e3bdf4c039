"""The command `init`: write a configuration."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.errors import ConfigError
from jwqlscan.system.logs import LogFormat
from jwqlscan.text import escape

if TYPE_CHECKING:
    from jwqlscan.config.template import Values

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import Debug, Json, LogForm, without_password
from jwqlscan.cli.printing import print_json, print_line

log = logging.getLogger(__name__)

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan init",
        "jwqlscan init --archive /data/jwst --central /data/central",
        "jwqlscan init --from-jwql /home/jwql/config.json --config /etc/jwqlscan/config.toml",
        codes="0 written · 2 not written, for the reason in the message",
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
            help="Take over the values of JWQL's configuration. The options above come first.",
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
    with error_boundary(debug, log_format):
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
            warnings.append(PRIVATE_REPORT.format(path=escape(str(values["outputs.path"]))))
        for warning in warnings:
            log.warning("%s", warning)
        if json:
            print_json({"written": escape(path), "set": sorted(values), "warnings": warnings})
        else:
            print_line(f"written: {path}")
            option = "" if path == user_file() else f" --config {escape(shlex.quote(path))}"
            sys.stdout.write(f"next: jwqlscan doctor{option}\n")


def _mode_of_report(values: Values) -> dict[str, str]:
    """Ask a person at the terminal who may read the report, where others may look for it."""
    from jwqlscan.config.template import OPEN_MODE, PRIVATE_MODE, report_is_private

    if not (report_is_private(values) and sys.stdin.isatty() and sys.stderr.isatty()):
        return {}
    place = escape(str(values["outputs.path"]))
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
