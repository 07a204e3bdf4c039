"""The tab Insight: what grew, where it lies, whose it is, how old and how large the files are.

What it shows is chosen in the page (an area, a question, a stretch of time), so the tab is a record
of all of it, drawn by `insight.js`. It is bounded, whatever the archive holds: a number of parts
per treemap and rows of a table, and the others together as one, so that all sums are the area's.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from datetime import datetime

from jwqlscan.history.insight import AreaInsight, Growth, GrowthRow, Insight
from jwqlscan.history.rollups import NO_PROGRAM, SIZE_LABELS, Row
from jwqlscan.model.cube import AGE_LABELS, Sum
from jwqlscan.model.history import History
from jwqlscan.model.snapshot import ALL
from jwqlscan.reporting.plots.columns import Json
from jwqlscan.reporting.tabs.base import Tab
from jwqlscan.reporting.tabs.treemap import (
    FRAME,
    Node,
    area_nodes,
    directory_nodes,
    program_nodes,
    safe,
)
from jwqlscan.units import counted, format_minute, format_time

MAX_AREAS = 12
MAX_NODES = 5_000  # of all areas' directories: 400 kB before they are packed
MIN_NODES = 150  # of one area
MAX_ROWS = 60  # of a table of shares
MAX_GROWTH_ROWS = 20  # of a table of growth
_SPARK = 100  # a sparkline's height
_TITLES = {
    "age": "Age, by time of last change",
    "size": "File size",
    "owner": "Owners",
    "group": "Groups",
    "program": "Programs",
    "stage": "Processing stages",
    "extension": "Extensions",
}
# Histograms have a bar for each class between the first and the last, those without files too.
_CLASSES: dict[str, Sequence[str]] = {"age": AGE_LABELS, "size": SIZE_LABELS}


def insight_tab(history: History, insight: Insight) -> Tab:
    """Return the tab; of a store whose runs did not look, an empty one."""
    if insight.empty:
        return Tab("Insight")
    areas = insight.areas[:MAX_AREAS]
    labels = [safe(f"{area.group} {area.name}") for area in areas]
    whole_groups = {area.group for area in areas if area.name == ALL}
    wholes = [
        number
        for number, area in enumerate(areas)
        if area.name == ALL or area.group not in whole_groups
    ]
    each = max(MIN_NODES, MAX_NODES // (len(areas) + len(wholes)))
    record = {
        "frame": FRAME.width / FRAME.height,
        "areas": [
            _area(area, label, each * (2 if number in wholes else 1))
            for number, (area, label) in enumerate(zip(areas, labels, strict=True))
        ],
        "wholes": wholes,
        "tree": _tree(area_nodes([areas[n] for n in wholes], [labels[n] for n in wholes])),
        "growths": [
            _growth(growth, number, history.incomplete_dates)
            for number, area in enumerate(areas)
            for growth in insight.growths
            if (growth.group, growth.name) == (area.group, area.name)
        ],
        "hidden": len(insight.areas) - len(areas),
    }
    return Tab("Insight", record=record)


def _area(area: AreaInsight, label: str, most: int) -> Json:
    """Return what the page knows of an area."""
    directories = directory_nodes(area, most)
    untold = len(area.directories) + area.folded.get("directories", 0)
    untold -= sum(not node.rest for node in directories)
    return {
        "label": label,
        "date": format_time(area.date),
        "complete": area.complete,
        "total": _sum(area.total),
        "trees": {"directory": _tree(directories), "program": _tree(program_nodes(area))},
        "untold": max(untold, 0),
        "shares": [
            {"by": by, "title": title, "rows": _shares(by, area.projections[by], area.total)}
            for by, title in _TITLES.items()
            if area.projections.get(by)
        ],
    }


def _tree(nodes: list[Node]) -> Json:
    """Return nodes as columns; boxes in thousandths of their parent's."""
    boxes = [
        (
            round(1000 * node.box.x / FRAME.width),
            round(1000 * node.box.y / FRAME.height),
            round(1000 * (node.box.x + node.box.width) / FRAME.width),
            round(1000 * (node.box.y + node.box.height) / FRAME.height),
        )
        for node in nodes
    ]
    return {
        "label": [node.label for node in nodes],
        "files": [node.files for node in nodes],
        "bytes": [node.bytes for node in nodes],
        "parent": [node.parent for node in nodes],
        "rest": [int(node.rest) for node in nodes],
        "box": boxes,
    }


