"""What the insight tables hold of a snapshot: values that last from run to run; no SQL.

See the migration ``0003_insight``. A series is a cell of the cube, a program or a directory of an
area; a value is a row for as long as it stays the same. Runs come in any order, and may go.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jwqlscan.model.cube import PRODUCT_EXTENSION, CellKey, FileClass
from jwqlscan.model.directory_totals import DirectorySum
from jwqlscan.model.snapshot import AreaSnapshot, Snapshot
from jwqlscan.text import escape

FOREVER_US = 2**63 - 1  # the end of what is still so
_INT64_MAX = 2**63 - 1

CELL, PROGRAM, DIRECTORY = KINDS = ("cell", "program", "directory")

# PostgreSQL indexes no text beyond some 2,700 bytes; a path has up to 4,096, and longer as shown.
MAX_KEY_LENGTH = 2_000
_KEPT_OF_LONG = 300

# Text that is its own key: printable ASCII that neither `shown` nor JSON escapes.
_PLAIN = re.compile(r"[ !#-\[\]-~]*").fullmatch

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Numbers = tuple[int, int, int, int, int]  # as DirectorySum; only directories have the last two


# The statements of both dialects, parameters as in `store.questions`.
NEIGHBOURS = (
    "SELECT (SELECT max(date_us) FROM scan_insight"
    " WHERE area_group = $1 AND area = $2 AND date_us < $3),"
    " (SELECT min(date_us) FROM scan_insight"
    " WHERE area_group = $1 AND area = $2 AND date_us > $3)"
)
SERIES = "SELECT key, id FROM scan_series WHERE area_group = $1 AND area = $2 AND kind = $3"
VALID_VALUES = (
    "SELECT s.key, v.files, v.apparent_bytes, v.allocated_bytes, v.fits_files, v.fits_bytes,"
    " v.series_id, v.first_us, v.last_us"
    " FROM scan_value v JOIN scan_series s ON s.id = v.series_id"
    " WHERE s.area_group = $1 AND s.area = $2 AND s.kind = $3"
    " AND v.last_us >= $4 AND v.first_us <= $5"
)
DELETE = "DELETE FROM scan_value WHERE series_id = $1 AND first_us = $2"
END = "UPDATE scan_value SET last_us = $1 WHERE series_id = $2 AND first_us = $3"
INSERT_INSIGHT = (
    "INSERT INTO scan_insight (run_id, area_group, area, date_us, complete, details)"
    " VALUES ($1, $2, $3, $4, $5, $6)"
)
SERIES_COLUMNS = ("area_group", "area", "kind", "key")
VALUE_COLUMNS = (
    *("series_id", "first_us", "last_us"),
    *("files", "apparent_bytes", "allocated_bytes", "fits_files", "fits_bytes"),
)
# Of each week the newest run before a date stays.
THIN = (
    "DELETE FROM scan_insight WHERE date_us < $1 AND (area_group, area, date_us) NOT IN"
    " (SELECT area_group, area, max(date_us) FROM scan_insight WHERE date_us < $1"
    " GROUP BY area_group, area, date_us / 604800000000)"
)
# OFFSET 0 keeps PostgreSQL from joining all series with all looks: 1 s for 20 s, of 210,000 values.
SWEEP = (
    "DELETE FROM scan_value WHERE NOT EXISTS (SELECT 1 FROM scan_series s JOIN scan_insight i"
    " ON i.area_group = s.area_group AND i.area = s.area WHERE s.id = scan_value.series_id"
    " AND i.date_us BETWEEN scan_value.first_us AND scan_value.last_us LIMIT 1 OFFSET 0)",
    "DELETE FROM scan_series WHERE NOT EXISTS"
    " (SELECT 1 FROM scan_value v WHERE v.series_id = scan_series.id)",
)


class Value(NamedTuple):
    """A row of `scan_value`."""

    series_id: int
    first_us: int
    last_us: int
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class AreaState:
    """All numbers of an area in a run.

    Attributes
    ----------
    group, area : str
    complete : bool
    details : str
        JSON, see `details_of`.
    numbers : dict of str to dict of str to Numbers
        By kind, and by the series' key.
    """

    group: str
    area: str
    complete: bool
    details: str
    numbers: dict[str, dict[str, Numbers]]


@dataclass(slots=True)
class Changes:
    """What is to be done to `scan_value`, in this order."""

    deletes: list[tuple[int, int]] = field(default_factory=list)  # series_id, first_us
    ends: list[tuple[int, int, int]] = field(default_factory=list)  # last_us, series_id, first_us
    inserts: list[Value] = field(default_factory=list)


def microseconds(date: datetime) -> int:
    """Return a date as the tables have it."""
    since = date - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def states(snapshot: Snapshot) -> Iterator[AreaState]:
    """Yield the numbers of each area of a snapshot that has insight."""
    for area in snapshot.areas:
        if area.tally.cube or area.tally.tree:
            yield AreaState(
                area.group,
                escape(area.name),
                area.state == "complete" and not snapshot.suspicions,
                json.dumps(details_of(area), separators=(",", ":")),
                _numbers(area),
            )


def details_of(area: AreaSnapshot) -> dict[str, object]:
    """Return what there was no room for: how many classes, owners, programs and directories.

    ``untold`` has the bounds of missing directories (`model.directory_totals.MissingBounds`);
    ``least_bytes`` is the larger one of them; ``product_extension`` is that of the products, where
    it is not ``fits``.
    """
    tree = area.tally.tree
    folded = {escape(what): number for what, number in sorted(area.tally.cube.folded.items())}
    least = 0
    for sums, dropped in ((tree.upper, tree.upper_dropped), (tree.lower, tree.lower_dropped)):
        if dropped:
            folded["directories"] = folded.get("directories", 0) + dropped
            least = max(least, min((total.apparent_bytes for total in sums.values()), default=0))
    details: dict[str, object] = {"folded": folded, "least_bytes": least}
    if tree.untold is not None:
        details["least_bytes"] = max(tree.untold.upper_bytes or 0, tree.untold.lower_bytes)
        details["untold"] = tree.untold
    if area.tally.cube.product_extension != PRODUCT_EXTENSION:
        details["product_extension"] = escape(area.tally.cube.product_extension)
    return details


def _numbers(area: AreaSnapshot) -> dict[str, dict[str, Numbers]]:
    cube, tree = area.tally.cube, area.tally.tree
    labels = {one: _labels_text(one) for one in {key.file_class for key in cube.cells}}
    sums = tree.upper | tree.lower
    return {
        CELL: {
            _cell_text(labels[key.file_class], key): _fitting(*cell)
            for key, cell in cube.cells.items()
        },
        PROGRAM: {
            _clipped(_ascii(escape(program))): _fitting(*row)
            for program, row in cube.programs.items()
        },
        DIRECTORY: dict(zip(_directory_texts(sums), _all_fitting(sums.values()), strict=True)),
    }


def _all_fitting(sums: Iterable[DirectorySum]) -> Iterable[Numbers]:
    """Return what the columns take of many sums: themselves, nearly always."""
    rows: list[Numbers] = list(sums)
    columns = list(zip(*rows, strict=True))
    if all(max(columns[place]) <= _INT64_MAX for place in (1, 2, 4)[: len(columns)]):
        return rows
    return [_fitting(*row) for row in rows]


def _fitting(
    files: int, apparent: int, allocated: int = 0, fits_files: int = 0, fits_bytes: int = 0
) -> Numbers:
    if apparent <= _INT64_MAX and allocated <= _INT64_MAX and fits_bytes <= _INT64_MAX:
        return files, apparent, allocated, fits_files, fits_bytes
    return (
        files,
        min(apparent, _INT64_MAX),
        min(allocated, _INT64_MAX),
        fits_files,
        min(fits_bytes, _INT64_MAX),
    )


def cell_text(key: CellKey) -> str:
    """Return a cell's key as JSON."""
    return _cell_text(_labels_text(key.file_class), key)


