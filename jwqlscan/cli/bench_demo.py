"""The commands to try it with: `bench` and `demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from jwqlscan.cli.common import (
    Debug,
    Json,
    LogForm,
    Quiet,
    ReaderOption,
    display_on_terminal,
    examples,
    print_json,
    print_line,
    told,
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
    with told(debug, log_format):
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


@app.command(
    epilog=examples(
        "jwqlscan demo",
        "jwqlscan demo /tmp/jwqlscan-demo",
        codes="0 done · 1 failed · 2 the directory is not its own · 5 done, but the report failed",
    )
)
def demo(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="Made if it does not exist.")
    ] = "jwqlscan-demo",
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Try it: make a small archive, run on it, write the report.

    The files are sparse: they look large and occupy next to nothing. The history in the plots is
    made up, and marked as such.
    """
    with told(debug, log_format, stores=True):
        from jwqlscan.operations.demo import run_demo
        from jwqlscan.system.signals import run_until_signalled

        made = run_until_signalled(run_demo, directory, str if json else print_line)
        if json:
            from jwqlscan.output.json_objects import demo_object

            print_json(demo_object(made))
        raise typer.Exit(made.exit_code)
