"""Warnings that hold from run to run: each is given once, not every night.

A cron mail that comes every night is read by nobody. What a run has reported is kept in
``reported.json`` in the state directory; a warning whose cause is gone is removed from it, so that
it is given again if the cause comes back.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Sequence

from jwqlscan.errors import LastingWarning
from jwqlscan.system.atomic_files import READ_FLAGS, in_time, write_atomically

NAME = "reported.json"
_MODE = 0o600
_MAX_KEPT = 1000
_MAX_BYTES = 2**24

# With another number it is the same warning: 1 row left out, 2 rows left out.
_NUMBER = re.compile(r"\b[0-9][0-9,.]*\b(?: rows?\b)?")


async def unreported(
    state_path: str, warnings: Sequence[str], *, all_known: bool = True
) -> list[str]:
    """Return the warnings without those that an earlier run has given, and remember these.

    Parameters
    ----------
    state_path : str
    warnings : sequence of str
        Those that are no `LastingWarning` are always returned.
    all_known : bool
        Whether all lasting warnings were checked; those that were not found are then
        forgotten. A run that does not reach its database knows less.

    Notes
    -----
    A file that can't be read or written costs nothing but repetition.
    """
    path = os.path.join(state_path, NAME)
    try:
        before = await in_time(path, _read, path)
    except OSError:  # its disk does not answer
        before = []
    keys = {_key(warning): None for warning in warnings if isinstance(warning, LastingWarning)}
    kept = list(keys if all_known else {**dict.fromkeys(before), **keys})[:_MAX_KEPT]
    if kept != before:
        try:
            await write_atomically(path, json.dumps(kept, indent=1) + "\n", _MODE, None)
        except OSError:
            return list(warnings)
    new = {key: None for key in keys if key not in before}
    return [
        warning
        for warning in warnings
        # Of several snapshots that are stored at once each may have it.
        if not isinstance(warning, LastingWarning) or new.pop(_key(warning), 0) is None
    ]


def _key(warning: str) -> str:
    return _NUMBER.sub("N", warning)


def _read(path: str) -> list[str]:
    try:
        with open(os.open(path, READ_FLAGS), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return []
            keys = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return []
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []
