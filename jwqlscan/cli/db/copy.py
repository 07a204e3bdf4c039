"""The command `db copy`: copy one store into another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.store.transfer.copy import Copied

from jwqlscan.cli.db.transfer_output import COPY_CODES, print_copied, url_without_password
from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import (
    Debug,
    Json,
    LogForm,
)

app = typer.Typer()


@app.command(
    epilog=examples(
        "jwqlscan db copy sqlite:////var/lib/jwqlscan/jwqlscan.db postgresql://jwql@dbhost/jwql",
        "jwqlscan db copy postgresql://jwql@dbhost/jwql sqlite:///copy.db",
        codes=COPY_CODES,
    )
)
def copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", callback=url_without_password, help="A store's URL.")
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TO", callback=url_without_password, help="Another's. Made if it is not there."
        ),
    ],
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Copy all that a store holds into another, exactly.

    Either may be SQLite or PostgreSQL. What TO holds already stays and is not copied again; if it
    has another run or other numbers at the same date, nothing is copied. A copy that was cut off
    goes on when it is started again.
    """
    with error_boundary(debug, log_format, stores=True):
        from jwqlscan.config.loader import store_url
        from jwqlscan.system.signals import run_until_signalled

        print_copied(run_until_signalled(_copy, store_url(source), store_url(target)), json)


async def _copy(source_url: str, target_url: str) -> Copied:
    from jwqlscan.store import Tables, open_store
    from jwqlscan.store.transfer.copy import copy as copy_store

    async with (
        open_store(source_url, Tables.EXPECTED) as source,
        open_store(target_url) as target,
    ):
        return await copy_store(source, target)
