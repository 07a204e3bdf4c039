"""The largest directories of a table as a tree, for a terminal."""

from __future__ import annotations

from typing import NamedTuple

from jwqlscan.model.directory_totals import Directories, DirectorySum, full_path, largest


class Branch(NamedTuple):
    """A line of a tree of directories.

    Attributes
    ----------
    guide : str
        What is drawn before the name: ``"│  ├─ "``.
    name : str
        Of the top its whole path.
    path : str
    sum : DirectorySum
    """

    guide: str
    name: str
    path: str
    sum: DirectorySum


def branches(table: Directories, count: int, top: str) -> list[Branch]:
    """Return the largest directories as a tree, in each the larger ones first.

    All that are above one of them are at least as large and so, by path, among them.

    Parameters
    ----------
    table : Directories
    count : int
    top : str
        The absolute path of the table's top.
    """
    chosen = [
        (full_path(path, top), total) for path, total in largest(table.upper | table.lower, count)
    ]
    known = dict(chosen)
    below: dict[str, list[str]] = {}
    tops = []
    for path, _ in chosen:
        parent = path.rpartition("/")[0] or "/"
        if parent in known and parent != path:
            below.setdefault(parent, []).append(path)
        else:
            tops.append(path)
    lines: list[Branch] = []
    waiting = [(path, "", "", path) for path in reversed(tops)]
    while waiting:
        path, guide, rest, name = waiting.pop()
        lines.append(Branch(guide, name, path, known[path]))
        children = below.get(path, [])
        for index in reversed(range(len(children))):
            child, is_last = children[index], index == len(children) - 1
            waiting.append(
                (
                    child,
                    rest + ("└─ " if is_last else "├─ "),
                    rest + ("   " if is_last else "│  "),
                    child.rpartition("/")[2],
                )
            )
    return lines
