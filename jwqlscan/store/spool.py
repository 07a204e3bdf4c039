"""The spool: finished snapshots on local disk until the store has them.

Every snapshot goes through it, so that what was measured survives a store that is down and a
process that is killed. One JSON file a run, named by its time, so that names sort oldest first.
What can't be stored is moved to ``bad`` below it, with the reason beside it, and never deleted.
What a newer version of this program wrote stays where it is, for that version to store.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import stat
import types
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from jwqlscan._version import __version__
from jwqlscan.errors import SnapshotRefusedError, StoreError, StoreUnavailableError
from jwqlscan.model.record_fields import NewerRecordError, is_newer
from jwqlscan.model.snapshot import Snapshot
from jwqlscan.resource_limits import shortage
from jwqlscan.store import Store
from jwqlscan.store.dsn import same_place
from jwqlscan.store.spool_contents import CONFIGURED, FOR_STORE, crowding, waiting
from jwqlscan.system.atomic_files import READ_FLAGS, in_time, make_directory, write_atomically
from jwqlscan.text import escape
from jwqlscan.units import counted, format_bytes

Result = TypeVar("Result")

log = logging.getLogger(__name__)

SPOOL_MODE = 0o600
BAD = "bad"

_MAX_BYTES = 2**28  # nothing larger is read: it is none of ours


@dataclass(frozen=True, slots=True)
class Flushed:
    """What became of the files that waited.

    Attributes
    ----------
    stored : int
        Snapshots that the store has now.
    set_aside : mapping of str to str
        A file that was moved to ``bad`` (the path it had) to a line with the reason. These lines
        are logged as errors already.
    warnings : tuple of str
        The store's, those of :func:`crowding`, and what waits for another store or for a newer
        version of this program.
    """

    stored: int
    set_aside: Mapping[str, str]
    warnings: tuple[str, ...]


async def put(
    directory: str, snapshot: Snapshot, location: str = "", *, configured: bool = True
) -> str:
    """Write a snapshot to the spool and return its file.

    Parameters
    ----------
    directory : str
    snapshot : Snapshot
    location : str
        That of the store it is for; "" is any.
    configured : bool
        Whether that is the store that the configuration names, not an option.

    Raises
    ------
    StoreError
        If it can't be written.
    """
    stamp = snapshot.timestamp.strftime("%Y%m%dT%H%M%S.%fZ")
    path = os.path.join(directory, f"{stamp}-{snapshot.run_id}.json")
    try:
        await make_directory(directory, SPOOL_MODE, None, follow_symlink=True)
        wanted = {FOR_STORE: location, CONFIGURED: configured}
        # A record has no circles; looking for them in 10,000 rows takes a tenth of the time.
        content = json.dumps({**wanted, **snapshot.to_record()}, check_circular=False)
        await write_atomically(path, content, mode=SPOOL_MODE, group=None)
    except (OSError, MemoryError) as error:
        reason = shortage(error) or getattr(error, "strerror", "")
        raise StoreError(
            f"spool {escape(directory)}: {reason}: the snapshot is not kept there; make room"
        ) from error
    return path


async def flush(directory: str, store: Store) -> list[str]:
    """Store what waits, oldest first, and return lines to report.

    See :func:`store_waiting`, which returns the outcome of each file.
    """
    flushed = await store_waiting(directory, store)
    return [*flushed.set_aside.values(), *flushed.warnings]


async def store_waiting(
    directory: str,
    store: Store,
    *,
    configured: bool = True,
    from_others: bool = False,
    retry_bad: bool = False,
    at_hand: Mapping[str, Snapshot] = MappingProxyType({}),
) -> Flushed:
    """Store what waits, oldest first; other hosts that use the same store wait meanwhile.

    A file is removed only once the store has committed it; storing it twice changes nothing. What
    is no snapshot, or one that the store refuses for good, is set aside, and the rest goes on.

    Parameters
    ----------
    directory : str
    store : Store
        Entered.
    configured : bool
        Whether the store is the one that the configuration names, not an option: then it takes what
        was measured for one that the configuration named before. Else each takes its own: a run
        that is tried on another store must not take what waits for the one that is down.
    from_others : bool
        Take all the same.
    retry_bad : bool
        Move what was set aside back first, and store it or set it aside again.
    at_hand : mapping of str to Snapshot
        What this process has just written for this store, by file: it is not read again.

    Raises
    ------
    StoreError
        If the store can't take anything; what is not stored yet stays.
    """
    restored = await _in_time(directory, _restore_bad, directory) if retry_bad else []
    files = await _in_time(directory, waiting, directory)
    if not files:
        return Flushed(0, {}, tuple(restored))
    stored = 0
    set_aside: dict[str, str] = {}
    left: Counter[str] = Counter()
    newer: dict[str, NewerRecordError] = {}
    warnings = [*restored, *await _in_time(directory, crowding, directory)]
    async with store.exclusive():
        for path in files:
            try:
                if path in at_hand:
                    snapshot, wanted, was_configured = at_hand[path], store.location, configured
                else:
                    snapshot, wanted, was_configured = await _in_time(path, _read, path)
                its_own = same_place(wanted, store.location) or (configured and was_configured)
                if not (its_own or from_others):
                    left[wanted] += 1
                    continue
                warnings += await store.record(snapshot)
            except FileNotFoundError:  # another process has stored it, or set it aside
                continue
            except NewerRecordError as error:
                newer[path] = error
                continue
            except (_NoSnapshotError, SnapshotRefusedError) as error:
                set_aside[path] = await _set_aside(path, str(error))
                log.error("%s", set_aside[path])
                continue
            stored += 1
            warnings += await _in_time(path, _remove, path)
    for wanted, number in left.items():
        warnings.append(
            f"snapshots that wait in {escape(directory)} for {escape(wanted)}: {number}; if that is"
            f" {store.location} now, `jwqlscan db flush --from-others`"
        )
    for path, reason in list(newer.items())[:1]:
        warnings.append(
            f"{counted(len(newer), 'snapshot')} in {escape(directory)} that a newer jwqlscan wrote"
            f" {'stays' if len(newer) == 1 else 'stay'} there ({escape(os.path.basename(path))}:"
            f" {escape(str(reason))}): update jwqlscan on this host, then `jwqlscan db flush`"
        )
    return Flushed(stored, set_aside, tuple(warnings))


async def _in_time(path: str, function: Callable[[str], Result], argument: str) -> Result:
    """Look at the spool; a disk that does not answer, or a limit of the host, is the store's fault.

    Raises
    ------
    FileNotFoundError
    StoreUnavailableError
    """
    try:
        return await in_time(path, function, argument)
    except FileNotFoundError:
        raise
    except (OSError, MemoryError) as error:
        reason = shortage(error) or getattr(error, "strerror", "")
        raise StoreUnavailableError(f"spool {escape(path)}: {reason}") from error


class _NoSnapshotError(Exception):
    """A file is not a snapshot; the text is the reason."""


def _read(path: str) -> tuple[Snapshot, str, bool]:
    """Read a snapshot, the location of the store it is for, and whether that was the configured.

    A name that leads elsewhere, or to what is no file, is not followed.

    Raises
    ------
    NewerRecordError
        If a newer version of this program wrote it, and this one can't read it.
    FileNotFoundError
        If it is no longer there.
    OSError
        If the process can't open it now.
    _NoSnapshotError
    """
    try:
        fd = os.open(path, READ_FLAGS)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise _NoSnapshotError("no regular file")
            if status.st_size > _MAX_BYTES:
                raise _NoSnapshotError(f"no snapshot: {format_bytes(status.st_size)}")
            with open(fd, "rb", closefd=False) as file:
                content = file.read()
        finally:
            os.close(fd)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or shortage(error):
            raise
        what = "a symbolic link" if error.errno == errno.ELOOP else f"unreadable: {error.strerror}"
        raise _NoSnapshotError(what) from error
    written_by: object = None
    try:
        record = json.loads(content, parse_constant=_refuse_constant)
        if not isinstance(record, dict):
            raise _NoSnapshotError("no snapshot: no JSON object")
        written_by = record.get("version")
        wanted, configured = record.pop(FOR_STORE, ""), record.pop(CONFIGURED, True)
        _check_types(wanted, str, FOR_STORE)
        _check_types(configured, bool, CONFIGURED)
        snapshot = Snapshot.from_record(record)
        _check_types(snapshot, Snapshot, "snapshot")
        uuid.UUID(snapshot.run_id)
    except NewerRecordError:
        raise
    except (
        *(ValueError, TypeError, AttributeError),
        *(KeyError, IndexError, OverflowError, RecursionError),
    ) as error:
        missing = isinstance(error, KeyError)
        reason = f"{error} is missing" if missing else escape(str(error))
        if is_newer(written_by, __version__):
            raise NewerRecordError(f"{written_by} wrote it, and {reason}") from error
        raise _NoSnapshotError(f"no snapshot: {reason}") from error
    return snapshot, wanted, configured


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _check_types(value: Any, wanted: Any, where: str) -> None:  # noqa: ANN401 - what JSON has
    """Refuse a value whose type is not that of the record class; JSON has its own types.

    Raises
    ------
    TypeError
    """
    parts = get_args(wanted)
    kind: Any = get_origin(wanted) or wanted
    if kind is types.UnionType:  # here always one with None
        if value is not None:
            _check_types(value, parts[0], where)
        return
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise TypeError(f"{where} is no {kind.__name__}")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise TypeError(f"{where} has no time zone")
    if is_dataclass(value) or hasattr(value, "_fields"):
        for name, hint in get_type_hints(type(value)).items():
            _check_types(getattr(value, name), hint, name)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_types(key, parts[0], f"a key of {where}")
            _check_types(item, parts[1], where)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_types(item, parts[0], where)


def _remove(path: str) -> list[str]:
    """Remove a file that is stored, so that it stays removed; return a warning if it can't be."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        _sync(os.path.dirname(path))
    except OSError as error:
        return [f"{escape(path)} is stored, but can't be removed: {error.strerror}"]
    return []


