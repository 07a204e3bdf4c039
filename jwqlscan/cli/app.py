"""The command line: read options, call the package's function, print, exit."""

from __future__ import annotations

import logging
import sys
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from jwqlscan import __version__
from jwqlscan.cli.bench_demo import app as try_app
from jwqlscan.cli.check_metrics import app as alert_app
from jwqlscan.cli.common import (
    ConfigFile,
    Database,
    Debug,
    Json,
    LogForm,
    Quiet,
    ReaderOption,
    age_in_seconds,
    display_on_terminal,
    examples,
    print_json,
    print_line,
    settings_of_scan,
    show_in_browser,
    told,
)
from jwqlscan.cli.db import app as db_app
from jwqlscan.cli.init_doctor_schedule import app as start_app
from jwqlscan.cli.options import (
    Background,
    MaxRate,
    MaxRuntime,
    ScanConfigFile,
    Workers,
    scan_overrides,
)
from jwqlscan.cli.status_history_growth import app as look_app
from jwqlscan.errors import EXIT_CODE_HELP, ExitCode
from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.operations.run import Outcome
    from jwqlscan.scanning.display import Display

log = logging.getLogger(__name__)

ORDER = (
    "init doctor schedule run scan report status history growth check metrics db bench demo".split()
)


class _InOrder(TyperGroup):
    """Lists the commands in the order in which somebody new to it needs them."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - of Typer's own
        known = [name for name in ORDER if name in self.commands]
        return [*known, *(name for name in self.commands if name not in ORDER)]


app = typer.Typer(
    cls=_InOrder,
    help="Watch the JWST archive: one fast, exact, dated snapshot, and a report of its history.",
    epilog=examples(
        "jwqlscan demo                        try it on a small archive of its own",
        "jwqlscan init                        write a configuration",
        "jwqlscan doctor                      see whether all is there that a run needs",
        "jwqlscan run                         measure, store, write the report",
        "jwqlscan run --help                  the options of a command, with examples",
    )
    + "\n\n"
    + EXIT_CODE_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # a traceback must not show the values of variables
    pretty_exceptions_show_locals=False,
)
app.add_typer(start_app)
app.add_typer(look_app)
app.add_typer(alert_app)
app.add_typer(db_app, name="db")
app.add_typer(try_app)


class By(StrEnum):
    """What sums can be asked for: `jwqlscan.history.rollups.PROJECTIONS`, and directories."""

    extension = "extension"
    filetype = "filetype"
    instrument = "instrument"
    owner = "owner"
    group = "group"
    program = "program"
    age = "age"
    size = "size"
    stage = "stage"
    directory = "directory"


def _version(wanted: bool) -> None:
    if not wanted:
        return
    import platform
    from importlib.metadata import version

    from jwqlscan.scanning.readers import available_readers

    print_line(
        f"jwqlscan {__version__} (readers: {', '.join(available_readers())}; "
        f"Python {platform.python_version()}, bokeh {version('bokeh')})"
    )
    raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print versions, then exit."
        ),
    ] = False,
) -> None:
    """Watch the JWST archive."""


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
    with told(debug, log_format, level, run_id, stores=True):
        from jwqlscan.config.loader import Overrides, load_config
        from jwqlscan.errors import ConfigError
        from jwqlscan.operations.attempt_recorder import record_refusal
        from jwqlscan.operations.run import run as run_job
        from jwqlscan.system.log_file import logging_to_file
        from jwqlscan.system.signals import run_until_signalled

        over = scan_overrides(workers, reader, max_rate, background, max_runtime)
        overrides = Overrides(archive, central, outputs, database, over)
        settings = load_config(config, overrides)

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


@app.command(
    epilog=examples(
        "jwqlscan scan /data/jwst",
        "jwqlscan scan /data/jwst --by filetype --by age",
        "jwqlscan scan /home --top 30",
        "jwqlscan scan /data/jwst /data/central --json > scan.json",
        "jwqlscan scan /data/jwst --config /etc/jwqlscan/config.toml",
        codes="0 complete · 1 failed · 2 usage · 3 something could not be read",
    )
)
def scan(
    directories: Annotated[
        list[str],
        typer.Argument(metavar="DIR...", help="Directories to measure; they may overlap."),
    ],
    workers: Workers = None,
    reader: ReaderOption = None,
    max_rate: MaxRate = None,
    background: Background = None,
    max_runtime: MaxRuntime = None,
    by: Annotated[
        list[By] | None,
        typer.Option(
            "--by",
            metavar="NAME",
            help="Also sums by extension, filetype, instrument, owner, group, program, age, size,"
            " stage or directory, from the same scan; may be repeated.",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Rows of --by to print, the largest; without --by: directories. Default: 20.",
        ),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How files are named: jwst, hst, roman or a scheme of the configuration. "
            "Default: scan.scheme of --config, else jwst.",
        ),
    ] = None,
    config: ScanConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Measure directories and print what is there; nothing is stored."""
    with told(debug, log_format, logging.ERROR if quiet else logging.WARNING):
        from jwqlscan.scanning.messages import begin_scan, scan_settings

        over = scan_overrides(workers, reader, max_rate, background, max_runtime)
        questions = [one.value for one in by or ([By.directory] if top else [])]
        top = top or 20
        settings = scan_settings(questions, top, settings_of_scan(scheme, config, over))
        begun = begin_scan(directories, settings)  # it walks while the rest is imported
        from jwqlscan.config.useless_patterns import useless_patterns
        from jwqlscan.scanning.measure import scan as scan_directories
        from jwqlscan.system.signals import run_until_signalled

        with display_on_terminal(not quiet) as display:
            result = run_until_signalled(
                scan_directories, directories, settings, display.progress, begun
            )
        if json:
            from jwqlscan.output.json_objects import scan_object

            print_json(scan_object(result, questions, top))
        else:
            from jwqlscan.output.console import Terminal
            from jwqlscan.output.tables import print_scan

            print_scan(result, Terminal(), questions, top)
        if problem := useless_patterns(settings, [one.area.path for one in result.areas]):
            log.warning("%s", problem)
        for one in result.areas:
            if one.incomplete_reason:
                log.warning("incomplete: %s", one.incomplete_reason)
        if not result.complete:
            raise typer.Exit(ExitCode.INCOMPLETE)


@app.command(
    epilog=examples(
        "jwqlscan report --open",
        "jwqlscan report --since 2y --outputs /tmp/two-years",
        codes="0 written · 1 the store can't be read · 2 usage or configuration"
        " · 4 the database can't be reached · 5 not written",
    )
)
def report(
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
    with told(debug, log_format):
        from jwqlscan.config.loader import Overrides, load_config
        from jwqlscan.operations.report import report_again
        from jwqlscan.system.signals import run_until_signalled
        from jwqlscan.units import parse_duration

        try:
            start = datetime.now(UTC) - parse_duration(since) if since else None
        except (ValueError, OverflowError) as error:
            raise typer.BadParameter(str(error), param_hint="--since") from None
        settings = load_config(config, Overrides(outputs=outputs, database=database))
        written = run_until_signalled(report_again, settings, start)
        if json:
            from jwqlscan.output.json_objects import report_object

            print_json(report_object(written))
        else:
            print_line(written[0])
        if open_it:
            show_in_browser(written[0])


def _summarize(outcome: Outcome) -> None:
    """Say to a person at the terminal how it went."""
    from jwqlscan.text import shown
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
        f"{shown(outcome.store)}\n"
    )
    if outcome.written:
        sys.stderr.write(f"report: {shown(outcome.written[0])}\n")
