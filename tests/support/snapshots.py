"""Made-up snapshots for the tests of the stores and the spool."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta

from jwqlscan.model.snapshot import AreaSnapshot, Capacity, Snapshot
from jwqlscan.model.tally import Amount, Product, ScanError, Tally

START = datetime(2026, 3, 1, 3, 17, 10, 123456, tzinfo=UTC)
CAPACITY = Capacity(
    size_bytes=20 * 2**40,
    used_bytes=5 * 2**40,
    available_bytes=14 * 2**40,
    inodes=1000,
    inodes_used=400,
    inodes_available=600,
    source="/dev/sda1",
    fstype="xfs",
    target="/archive",
)
PRODUCTS = {
    Product("nircam", "cal"): Amount(4, 2**40),
    Product("miri", "rate"): Amount(2, 2**39),
}


def make_tally(files: int = 10, **fields) -> Tally:
    """Return a tally of some files, two products among them."""
    values = {
        "apparent_bytes": 2 * 2**40,
        "allocated_bytes": 2 * 2**40 + 4096,
        "directories": 3,
        "symlinks": 1,
        "fits_files": 7,
        "fits_bytes": 3 * 2**39,
        "unrecognized": 1,
        "products": dict(PRODUCTS),
    }
    return Tally(files=files, **(values | fields))


def make_area(
    group: str = "archive",
    name: str = "all",
    tally: Tally | None = None,
    capacity: Capacity | None = CAPACITY,
    **fields,
) -> AreaSnapshot:
    """Return an area, complete and of known capacity unless said otherwise."""
    tally = make_tally() if tally is None else tally
    return AreaSnapshot(group, name, f"/{group}/{name}", tally, capacity, **fields)


def make_snapshot(day: int = 0, *areas: AreaSnapshot, **fields) -> Snapshot:
    """Return the snapshot of a run on that day; of archive and central storage by default."""
    if not areas:
        areas = (
            make_area(),
            make_area(name="public"),
            make_area("central", "all"),
            make_area("central", "logs", Tally(files=2, apparent_bytes=2**38, directories=1)),
        )
    timestamp = START + timedelta(days=day)
    values = {
        "run_id": str(uuid.uuid4()),
        "timestamp": timestamp,
        "ended": timestamp + timedelta(seconds=90),
        "host": "storage1",
        "version": "0.1.0",
        "reader": "scandir",
        "workers": 8,
        "seconds": 88.5,
        "areas": areas,
        "log_file": "/var/log/jwqlscan.log",
    }
    return Snapshot(**(values | fields))


BAD_NAME = "/archive/bad\udcff\nname.fits"  # bytes that are not UTF-8, and a line break


def hostile_tally() -> Tally:
    """Return a tally whose samples hold a name that no database takes as it is."""
    tally = make_tally()
    tally.add_unrecognized("bad\udcff\n.fits", BAD_NAME)
    tally.add_error(ScanError(BAD_NAME, "stat", 13, "permission"))
    return tally


def damage(path, table="filesystem_general"):
    """Destroy the first page of a table; return what the file holds then."""
    with closing(sqlite3.connect(path)) as connection:
        root = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        page = connection.execute(root, (table,)).fetchone()[0]
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xaa" * 4096
    path.write_bytes(content)
    return bytes(content)
