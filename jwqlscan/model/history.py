"""History: snapshots read back from the store, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from jwqlscan.model.baseline import COMPLETE, INCOMPLETE, JWQL, JWQLSCAN
from jwqlscan.model.tally import Product


@dataclass(frozen=True, slots=True)
class GeneralColumns:
    """The archive over time: columns of equal length, ascending by date (UTC, aware).

    Sizes are in TiB, as the JWQL tables have them; None where a row has none.
    """

    date: list[datetime] = field(default_factory=list)
    total_file_count: list[int] = field(default_factory=list)
    total_file_size: list[float] = field(default_factory=list)
    fits_file_count: list[int] = field(default_factory=list)
    fits_file_size: list[float] = field(default_factory=list)
    used: list[float | None] = field(default_factory=list)
    available: list[float | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ProductColumns:
    """One (instrument, filetype) over time: dates ascending, count, size in TiB."""

    date: list[datetime] = field(default_factory=list)
    count: list[int] = field(default_factory=list)
    size: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CentralColumns:
    """One central storage area over time: dates ascending; sizes in TiB."""

    date: list[datetime] = field(default_factory=list)
    size: list[float | None] = field(default_factory=list)
    used: list[float | None] = field(default_factory=list)
    available: list[float | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FilesystemColumns:
    """One filesystem over time, as ``df`` had it: dates ascending.

    Attributes
    ----------
    source, fstype : str
        Of the newest run that saw it; "" where df did not print it.
    areas : list of str
        The areas on it in the newest run, such as ``archive public``.
    """

    source: str = ""
    fstype: str = ""
    areas: list[str] = field(default_factory=list)
    date: list[datetime] = field(default_factory=list)
    size_bytes: list[int] = field(default_factory=list)
    used_bytes: list[int] = field(default_factory=list)
    available_bytes: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunColumns:
    """Every run's quality: columns of equal length, ascending by date.

    Runs of JWQL itself have none. Counts are of the archive and of central storage together; a
    kind that is not in a run's `errors` or `skipped` did not occur in it.
    """

    date: list[datetime] = field(default_factory=list)
    status: list[str] = field(default_factory=list)
    reasons: list[list[str]] = field(default_factory=list)
    host: list[str] = field(default_factory=list)
    version: list[str] = field(default_factory=list)
    reader: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    directories: list[int] = field(default_factory=list)
    vanished: list[int] = field(default_factory=list)
    unrecognized: list[int] = field(default_factory=list)
    errors: list[dict[str, int]] = field(default_factory=list)
    skipped: list[dict[str, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Samples:
    """Names that the newest run could not read or did not recognize, safe to print."""

    unrecognized: list[str] = field(default_factory=list)
    errors: list[tuple[str, str, str]] = field(default_factory=list)  # kind, operation, path


class PastRun(NamedTuple):
    """The run that a row comes from, as `jwqlscan.model.baseline` compares runs.

    Attributes
    ----------
    date : datetime
    status : str
        ``complete`` or ``incomplete``; JWQL's monitor knew no other than complete.
    origin : str
    row : int
        The row's number.
    """

    date: datetime
    status: str
    origin: str
    row: int


@dataclass(frozen=True, slots=True)
class History:
    """What the tables hold, ready to be drawn.

    Attributes
    ----------
    general : GeneralColumns
    products : dict of Product to ProductColumns
    central : dict of str to CentralColumns
        By area; ``all`` is the whole central storage.
    sample_dates : frozenset of datetime
        Dates of runs that were made up for a demonstration.
    incomplete_dates : frozenset of datetime
        Dates of runs whose numbers are not to be trusted: any status but ``complete``.
    filesystems : dict of str to FilesystemColumns
        By mount point; only from runs of ours, as are `runs` and `samples`.
    runs : RunColumns
    samples : Samples
    """

    general: GeneralColumns = field(default_factory=GeneralColumns)
    products: dict[Product, ProductColumns] = field(default_factory=dict)
    central: dict[str, CentralColumns] = field(default_factory=dict)
    sample_dates: frozenset[datetime] = frozenset()
    incomplete_dates: frozenset[datetime] = frozenset()
    filesystems: dict[str, FilesystemColumns] = field(default_factory=dict)
    runs: RunColumns = field(default_factory=RunColumns)
    samples: Samples = field(default_factory=Samples)

    @property
    def own_dates(self) -> frozenset[datetime]:
        """Dates of runs of ours; what has other dates was measured by JWQL's monitor."""
        return frozenset(self.runs.date)

    def runs_of(self, dates: Sequence[datetime]) -> list[PastRun]:
        """Return the runs that rows of these dates come from, one for each row."""
        own, incomplete = self.own_dates, self.incomplete_dates
        return [
            PastRun(
                date,
                INCOMPLETE if date in incomplete else COMPLETE,
                JWQLSCAN if date in own else JWQL,
                row,
            )
            for row, date in enumerate(dates)
        ]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.general.date or self.products or self.central or self.runs.date)
