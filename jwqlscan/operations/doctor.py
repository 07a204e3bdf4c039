"""What a run needs, looked at one by one, each failure with what to do about it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import anyio

from jwqlscan.config.loader import Config
from jwqlscan.config.useless_patterns import useless_patterns
from jwqlscan.errors import ClockError, JwqlscanError, StoreError, StoreMissingError
from jwqlscan.monitoring.check import gather
from jwqlscan.naming.jwst import FILETYPES, INSTRUMENT_LABELS
from jwqlscan.operations import preflight
from jwqlscan.operations.areas import choose_areas, missing_areas, probe_paths
from jwqlscan.operations.earlier_areas import earlier_areas
from jwqlscan.operations.preflight_metrics import check_metrics, check_metrics_outside
from jwqlscan.scanning.measure import probe_seconds
from jwqlscan.scanning.readers import available_readers, native_problem
from jwqlscan.scanning.supervisor import Supervisor
from jwqlscan.settings import JWST
from jwqlscan.state.local_state import read_state
from jwqlscan.store import LastArea, Tables, open_store
from jwqlscan.store.invalid_rows import gaps
from jwqlscan.store.jwql_columns import missing_labels
from jwqlscan.store.queries import future_dates, last_products, last_runs
from jwqlscan.system.atomic_files import try_to_write
from jwqlscan.system.clock import check_clock, future_warning, latest_date
from jwqlscan.system.df import DfError, capacity
from jwqlscan.system.log_file import make_log_directory
from jwqlscan.system.mounts import MOUNTINFO, mount_table_problem
from jwqlscan.system.ownership import untrusted_reason
from jwqlscan.text import escape
from jwqlscan.units import counted, format_bytes, format_time

STORE_TIMEOUT_S = 20.0  # for the areas of earlier runs

ROOM_BYTES = 2**30  # years of snapshots and a report are far less


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing looked at: what, whether it is well, and what was found or is to be done."""

    what: str
    well: bool
    text: str


async def examine(config: Config) -> list[Diagnosis]:
    """Look at everything a run needs; nothing is measured, nothing is stored.

    Returns
    -------
    list of Diagnosis
        Failures are among them, none is raised. What a run would make (the state and output
        directories, the database's tables) is made.
    """
    found = [Diagnosis("configuration", True, escape(config.file) or "none, only defaults")]
    checks: list[tuple[str, Callable[[Config], Awaitable[str]]]] = [
        ("directories a run writes to", _places),
        ("areas", _areas),
        ("mount table", _mount_table),
        ("patterns", _patterns),
        ("df", _df),
        ("database", _database),
        ("JWQL's tables", _jwql_tables),
        ("reader", _reader),
        ("disk space", _room),
        ("notifications", _notifications),
        ("clock", _clock),
        ("last run", _last_run),
        ("spool", partial(_spool, found)),
    ]
    for what, look in checks:
        try:
            found.append(Diagnosis(what, True, await look(config)))
        except JwqlscanError as error:
            found.append(Diagnosis(what, False, str(error)))
        except DfError as error:
            text = f"{error}; see whether it is mounted, and its server answers"
            found.append(Diagnosis(what, False, text))
        except OSError as error:
            where = f"{escape(os.fsdecode(error.filename))}: " if error.filename else ""
            found.append(Diagnosis(what, False, f"{where}{error.strerror}"))
    return found


async def _places(config: Config) -> str:
    await preflight.check(config)
    if config.log_path:
        place = ("log.path", config.log_path)
        await preflight.in_time(partial(_try_to_write, *place, config), (place,))
    return f"{escape(config.state_path)}, {escape(config.outputs.directory)} can be written"


def _try_to_write(key: str, directory: str, config: Config) -> None:
    try:
        make_log_directory(directory)
        try_to_write(directory)
    except OSError as error:
        raise JwqlscanError(
            f"{config.where(key)}: {escape(directory)}: {error.strerror}; make it, writable for who"
            " runs jwqlscan, or name another"
        ) from None


async def _areas(config: Config) -> str:
    supervisor = Supervisor()  # a process of its own: a mount that hangs is given up there
    try:
        found = await supervisor.probe(probe_paths(config), probe_seconds(config.scan))
    finally:
        supervisor.close()
    areas = choose_areas(config, found, await _last_areas(config), False)
    if not areas:
        raise JwqlscanError("none: set archive.path or central.path, or run `jwqlscan init`")
    await preflight.check_outside(config, areas, found)
    await check_metrics_outside(config, areas, found)
    missing = missing_areas(areas, found)
    readable = [area for area in areas if area not in missing]
    names = ", ".join(f"{area.group} {escape(area.name)}" for area in readable)
    gone = ", ".join(f"{area.group} {escape(area.name)} ({escape(area.path)})" for area in missing)
    return f"{len(readable)} can be read: {names}" + (
        f"; missing, as accepted with --allow-empty: {gone}" if gone else ""
    )


async def _last_areas(config: Config) -> Mapping[tuple[str, str], LastArea] | None:
    """Return what the next run compares areas with; None if the store does not answer in time."""
    try:
        with anyio.move_on_after(STORE_TIMEOUT_S):
            store = open_store(config.database_url, Tables.IF_PRESENT)
            return (await earlier_areas(store, latest_date())).last
    except StoreMissingError:
        return {}
    except StoreError:  # reported as the database
        pass
    return None


async def _mount_table(config: Config) -> str:
    if problem := mount_table_problem():
        raise JwqlscanError(problem)
    return f"{MOUNTINFO} can be read"


async def _patterns(config: Config) -> str:
    roots = probe_paths(config)
    if problem := useless_patterns(config.scan, roots, config.source):
        raise JwqlscanError(problem)
    return f"{counted(len(config.scan.exclude), 'pattern')} in scan.exclude"


async def _df(config: Config) -> str:
    texts = []
    for path in (config.archive_path, config.central_path):
        if path:
            room = await capacity(path, config.df_timeout_s)
            left = (
                f"{format_bytes(room.available_bytes)} left" if room.has_size else "no known size"
            )
            texts.append(f"{escape(path)} has {left}")
    return ", ".join(texts) or "not asked: there is nothing to measure"


async def _database(config: Config) -> str:
    async with open_store(config.database_url) as store:
        if obstacles := await store.obstacles():
            raise JwqlscanError(f"{store.location}: {'; '.join(obstacles)}")
        runs = await last_runs(store, 1)
        newest = f"last run {format_time(runs[0].date)}" if runs else "no run yet"
        return f"{store.location}, schema up to date, {newest}"


async def _jwql_tables(config: Config) -> str:
    """Look at what JWQL's tables can't take, and at rows in them that no one can read."""
    try:
        async with open_store(config.database_url, Tables.IF_PRESENT) as store:
            columns = (await store.catalog()).get("filesystem_instrument", {})
            products = await last_products(store)
            problems = await gaps(store)
    except StoreError:
        return "not looked at, as the database can't be read"
    if problems:
        raise JwqlscanError("; ".join(problems))
    jwst = config.scan.scheme.name == JWST
    labels = {
        "instrument": {*(INSTRUMENT_LABELS if jwst else ()), *(one for one, _ in products)},
        "filetype": {
            *(FILETYPES if jwst else ()),
            *config.scan.extra_filetypes,
            *(one for _, one in products),
        },
    }
    statements = [
        statement
        for name, wanted in labels.items()
        if name in columns
        for statement in missing_labels(columns[name], wanted)
    ]
    if not statements:
        return "take every product"
    return (
        "of these products JWQL's readers see no rows (ours read our own tables) until the owner of"
        f" the types runs: {'; '.join(statements)}"
    )


async def _reader(config: Config) -> str:
    readers = available_readers()
    if config.scan.reader != "scandir" and (problem := native_problem()):
        raise JwqlscanError(problem)
    if "native" not in readers and config.scan.reader != "scandir":
        raise JwqlscanError(
            "the compiled reader is not there, so that scans take longer: install a C compiler and"
            " Python's headers, then jwqlscan again; or set scan.reader to 'scandir'"
        )
    return ", ".join(readers)


async def _room(config: Config) -> str:
    room = await capacity(config.state_path, config.df_timeout_s)
    if not room.has_size:
        return f"{escape(config.state_path)} is in a filesystem that reports no size"
    if room.available_bytes < ROOM_BYTES:
        raise OSError(
            errno.ENOSPC,
            f"only {format_bytes(room.available_bytes)} left: make room, or set state.path",
            config.state_path,
        )
    return f"{escape(config.state_path)} has {format_bytes(room.available_bytes)} left"


async def _notifications(config: Config) -> str:
    """Check what is called and written at the end of a run; nobody is notified now."""
    receivers = []
    if config.metrics_path:
        await check_metrics(config)
        receivers.append(f"metrics in {escape(config.metrics_path)}")
    if config.notifications.ping_url:
        receivers.append("a dead-man's switch, by notify.ping_url")
    if config.notifications.command:
        program = config.notifications.command[0]
        if not (os.path.isfile(program) and os.access(program, os.X_OK)):
            reason = "is no program that can be executed: name another, or chmod +x it"
        else:
            reason = untrusted_reason(program, os.stat(program))
        if reason:
            raise JwqlscanError(f"{config.where('notify.command')}: {escape(program)} {reason}")
        receivers.append(escape(program))
    return (
        ", ".join(receivers) or "none: metrics.path, notify.ping_url and notify.command are not set"
    )


async def _clock(config: Config) -> str:
    """Compare the clock with what cannot be later: this version, files, and runs."""
    now = datetime.now(UTC)
    check_clock(now)
    written = datetime.fromtimestamp(os.stat(config.state_path).st_mtime, UTC)
    if written > now + timedelta(days=1):
        raise ClockError(
            f"the system clock reads {format_time(now)}, and {escape(config.state_path)} was"
            f" changed on {format_time(written)}: set the clock or enable NTP"
        )
    with contextlib.suppress(StoreError):  # reported as the database
        async with open_store(config.database_url, Tables.IF_PRESENT) as store:
            if warning := future_warning(await future_dates(store, latest_date(now))):
                raise ClockError(warning)
    return format_time(now)


async def _last_run(config: Config) -> str:
    """Look at how the last run on this host ended, and whether one is in progress."""
    local = await read_state(config)
    stored = None
    with contextlib.suppress(StoreError):  # what is wrong with the store is reported of the store
        stored = (await gather(config.database_url)).failed
    if failure := local.failure(stored):
        raise JwqlscanError(failure.line)
    if local.running is not None:
        return local.running.line
    last = local.last
    if last is None:
        return "none on this host yet"
    return f"{format_time(last.started)}, exit code {last.exit_code}"


async def _spool(found: Sequence[Diagnosis], config: Config) -> str:
    local = await read_state(config)
    for one in found:
        if one.what == "database" and not one.well:
            local = local.without_cause(one.text)
    if lines := local.lines:
        raise JwqlscanError("; ".join(lines))
    return "no snapshot waits"
