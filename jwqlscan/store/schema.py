"""Schema versions: numbered SQL files, one directory a dialect, applied in order."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

from jwqlscan.errors import StoreError

APPLICATION_ID = 0x4A57514C  # "JWQL": marks our SQLite files, and is our PostgreSQL advisory lock

NO_STORE = (
    "holds no runs of jwqlscan: name another (`jwqlscan db import-jwql` takes what JWQL's monitor"
    " stored)"
)


MISSING = "is not there: check the path, the first `jwqlscan run` makes it"
OLDER_SCHEMA = (
    "was made by an older version, and can't be written by this user: run `jwqlscan db migrate` as"
    " its owner"
)


class Migration(NamedTuple):
    """One step of a schema: it takes version - 1 to version."""

    version: int
    sql: str


def migrations(dialect: str) -> tuple[Migration, ...]:
    """Return the steps of a dialect, ``sqlite`` or ``postgresql``, from version 1 on."""
    directory = resources.files("jwqlscan.store") / "migrations" / dialect
    files = sorted(
        (entry for entry in directory.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return tuple(Migration(int(file.name[:4]), file.read_text("utf-8")) for file in files)


def steps_from(version: int, dialect: str, location: str) -> tuple[Migration, ...]:
    """Return what is still to be applied to a store that is at `version`.

    Raises
    ------
    StoreError
        If the store is newer than this jwqlscan: writing into it could harm it.
    """
    steps = migrations(dialect)
    newest = steps[-1].version
    if version > newest:
        raise StoreError(
            f"{location}: its schema version {version} is newer than {newest}, the newest known"
            " here: update jwqlscan on this host"
        )
    return steps[version:]
