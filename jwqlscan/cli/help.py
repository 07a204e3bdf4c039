"""The command `help`: the documentation, a page per topic."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import Debug, LogForm
from jwqlscan.system.logs import LogFormat

app = typer.Typer()


@app.command(
    name="help",
    epilog=examples(
        "jwqlscan help",
        "jwqlscan help failures",
        "jwqlscan help numbers | less",
        codes="0 printed · 2 no such topic",
    ),
)
def show_help(
    topic: Annotated[
        str, typer.Argument(metavar="TOPIC", help="A page; without it, the list of pages.")
    ] = "",
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Show a page of the documentation.

    In a pipe it is printed as the Markdown that it is written in.
    """
    with error_boundary(debug, log_format):
        from jwqlscan.errors import ConfigError
        from jwqlscan.output.documentation import page, print_page, topics

        titles = topics()
        if not topic:
            width = max(map(len, titles))
            for name, title in titles.items():
                sys.stdout.write(f"{name:{width}}  {title}\n")
        elif topic in titles:
            print_page(page(topic))
        else:
            raise ConfigError(f"no topic {topic!r}; there are {', '.join(titles)}")
