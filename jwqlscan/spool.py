"""The spool: finished snapshots on local disk until the store has them.

Every snapshot goes through it, so that what was measured survives a store that is down and a
process that is killed. One JSON file a run, named by its time, so that names sort oldest first.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

from jwqlscan.files import write_atomically
from jwqlscan.paths import shown
from jwqlscan.snapshot import Snapshot
from jwqlscan.store import Store

log = logging.getLogger(__name__)

SPOOL_MODE = 0o600


async def put(directory: str, snapshot: Snapshot) -> str:
    """Write a snapshot to the spool and return its file."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    stamp = snapshot.timestamp.strftime("%Y%m%dT%H%M%S.%fZ")
    path = os.path.join(directory, f"{stamp}-{snapshot.run_id}.json")
    await write_atomically(path, json.dumps(snapshot.to_record()), mode=SPOOL_MODE, group=None)
    return path


def waiting(directory: str) -> list[str]:
    """Return the files that wait, oldest first."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [
        os.path.join(directory, name)
        for name in sorted(names)
        if name.endswith(".json") and not name.startswith(".")
    ]


async def flush(directory: str, store: Store) -> list[str]:
    """Store what waits, oldest first, and return the store's warnings.

    A file is removed only once the store has committed it; storing it twice changes nothing. A
    file that is no snapshot is set aside as ``NAME.bad``, and the rest goes on.

    Raises
    ------
    StoreError
        If the store can't take one; that one and those after it stay.
    """
    warnings: list[str] = []
    for path, snapshot in _read(waiting(directory)):
        warnings += await store.record(snapshot)
        os.unlink(path)
    return warnings


def _read(paths: list[str]) -> Iterator[tuple[str, Snapshot]]:
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                snapshot = Snapshot.from_record(json.load(file))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.error(
                "%s is no snapshot (%s): set aside as %s.bad", shown(path), error, shown(path)
            )
            os.replace(path, f"{path}.bad")
        else:
            yield path, snapshot
