"""What a cube is asked: sums by extension, product, program, owner, group, age and size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from jwqlscan.model.cube import AGE_LABELS, OTHER, OTHER_CLASS, CellKey, Cube, FileClass, Sum
from jwqlscan.naming.jwst import stage
from jwqlscan.system.accounts import group_names, user_names
from jwqlscan.units import format_bytes

NO_PRODUCT = "(no product)"
NO_PROGRAM = "(no program)"


class Row(NamedTuple):
    """One row of a projection."""

    label: str
    sum: Sum


def projection(cube: Cube, by: str) -> list[Row]:
    """Return the sums by one of `PROJECTIONS`: ages and sizes in their order, others largest first.

    Parameters
    ----------
    cube : Cube
    by : str

    Returns
    -------
    list of Row
        By program: only files with a program in their name, without allocated bytes.
    """
    if by == "program":
        rows = [Row(label, Sum(count, size)) for label, (count, size) in cube.programs.items()]
        return sorted(rows, key=_largest_first)
    if by in _ORDERED:
        number, label = _ORDERED[by]
        return [Row(label(key), total) for key, total in sorted(cube.by(number).items())]
    label_of = labels(by, cube.cells, cube.product_extension)
    return sorted(
        (Row(label, total) for label, total in cube.by(label_of).items()), key=_largest_first
    )


def labels(by: str, keys: Iterable[CellKey], product_extension: str) -> Callable[[CellKey], str]:
    """Return what maps cells to their labels in a projection that has labels.

    Parameters
    ----------
    by : str
    keys : iterable of CellKey
        The cells: the names of all owners, or groups, are looked up at once.
    product_extension : str
    """
    if by == "extension":
        return partial(_extension, product_extension)
    if by == "owner":
        users = user_names({key.uid for key in keys if key.uid >= 0})
        return lambda key: users.get(key.uid, OTHER)
    if by == "group":
        groups = group_names({key.gid for key in keys if key.gid >= 0})
        return lambda key: groups.get(key.gid, OTHER)
    return _LABELLED[by]


def _of_class(label: Callable[[FileClass], str]) -> Callable[[CellKey], str]:
    """Return a function from cells to labels of their classes; collapsed ones are "(other)"."""
    return lambda key: OTHER if key.file_class == OTHER_CLASS else label(key.file_class)


def _largest_first(row: Row) -> tuple[int, int, str]:
    return -row.sum.apparent_bytes, -row.sum.files, row.label


def _extension(of_products: str, key: CellKey) -> str:
    return of_products if key.file_class.instrument else key.file_class.filetype


def _size_label(bits: int) -> str:
    """Return the label of a size bucket: from half a power of two up to it."""
    if bits <= 1:
        return ("empty", "1 B")[bits]
    return f"{format_bytes(2 ** (bits - 1))} to under {format_bytes(2**bits)}"


SIZE_LABELS = tuple(map(_size_label, range(65)))
_LABELLED: dict[str, Callable[[CellKey], str]] = {
    "filetype": _of_class(lambda one: one.filetype if one.instrument else NO_PRODUCT),
    "instrument": _of_class(lambda one: one.instrument or NO_PRODUCT),
    "stage": _of_class(stage),
}
_ORDERED: dict[str, tuple[Callable[[CellKey], int], Callable[[int], str]]] = {
    "age": (lambda key: key.age, AGE_LABELS.__getitem__),
    "size": (lambda key: key.size, _size_label),
}
ORDERED = tuple(_ORDERED)
ACCOUNTS = ("owner", "group")
PROJECTIONS = ("extension", *_LABELLED, *ACCOUNTS, "program", *ORDERED)