def _labels_text(file_class: FileClass) -> str:
    return ",".join(json.dumps(escape(label)) for label in file_class)


def _cell_text(labels: str, key: CellKey) -> str:
    return f"[{labels},{key.uid},{key.gid},{key.age},{key.size}]"


def cell_key(text: str) -> CellKey:
    """Return the cell that `cell_text` wrote."""
    instrument, filetype, uid, gid, age, size = json.loads(text)
    return CellKey(FileClass(instrument, filetype), uid, gid, age, size)


def directory_text(path: str) -> str:
    """Return the key of a directory of `Directories`: safe to print, ASCII for any database."""
    return _clipped(_ascii(escape(path)))


def _directory_texts(paths: Collection[str]) -> Collection[str]:
    """Return the keys of many directories: nearly always the paths themselves."""
    if _PLAIN("".join(paths)) and max(map(len, paths), default=0) <= MAX_KEY_LENGTH:
        return paths
    return [directory_text(path) for path in paths]


def plain(key: str) -> str:
    """Return the text that a key of a program or directory stands for."""
    if "\\" not in key:
        return key
    text: str = json.loads(f'"{key}"')
    return text


def _ascii(text: str) -> str:
    return json.dumps(text)[1:-1]


def _clipped(key: str) -> str:
    if len(key) <= MAX_KEY_LENGTH:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    # Cut where no escape is cut: what it stands for is cut, and made a key again.
    return f"{_ascii(plain(key)[:_KEPT_OF_LONG])}... {digest}"


