"""The table of an area's directories, made of those of the roots in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from jwqlscan.model.directory_totals import (
    Directories,
    DirectorySum,
    Limits,
    MissingBounds,
    relative_paths,
)
from jwqlscan.units import MAX_BYTES


def rooted(
    trees: Mapping[str, Directories], area: str, limits: Limits, *, whole: bool
) -> Directories:
    """Return an area's directories from those of the roots in it, which leave each other out.

    Parameters
    ----------
    trees : mapping of str to Directories
        By the absolute path of each root. One that is not below the area, for example behind a
        symbolic link, keeps its absolute paths.
    area : str
        The absolute path of the area: the top of the table returned.
    limits : Limits
        The depth counts from the area.
    whole : bool
        Whether the area is more than a root: then it has a sum of its own all the same.
    """
    table = Directories()
    prefixes = dict(zip(trees, relative_paths(trees, area), strict=True))
    for root, tree in trees.items():
        table.merge(_part(tree, prefixes[root], limits, prefixes.values()))
    if whole and "" not in table.upper:
        table.upper[""] = DirectorySum()
    has_bound = _add_to_parents(table, {prefixes[root]: tree for root, tree in trees.items()})
    for path in _deeper(table.upper, limits.depth):
        total = table.upper.pop(path)
        if total.apparent_bytes:
            table.lower[path] = total
    table.bound(limits)
    # A root's upper directories may be lower ones of the area.
    upper_bounds = [_least(tree.upper) for tree in trees.values() if tree.upper_dropped]
    lower_bounds = [_least(tree.lower) for tree in trees.values() if tree.lower_dropped]
    lower_bounds += upper_bounds
    if table.upper_dropped > sum(tree.upper_dropped for tree in trees.values()):
        upper_bounds.append(_least(table.upper))
    if table.lower_dropped > sum(tree.lower_dropped for tree in trees.values()):
        lower_bounds.append(_least(table.lower))
    table.untold = MissingBounds(
        limits.depth,
        max(upper_bounds, default=None),
        max(lower_bounds, default=0) if has_bound else MAX_BYTES,
    )
    return table


def _part(tree: Directories, prefix: str, limits: Limits, roots: Collection[str]) -> Directories:
    """Return a root's table as part of that of an area, in which the root has the path `prefix`.

    Where no other root is below this one, its sums are final: then what the area has no room for
    is dropped before the paths are made.
    """
    if not prefix or any(other.startswith(f"{prefix}/") for other in roots):
        return tree.at(prefix)
    depth = limits.depth if prefix[0] == "/" else limits.depth - prefix.count("/") - 1
    if depth < 0:
        return tree.at(prefix)
    part = Directories()
    deep = _deeper(tree.upper, depth)
    part.lower = tree.lower | {path: tree.upper[path] for path in deep if tree.upper[path][1]}
    part.upper = dict(tree.upper)
    for path in deep:
        del part.upper[path]
    part.upper_dropped, part.lower_dropped = tree.upper_dropped, tree.lower_dropped
    part.bound(limits)
    return part.at(prefix)


def _add_to_parents(table: Directories, roots: Mapping[str, Directories]) -> bool:
    """Add the sum of each root to the directories above it.

    Returns
    -------
    bool
        False if one of these was dropped before: then no bound of what is missing is known.
    """
    has_bound = True
    for root, tree in roots.items():
        total = tree.upper.get("")
        if total is None or not root or root.startswith("/"):
            continue
        above = root
        while above:
            above = above.rpartition("/")[0]
            for sums in (table.upper, table.lower):
                if above in sums:
                    sums[above] = sums[above].plus(total)
            if above not in table.upper and above not in table.lower:
                has_bound &= not any(
                    f"{above}/".startswith(f"{one}/" if one else "") for one in roots
                )
    return has_bound


def _least(sums: Mapping[str, DirectorySum]) -> int:
    """Return the bytes of the smallest directory that was kept: of a dropped one at most."""
    return min((total.apparent_bytes for total in sums.values()), default=MAX_BYTES)


def _deeper(paths: Iterable[str], depth: int) -> list[str]:
    """Return those that are deeper below the top than that; what is elsewhere is not deep."""
    return [path for path in paths if path.count("/") >= depth and path and path[0] != "/"]
