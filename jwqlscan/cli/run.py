"""The command `run`: measure, store, report."""

from __future__ import annotations

import logging
import sys
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.errors import EXIT_CODE_HELP
from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.operations.run import Outcome
    from jwqlscan.scanning.display import Display

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import (
    Background,
    ConfigFile,
    Database,
    Debug,
    Json,
    LogForm,
    MaxRate,
    MaxRuntime,
    Quiet,
    ReaderOption,
    Workers,
    age_in_seconds,
    load_settings,
    scan_overrides,
)
from jwqlscan.cli.printing import display_on_terminal, print_json

log = logging.getLogger(__name__)

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan run",
        "jwqlscan run --archive /data/jwst --central /data/central --outputs /var/www/monitor",
        "jwqlscan run --config /etc/jwqlscan/config.toml --workers 32 --max-runtime 12h",
    )
    + "\n\n"
    + EXIT_CODE_HELP
)
def run(
    context: typer.Context,
    config: ConfigFile = None,
    workers: Workers = None,
    reader: ReaderOption = None,
    max_rate: MaxRate = None,
    background: Background = None,
    max_runtime: MaxRuntime = None,
    archive: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            envvar="JWQLSCAN_ARCHIVE",
            help="The archive; its areas are public and proprietary, or the directory itself.",
        ),
    ] = None,
    central: Annotated[
        str | None,
        typer.Option(metavar="DIR", envvar="JWQLSCAN_CENTRAL", help="The central storage."),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(metavar="DIR", envvar="JWQLSCAN_OUTPUTS", help="Where the report goes."),
    ] = None,
    database: Database = None,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Store the snapshot, write no report.")
    ] = False,
    wait: Annotated[
        str | None,
        typer.Option(
            callback=age_in_seconds,
            metavar="TIME",
            help="Wait this long (30s, 10min) while another run holds the lock. Default: do not.",
        ),
    ] = None,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty", help="Take areas that are missing or suddenly empty as they are."
        ),
    ] = False,
    allow_drop: Annotated[
        bool,
        typer.Option(
            "--allow-drop", help="Take totals that fell by more than scan.max_drop as they are."
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what is done, and progress every 30 s.")
    ] = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Measure everything, store one snapshot, write the report.

    Without a terminal it prints nothing when all is well, as cron wants it. Options come before
    environment variables, which come before the configuration.
    """
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    run_id = str(uuid.uuid4())
    with error_boundary(debug, log_format, level, run_id, stores=True):
        from jwqlscan.errors import ConfigError
        from jwqlscan.operations.attempt_recorder import record_refusal
        from jwqlscan.operations.run import run as run_job
        from jwqlscan.system.log_file import logging_to_file
        from jwqlscan.system.signals import run_until_signalled

        over = scan_overrides(workers, reader, max_rate, background, max_runtime)
        settings = load_settings(context, config, over)

        async def job(display: Display, log_file: str) -> Outcome:
            return await run_job(
                settings,
                allow_empty=allow_empty,
                allow_drop=allow_drop,
                with_report=not no_report,
                wait_s=float(wait or 0.0),
                log_file=log_file,
                run_id=run_id,
                display=display,
            )

        live = not (quiet or verbose or log_format is LogFormat.json)  # the others are lines
        try:
            with (
                logging_to_file(settings.log_path, settings.log_keep) as log_file,
                display_on_terminal(live) as display,
            ):
                outcome = run_until_signalled(job, display, log_file)
        except ConfigError as error:  # of the log file, which the run itself knows nothing of
            run_until_signalled(record_refusal, settings, run_id, error)
            raise
        if json:
            from jwqlscan.output.json_objects import run_object

            print_json(run_object(outcome))
        elif not quiet and sys.stderr.isatty():
            _summarize(outcome)
        raise typer.Exit(outcome.exit_code)


def _summarize(outcome: Outcome) -> None:
    """Say to a person at the terminal how it went."""
    from jwqlscan.text import escape
    from jwqlscan.units import counted, format_bytes, format_seconds

    snapshot = outcome.snapshot
    for area in snapshot.areas:
        if area.name == "all":
            sys.stderr.write(
                f"{area.group}: {counted(area.tally.files, 'file')}, "
                f"{format_bytes(area.tally.apparent_bytes)}\n"
            )
    sys.stderr.write(
        f"{snapshot.status} in {format_seconds(snapshot.seconds)}, stored in "
        f"{escape(outcome.store)}\n"
    )
    if outcome.written:
        sys.stderr.write(f"report: {escape(outcome.written[0])}\n")
