"""The commands `db …`: what concerns the store alone; this module has their order."""

from __future__ import annotations

import typer

from jwqlscan.cli.db import copy, flush, import_jwql, migrate, prune

app = typer.Typer(
    help="Look after what is stored: migrate, flush, copy, import, prune.", no_args_is_help=True
)
for command in (flush, migrate, copy, import_jwql, prune):
    app.add_typer(command.app)


@app.callback()
def _db() -> None:
    """Look after what is stored: migrate, flush, copy, import, prune."""
