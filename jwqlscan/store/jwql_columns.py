"""Rows that an existing table can take: its ENUMs, integer widths and NOT NULL columns decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from jwqlscan.errors import LastingWarning
from jwqlscan.store.rows import Row, TableRows, Value
from jwqlscan.units import counted

_INTEGER_BITS = {"int2": 16, "int4": 32, "int8": 64}
_INTEGER_NAMES = {"int2": "SMALLINT", "int4": "INTEGER", "int8": "BIGINT"}


class Column(NamedTuple):
    """A column as the catalog describes it.

    Attributes
    ----------
    type_name : str
        As in pg_type: ``int4``, ``timestamp``, or an ENUM's own name.
    not_null : bool
    labels : frozenset of str
        Those of an ENUM; empty for any other type.
    """

    type_name: str
    not_null: bool
    labels: frozenset[str] = frozenset()


def storable_rows(wanted: TableRows, columns: Mapping[str, Column]) -> tuple[list[Row], list[str]]:
    """Return the rows that a table can take, as it takes them, and a warning for what it can't.

    Parameters
    ----------
    wanted : TableRows
    columns : mapping of str to Column
        The table's columns. One that is missing is left to the database to refuse.

    Returns
    -------
    rows : list of tuple
        Dates are naive UTC where the column has no time zone.
    warnings : list of str
        One a problem, naming the table and the label, and what would help.
    """
    types = [columns.get(name, Column("", not_null=False)) for name in wanted.columns]
    rows: list[Row] = []
    problems: Counter[tuple[str, str]] = Counter()
    for row in wanted.rows:
        problem = next(
            (
                found
                for name, column, value in zip(wanted.columns, types, row, strict=True)
                if (found := _problem(wanted.table, name, column, value, row)) is not None
            ),
            None,
        )
        if problem is None:
            rows.append(
                tuple(_fitted(column, value) for column, value in zip(types, row, strict=True))
            )
        else:
            problems[problem] += 1
    return rows, [
        # What has a remedy lasts until it is applied.
        (LastingWarning if remedy else str)(
            f"{wanted.table}: {what}: {counted(n, 'row')} left out{remedy}"
        )
        for (what, remedy), n in problems.items()
    ]


def _problem(
    table: str, name: str, column: Column, value: Value, row: Row
) -> tuple[str, str] | None:
    if value is None:
        if column.not_null:
            return f"{name} of {_subject(row)} is unknown, but the column is NOT NULL", ""
        return None
    if column.labels and value not in column.labels:
        return (
            f"{name} {_literal(str(value))} is not in {column.type_name}",
            f"; {_add_label(column, str(value))} would take it",
        )
    bits = _INTEGER_BITS.get(column.type_name)
    if bits is not None and isinstance(value, int) and value >= 2 ** (bits - 1):
        return (
            f"{name} {value} of {_subject(row)} does not fit {_INTEGER_NAMES[column.type_name]}",
            f"; ALTER TABLE {table} ALTER COLUMN {name} TYPE BIGINT would take it",
        )
    return None


def missing_labels(column: Column, wanted: Iterable[str]) -> list[str]:
    """Return the statements that add what an ENUM lacks of some labels; none for other types."""
    if not column.labels:
        return []
    return [_add_label(column, label) for label in sorted({*wanted} - column.labels)]


def _add_label(column: Column, label: str) -> str:
    return f"ALTER TYPE {column.type_name} ADD VALUE {_literal(label)}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _subject(row: Row) -> str:
    return " ".join(repr(value) for value in row if isinstance(value, str)) or "the archive"


def _fitted(column: Column, value: Value) -> Value:
    if isinstance(value, datetime) and column.type_name == "timestamp":
        return value.astimezone(UTC).replace(tzinfo=None)
    return value
