"""The tally: counts and bytes that merge in any order.

Merging is commutative and associative, samples included: of the samples the smallest are kept.
One record format serves the pipe from a scanning process, the spool and, later, other hosts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from jwqlscan.model.cube import Cube
from jwqlscan.model.directory_totals import Directories
from jwqlscan.model.record_fields import check_fields

ERROR_SAMPLES = 20
UNRECOGNIZED_SAMPLES = 20

COUNTERS = (
    "files",
    "apparent_bytes",
    "allocated_bytes",
    "directories",
    "symlinks",
    "other",
    "vanished",
    "fits_files",
    "fits_bytes",
    "unrecognized",
)


class Product(NamedTuple):
    """The product of a FITS file, from its name."""

    instrument: str
    filetype: str


@dataclass(slots=True)
class Amount:
    """Some files: how many, and their apparent bytes."""

    count: int
    bytes: int


class ScanError(NamedTuple):
    """A path that could not be read, as a value: the scan went on."""

    path: str
    operation: str
    errno: int
    kind: str


def error_text(number: int) -> str:
    """Return an error's number in words; negative ones are not the system's."""
    return os.strerror(number) if number >= 0 else "another type than its directory's listing gave"


@dataclass(slots=True)
class Tally:
    """What was counted below some directories.

    Attributes
    ----------
    files, apparent_bytes, allocated_bytes : int
        Regular files: every name, sum of st_size, sum of st_blocks * 512.
    directories, symlinks, other : int
        Directories met (unreadable ones too), symbolic links (not followed), and sockets, FIFOs
        and devices.
    vanished : int
        Entries that were gone, or were something else, when they were to be read.
    fits_files, fits_bytes : int
        Those of the regular files whose names end as a product's do: in ``.fits``, or as another
        naming scheme says.
    unrecognized : int
        FITS files whose names have no known product.
    products : dict of Product to Amount
        The FITS files whose names are recognized.
    unrecognized_samples : dict of str to str
        A name's shape to one path of that shape, for the smallest shapes.
    errors : dict of str to int
        Errors by kind: permission, io, stale, timeout, loop, name, limit, type, other.
    error_samples : list of ScanError
        The smallest errors by path.
    skipped : dict of str to int
        What was passed over on purpose, by reason: snapshot, excluded, mount, pseudo, loop.
    mounts : dict of str to str
        Mount points below, that are not passed over, to their filesystem's type.
    cube : Cube
        The regular files by class, owner, age and size; empty unless that was asked for.
    tree : Directories
        The sums of directories; empty unless that was asked for.
    """

    files: int = 0
    apparent_bytes: int = 0
    allocated_bytes: int = 0
    directories: int = 0
    symlinks: int = 0
    other: int = 0
    vanished: int = 0
    fits_files: int = 0
    fits_bytes: int = 0
    unrecognized: int = 0
    products: dict[Product, Amount] = field(default_factory=dict)
    unrecognized_samples: dict[str, str] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    error_samples: list[ScanError] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    mounts: dict[str, str] = field(default_factory=dict)
    cube: Cube = field(default_factory=Cube)
    tree: Directories = field(default_factory=Directories)

    @property
    def entries(self) -> int:
        """Everything met, in count."""
        return self.files + self.directories + self.symlinks + self.other

    @property
    def complete(self) -> bool:
        """Whether everything there could be read; what vanished was no longer there."""
        return not self.errors

    def add_product(self, product: Product, count: int, size_bytes: int) -> None:
        """Count recognized FITS files."""
        amount = self.products.get(product)
        if amount is None:
            self.products[product] = Amount(count, size_bytes)
        else:
            amount.count += count
            amount.bytes += size_bytes

    def add_unrecognized(self, shape: str, path: str, count: int = 1) -> None:
        """Count FITS files whose names have no known product; keep one sample per shape."""
        self.unrecognized += count
        samples = self.unrecognized_samples
        old = samples.get(shape)
        samples[shape] = path if old is None or path < old else old
        if len(samples) > UNRECOGNIZED_SAMPLES:
            del samples[max(samples)]

    def add_error(self, error: ScanError) -> None:
        """Count an error by its kind, and keep it if it is one of the smallest."""
        self.errors[error.kind] = self.errors.get(error.kind, 0) + 1
        self.error_samples.append(error)
        if len(self.error_samples) > 4 * ERROR_SAMPLES:
            self._trim_error_samples()

    def add_skipped(self, reason: str, count: int = 1) -> None:
        """Count something passed over on purpose."""
        self.skipped[reason] = self.skipped.get(reason, 0) + count

    def merge(self, other: Tally) -> None:
        """Add another tally to this one; the other stays as it is."""
        for name in COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for product, amount in other.products.items():
            self.add_product(product, amount.count, amount.bytes)
        for shape, path in other.unrecognized_samples.items():
            self.add_unrecognized(shape, path, 0)
        _add_counts(self.errors, other.errors)
        _add_counts(self.skipped, other.skipped)
        self.mounts.update(other.mounts)
        self.cube.merge(other.cube)
        self.tree.merge(other.tree)
        self.error_samples.extend(other.error_samples)
        self._trim_error_samples()

    def to_record(self) -> dict[str, Any]:
        """Return the tally as plain JSON data; :meth:`from_record` is its inverse."""
        self._trim_error_samples()
        record: dict[str, Any] = {name: getattr(self, name) for name in COUNTERS}
        record["products"] = [
            [*product, amount.count, amount.bytes]
            for product, amount in sorted(self.products.items(), key=itemgetter(0))
        ]
        record["unrecognized_samples"] = dict(sorted(self.unrecognized_samples.items()))
        record["errors"] = dict(sorted(self.errors.items()))
        record["error_samples"] = [list(error) for error in self.error_samples]
        record["skipped"] = dict(sorted(self.skipped.items()))
        record["mounts"] = dict(sorted(self.mounts.items()))
        if self.cube:
            record["cube"] = self.cube.to_record()
        if self.tree:
            record["tree"] = self.tree.to_record()
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any], path: str = "") -> Tally:
        """Return the tally that :meth:`to_record` wrote.

        A field that is missing is empty, a counter 0: the record is older than the field. `path`
        is that of the area, which the directories in records of version 0.1.0 begin with.

        Raises
        ------
        NewerRecordError
            If the record has a field that is unknown here.
        TypeError, ValueError
            If the record is not one.
        """
        check_fields(record, _FIELDS, "tally")
        tally = cls()
        for name in COUNTERS:
            setattr(tally, name, int(record.get(name, 0)))
        tally.products = {Product(i, f): Amount(n, b) for i, f, n, b in record.get("products", ())}
        tally.unrecognized_samples = dict(record.get("unrecognized_samples", {}))
        tally.errors = dict(record.get("errors", {}))
        tally.error_samples = [ScanError(*fields) for fields in record.get("error_samples", ())]
        tally.skipped = dict(record.get("skipped", {}))
        tally.mounts = dict(record.get("mounts", {}))
        if "cube" in record:
            tally.cube = Cube.from_record(record["cube"])
        if "tree" in record:
            tally.tree = Directories.from_record(record["tree"], path)
        return tally

    def _trim_error_samples(self) -> None:
        self.error_samples.sort()
        del self.error_samples[ERROR_SAMPLES:]


_FIELDS = frozenset(Tally.__dataclass_fields__)


def _add_counts(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for key, count in more.items():
        counts[key] = counts.get(key, 0) + count
