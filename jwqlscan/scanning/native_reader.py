"""The compiled reader's Python side: rules go in as data, shapes come out and are classified."""

from __future__ import annotations

import os

from jwqlscan.cube import NO_EXTENSION, CellKey, Cube, FileClass
from jwqlscan.directories import Directories, DirectorySum
from jwqlscan.names import PROGRAM_DIGITS, PROGRAM_PREFIX, UNRECOGNIZED, Classifier
from jwqlscan.scanning._native import Chunk, Place
from jwqlscan.scanning._native import Reader as NativeCore
from jwqlscan.scanning.pace import Pace
from jwqlscan.scanning.reader import (
    BATCH_SECONDS,
    Batch,
    Link,
    Meter,
    Root,
    Work,
    descriptors_to_keep,
    error_kind,
)
from jwqlscan.scanning.rules import Exclusion, ScanRules
from jwqlscan.tally import Product, ScanError, Tally

# The order of the compiled reader's skip counters.
SKIP_REASONS = ("snapshot", "excluded", "mount", "pseudo", "loop")

# Shapes whose product is remembered: some hundreds on a JWST archive, any number on a hostile one.
KNOWN_SHAPES = 50_000
_UNSEEN = Product("", "")


class NativeReader:
    """Reads with the compiled extension; the same contract as `ScandirReader`.

    Parameters
    ----------
    rules : ScanRules
    classifier : Classifier
    pace : Pace

    Notes
    -----
    Of several unrecognized names of one shape in one batch the sample kept is the first met, where
    `ScandirReader` keeps the smallest.
    """

    name = "native"

    def __init__(self, rules: ScanRules, classifier: Classifier, pace: Pace) -> None:
        exclusion = Exclusion(rules.exclude) if rules.exclude else None
        self._classifier = classifier
        self._known: dict[bytes, Product | None] = {}
        self._core = NativeCore(
            tuple((device, inode, number) for (device, inode), number in rules.roots.items()),
            tuple(sorted(rules.mounts.pseudo_devices)),
            tuple(os.fsencode(name) for name in sorted(rules.snapshot_names)),
            tuple(
                (os.fsencode(path), SKIP_REASONS.index(reason))
                for path, reason in sorted(rules.mounts.barred.items())
            ),
            None if exclusion is None else exclusion.mask,
            rules.one_file_system,
            rules.follow_file_symlinks,
            descriptors_to_keep(),
            rules.age_limits,
            PROGRAM_PREFIX.encode(),
            PROGRAM_DIGITS,
            rules.directories,
            pace.interval_ns,
            pace.next_ns,
        )

    def read(self, work: list[Work], meter: Meter) -> Batch:
        """Read some work and what is below it; see `Reader.read`."""
        root = work[0].root
        chunks: list[Chunk | None] = [item.entries for item in work]
        if meter.place is None:
            meter.place = Place()
        (
            counts,
            shapes,
            extensions,
            cells,
            programs,
            links,
            failures,
            nested,
            left,
        ) = self._core.read(
            root.number,
            root.opened.fd,
            os.fsencode(root.path),
            work[0].device,
            chunks,
            meter.pool.wanted,
            lambda given: meter.pool.share(_pending(root, work[0].device, given)),
            meter.gauges,
            meter.place,
            BATCH_SECONDS,
        )
        batch = Batch()
        batch.left = _pending(root, work[0].device, left)
        batch.links = [Link(*link) for link in links]
        batch.nested.update(nested)
        tally = batch.tally
        (
            tally.files,
            tally.apparent_bytes,
            tally.allocated_bytes,
            tally.directories,
            tally.symlinks,
            tally.other,
            tally.vanished,
            tally.fits_files,
            tally.fits_bytes,
            _,
            skipped,
        ) = counts
        for reason, count in zip(SKIP_REASONS, skipped, strict=True):
            if count:
                tally.add_skipped(reason, count)
        products = self._classify(shapes, tally)
        if cells:
            _fill(tally.cube, cells, products, _classes(extensions))
        for number, count, size in programs:
            tally.cube.add_program(f"{number:0{PROGRAM_DIGITS}}", count, size)
        for path, operation, number in failures:
            tally.add_error(ScanError(path, operation, number, error_kind(number)))
        meter.files += tally.files
        meter.apparent_bytes += tally.apparent_bytes
        return batch

    def where(self, meter: Meter) -> str:
        """Return the directory that a worker is at; also while it hangs in the kernel."""
        return "" if meter.place is None else str(meter.place.path())

    def directories(self, root: int) -> Directories:
        """Return what the directories below a root sum up to; see `Reader.directories`."""
        table = Directories()
        if (told := self._core.directories(root)) is not None:
            upper, table.upper_dropped, lower, table.lower_dropped = told
            table.upper = {os.fsdecode(path): DirectorySum(*sums) for path, *sums in upper}
            table.lower = {os.fsdecode(path): DirectorySum(*sums) for path, *sums in lower}
        return table

    def _classify(
        self, shapes: list[tuple[bytes, int, int, bytes, int]], tally: Tally
    ) -> list[FileClass]:
        """Count files by their shapes, and return the classes of the shapes, by number."""
        known = self._known
        classes = [UNRECOGNIZED] * len(shapes)
        if len(known) > KNOWN_SHAPES:
            known.clear()
        for shape, count, size, sample, number in shapes:
            # Other workers may clear it at any moment: what was looked up is not looked up again.
            product = known.get(shape, _UNSEEN)
            if product is _UNSEEN:
                product = known[shape] = self._classifier.classify(os.fsdecode(shape))
            if product is None:
                tally.add_unrecognized(os.fsdecode(shape), os.fsdecode(sample), count)
            else:
                tally.add_product(product, count, size)
                classes[number] = FileClass(*product)
        return classes


def _classes(extensions: list[tuple[bytes, int, int, bytes, int]]) -> list[FileClass]:
    """Return the classes of extensions, by number."""
    classes = [UNRECOGNIZED] * len(extensions)
    for ending, _, _, _, number in extensions:
        classes[number] = FileClass("", ending.decode("ascii") or NO_EXTENSION)
    return classes


def _fill(
    cube: Cube,
    cells: list[tuple[bool, int, int, int, int, int, int, int, int]],
    products: list[FileClass],
    extensions: list[FileClass],
) -> None:
    for is_extension, number, uid, gid, age, size, count, apparent, allocated in cells:
        file_class = (extensions if is_extension else products)[number]
        cube.add(CellKey(file_class, uid, gid, age, size), count, apparent, allocated)


def _pending(root: Root, device: int, chunks: list[Chunk]) -> list[Work]:
    return [Work(root, root.path, "", root.opened, device, chunk) for chunk in chunks]
