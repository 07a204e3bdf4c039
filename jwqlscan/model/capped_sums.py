"""Sums beyond what a database's integers take: they are stored as the greatest one, and reported.

A healthy archive has none. A broken or hostile filesystem may report any file size below 2**63.
"""

from __future__ import annotations

from collections.abc import Iterable

from jwqlscan.model.snapshot import ALL, AreaSnapshot, area_label
from jwqlscan.model.tally import COUNTERS
from jwqlscan.units import MAX_BYTES


def is_capped(size_bytes: int | None) -> bool:
    """Tell whether a stored sum may have been more."""
    return size_bytes is not None and size_bytes >= MAX_BYTES


def capped_warnings(areas: Iterable[AreaSnapshot]) -> list[str]:
    """Return a line for each group with sums that are stored as less than they are."""
    warnings = []
    for area in areas:
        names = [name for name in COUNTERS if getattr(area.tally, name) > MAX_BYTES]
        if names and area.name == ALL:  # what is in its parts is in it, too
            warnings.append(
                f"{area_label(area.group, area.name)}: {', '.join(names)} beyond 2**63 - 1 bytes,"
                " stored as that: some file has a wrong size; `jwqlscan scan --top 20` shows where"
            )
    return warnings
