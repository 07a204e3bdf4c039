"""The command `db flush`: store what waits in the spool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.errors import ExitCode
from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.config.loader import Config
    from jwqlscan.store.spool import Flushed

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import ConfigFile, Database, Debug, Json, LogForm, load_settings
from jwqlscan.cli.printing import print_json, print_line

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan db flush",
        "jwqlscan db flush --bad",
        codes="0 stored · 1 failed · 2 usage or configuration · 3 a file was set aside"
        " · 4 the database can't be reached · 11 a run holds the lock",
    )
)
def flush(
    context: typer.Context,
    from_others: Annotated[
        bool,
        typer.Option(
            "--from-others",
            help="Also those measured for another database: it was copied or renamed.",
        ),
    ] = False,
    bad: Annotated[
        bool,
        typer.Option("--bad", help="Also those that were set aside in spool/bad: try them again."),
    ] = False,
    config: ConfigFile = None,
    database: Database = None,
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Store the snapshots that wait for a database that was down.

    They are in the spool, where a run keeps what it can't store; the next run would do the same.
    """
    with error_boundary(debug, log_format, stores=True):
        import logging

        from jwqlscan.system.signals import run_until_signalled

        settings = load_settings(context, config)
        flushed = run_until_signalled(_flush, settings, from_others, bad)
        for warning in flushed.warnings:
            logging.getLogger(__name__).warning("%s", warning)
        if json:
            from jwqlscan.output.json_objects import flush_object

            print_json(flush_object(flushed))
        else:
            print_line(f"snapshots stored: {flushed.stored}")
        if flushed.set_aside:
            raise typer.Exit(ExitCode.INCOMPLETE)


async def _flush(config: Config, from_others: bool, bad: bool) -> Flushed:
    import os

    from jwqlscan.store import Tables, open_store
    from jwqlscan.store.spool import BAD, store_waiting
    from jwqlscan.store.spool_contents import waiting
    from jwqlscan.system.lock import run_lock

    with run_lock(os.path.join(config.state_path, "lock")):
        spool = os.path.join(config.state_path, "spool")
        found = waiting(spool) or waiting(os.path.join(spool, BAD))
        # An SQLite file is made only where there is something that could be stored in it.
        tables = Tables.MADE if found else Tables.IF_PRESENT
        async with open_store(config.database_url, tables) as store:
            return await store_waiting(
                spool,
                store,
                configured=config.names_database,
                from_others=from_others,
                retry_bad=bad,
            )
