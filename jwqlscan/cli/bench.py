"""The command `bench`: how fast a directory is scanned."""

from __future__ import annotations

from typing import Annotated

import typer

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import (
    Debug,
    Json,
    LogForm,
    Quiet,
    ReaderOption,
)
from jwqlscan.cli.printing import (
    display_on_terminal,
    print_json,
)
from jwqlscan.settings import parse_workers
from jwqlscan.system.logs import LogFormat

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan bench /data/jwst/public",
        "jwqlscan bench . --workers 8,32,auto",
        codes="0 measured · 1 can't be measured · 2 usage",
    )
)
def bench(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="A directory that is like your archive.")
    ],
    workers: Annotated[
        str,
        typer.Option(metavar="N,N,...", help="Numbers of workers to try; auto may be one."),
    ] = "auto,1,2,4,8,16,32,64",
    reader: ReaderOption = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="Scans of each setting.")
    ] = 3,
    json: Json = False,
    quiet: Quiet = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Measure how fast a directory is scanned, and recommend options.

    It is scanned with each reader and number of workers; nothing is stored.
    """
    with error_boundary(debug, log_format):
        from jwqlscan.operations.bench import benchmark
        from jwqlscan.scanning.readers import available_readers
        from jwqlscan.system.signals import run_until_signalled

        try:
            numbers = [parse_workers(text.strip()) for text in workers.split(",")]
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--workers") from None
        readers = [reader.value] if reader else list(available_readers())
        with display_on_terminal(not quiet) as display:
            result = run_until_signalled(
                benchmark, directory, readers, numbers, rounds, display.phase
            )
        if json:
            from jwqlscan.output.json_objects import bench_object

            print_json(bench_object(result))
        else:
            from jwqlscan.output.console import Terminal
            from jwqlscan.output.tables import print_bench

            print_bench(result, Terminal())
