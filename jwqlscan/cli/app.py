"""The command line: its commands, in the order in which somebody new to it needs them."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jwqlscan._version import __version__
from jwqlscan.cli import (
    bench,
    check,
    db,
    demo,
    doctor,
    growth,
    help,
    history,
    init,
    metrics,
    report,
    run,
    scan,
    schedule,
    status,
)
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.printing import print_line
from jwqlscan.errors import EXIT_CODE_HELP

ORDER = (
    "init doctor schedule run scan report status history growth check metrics db bench demo help"
).split()


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
        "jwqlscan help                        the topics of the documentation",
    )
    + "\n\n"
    + EXIT_CODE_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # a traceback must not show the values of variables
    pretty_exceptions_show_locals=False,
)
for command in (
    *(init, doctor, schedule, run, scan, report, status, history, growth, check, metrics),
    *(bench, demo, help),
):
    app.add_typer(command.app)
app.add_typer(db.app, name="db")


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
