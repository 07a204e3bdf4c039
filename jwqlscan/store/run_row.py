"""A run as the store will give it back: what is shown of it while the store can't be reached."""

from __future__ import annotations

from jwqlscan.model.snapshot import AreaSnapshot, Snapshot
from jwqlscan.store.queries import AreaRow, RunRow


def run_row(snapshot: Snapshot) -> RunRow:
    """Return a snapshot as a row of the store, with its areas."""
    return RunRow(
        run_id=snapshot.run_id,
        date=snapshot.timestamp,
        ended=snapshot.ended,
        host=snapshot.host,
        version=snapshot.version,
        seconds=snapshot.seconds,
        status=snapshot.status,
        incomplete_reasons=(*snapshot.incomplete_reasons, *snapshot.suspicions),
        accepted=snapshot.accepted,
        areas=tuple(_area_row(snapshot.run_id, area) for area in snapshot.areas),
    )


def _area_row(run_id: str, area: AreaSnapshot) -> AreaRow:
    tally, capacity = area.tally, area.capacity
    return AreaRow(
        run_id=run_id,
        group=area.group,
        name=area.name,
        path=area.path,
        state=area.state,
        files=tally.files,
        apparent_bytes=tally.apparent_bytes,
        allocated_bytes=tally.allocated_bytes,
        directories=tally.directories,
        fits_files=tally.fits_files,
        fits_bytes=tally.fits_bytes,
        unrecognized=tally.unrecognized,
        vanished=tally.vanished,
        errors=dict(tally.errors),
        skipped=dict(tally.skipped),
        size_bytes=None if capacity is None else capacity.size_bytes,
        used_bytes=None if capacity is None else capacity.used_bytes,
        available_bytes=None if capacity is None else capacity.available_bytes,
        inodes=None if capacity is None else capacity.inodes,
        inodes_available=None if capacity is None else capacity.inodes_available,
    )
