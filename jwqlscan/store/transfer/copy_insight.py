"""Copying what runs found by class, owner, program and directory: spans of dates, not rows of runs.

Values are written first, and then that the runs looked: until then nobody reads them, so that a
copy that was cut off leaves complete chunks only, and the next one continues after them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from jwqlscan.store import Store
from jwqlscan.store.rows import Row, TableRows
from jwqlscan.store.transfer.merge import Span, Timeline
from jwqlscan.store.transfer.rows import neutral_rows

INSIGHT = "scan_insight"
SERIES = "scan_series"
VALUES = "scan_value"
INSIGHT_TABLES = (INSIGHT, SERIES, VALUES)

# Read and written at a time.
_CHUNK_ROWS = 50_000

# Of one statement: far below what PostgreSQL and SQLite take as parameters.
_PARAMETERS = 500

_RUN_IDS = "SELECT run_id FROM scan_run"

Columns = Mapping[str, tuple[str, ...]]
Area = tuple[str, str]  # its group and name
Key = tuple[str, str]  # a series' kind and key
Ids = Mapping[Key, int]

T = TypeVar("T")


async def copy_insight(source: Store, target: Store, columns: Columns) -> Counter[str]:
    """Copy the insight of the runs that are in both stores and lack it in the target.

    Parameters
    ----------
    source, target : Store
        Both entered; the runs are copied.
    columns : mapping of str to tuple of str
        What is copied of each of the three tables.

    Returns
    -------
    Counter of str
        Rows written, by table.
    """
    written: Counter[str] = Counter()
    looked = columns[INSIGHT]
    run, date = looked.index("run_id"), looked.index("date_us")
    here = await _looked(source, looked)
    for area, rows in here.items():
        async with target.exclusive():
            runs = {row[0] for row in neutral_rows(await target.select(_RUN_IDS))}
            there = (await _looked(target, looked)).get(area, [])
            known = {int(str(row[date])) for row in there}
            new = {
                int(str(row[date])): row
                for row in rows
                if int(str(row[date])) not in known and row[run] in runs
            }
            if new:
                chunk = _InsightChunk(
                    source, target, columns, area, Timeline(new, known), len(known)
                )
                written += await chunk.copy()
                insert = TableRows(INSIGHT, looked, [new[moment] for moment in sorted(new)])
                await target.write([insert], expected=chunk.expected)
                written[INSIGHT] += len(new)
    return written


async def _looked(store: Store, columns: tuple[str, ...]) -> dict[Area, list[Row]]:
    """Return the rows of `scan_insight` by area."""
    group, area = columns.index("area_group"), columns.index("area")
    areas: dict[Area, list[Row]] = {}
    question = f"SELECT {', '.join(columns)} FROM {INSIGHT}"  # noqa: S608 - names of our own
    for row in neutral_rows(await store.select(question)):
        areas.setdefault((str(row[group]), str(row[area])), []).append(row)
    return areas


class _InsightChunk:
    """One area's values: read series by series from both stores, and put together in one."""

    def __init__(
        self,
        source: Store,
        target: Store,
        columns: Columns,
        area: Area,
        timeline: Timeline,
        known: int,
    ) -> None:
        self._source = source
        self._target = target
        self._area = area
        self._timeline = timeline
        self._span = (timeline.dates[0], timeline.dates[-1])
        own = ("series_id", "first_us", "last_us")
        self._names = (*own, *(name for name in columns[VALUES] if name not in own))
        # Of a run that was stored meanwhile the spans that were read know nothing.
        self.expected = (
            f"SELECT count(*) FROM {INSIGHT} WHERE area_group = $1 AND area = $2",  # noqa: S608 - names of our own
            area,
            known,
        )

    async def copy(self) -> Counter[str]:
        """Write the values of the new dates; return the rows written by table."""
        written: Counter[str] = Counter()
        here, there = await self._series(self._source), await self._series(self._target)
        missing_rows = [key for key in here if key not in there]
        for some in _in_chunks(missing_rows, _CHUNK_ROWS):
            rows = TableRows(
                SERIES, ("area_group", "area", "kind", "key"), [(*self._area, *key) for key in some]
            )
            await self._target.write([rows], expected=self.expected)
            written[SERIES] += len(some)
        if missing_rows:
            there = await self._series(self._target)
        for keys in await self._chunks(here, there):
            new = await self._spans(self._source, here, keys)
            known = await self._spans(self._target, there, keys)
            gone: list[tuple[int, int]] = []
            more: list[Row] = []
            for key in keys:
                before = known.get(key, [])
                after = self._timeline.merged(new.get(key, []), before)
                kept = set(before).intersection(after)
                gone += [(there[key], span.first) for span in before if span not in kept]
                more += [
                    (there[key], span.first, span.last, *span.values)
                    for span in after
                    if span not in kept
                ]
            if gone or more:
                await self._target.write(
                    [TableRows(VALUES, self._names, more)],
                    list(_removing(gone)),
                    expected=self.expected,
                )
            written[VALUES] += len(more)
        return written

    async def _series(self, store: Store) -> dict[Key, int]:
        question = "SELECT kind, key, id FROM scan_series WHERE area_group = $1 AND area = $2"
        return {
            (kind, key): number for kind, key, number in await store.select(question, *self._area)
        }

    async def _chunks(self, here: Ids, there: Ids) -> list[list[Key]]:
        """Return the series in chunks whose spans are about `_CHUNK_ROWS`."""
        weights: Counter[Key] = Counter()
        for store, ids in ((self._source, here), (self._target, there)):
            keys = {number: key for key, number in ids.items()}
            question = (
                f"SELECT series_id, count(*) FROM {VALUES}"  # noqa: S608 - names of our own
                " WHERE last_us >= $1 AND first_us <= $2 GROUP BY series_id"
            )
            for number, count in await store.select(question, *self._span):
                if number in keys:
                    weights[keys[number]] += count
        chunks: list[list[Key]] = []
        size = _CHUNK_ROWS
        for key in sorted(weights):
            if size + weights[key] > _CHUNK_ROWS:
                chunks.append([])
                size = 0
            chunks[-1].append(key)
            size += weights[key]
        return chunks

    async def _spans(self, store: Store, ids: Ids, keys: Sequence[Key]) -> dict[Key, list[Span]]:
        """Return the spans of some series that touch the timeline, in order of their dates."""
        numbers = {ids[key]: key for key in keys if key in ids}
        found: dict[Key, list[Span]] = {}
        for some in _in_chunks(sorted(numbers), _PARAMETERS):
            marks = ", ".join(f"${number}" for number, _ in enumerate(some, 3))
            rows = await store.select(
                f"SELECT {', '.join(self._names)} FROM {VALUES}"  # noqa: S608 - names of our own
                f" WHERE last_us >= $1 AND first_us <= $2 AND series_id IN ({marks})"
                " ORDER BY series_id, first_us",
                *self._span,
                *some,
            )
            for number, first, last, *values in rows:
                found.setdefault(numbers[number], []).append(Span(first, last, tuple(values)))
        return found


def _removing(gone: Sequence[tuple[int, int]]) -> Iterator[tuple[str, Sequence[object]]]:
    """Yield statements that remove spans by series and first date."""
    for some in _in_chunks(gone, _PARAMETERS // 2):
        where = " OR ".join(
            f"(series_id = ${2 * number + 1} AND first_us = ${2 * number + 2})"
            for number, _ in enumerate(some)
        )
        yield f"DELETE FROM {VALUES} WHERE {where}", [part for pair in some for part in pair]  # noqa: S608 - names of our own


def _in_chunks(some: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(some), size):
        yield some[start : start + size]
