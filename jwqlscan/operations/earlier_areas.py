"""What earlier runs found in the areas: all that a run, and the check before it, compare with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from jwqlscan.store import LastArea, Store
from jwqlscan.store.jwql_areas import jwql_areas
from jwqlscan.store.known_areas import last_areas, last_complete_areas
from jwqlscan.store.queries import future_dates


class Earlier(NamedTuple):
    """What is stored of earlier runs.

    Attributes
    ----------
    last : mapping or None
        What the newest run that measured an area found there or, before there is one, JWQL; None
        if the store can't be read.
    complete : mapping
        What the last complete run found or, before there is one, JWQL.
    future : list of datetime
        Dates of runs in the future, which are neither of the two.
    """

    last: Mapping[tuple[str, str], LastArea] | None
    complete: Mapping[tuple[str, str], LastArea]
    future: list[datetime]


async def earlier_areas(store: Store, until: datetime) -> Earlier:
    """Return what runs up to a date found in the areas.

    Raises
    ------
    StoreError
    """
    async with store:
        await store.verify()
        last, complete = await last_areas(store, until), await last_complete_areas(store, until)
        jwql = {} if last and complete else await jwql_areas(store, until)
        complete = complete or jwql
        # The last complete run may be older than those among which `last_areas` looks.
        return Earlier({**complete, **last}, complete, await future_dates(store, until))
