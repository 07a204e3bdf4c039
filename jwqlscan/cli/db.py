"""The `db` commands: what concerns the store alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.cli.common import (
    ConfigFile,
    Database,
    Debug,
    Json,
    LogForm,
    examples,
    print_json,
    print_line,
    told,
)
from jwqlscan.cli.db_transfer import app as move_app
from jwqlscan.errors import ExitCode
from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.config.loader import Config
    from jwqlscan.store.spool import Flushed

app = typer.Typer(
    help="Look after what is stored: migrate, flush, copy, import, prune.", no_args_is_help=True
)
app.add_typer(move_app)


@app.callback()
def _db() -> None:
    """Look after what is stored: migrate, flush, copy, import, prune."""


@app.command(
    epilog=examples(
        "jwqlscan db flush",
        "jwqlscan db flush --bad",
        codes="0 stored · 1 failed · 2 usage or configuration · 3 a file was set aside"
        " · 4 the database can't be reached · 11 a run holds the lock",
    )
)
def flush(
    from_others: Annotated[
        bool,
        typer.Option(
            "--from-others",
            help="Also those measured for another database: it was moved or renamed.",
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
    with told(debug, log_format, stores=True):
        import logging

        from jwqlscan.config.loader import Overrides, load_config
        from jwqlscan.system.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
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


@app.command(
    epilog=examples(
        "jwqlscan db migrate --database postgresql://owner@dbhost/jwqldb",
        codes="0 up to date · 1 failed · 2 usage or configuration"
        " · 4 the database can't be reached",
    )
)
def migrate(
    config: ConfigFile = None,
    database: Database = None,
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Make the tables, or bring them up to this version.

    Every command that opens the store does so by itself. This is for a database whose user may
    not create tables: run it once with --database and one who may.
    """
    with told(debug, log_format, stores=True):
        from jwqlscan.config.loader import Overrides, load_config
        from jwqlscan.system.signals import run_until_signalled

        settings = load_config(config, Overrides(database=database))
        location, version = run_until_signalled(_migrate, settings.database_url)
        if json:
            print_json({"store": location, "schema": version})
        else:
            sys.stdout.write(f"{location}: schema version {version}\n")


async def _migrate(database_url: str) -> tuple[str, int]:
    from jwqlscan.store import open_store
    from jwqlscan.store.schema import migrations

    async with open_store(database_url) as store:
        return store.location, migrations("sqlite")[-1].version


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
        tables = Tables.MADE if found else Tables.LOOKED_AT
        async with open_store(config.database_url, tables) as store:
            return await store_waiting(
                spool,
                store,
                configured=config.names_database,
                from_others=from_others,
                retry_bad=bad,
            )
