"""The command `db migrate`: make the tables, or bring them up to this version."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    pass

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import ConfigFile, Database, Debug, Json, LogForm, load_settings
from jwqlscan.cli.printing import print_json

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan db migrate --database postgresql://owner@dbhost/jwqldb",
        codes="0 up to date · 1 failed · 2 usage or configuration"
        " · 4 the database can't be reached",
    )
)
def migrate(
    context: typer.Context,
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
    with error_boundary(debug, log_format, stores=True):
        from jwqlscan.system.signals import run_until_signalled

        settings = load_settings(context, config)
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
