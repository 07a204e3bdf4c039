"""JWQL's newest numbers of each area: what the first run is compared with."""

from __future__ import annotations

from datetime import UTC, datetime

from jwqlscan.model.baseline import JWQL
from jwqlscan.model.snapshot import ALL
from jwqlscan.store import LastArea
from jwqlscan.store.invalid_rows import SPAN
from jwqlscan.store.queries import Asked, as_bytes, as_date
from jwqlscan.store.rows import ARCHIVE, CENTRAL

# From mid 2021 until its version 1.1.0 JWQL walked everything once for public and once for
# proprietary: rows of these months are halved, or the change would look like a loss of half.
DOUBLED = (datetime(2021, 5, 1, tzinfo=UTC), datetime(2022, 2, 1, tzinfo=UTC))

_OF_JWQL = (
    "{date:t.date} BETWEEN {date:$1} AND {date:$2}"
    " AND NOT EXISTS (SELECT 1 FROM scan_run r WHERE r.date = {date:t.date})"
)
_ARCHIVE = (
    "SELECT {date:t.date}, total_file_count, total_file_size FROM filesystem_general t"  # noqa: S608 - names of our own
    f" WHERE {_OF_JWQL} ORDER BY t.date DESC LIMIT 1"
)
_CENTRAL = (
    "SELECT {date:t.date}, {text:t.area}, t.used FROM central_storage t"  # noqa: S608 - names of our own
    " JOIN (SELECT area, max(date) AS newest FROM central_storage t"
    f" WHERE {_OF_JWQL} GROUP BY area) n ON n.area = t.area AND n.newest = t.date"
)


async def jwql_areas(store: Asked, until: datetime) -> dict[tuple[str, str], LastArea]:
    """Return JWQL's newest numbers up to a date, by (group, area); empty without any.

    Of the archive JWQL counted files, links to files among them, in all only. Of central storage it
    kept bytes: an area that used any counts as one file here, which is enough to notice that it is
    suddenly empty.
    """
    span = (SPAN[0], until)
    areas = {}
    for date, files, size in await store.select(_ARCHIVE, *span):
        day, apparent_bytes = as_date(date), as_bytes(size) or 0
        doubled = DOUBLED[0] <= day < DOUBLED[1]
        if doubled:
            files, apparent_bytes = files // 2, apparent_bytes // 2
        areas[ARCHIVE, ALL] = LastArea(files, files, apparent_bytes, JWQL, day, doubled)
    for date, area, used in await store.select(_CENTRAL, *span):
        files = 1 if as_bytes(used) else 0
        areas[CENTRAL, area] = LastArea(files, files, 0, JWQL, as_date(date))
    return areas
