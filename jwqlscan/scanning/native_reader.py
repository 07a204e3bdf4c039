"""The compiled reader's Python side: rules go in as data, shapes come out and are classified."""

from __future__ import annotations

import os

from jwqlscan.names import Classifier
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
            pace.interval_ns,
            pace.next_ns,
        )

    def read(self, work: list[Work], meter: Meter) -> Batch:
        """Read some work and what is below it; see `Reader.read`."""
        root = work[0].root
        chunks: list[Chunk | None] = [item.entries for item in work]
        if meter.place is None:
            meter.place = Place()
        counts, shapes, links, failures, nested, left = self._core.read(
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
        self._classify(shapes, tally)
        for path, operation, number in failures:
            tally.add_error(ScanError(path, operation, number, error_kind(number)))
        meter.files += tally.files
        meter.apparent_bytes += tally.apparent_bytes
        return batch

    def where(self, meter: Meter) -> str:
        """Return the directory that a worker is at; also while it hangs in the kernel."""
        return "" if meter.place is None else str(meter.place.path())

    def _classify(self, shapes: list[tuple[bytes, int, int, bytes]], tally: Tally) -> None:
        known = self._known
        if len(known) > KNOWN_SHAPES:
            known.clear()
        for shape, count, size, sample in shapes:
            # Other workers may clear it at any moment: what was looked up is not looked up again.
            product = known.get(shape, _UNSEEN)
            if product is _UNSEEN:
                product = known[shape] = self._classifier.classify(os.fsdecode(shape))
            if product is None:
                tally.add_unrecognized(os.fsdecode(shape), os.fsdecode(sample), count)
            else:
                tally.add_product(product, count, size)


def _pending(root: Root, device: int, chunks: list[Chunk]) -> list[Work]:
    return [Work(root, root.path, "", root.opened, device, chunk) for chunk in chunks]
