"""The `db` commands that move what is stored: copy, import-jwql, prune."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.cli.common import (
    ConfigFile,
    Database,
    Debug,
    Json,
    LogForm,
    age_in_seconds,
    examples,
    print_json,
    print_line,
    told,
)
from jwqlscan.errors import ExitCode
from jwqlscan.settings import LEAST_KEPT, LEAST_KEPT_S
from jwqlscan.system.logs import LogFormat

# Ten thousand years: more than any date goes back.
_MAX_AGE_S = 3.2e11

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from jwqlscan.config.loader import Config
    from jwqlscan.store.transfer.copy import Moved
    from jwqlscan.store.transfer.prune import Pruned

app = typer.Typer()

_MOVED_CODES = (
    "0 all is there · 1 nothing was changed, or a store refused it · 2 usage"
    " · 3 done, but a table could not take some rows · 4 a database can't be reached"
)


def _without_password(url: str) -> str:
    """Refuse a password among the arguments, as `--database` does."""
    from jwqlscan.config.loader import holds_password

    if holds_password(url):
        raise typer.BadParameter(
            "a password here can be read by every user of this host; keep it in ~/.pgpass or in"
            " PGPASSWORD"
        )
    return url


@app.command(
    epilog=examples(
        "jwqlscan db copy sqlite:////var/lib/jwqlscan/jwqlscan.db postgresql://jwql@dbhost/jwql",
        "jwqlscan db copy postgresql://jwql@dbhost/jwql sqlite:///copy.db",
        codes=_MOVED_CODES,
    )
)
def copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", callback=_without_password, help="A store's URL.")
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TO", callback=_without_password, help="Another's. Made if it is not there."
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
    with told(debug, log_format, stores=True):
        from jwqlscan.config.loader import store_url
        from jwqlscan.system.signals import run_until_signalled

        _tell_moved(run_until_signalled(_copy, store_url(source), store_url(target)), json)


@app.command(
    epilog=examples(
        "jwqlscan db import-jwql postgresql://jwql@dbhost/jwqldb --time-zone America/New_York",
        codes=_MOVED_CODES,
    )
)
def import_jwql(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", callback=_without_password, help="JWQL's database: it is only read."
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
    with told(debug, log_format, stores=True):
        from jwqlscan.config.loader import Overrides, load_config, store_url
        from jwqlscan.store.transfer.import_jwql import zone_of
        from jwqlscan.system.signals import run_until_signalled

        if url.startswith("sqlite:"):
            raise typer.BadParameter("JWQL's database is a PostgreSQL", param_hint="URL")
        zone = zone_of(time_zone)
        settings = load_config(config, Overrides(database=database))
        moved = run_until_signalled(_import, store_url(url), settings.database_url, zone)
        _tell_moved(moved, json)


@app.command(
    epilog=examples(
        "jwqlscan db prune --keep 10y --dry-run",
        "jwqlscan db prune --keep 10y --weekly-after 2y",
        "jwqlscan db prune --future",
        codes="0 done · 1 failed · 2 usage · 4 the database can't be reached"
        " · 11 a run holds the lock",
    )
)
def prune(
    keep: Annotated[
        str | None,
        typer.Option(
            callback=age_in_seconds, metavar="AGE", help="Remove what is older: 10y, 18mo."
        ),
    ] = None,
    weekly_after: Annotated[
        str | None,
        typer.Option(
            callback=age_in_seconds,
            metavar="AGE",
            help="Keep one run a week of what is older: the newest complete one.",
        ),
    ] = None,
    future: Annotated[
        bool,
        typer.Option(
            "--future", help="Remove runs dated in the future, stored while a clock was ahead."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be removed.")
    ] = False,
    config: ConfigFile = None,
    database: Database = None,
    json: Json = False,
    log_format: LogForm = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Remove old runs, or those dated in the future.

    JWQL's rows of the same dates are removed too. Ages count from the newest run. That and the
    newest complete run always stay. An SQLite file does not become smaller, but its space is used
    again.
    """
    with told(debug, log_format, stores=True):
        from jwqlscan.config.loader import Overrides, load_config
        from jwqlscan.system.signals import run_until_signalled

        if keep is None and weekly_after is None and not future:
            raise typer.BadParameter("give --keep, --weekly-after or --future")
        for option, age in (("--keep", keep), ("--weekly-after", weekly_after)):
            if age is not None and float(age) < LEAST_KEPT_S:
                raise typer.BadParameter(f"expected {LEAST_KEPT} or more", param_hint=option)
        settings = load_config(config, Overrides(database=database))
        ages = (_age(keep), _age(weekly_after))
        pruned = run_until_signalled(_prune, settings, *ages, future, dry_run)
        if json:
            from jwqlscan.output.json_objects import pruned_object

            print_json(pruned_object(pruned, dry_run))
            return
        from jwqlscan.units import counted

        done = "would be removed" if dry_run else "removed"
        if future:
            print_line(f"dates in the future: {pruned.future:,} {done}")
        print_line(f"{pruned.store}: {counted(pruned.runs, 'run')} {done}, {pruned.kept:,} left")
        if pruned.jwql_dates:
            print_line(f"dates that only JWQL's monitor had rows of: {pruned.jwql_dates:,} {done}")


def _tell_moved(moved: Moved, json: bool) -> None:
    import logging

    if json:
        from jwqlscan.output.json_objects import moved_object

        print_json(moved_object(moved))
    else:
        rows = ", ".join(f"{table} {count:,}" for table, count in moved.rows.items())
        print_line(f"{moved.source} to {moved.target}: {rows or 'nothing was missing'}")
        for note in moved.notes:
            print_line(f"note: {note}")
    for warning in moved.warnings:
        logging.getLogger(__name__).warning("%s", warning)
    if moved.warnings:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _age(seconds: str | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=min(float(seconds), _MAX_AGE_S))


async def _copy(source_url: str, target_url: str) -> Moved:
    from jwqlscan.store import Tables, open_store
    from jwqlscan.store.transfer.copy import copy as copy_store

    async with (
        open_store(source_url, Tables.EXPECTED) as source,
        open_store(target_url) as target,
    ):
        return await copy_store(source, target)


async def _import(url: str, database_url: str, zone: ZoneInfo) -> Moved:
    from jwqlscan.store import Tables, open_store
    from jwqlscan.store.transfer.import_jwql import import_jwql as take

    async with open_store(url, Tables.FOREIGN) as source, open_store(database_url) as target:
        return await take(source, target, zone)


async def _prune(
    config: Config, keep: timedelta | None, weekly_after: timedelta | None, future: bool, dry: bool
) -> Pruned:
    import os

    from jwqlscan.store import Tables, open_store
    from jwqlscan.store.transfer.prune import prune as prune_store
    from jwqlscan.system.lock import run_lock

    with run_lock(os.path.join(config.state_path, "lock")):
        opening = open_store(config.database_url, Tables.EXPECTED)
        async with opening as store, store.exclusive():
            return await prune_store(store, keep, weekly_after, future=future, dry=dry)
