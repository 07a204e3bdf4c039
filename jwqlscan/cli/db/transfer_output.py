"""What `db copy` and `db import-jwql` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from jwqlscan.errors import ExitCode

if TYPE_CHECKING:
    from jwqlscan.store.transfer.copy import Copied

from jwqlscan.cli.printing import print_json, print_line

COPY_CODES = (
    "0 all is there · 1 nothing was changed, or a store refused it · 2 usage"
    " · 3 done, but a table could not take some rows · 4 a database can't be reached"
)


def url_without_password(url: str) -> str:
    """Refuse a password among the arguments, as `--database` does."""
    from jwqlscan.config.loader import holds_password

    if holds_password(url):
        raise typer.BadParameter(
            "a password here can be read by every user of this host; keep it in ~/.pgpass or in"
            " PGPASSWORD"
        )
    return url


def print_copied(copied: Copied, json: bool) -> None:
    """Print what was copied, log what could not be, and end with 3 if there is any such row."""
    import logging

    if json:
        from jwqlscan.output.json_objects import copied_object

        print_json(copied_object(copied))
    else:
        rows = ", ".join(f"{table} {count:,}" for table, count in copied.rows.items())
        print_line(f"{copied.source} to {copied.target}: {rows or 'nothing was missing'}")
        for note in copied.notes:
            print_line(f"note: {note}")
    for warning in copied.warnings:
        logging.getLogger(__name__).warning("%s", warning)
    if copied.warnings:
        raise typer.Exit(ExitCode.INCOMPLETE)
