"""Rows of the tables as the columns of a `History`; no SQL."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jwqlscan.model.history import (
    CentralColumns,
    FilesystemColumns,
    GeneralColumns,
    ProductColumns,
    RunColumns,
    Samples,
)
from jwqlscan.model.tally import Product
from jwqlscan.system.capacities import same_room
from jwqlscan.units import TIB_BYTES


def general_columns(rows: Iterable[Sequence[Any]]) -> GeneralColumns:
    """Return the rows of `filesystem_general`, ascending by date, as columns.

    A row whose sizes are no numbers (NaN, Infinity) is left out: a gap.
    """
    known = [
        (date, files, size, fits_files, fits_size, *finite_room(used, available))
        for date, files, size, fits_files, fits_size, used, available in rows
        if finite(size) is not None and finite(fits_size) is not None
    ]
    return GeneralColumns(*_columns(known, 7))


def central_columns(rows: Iterable[Sequence[Any]]) -> dict[str, CentralColumns]:
    """Return rows (area, date, size, used, available), ascending by date, as columns an area.

    A row of which `used` is no number (NaN, Infinity) is left out: a gap.
    """
    areas: dict[str, list[Sequence[Any]]] = {}
    for area, date, size, used, available in rows:
        if finite(used) is not None:
            free = finite(available) if size else None  # of size 0, its room is not known
            areas.setdefault(area, []).append((date, finite(size) or None, used, free))
    return {area: CentralColumns(*_columns(values, 4)) for area, values in areas.items()}


def product_columns(
    rows: Iterable[tuple[datetime, Iterable[str], Iterable[str], Iterable[int], Iterable[float]]],
) -> dict[Product, ProductColumns]:
    """Return rows (date, instruments, filetypes, counts, sizes), ascending, as columns a product.

    A row of a date has a place for each product in each of its lists.
    """
    products: dict[tuple[str, str], ProductColumns] = {}
    for date, *lists in rows:
        for instrument, filetype, count, size in zip(*lists, strict=True):
            key = (instrument, filetype)
            columns = products.get(key)
            if columns is None:
                columns = products[key] = ProductColumns()
            columns.date.append(date)
            columns.count.append(count)
            columns.size.append(size)
    return {Product(*key): columns for key, columns in sorted(products.items())}


def merge_products(
    products: Mapping[Product, ProductColumns], others: Mapping[Product, ProductColumns]
) -> dict[Product, ProductColumns]:
    """Return the products of both, each ascending by date; no date of a product is in both."""
    merged = {}
    for product in sorted(products.keys() | others.keys()):
        one, other = products.get(product), others.get(product)
        if one is None or other is None:
            merged[product] = one or other or ProductColumns()
            continue
        rows = sorted(
            (
                *zip(one.date, one.count, one.size, strict=True),
                *zip(other.date, other.count, other.size, strict=True),
            )
        )
        merged[product] = ProductColumns(*_columns(rows, 3))
    return merged


def finite(size_tib: float | None) -> float | None:
    """Return a size of JWQL's tables; None if it is no number of bytes (NaN, Infinity)."""
    known = size_tib is not None and math.isfinite(size_tib * TIB_BYTES)
    return size_tib if known else None


def finite_room(
    used_tib: float | None, available_tib: float | None
) -> tuple[float | None, float | None]:
    """Return what df called used and available; None of a filesystem that reports no size.

    JWQL's column takes no NULL: 0 of 0 is stored there.
    """
    used, available = finite(used_tib), finite(available_tib)
    return (None, None) if used == 0 and available == 0 else (used, available)


def run_columns(rows: Iterable[Sequence[Any]]) -> RunColumns:
    """Return `scan_run` joined with its groups' `scan_area`, ascending by date, as columns.

    A run has a row for each group; its counts are added here.
    """
    columns = RunColumns()
    for date, status, reasons, suspicions, host, version, reader, seconds, *area in rows:
        if not columns.date or columns.date[-1] != date:
            doubts = json.loads(suspicions)
            columns.date.append(date)
            columns.status.append("suspect" if doubts else status)
            columns.reasons.append([*json.loads(reasons), *doubts])
            columns.host.append(host)
            columns.version.append(version)
            columns.reader.append(reader)
            columns.seconds.append(seconds)
            counts = (columns.files, columns.directories, columns.vanished, columns.unrecognized)
            for column in counts:
                column.append(0)
            columns.errors.append({})
            columns.skipped.append({})
        if area[0] is None:
            continue  # a run without areas
        for column, number in zip(counts, area[:4], strict=True):
            column[-1] += number
        for kinds, text in ((columns.errors[-1], area[4]), (columns.skipped[-1], area[5])):
            for kind, number in json.loads(text).items():
                kinds[kind] = kinds.get(kind, 0) + number
    return columns


def incomplete_dates(runs: RunColumns) -> frozenset[datetime]:
    """Return the dates of runs that are anything but complete."""
    return frozenset(
        date for date, status in zip(runs.date, runs.status, strict=True) if status != "complete"
    )


def filesystem_columns(rows: Iterable[Sequence[Any]]) -> dict[str, FilesystemColumns]:
    """Return what df printed for the areas as columns a filesystem, by its mount point.

    Directories of one filesystem that have quotas of their own are one each, named after the areas.

    Parameters
    ----------
    rows : iterable of (target, source, fstype, date, size, used, available, group, area)
        Ascending by date.
    """
    by_target: dict[str, list[Sequence[Any]]] = {}
    newest = None
    for row in rows:
        by_target.setdefault(row[0], []).append(row)
        newest = row[3]
    found: dict[str, FilesystemColumns] = {}
    for target, mine in by_target.items():
        rooms: list[list[Sequence[Any]]] = []
        for row in mine:
            if row[3] == mine[-1][3]:
                known = [room for room in rooms if same_room(room[0][4:6], row[4:6])]
                if known:
                    known[0].append(row)
                else:
                    rooms.append([row])
        for room in rooms:
            labels = sorted({f"{group} {area}" for *_, group, area in room})
            name = target if len(rooms) == 1 else f"{target} ({', '.join(labels)})"
            dates: dict[Any, tuple[int, ...]] = {}
            for row in mine:
                if len(rooms) == 1 or f"{row[7]} {row[8]}" in labels:
                    # Areas in one filesystem differ by what was written between two df.
                    dates[row[3]] = tuple(map(max, row[4:7], dates.get(row[3], row[4:7])))
            columns = _columns([(date, *numbers) for date, numbers in dates.items()], 4)
            now = labels if room[0][3] == newest else []
            found[name] = FilesystemColumns(room[-1][1], room[-1][2], now, *columns)
    return found


def samples(rows: Iterable[Sequence[str]]) -> Samples:
    """Return the names that `scan_area` keeps as samples of what went wrong in a run."""
    found = Samples()
    for unrecognized, errors in rows:
        found.unrecognized.extend(one["path"] for one in json.loads(unrecognized).values())
        found.errors.extend(
            (str(one["kind"]), str(one["operation"]), str(one["path"]))
            for one in json.loads(errors)
        )
    return found


def _columns(rows: Iterable[Sequence[Any]], count: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]
