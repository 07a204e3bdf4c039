"""Storing: a snapshot goes to the spool, then all that waits there goes to the store."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import NamedTuple

from anyio import to_thread

from jwqlscan.config.loader import Config
from jwqlscan.errors import (
    ConfigError,
    ExitCode,
    JwqlscanError,
    StoreDamagedError,
    StoreError,
    StoreUnavailableError,
)
from jwqlscan.model.snapshot import Snapshot
from jwqlscan.state.permissions import share_state
from jwqlscan.store import Store, spool
from jwqlscan.store.invalid_rows import jwql_gaps
from jwqlscan.store.queries import last_runs
from jwqlscan.system.clock import LATEST
from jwqlscan.text import escape

_THIN_RUNS = 14

_ACCEPT = "see what is missing or, if it was removed, run once with --allow-drop"


class Stored(NamedTuple):
    """What became of the snapshot; `errors` are logged already, `warnings` are not.

    `cause` is why the store does not have it; "" if it does.
    """

    codes: list[ExitCode]
    warnings: list[str]
    errors: tuple[str, ...]
    location: str
    cause: str = ""


async def store_snapshot(config: Config, store: Store, snapshot: Snapshot) -> Stored:
    """Spool the snapshot, then store all that the spool holds."""
    codes = [] if snapshot.status == "complete" else [ExitCode.INCOMPLETE]
    warnings = [f"incomplete: {reason}" for reason in snapshot.incomplete_reasons]
    warnings += [f"suspect: {doubt}; {_ACCEPT}" for doubt in snapshot.suspicions]
    directory = os.path.join(config.state_path, "spool")
    try:
        configured = config.names_database
        spooled = await spool.put(directory, snapshot, store.location, configured=configured)
    except StoreError as error:
        # Measuring took hours, perhaps: another disk, or a server, may take what this one can't.
        warnings += await _store_at_once(store, snapshot, error)
        return Stored(codes, warnings, (), store.location)
    try:
        async with store:
            flushed = await spool.store_waiting(
                directory, store, configured=configured, at_hand={spooled: snapshot}
            )
            lasting = await _gaps(store)
    except StoreError as error:
        codes.append(ExitCode.SPOOLED)
        reason = await failure_line(store, error)
        warnings.append(f"{reason}; kept in {escape(spooled)}, {_when_stored(error)}")
        warnings += await _share(config)
        return Stored(codes, warnings, (), spooled, reason)
    warnings += [*flushed.warnings, *lasting]
    warnings += await _share(config)
    errors = tuple(flushed.set_aside.values())
    if spooled not in flushed.set_aside:
        return Stored(codes, warnings, errors, store.location)
    # The store will never take this one: it is kept, but nobody is to think that all is well.
    codes.append(ExitCode.FAILED)
    cause = flushed.set_aside[spooled]
    return Stored(codes, warnings, errors, os.path.join(directory, spool.BAD), cause)


async def _share(config: Config) -> list[str]:
    """Let others read what has been made just now; return a warning if that fails."""
    try:
        await to_thread.run_sync(share_state, config)
    except (OSError, ConfigError) as error:
        return [f"{config.where('state.mode')}: {error}: the state stays private"]
    return []


def _when_stored(error: StoreError) -> str:
    """Return when a snapshot that waits is stored: not by itself where somebody must act."""
    if isinstance(error, StoreUnavailableError):
        return "the next run stores it"
    return "the next run stores it once that is repaired"


async def _gaps(store: Store) -> list[str]:
    """Return what of JWQL's rows is read as gaps; failing that, nothing: the snapshot is stored."""
    try:
        return await jwql_gaps(store)
    except StoreError:
        return []


async def _store_at_once(store: Store, snapshot: Snapshot, unspooled: StoreError) -> list[str]:
    """Store what the spool can't keep; what waits in the spool waits on. Return warnings."""
    try:
        async with store, store.exclusive():
            warnings = await store.record(snapshot)
    except StoreError as error:
        raise StoreError(f"{unspooled}; nor is it stored: {error}") from error
    return [*warnings, f"{unspooled}; it is stored all the same"]


async def thin(config: Config, store: Store) -> list[str]:
    """Thin old insight; failing that loses nothing, and the next run does it.

    Ages count from the run `_THIN_RUNS` runs ago, not from the clock: one that is years ahead for
    some nights would thin what is current.
    """
    try:
        async with store:
            runs = await last_runs(store, _THIN_RUNS, LATEST)
            if runs:
                before = runs[-1].date.timestamp() - config.insight.thin_after_s
                await store.thin_insight(datetime.fromtimestamp(max(0, before), UTC))
    except StoreError as error:
        return [f"old insight is not thinned: {error}"]
    return []


async def failure_line(store: Store, error: JwqlscanError) -> str:
    """Return the line that reports a failure; a damaged store is moved aside first."""
    if isinstance(error, StoreDamagedError):
        return await store.quarantine() or str(error)
    return str(error)
