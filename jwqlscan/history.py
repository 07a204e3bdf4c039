"""History: snapshots read back from the store, as columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from jwqlscan.tally import Product


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
class History:
    """What the JWQL tables hold, ready to be drawn.

    Attributes
    ----------
    general : GeneralColumns
    products : dict of Product to ProductColumns
    central : dict of str to CentralColumns
        By area; ``all`` is the whole central storage.
    sample_dates : frozenset of datetime
        Dates of runs that were made up for a demonstration.
    incomplete_dates : frozenset of datetime
        Dates of runs that could not read everything.
    """

    general: GeneralColumns = field(default_factory=GeneralColumns)
    products: dict[Product, ProductColumns] = field(default_factory=dict)
    central: dict[str, CentralColumns] = field(default_factory=dict)
    sample_dates: frozenset[datetime] = frozenset()
    incomplete_dates: frozenset[datetime] = frozenset()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.general.date or self.products or self.central)
