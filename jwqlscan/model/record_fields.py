"""Fields of a stored record, and records that a newer version of this program wrote.

A record waits in the spool while the program is updated, or set back to the version before. So an
older record is read for ever (a field that it lacks has a default), and a newer one is left where
it is: what this version does not know of it would be lost.

A release that changes what a known field means, or how many values a row has, raises
`jwqlscan.model.snapshot.RECORD_VERSION`; one that adds a field does not have to.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping


class NewerRecordError(ValueError):
    """A record that only a newer version of this program can read."""


def check_fields(record: Mapping[str, object], known: Collection[str], where: str) -> None:
    """Refuse a record that has fields this version does not know.

    Parameters
    ----------
    record : mapping of str to object
    known : collection of str
    where : str
        The name of the record in the message.

    Raises
    ------
    NewerRecordError
    """
    unknown = sorted(str(name) for name in record.keys() - set(known))
    if unknown:
        raise NewerRecordError(f"{where} has the unknown field {unknown[0]!r}")


def is_newer(version: object, than: str) -> bool:
    """Return whether a version number, as text, is greater than another; False if it is none."""
    return isinstance(version, str) and _release(version) > _release(than)


def _release(version: str) -> tuple[int, ...]:
    # The release segment alone: what follows it (rc1, .dev3, +local) is the same record format.
    found = re.match(r"[0-9]{1,9}(?:\.[0-9]{1,9})*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and not numbers[-1]:  # 1.0 is 1
        numbers.pop()
    return tuple(numbers)