async def _set_aside(path: str, reason: str) -> str:
    """Move a file to ``bad``, with the reason beside it, and return a line that reports it."""
    place = os.path.join(os.path.dirname(path), BAD)
    try:
        target = await in_time(path, _move, path, place)
        await write_atomically(f"{target}.reason", f"{reason}\n", mode=SPOOL_MODE, group=None)
    except OSError as error:
        return f"{escape(path)}: {reason}; can't be set aside in {escape(place)}: {error.strerror}"
    return f"{escape(path)}: {reason}; not stored, set aside in {escape(place)}"


def _restore_bad(directory: str) -> list[str]:
    """Move what was set aside back to where it waits; return a warning for what can't be moved."""
    place = os.path.join(directory, BAD)
    try:
        names = sorted(os.listdir(place))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{escape(place)}: {error.strerror}: what was set aside is not tried again"]
    warnings = []
    for name in names:
        original = re.sub(r"\.json\.[0-9]+$", ".json", name)  # see `_move`
        if not original.endswith(".json"):
            continue  # a reason, or nothing of ours
        source, target = os.path.join(place, name), os.path.join(directory, original)
        number = 1
        while os.path.lexists(target):
            number += 1
            target = os.path.join(directory, f"{original.removesuffix('.json')}.{number}.json")
        try:
            os.rename(source, target)
            with suppress(FileNotFoundError):
                os.unlink(f"{source}.reason")
        except OSError as error:
            warnings.append(f"{escape(source)} can't be tried again: {error.strerror}")
    _sync(directory)
    _sync(place)
    return warnings


def _move(path: str, place: str) -> str:
    """Move a file into a directory, beside what is there of the same name; return where it is."""
    os.makedirs(place, mode=0o700, exist_ok=True)
    target, number = os.path.join(place, os.path.basename(path)), 1
    while os.path.lexists(target):
        number += 1
        target = os.path.join(place, f"{os.path.basename(path)}.{number}")
    os.rename(path, target)
    _sync(place)
    _sync(os.path.dirname(path))
    return target


def _sync(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
