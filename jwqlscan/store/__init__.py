"""Stores: where snapshots live. One protocol, two backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from jwqlscan.model.baseline import JWQLSCAN
from jwqlscan.model.history import History
from jwqlscan.model.snapshot import Snapshot

if TYPE_CHECKING:
    from jwqlscan.store.jwql_columns import Column
    from jwqlscan.store.rows import TableRows

Statement = tuple[str, Sequence[object]]

MEANWHILE = "a run was stored meanwhile: do it again"

# What JWQL's own monitor is called in the table `monitor`, and so a run of ours.
MONITOR_NAME = "monitor_filesystem"

# What runs of version 0.1.0 were called there; JWQL never used that name.
OLD_MONITOR_NAME = "filesystem_monitor"


class Tables(Enum):
    """What is done about the tables when a store is opened."""

    MADE = "made, or brought up to this version"
    IF_PRESENT = "as MADE, but an SQLite file that is not there is not made"
    EXPECTED = "brought up to this version; a store without any is refused"
    FOREIGN = "left as they are: the database is another program's"


class LastArea(NamedTuple):
    """What an earlier run found in an area; the test for one that is suddenly empty, or smaller.

    Attributes
    ----------
    files, entries, apparent_bytes : int
    origin : str
        As `jwqlscan.model.baseline` has it.
    date : datetime or None
        Of JWQL's row, or of the run if it is not the last one.
    halved : bool
        JWQL counted everything twice then: these are the halves.
    missing : (str, str) or None
        Path and reason, as stored, where the area's directory did not exist and the operator
        accepted that.
    """

    files: int
    entries: int
    apparent_bytes: int = 0
    origin: str = JWQLSCAN
    date: datetime | None = None
    halved: bool = False
    missing: tuple[str, str] | None = None


class Store(Protocol):
    """Holds snapshots. An async context manager: entering connects and brings the schema up.

    Every method raises `StoreUnavailableError` if the database does not answer in time, and
    `StoreError` if it answers but can't do what is asked.
    """

    @property
    def location(self) -> str:
        """Where the store is, without any password."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    def exclusive(self) -> AbstractAsyncContextManager[None]:
        """Keep other hosts from storing while the block runs; `StoreUnavailableError` if one is."""
        ...

    async def record(self, snapshot: Snapshot) -> list[str]:
        """Store a snapshot in one transaction; one already stored (by run_id) changes nothing.

        Returns
        -------
        list of str
            Warnings: rows that an existing JWQL table could not take.

        Raises
        ------
        SnapshotRefusedError
            If a value does not fit, or the date is taken: this one can't be stored, others can.
        """
        ...

    async def record_failure(self, started: datetime, ended: datetime, log_file: str) -> None:
        """Note in the `monitor` table that a run failed; nothing else is stored.

        After an error of any method the store can still be used: this one too.
        """
        ...

    async def select(self, question: str, *values: object) -> list[Sequence[Any]]:
        """Return the rows of a question that `store.questions` words for both dialects."""
        ...

    async def verify(self) -> None:
        """Look for damage, where that takes a moment.

        Raises
        ------
        StoreDamagedError
        """
        ...

    async def obstacles(self) -> list[str]:
        """Look, at length, for what would keep a run from being stored.

        Returns
        -------
        list of str
            A line for each obstacle, for example a missing privilege.

        Raises
        ------
        StoreDamagedError
        """
        ...

    async def quarantine(self) -> str:
        """Move a damaged file out of the way, and return a line that reports it.

        Called after `StoreDamagedError` by whoever holds the run's lock. Returns "" where another
        look finds no damage.
        """
        ...

    async def history(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> History:
        """Return the JWQL tables' rows from `since` to `until` (UTC, aware), as columns."""
        ...

    async def thin_insight(self, before: datetime | None) -> int:
        """Keep, of what is older than `before`, the insight of the newest run of each week only.

        The runs' other numbers stay. What only runs knew that are gone, thinned now or deleted by
        anyone, is swept away; with None that alone is done.

        Returns
        -------
        int
            How much insight was thinned, in areas of runs.
        """
        ...

    async def identity(self) -> str:
        """Return a text that is the same for two names of one store."""
        ...

    async def catalog(self) -> Mapping[str, Mapping[str, Column]]:
        """Return the columns of the JWQL tables and our own, as they are in this store."""
        ...

    async def write(
        self,
        tables: Sequence[TableRows],
        statements: Sequence[Statement] = (),
        expected: tuple[str, Sequence[object], int] | None = None,
    ) -> list[str]:
        """Run statements, then insert rows in the order given, in one transaction.

        Parameters
        ----------
        tables : sequence of TableRows
            Values as `store.transfer.rows.neutral` has them, the same for every store.
        statements : sequence of (str, sequence of object)
            Worded as for `select`, with their values.
        expected : (str, sequence of object, int), optional
            A question, its values and the one number that it has to give; else nothing is done.

        Returns
        -------
        list of str
            Warnings: rows that an existing JWQL table could not take.

        Raises
        ------
        StoreUnavailableError
            Also if the answer to `expected` is another: somebody has stored meanwhile.
        """
        ...


def open_store(url: str, tables: Tables = Tables.MADE) -> Store:
    """Return the store that a database URL names; nothing is opened yet.

    Parameters
    ----------
    url : str
        ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://…``.
    tables : Tables
    """
    if url.startswith("sqlite:///"):
        from jwqlscan.store.sqlite import SqliteStore

        return SqliteStore(url.removeprefix("sqlite:///"), tables=tables)
    from jwqlscan.store.postgresql import PostgresqlStore

    return PostgresqlStore(url, tables=tables)
