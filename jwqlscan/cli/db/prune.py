"""The command `db prune`: remove old runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from jwqlscan.settings import MIN_KEPT, MIN_KEPT_S
from jwqlscan.system.logs import LogFormat

if TYPE_CHECKING:
    from jwqlscan.config.loader import Config
    from jwqlscan.store.transfer.prune import Pruned

from jwqlscan.cli.error_boundary import error_boundary
from jwqlscan.cli.help_text import examples
from jwqlscan.cli.options import (
    ConfigFile,
    Database,
    Debug,
    Json,
    LogForm,
    age_in_seconds,
    load_settings,
)
from jwqlscan.cli.printing import print_json, print_line

app = typer.Typer()

# Ten thousand years: more than any date goes back.
_MAX_AGE_S = 3.2e11


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
    context: typer.Context,
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
    with error_boundary(debug, log_format, stores=True):
        from jwqlscan.system.signals import run_until_signalled

        if keep is None and weekly_after is None and not future:
            raise typer.BadParameter("give --keep, --weekly-after or --future")
        for option, age in (("--keep", keep), ("--weekly-after", weekly_after)):
            if age is not None and float(age) < MIN_KEPT_S:
                raise typer.BadParameter(f"expected {MIN_KEPT} or more", param_hint=option)
        settings = load_settings(context, config)
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


def _age(seconds: str | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=min(float(seconds), _MAX_AGE_S))


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
