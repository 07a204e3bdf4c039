"""Filesystems: how full each is, and when it will be; for the top of the page and a tab."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from jwqlscan.history.forecast import Reached, Trend, reached, trend
from jwqlscan.model.baseline import comparable
from jwqlscan.model.history import FilesystemColumns, History
from jwqlscan.model.snapshot import ALL
from jwqlscan.reporting.plots.theme import label_text
from jwqlscan.units import TIB_BYTES

ALMOST_FULL = 0.9  # of what df calls used and available together


@dataclass(frozen=True, slots=True)
class Filesystem:
    """One filesystem.

    Attributes
    ----------
    name : str
        Its mount point, safe to show; of a JWQL database, that knows none, the tree's name.
    remark : str
        Where it comes from and what is on it.
    date : list of datetime
    used, available : list of float, TiB
        Ascending by date, not empty.
    size : list of float or None, TiB
        As df has it, with what is reserved for root; None where JWQL did not store it. The newest
        is known.
    trend : Trend or None
        Of `used` in the complete runs of the same origin as the newest.
    full, almost_full : Reached or None
        When used reaches all that users can write, and `ALMOST_FULL` of it.
    """

    name: str
    remark: str
    date: list[datetime]
    used: list[float]
    available: list[float]
    size: Sequence[float | None]
    trend: Trend | None
    full: Reached | None
    almost_full: Reached | None

    @property
    def limit(self) -> float:
        """What `used` is to reach: root's reserve is nothing that users can fill."""
        return self.used[-1] + self.available[-1]

    @property
    def share(self) -> float:
        """How full it is."""
        return self.used[-1] / self.limit if self.limit > 0 else 0.0


def filesystems(history: History) -> list[Filesystem]:
    """Return the filesystems, the fullest first."""
    found = list(_of_runs(history) if history.filesystems else _of_jwql(history))
    return sorted(found, key=lambda one: -one.share)


def _of_runs(history: History) -> Iterator[Filesystem]:
    newest = max(one.date[-1] for one in history.filesystems.values())
    archives = [
        target
        for target, columns in history.filesystems.items()
        if any(area.startswith("archive ") for area in columns.areas)
    ]
    for target, columns in history.filesystems.items():
        if columns.date[-1] < newest and not columns.areas:
            continue  # it is there no more
        size: list[float | None]
        date, used, available, size = _columns(columns)
        if archives == [target]:
            # Before our first run JWQL stored the archive's capacity.
            old = _general(history, before=date[0])
            date, used, available = old[0] + date, old[1] + used, old[2] + available
            size = [*[None] * len(old[0]), *size]
        where = " ".join(filter(None, (columns.source, columns.fstype)))
        on = ", ".join(columns.areas)
        remark = " · ".join(label_text(text) for text in (where, on) if text)
        yield _filesystem(history, label_text(target), remark, date, used, available, size)


def _of_jwql(history: History) -> Iterator[Filesystem]:
    date, used, available = _general(history)
    if date:
        size = [a + b for a, b in zip(used, available, strict=True)]
        yield _filesystem(history, "archive", "", date, used, available, size)
    central = history.central.get(ALL)
    if central is not None:
        rows = [
            (day, total - free, free, total)
            for day, total, free in zip(central.date, central.size, central.available, strict=True)
            if total is not None and free is not None
        ]
        if rows:
            days, used, available, size = (list(column) for column in zip(*rows, strict=True))
            yield _filesystem(history, "central storage", "", days, used, available, size)


def _general(
    history: History, before: datetime | None = None
) -> tuple[list[datetime], list[float], list[float]]:
    general = history.general
    rows = [
        (date, used, available)
        for date, used, available in zip(general.date, general.used, general.available, strict=True)
        if used is not None and available is not None and (before is None or date < before)
    ]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _columns(
    columns: FilesystemColumns,
) -> tuple[list[datetime], list[float], list[float], list[float | None]]:
    def tib(sizes: Sequence[int]) -> list[float]:
        return [size / TIB_BYTES for size in sizes]

    return (
        list(columns.date),
        tib(columns.used_bytes),
        tib(columns.available_bytes),
        [*tib(columns.size_bytes)],
    )


def _filesystem(
    history: History,
    name: str,
    remark: str,
    date: list[datetime],
    used: list[float],
    available: list[float],
    size: Sequence[float | None],
) -> Filesystem:
    runs = history.runs_of(date)
    rows = [run.row for run in comparable(runs, runs[-1])]
    line = trend([date[row] for row in rows], [used[row] for row in rows])
    limit = used[-1] + available[-1]
    return Filesystem(
        name=name,
        remark=remark,
        date=date,
        used=used,
        available=available,
        size=size,
        trend=line,
        full=reached(line, used[-1], limit),
        almost_full=reached(line, used[-1], limit * ALMOST_FULL),
    )
