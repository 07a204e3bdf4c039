"""What waits in the spool, without reading the snapshots."""

from __future__ import annotations

import json
import os
import re
import time

from jwqlscan.errors import StoreError
from jwqlscan.store.dsn import same_place
from jwqlscan.system.atomic_files import READ_FLAGS
from jwqlscan.text import escape
from jwqlscan.units import counted, format_bytes

# Keys of a snapshot's file beside its record: the location of the store it is for, and whether that
# is the one that the configuration names, not an option.
FOR_STORE, CONFIGURED = "for_store", "configured"
_HEAD_BYTES = 2**14
_DESTINATION = re.compile(
    rf'\{{"{FOR_STORE}": ("(?:[^"\\]|\\.)*"), "{CONFIGURED}": (true|false)'.encode()
).match


# A daily run's snapshot is some 100 kB. These are months without a store.
MANY_FILES = 100
MANY_BYTES = 2**30
OLD_S = 30 * 86400.0


def waiting(directory: str) -> list[str]:
    """Return the files that wait, oldest first.

    Raises
    ------
    StoreError
        If the directory can't be read.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        where = "state.path must be a directory you can read"
        raise StoreError(f"spool {escape(directory)}: {error.strerror}; {where}") from error
    return [
        os.path.join(directory, name)
        for name in sorted(names)
        if name.endswith(".json") and not name.startswith(".")
    ]


def count_for_others(directory: str, location: str, *, configured: bool) -> int:
    """Return how many of the snapshots that wait are for other stores; see `store_waiting`.

    Only the beginning of each file is read, where `put` writes what it is for.
    """
    count = 0
    for path in waiting(directory):
        try:
            with open(os.open(path, READ_FLAGS), "rb") as file:
                found = _DESTINATION(file.read(_HEAD_BYTES))
        except OSError:  # stored meanwhile, or what is no file: `store_waiting` reports it
            continue
        if found is not None:
            its_own = same_place(json.loads(found[1]), location)
            count += not (its_own or (configured and found[2] == b"true"))
    return count


def crowding(directory: str) -> list[str]:
    """Return a warning if too much waits, or for too long.

    Nothing is deleted: it is what the archive was, and can't be measured again.
    """
    found = []
    for path in waiting(directory):
        try:
            found.append(os.lstat(path))
        except FileNotFoundError:
            continue
    size = sum(status.st_size for status in found)
    age_s = time.time() - min((status.st_mtime for status in found), default=time.time())
    if len(found) <= MANY_FILES and size <= MANY_BYTES and age_s <= OLD_S:
        return []
    return [
        f"waiting in {escape(directory)}: {counted(len(found), 'snapshot')} ({format_bytes(size)}),"
        f" the oldest for {counted(int(age_s // 86400), 'day')}: the store must be reached, then"
        " `jwqlscan db flush`"
    ]
