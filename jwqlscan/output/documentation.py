"""The pages of the documentation, which are part of the installed package."""

from __future__ import annotations

import sys
from importlib.resources import files

MAX_WIDTH = 100


def topics() -> dict[str, str]:
    """Return the title of each page by its name, in the order of the names."""
    names = sorted(
        entry.name.removesuffix(".md")
        for entry in (files("jwqlscan") / "docs").iterdir()
        if entry.name.endswith(".md")
    )
    return {name: page(name).partition("\n")[0].removeprefix("# ") for name in names}


def page(topic: str) -> str:
    """Return a page as Markdown; the topic is one of `topics`."""
    return (files("jwqlscan") / "docs" / f"{topic}.md").read_text(encoding="utf-8")


def print_page(text: str) -> None:
    """Print a page: formatted on a terminal, else as it is."""
    if not sys.stdout.isatty():
        sys.stdout.write(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    console.print(Markdown(text, hyperlinks=False), width=min(console.width, MAX_WIDTH))
