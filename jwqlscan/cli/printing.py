"""What commands write to standard output, and where progress goes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from jwqlscan.text import escape

if TYPE_CHECKING:
    from jwqlscan.scanning.display import Display


SCHEMA_VERSION = 1  # of the JSON objects: raised if a field is renamed or removed


def print_line(text: str) -> None:
    """Print a line of text to standard output."""
    sys.stdout.write(escape(text) + "\n")


def json_text(data: Mapping[str, object]) -> str:
    """Return one JSON object as it is printed; the files in ``schemas`` describe them."""
    import json

    versioned = {"schema_version": SCHEMA_VERSION, **data}
    return json.dumps(versioned, indent=2 if sys.stdout.isatty() else None) + "\n"


def print_json(data: Mapping[str, object]) -> None:
    """Print one JSON object to standard output."""
    sys.stdout.write(json_text(data))


def show_in_browser(path: str) -> None:
    """Open a file in the browser that the desktop names; report if there is none."""
    import webbrowser
    from pathlib import Path

    if not webbrowser.open(Path(path).absolute().as_uri()):
        sys.stderr.write("jwqlscan: no browser could be started; open the file named above\n")


@contextlib.contextmanager
def display_on_terminal(wanted: bool) -> Iterator[Display]:
    """Show on standard error what is done or, if it shall not be or is no terminal, log it."""
    from jwqlscan.scanning.display import LogDisplay

    if not (wanted and sys.stderr.isatty()):
        yield LogDisplay()
        return
    from jwqlscan.output.progress import display_on_stderr

    with display_on_stderr() as display:
        yield display
