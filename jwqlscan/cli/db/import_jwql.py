"""The command `db import-jwql`: take over what JWQL's monitor stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from jwqlscan.store.transfer.copy import Copied

from jwqlscan.cli.db.transfer_output import COPY_CODES, print_copied, url_without_password
from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import (
    ConfigFile,
    Database,
    Debug,
    Json,
    LogForm,
    load_settings,
)

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan db import-jwql postgresql://jwql@dbhost/jwqldb --time-zone America/New_York",
        codes=COPY_CODES,
    )
)
def import_jwql(
    context: typer.Context,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", callback=url_without_password, help="JWQL's database: it is only read."
        ),
    ],
    time_zone: Annotated[
        str,
        typer.Option(
            metavar="ZONE",
            help="Of the host that wrote the dates, which have none: America/New_York, UTC.",
        ),
    ],
    config: ConfigFile = None,
    database: Database = None,
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Import the history that JWQL's own monitor stored.

    It is one transaction. Numbers stay as they were; dates become UTC. Rows that are there already
    are not taken again. In a database that jwqlscan shares with JWQL there is nothing to import.
    """
    with error_boundary(debug, log_format, stores=True):
        from jwqlscan.config.loader import store_url
        from jwqlscan.store.transfer.import_jwql import zone_of
        from jwqlscan.system.signals import run_until_signalled

        if url.startswith("sqlite:"):
            raise typer.BadParameter("JWQL's database is a PostgreSQL", param_hint="URL")
        zone = zone_of(time_zone)
        settings = load_settings(context, config)
        copied = run_until_signalled(_import, store_url(url), settings.database_url, zone)
        print_copied(copied, json)


async def _import(url: str, database_url: str, zone: ZoneInfo) -> Copied:
    from jwqlscan.store import Tables, open_store
    from jwqlscan.store.transfer.import_jwql import import_jwql as take

    async with open_store(url, Tables.FOREIGN) as source, open_store(database_url) as target:
        return await take(source, target, zone)
