"""The newest rows of areas that runs stored: what a run is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jwqlscan.model.snapshot import MISSING
from jwqlscan.store import LastArea
from jwqlscan.store.queries import Asked, as_date
from jwqlscan.system.clock import LATEST

# The newest run that measured an area is looked for among this many.
WITHIN_RUNS = 100

# Without areas of which a run could read nothing: their contents are not known to be none.
_AREAS = (
    "SELECT {date:r.date}, a.area_group, a.area, a.files,"
    " a.files + a.directories + a.symlinks + a.other, a.apparent_bytes, a.state, a.path, a.note"
    " FROM scan_area a JOIN scan_run r USING (run_id)"
    " WHERE NOT (a.files = 0 AND a.state IN ('stopped', 'stalled', 'failed'))"
)
_LAST = (
    f"{_AREAS} AND run_id IN (SELECT run_id FROM scan_run WHERE NOT sample"  # noqa: S608 - names of our own
    " AND date <= {date:$1} ORDER BY date DESC LIMIT $2) ORDER BY r.date"
)
_LAST_COMPLETE = (
    f"{_AREAS} AND run_id = (SELECT run_id FROM scan_run WHERE NOT sample"  # noqa: S608 - names of our own
    " AND status = 'complete' AND date <= {date:$1} ORDER BY date DESC LIMIT 1)"
)


async def last_areas(
    store: Asked, until: datetime | None = None
) -> dict[tuple[str, str], LastArea]:
    """Return what the newest real (not sample) run that measured an area found there.

    An area may have been left out of the configuration for a while, or its storage did not answer:
    then that run is not the last one.

    Parameters
    ----------
    store : Asked
    until : datetime, optional
        Runs dated later are left out.

    Returns
    -------
    dict of (str, str) to LastArea
        By (group, area). Empty before there is a run: `store.jwql_areas` has what JWQL found.
    """
    return _by_area(await store.select(_LAST, until or LATEST, WITHIN_RUNS))


async def last_complete_areas(
    store: Asked, until: datetime | None = None
) -> dict[tuple[str, str], LastArea]:
    """Return what the newest real run that is complete and not suspect found, by (group, area).

    Empty before there is one. `until` as in `last_areas`.
    """
    return _by_area(await store.select(_LAST_COMPLETE, until or LATEST))


def _by_area(rows: Sequence[Sequence[Any]]) -> dict[tuple[str, str], LastArea]:
    """Return the last row of each area."""
    newest = rows[-1][0] if rows else None
    return {
        (group, area): LastArea(
            files,
            entries,
            apparent_bytes,
            date=None if date == newest else as_date(date),
            missing=(path, note) if state == MISSING else None,
        )
        for date, group, area, files, entries, apparent_bytes, state, path, note in rows
    }
