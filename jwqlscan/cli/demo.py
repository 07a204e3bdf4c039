"""The command `demo`: a small archive to try it on."""

from __future__ import annotations

from typing import Annotated

import typer

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import (
    Debug,
    Json,
    LogForm,
)
from jwqlscan.cli.printing import (
    print_json,
    print_line,
)
from jwqlscan.system.logs import LogFormat

app = typer.Typer()


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
    with error_boundary(debug, log_format, stores=True):
        from jwqlscan.operations.demo import run_demo
        from jwqlscan.system.signals import run_until_signalled

        made = run_until_signalled(run_demo, directory, str if json else print_line)
        if json:
            from jwqlscan.output.json_objects import demo_object

            print_json(demo_object(made))
        raise typer.Exit(made.exit_code)
