"""Stores: where snapshots live. One protocol, two backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, NamedTuple, Protocol, Self

from jwqlscan.history import History
from jwqlscan.insight import Insight
from jwqlscan.snapshot import Snapshot

MONITOR_NAME = "filesystem_monitor"


class LastArea(NamedTuple):
    """What an earlier run found in an area; the test for one that is suddenly empty, or smaller."""

    files: int
    entries: int
    apparent_bytes: int = 0


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

    async def last_areas(self) -> Mapping[tuple[str, str], LastArea]:
        """Return what the newest real (not sample) run found, by (group, area).

        Before our first run in a JWQL database this comes from JWQL's newest rows: they count the
        archive's files (taken for its entries too), and of central storage tell only whether it
        used any bytes (1 or 0 files and entries).
        """
        ...

    async def last_complete_areas(self) -> Mapping[tuple[str, str], LastArea]:
        """Return what the newest real run that is complete and not suspect found.

        Empty before there is one. JWQL's rows are not asked: they counted files twice.
        """
        ...

    async def select(self, question: str, *values: object) -> list[Sequence[Any]]:
        """Return the rows of a question that `store.questions` words for both dialects."""
        ...

    async def history(self, since: datetime | None = None) -> History:
        """Return the JWQL tables' rows from `since` on (UTC, aware), as columns."""
        ...

    async def insight(self) -> Insight:
        """Return what the newest run that looked knows of its areas, and what grew until then."""
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


def open_store(url: str) -> Store:
    """Return the store that a database URL names; nothing is opened yet.

    Parameters
    ----------
    url : str
        ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://…``.
    """
    if url.startswith("sqlite:///"):
        from jwqlscan.store.sqlite import SqliteStore

        return SqliteStore(url.removeprefix("sqlite:///"))
    from jwqlscan.store.postgresql import PostgresqlStore

    return PostgresqlStore(url)