class Difference(NamedTuple):
    """Where the rows of `VALID_VALUES`, of one kind, differ from what a run found.

    Attributes
    ----------
    known : list of Value
        Rows whose numbers are not those of the run, or that end before it.
    ids : dict of str to int
        The ids of their series, by key.
    numbers : dict of str to Numbers
        What the run found and no row has yet.
    """

    known: list[Value]
    ids: dict[str, int]
    numbers: dict[str, Numbers]


def difference(rows: Iterable[Any], numbers: Mapping[str, Numbers], date_us: int) -> Difference:
    """Return where rows of `VALID_VALUES` differ from the numbers that a run found.

    Nearly all of some 10,000 rows are the same: they are compared as the database returns them.
    """
    todo = dict(numbers)
    found = Difference([], {}, todo)
    for row in rows:
        key = row[0]
        if todo.get(key) == row[1:6] and row[8] >= date_us:
            del todo[key]
        else:
            series_id, first_us, last_us = row[6:]
            found.known.append(Value(series_id, first_us, last_us, row[1:6]))
            found.ids[key] = series_id
    return found


def changes(
    known: Iterable[Value],
    state: Mapping[int, Numbers],
    date_us: int,
    before_us: int | None,
    after_us: int | None,
) -> Changes:
    """Return the changes that make the rows equal to the numbers of a run.

    Parameters
    ----------
    known : iterable of Value
        The rows of the area that last until the run before, at least, and begin by `date_us`.
    state : mapping of int to Numbers
        By the series' id.
    date_us : int
        Of the run.
    before_us, after_us : int or None
        Of the runs next to it that looked into the area.
    """
    made = Changes()
    todo = dict(state)
    ended: dict[int, Value] = {}
    for row in known:
        if row.last_us < date_us:
            ended[row.series_id] = row
            continue
        if todo.get(row.series_id) == row.numbers:
            del todo[row.series_id]
            continue
        # The value is another one in this run: the row ends with the run before; for later runs it
        # continues after this one.
        if before_us is not None and row.first_us <= before_us:
            made.ends.append((before_us, row.series_id, row.first_us))
        else:
            made.deletes.append((row.series_id, row.first_us))
        if after_us is not None and row.last_us >= after_us:
            made.inserts.append(row._replace(first_us=after_us))
    last_us = FOREVER_US if after_us is None else date_us
    for series_id, numbers in todo.items():
        old = ended.get(series_id)
        if old is not None and old.last_us == before_us and old.numbers == numbers:
            made.ends.append((last_us, series_id, old.first_us))
        else:
            made.inserts.append(Value(series_id, date_us, last_us, numbers))
    return made