def _shares(by: str, rows: Sequence[Row], total: Sum) -> list[Json]:
    """Return the rows of a table that add up to the area, or for programs to what has one."""
    known = {row.label: row.sum for row in rows}
    classes = _CLASSES.get(by)
    if classes is not None:
        return _classes([known.get(label, Sum()) for label in classes], classes)
    shares = [_share(safe(row.label), row.sum) for row in rows[:MAX_ROWS]]
    rest = _together(row.sum for row in rows[MAX_ROWS:])
    if any(rest):
        shares.append(_share(counted(len(rows) - MAX_ROWS, "other"), rest, rest=True))
    if by == "program":
        programs = _together(row.sum for row in rows)
        none = Sum(total.files - programs.files, total.apparent_bytes - programs.apparent_bytes)
        if none.files > 0:
            shares.append(_share(NO_PROGRAM, none, rest=True))
    return shares


def _classes(sums: Sequence[Sum], labels: Sequence[str]) -> list[Json]:
    """Return the rows of a histogram; a stretch of empty classes is one of them."""
    shares: list[Json] = []
    empty = 0
    for label, amount in zip(labels, sums, strict=True):
        if not any(amount):
            empty += 1
            continue
        if empty and shares:
            classes = "class" if empty == 1 else "classes"
            shares.append(_share(f"{empty} {classes} without files", Sum(), rest=True))
        empty = 0
        shares.append(_share(label, amount))
    return shares


def _share(label: str, amount: Sum, *, rest: bool = False) -> Json:
    return {"label": label, "sum": _sum(amount), "rest": rest}


def _sum(amount: Sum) -> tuple[int, int]:
    return amount.files, amount.apparent_bytes


def _growth(growth: Growth, area: int, incomplete: Container[datetime]) -> Json:
    """Return a table of growth; its rows add up to the area's change, those of directories apart.

    Directories lie within each other: the area itself is in the line above the table.
    """
    changed = [row for row in growth.rows if row.label or growth.by != "directory"]
    rows, more = changed[:MAX_GROWTH_ROWS], changed[MAX_GROWTH_ROWS:]
    sound = [place for place, date in enumerate(growth.dates) if date not in incomplete]
    listed = [_grown(row, sound) for row in rows]
    if growth.by != "directory":
        listed += _others("all others", [*more, *([growth.rest] if growth.rest else ())])
        more = []
    return {
        "area": area,
        "by": growth.by,
        "window": growth.window,
        "since": format_minute(growth.since),
        "until": format_minute(growth.until),
        "exact": growth.exact,
        "notes": [safe(note) for note in growth.notes],
        "before": _sum(growth.before),
        "after": _sum(growth.after),
        "rows": listed,
        "more": len(more),
    }


def _others(label: str, rows: Sequence[GrowthRow]) -> list[Json]:
    if not rows:
        return []
    before = _together(row.before for row in rows)
    after = _together(row.after for row in rows)
    exact = all(row.exact for row in rows)
    return [_grown(GrowthRow(label, before, after, exact), (), rest=True)]


def _together(sums: Iterable[Sum]) -> Sum:
    """Return the total of sums, without allocated bytes."""
    files = size = 0
    for one in sums:
        files += one.files
        size += one.apparent_bytes
    return Sum(files, size)


def _grown(row: GrowthRow, sound: Sequence[int], *, rest: bool = False) -> Json:
    return {
        "label": safe(row.label),
        "before": _sum(row.before),
        "after": _sum(row.after),
        "kind": row.kind,
        "exact": row.bytes_exact,
        "between": row.bounds and row.bounds.apparent_bytes,
        "spark": _spark([row.series[place] for place in sound if place < len(row.series)]),
        "rest": rest,
    }


def _spark(series: Sequence[int | None]) -> list[int | None]:
    """Return a series in hundredths of its range: what a line of an inch can show."""
    known = [value for value in series if value is not None]
    if len(known) < 2:
        return []
    low, high = min(known), max(known)
    return [
        None
        if value is None
        else round(_SPARK * (value - low) / (high - low))
        if high > low
        else _SPARK // 2
        for value in series
    ]
