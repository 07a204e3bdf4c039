"""The `db` commands: what concerns the store alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from jwqlscan.cli_common import ConfigFile, Database, Debug, print_line, told
from jwqlscan.cli_move import app as move_app
from jwqlscan.errors import EXIT_CODE_HELP, ExitCode

if TYPE_CHECKING:
    from jwqlscan.config import Config
    from jwqlscan.spool import Flushed

app = typer.Typer(help="Look after the store.", no_args_is_help=True)
app.add_typer(move_app)


@app.callback()
def _db() -> None:
    """Look after the store."""


@app.command(epilog=EXIT_CODE_HELP)
def flush(
    config: ConfigFile = None,
    database: Database = None,
    debug: Debug = False,
) -> None:
    """Store the snapshots that wait in the spool, and print how many."""
    with told(debug):
        import logging

        from jwqlscan.config import Overrides, load_config
        from jwqlscan.logs import logging_to_stderr
        from jwqlscan.signals import run_until_signalled

        with logging_to_stderr(logging.WARNING):
            settings = load_config(config, Overrides(database=database))
            flushed = run_until_signalled(_flush, settings)
            for warning in flushed.warnings:
                logging.getLogger(__name__).warning("%s", warning)
        print_line(f"snapshots stored: {flushed.stored}")
        if flushed.set_aside:
            raise typer.Exit(ExitCode.INCOMPLETE)


@app.command(epilog=EXIT_CODE_HELP)
def migrate(config: ConfigFile = None, database: Database = None, debug: Debug = False) -> None:
    """Make the tables, or bring them up to this version, and print where they are.

    Every command that opens the store does so by itself. This is for a database whose user may
    not create tables: run it once with --database and one who may.
    """
    with told(debug):
        from jwqlscan.config import Overrides, load_config
        from jwqlscan.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
        sys.stdout.write(run_until_signalled(_migrate, settings.database_url) + "\n")


async def _migrate(database_url: str) -> str:
    from jwqlscan.store import open_store
    from jwqlscan.store.schema import migrations

    async with open_store(database_url) as store:
        return f"{store.location}: schema version {migrations('sqlite')[-1].version}"


async def _flush(config: Config) -> Flushed:
    import os

    from jwqlscan.lock import run_lock
    from jwqlscan.spool import store_waiting
    from jwqlscan.store import open_store

    with run_lock(os.path.join(config.state_path, "lock")):
        async with open_store(config.database_url) as store:
            return await store_waiting(os.path.join(config.state_path, "spool"), store)
