"""The command `scan`: measure directories, store nothing."""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.errors import ExitCode
from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    pass


from dataclasses import replace
from typing import TYPE_CHECKING

from jwqlscan.errors import (
    ConfigError,
)

if TYPE_CHECKING:
    from jwqlscan.settings import ScanOverrides, ScanSettings, Scheme
from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import (
    Background,
    Debug,
    Json,
    LogForm,
    MaxRate,
    MaxRuntime,
    Quiet,
    ReaderOption,
    ScanConfigFile,
    Workers,
    scan_overrides,
)
from jwqlscan.cli.printing import display_on_terminal, print_json

log = logging.getLogger(__name__)

app = typer.Typer()


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
    with error_boundary(debug, log_format, logging.ERROR if quiet else logging.WARNING):
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


def settings_of_scan(scheme: str | None, config: str | None, over: ScanOverrides) -> ScanSettings:
    """Return how `scan` walks trees: ``[scan]`` of a configuration, and the options.

    Without ``--config`` none is read, except for a scheme that is not built in: directories on the
    command line need not be those of the configuration.

    Parameters
    ----------
    scheme : str or None
        ``--scheme``.
    config : str or None
        ``--config``.
    over : ScanOverrides
        The other options.

    Raises
    ------
    ConfigError
    """
    from jwqlscan.settings import JWST, ScanSettings

    settings = ScanSettings()
    if config:
        from jwqlscan.config.loader import load_config

        settings = load_config(config).scan
    settings = settings.overridden(over)
    if scheme in (None, settings.scheme.name):
        return settings
    found = _find_scheme(scheme or "", config)
    # These are suffixes of JWST's products.
    extra = settings.extra_filetypes if found.name == JWST else ()
    return replace(settings, scheme=found, extra_filetypes=extra)


def _find_scheme(name: str, config: str | None) -> Scheme:
    """Return the naming scheme of that name: a built-in one or one of the configuration."""
    from jwqlscan.naming.schemes import BUILT_IN

    schemes = dict(BUILT_IN)
    if name not in schemes:
        from jwqlscan.config.loader import load_config

        schemes = {scheme.name: scheme for scheme in load_config(config).schemes}
    if found := schemes.get(name):
        return found
    raise ConfigError(f"--scheme: there is no scheme {name!r}; there are {', '.join(schemes)}")
