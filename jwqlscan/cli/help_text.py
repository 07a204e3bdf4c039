"""The end of a command's help: examples and exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


# Exit codes of the commands that show what is stored.
READ_CODES = (
    "0 shown · 1 the store can't be read · 2 usage or configuration"
    " · 4 the database can't be reached"
)


def examples(*lines: str, codes: str = "") -> str:
    """Return the end of a command's help: examples as they are typed, and its exit codes."""
    text = "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)])
    if codes:
        text += "\n\n\b\nExit codes:\n" + "\n".join(f"  {one}" for one in codes.split(" · "))
    return text
