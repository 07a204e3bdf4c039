"""Treemaps: what an area is divided into, and where each part is drawn.

The layout is the squarified one of Bruls, Huizing and van Wijk (2000): parts are set in rows along
the shorter side of what is left, and a row takes one more part as long as that makes its worst part
squarer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from jwqlscan.history.insight import AreaInsight
from jwqlscan.history.rollups import NO_PROGRAM
from jwqlscan.text import escape_controls
from jwqlscan.units import counted

MAX_PARTS = 48  # of one node: smaller ones would be specks


class Box(NamedTuple):
    """A rectangle, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


FRAME = Box(0.0, 0.0, 2.4, 1.0)  # as wide for its height as a treemap on a page of 1280 px


def squarified(sizes: Sequence[float], box: Box) -> list[Box]:
    """Divide a rectangle.

    Parameters
    ----------
    sizes : sequence of float
        Not negative; the largest first.
    box : Box

    Returns
    -------
    list of Box
        One for each size, in proportion to it; an empty one for a size of 0.
    """
    whole = sum(sizes)
    positive = [size for size in sizes if size > 0]
    if not positive or box.width <= 0 or box.height <= 0:
        return [Box(box.x, box.y, 0.0, 0.0)] * len(sizes)
    scale = box.width * box.height / whole
    parts = [size * scale for size in positive]
    boxes: list[Box] = []
    start = 0
    while start < len(parts):
        side = min(box.width, box.height)
        if side <= 0:  # of what is left, next to something huge, rounding leaves nothing
            boxes += [Box(box.x, box.y, 0.0, 0.0)] * (len(parts) - start)
            break
        end, total = start + 1, parts[start]
        while end < len(parts):
            longer = total + parts[end]
            if _worst(parts[start], parts[end], longer, side) > _worst(
                parts[start], parts[end - 1], total, side
            ):
                break
            end, total = end + 1, longer
        row, box = _row(parts[start:end], total, box)
        boxes += row
        start = end
    return boxes + [Box(box.x, box.y, 0.0, 0.0)] * (len(sizes) - len(positive))


def _worst(largest: float, smallest: float, total: float, side: float) -> float:
    """Return the worst ratio of sides in a row of parts."""
    return max(side * side * largest / total**2, total**2 / (side * side * smallest))


def _row(parts: Sequence[float], total: float, box: Box) -> tuple[list[Box], Box]:
    """Set parts along the shorter side; return them and what is left."""
    x, y, width, height = box
    boxes = []
    if width >= height:
        thick = min(total / height, width)
        for part in parts:
            boxes.append(Box(x, y, thick, part / thick))
            y += part / thick
        return boxes, Box(x + thick, box.y, max(width - thick, 0.0), height)
    thick = min(total / width, height)
    for part in parts:
        boxes.append(Box(x, y, part / thick, thick))
        x += part / thick
    return boxes, Box(box.x, y + thick, width, max(height - thick, 0.0))


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an area: a directory, a program, or what has no tile of its own.

    Attributes
    ----------
    label : str
        Its name, or its path below its parent; safe to show.
    files, bytes : int
        All below it.
    parent : int
        Its place among the nodes; -1 of the first, the whole.
    rest : bool
        What its parent holds beside the parent's other parts.
    box : Box
        Where in its parent it is drawn, that being `FRAME`.
    """

    label: str
    files: int
    bytes: int
    parent: int
    rest: bool = False
    box: Box = FRAME


def directory_nodes(area: AreaInsight, most: int) -> list[Node]:
    """Return the directories of an area, at most `count`; a node comes after its parent.

    A node's parts add up to it: the files directly in a directory, and the directories too small to
    be listed, are a part of their own.
    """
    nodes = [Node("", area.total.files, area.total.apparent_bytes, -1)]
    places = {"": 0}
    parts: dict[int, int] = {}
    # Of two of a size the parent comes first.
    for row in sorted(area.directories, key=lambda row: (-row.sum.apparent_bytes, -row.sum.files)):
        if len(nodes) >= most:
            break
        above = row.path
        while above and above not in places:
            above = above.rpartition("/")[0]
        parent = places[above]
        if above == row.path or parts.get(parent, 0) >= MAX_PARTS:
            continue
        parts[parent] = parts.get(parent, 0) + 1
        places[row.path] = len(nodes)
        label = row.path[len(above) :].lstrip("/")
        nodes.append(Node(safe(label), row.sum.files, row.sum.apparent_bytes, parent))
    return _laid_out(nodes, "files here, and smaller directories")


def program_nodes(area: AreaInsight) -> list[Node]:
    """Return an area's programs, the largest, and what else there is as one part or two."""
    nodes = [Node("", area.total.files, area.total.apparent_bytes, -1)]
    rows = area.projections.get("program", ())
    largest_rows, smaller = rows[:MAX_PARTS], rows[MAX_PARTS:]
    nodes += [
        Node(safe(row.label), row.sum.files, row.sum.apparent_bytes, 0) for row in largest_rows
    ]
    if smaller:
        files = sum(row.sum.files for row in smaller)
        size = sum(row.sum.apparent_bytes for row in smaller)
        nodes.append(Node(counted(len(smaller), "smaller program"), files, size, 0, rest=True))
    return _laid_out(nodes, NO_PROGRAM)


def area_nodes(areas: Sequence[AreaInsight], labels: Sequence[str]) -> list[Node]:
    """Return areas as the parts of a whole."""
    files = sum(area.total.files for area in areas)
    whole = Node("", files, sum(area.total.apparent_bytes for area in areas), -1)
    parts = [
        Node(label, area.total.files, area.total.apparent_bytes, 0)
        for area, label in zip(areas, labels, strict=True)
    ]
    return _laid_out([whole, *parts], "")


def safe(label: str) -> str:
    """Return a name from the store as text to be shown."""
    return escape_controls(label) or "(unnamed)"


def _laid_out(nodes: list[Node], rest: str) -> list[Node]:
    """Add what the parts of a node leave of it, and give every part its box."""
    parts: dict[int, list[int]] = {0: []}
    for place, node in enumerate(nodes[1:], 1):
        parts.setdefault(node.parent, []).append(place)
    for parent, places in parts.items():
        files = nodes[parent].files - sum(nodes[place].files for place in places)
        size = nodes[parent].bytes - sum(nodes[place].bytes for place in places)
        if files > 0 or size > 0:
            places.append(len(nodes))
            nodes.append(Node(rest, max(files, 0), max(size, 0), parent, rest=True))
        places.sort(key=lambda place: -nodes[place].bytes)
        boxes = squarified([nodes[place].bytes for place in places], FRAME)
        for place, box in zip(places, boxes, strict=True):
            nodes[place] = replace(nodes[place], box=box)
    return nodes
