"""The compiled reader's Python side: rules go in as data, shapes come out and are classified."""

from __future__ import annotations

import os
from array import array
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from jwqlscan.model.cube import NO_EXTENSION, CellKey, Cube, FileClass
from jwqlscan.model.directory_totals import Directories, columns_record, relative_paths
from jwqlscan.model.tally import Product, ScanError, Tally
from jwqlscan.naming.jwst import shape
from jwqlscan.scanning.rate_limit import RateLimit
from jwqlscan.scanning.readers._native import Chunk, Place
from jwqlscan.scanning.readers._native import Reader as NativeCore
from jwqlscan.scanning.readers.base import (
    BATCH_SECONDS,
    Batch,
    Link,
    Root,
    Work,
    WorkerProgress,
    descriptors_to_keep,
    error_kind,
)
from jwqlscan.scanning.rules import Exclusion, ScanRules

if TYPE_CHECKING:
    from jwqlscan.naming.schemes import NameClassifier

# The order of the compiled reader's skip counters.
SKIP_REASONS = ("snapshot", "excluded", "mount", "pseudo", "loop")

# Shapes whose product is remembered: some hundreds on a JWST archive, any number on a hostile one,
# or where the names' digits matter and are kept.
KNOWN_SHAPES = 50_000

# Of names or extensions: itself, count, bytes, a path, and its number in the batch.
_Shape: TypeAlias = tuple[bytes, int, int, bytes, int]


class NativeReader:
    """Reads with the compiled extension; the same contract as `ScandirReader`.

    Parameters
    ----------
    rules : ScanRules
    classifier : NameClassifier
    rate_limit : RateLimit

    Notes
    -----
    Of several unrecognized names of one shape in one batch the sample kept is the first met, where
    `ScandirReader` keeps the smallest.
    """

    name = "native"

    def __init__(self, rules: ScanRules, classifier: NameClassifier, rate_limit: RateLimit) -> None:
        exclusion = Exclusion(rules.exclude) if rules.exclude else None
        self._classifier = classifier
        self._known: dict[bytes, tuple[Product | None, FileClass]] = {}
        self._tops: dict[int, str] = {}  # the path of each root
        # Programs are counted here if only the classifier can find them.
        self._reads_programs = bool(rules.age_limits) and not classifier.program_digits
        kept = classifier.kept_digits(self._reads_programs)
        self._keeps_digits = kept[0] < kept[1]
        self._core = NativeCore(
            tuple((device, inode, number) for (device, inode), number in rules.roots.items()),
            tuple(sorted(rules.mounts.pseudo_devices)),
            tuple(sorted(rules.mounts.unsure_devices)),
            tuple(os.fsencode(name) for name in sorted(rules.snapshot_names)),
            tuple(
                (os.fsencode(path), SKIP_REASONS.index(reason))
                for path, reason in sorted(rules.mounts.skipped_paths.items())
            ),
            None if exclusion is None else exclusion.mask,
            rules.one_file_system,
            rules.follow_file_symlinks,
            descriptors_to_keep(),
            rules.age_limits,
            tuple(map(os.fsencode, classifier.endings)),
            *kept,
            classifier.program_prefix.encode(),
            classifier.program_digits,
            rules.directories,
            rate_limit.interval_ns,
            rate_limit.next_ns,
        )

    def read(self, work: list[Work], worker: WorkerProgress) -> Batch:
        """Read some work and what is below it; see `Reader.read`."""
        root = work[0].root
        self._tops[root.number] = root.path
        chunks: list[Chunk | None] = [item.entries for item in work]
        if worker.place is None:
            worker.place = Place()
        numbers: dict[FileClass, int] = {}
        (
            counts,
            shapes,
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
            worker.pool.wanted,
            lambda given: worker.pool.share(_pending(root, work[0].device, given)),
            partial(self._number, numbers),
            worker.progress_counts,
            worker.place,
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
        self._count(shapes, tally)
        if cells:
            tally.cube.product_extension = self._classifier.product_extension
        add, classes = tally.cube.add, list(numbers)
        for file_class, uid, gid, age, size, count, apparent, allocated in cells:
            key = CellKey(classes[file_class], uid, gid, age, size)
            add(key, count, apparent, allocated)
        if self._reads_programs:
            self._count_programs(shapes, tally.cube)
        for number, count, size in programs:
            tally.cube.add_program(f"{number:0{self._classifier.program_digits}}", count, size)
        for path, operation, number in failures:
            tally.add_error(ScanError(path, operation, number, error_kind(number)))
        worker.files += tally.files
        worker.apparent_bytes += tally.apparent_bytes
        return batch

    def where(self, worker: WorkerProgress) -> str:
        """Return the directory that a worker is at; also while it hangs in the kernel."""
        return "" if worker.place is None else str(worker.place.path())

    def directories(self, root: int) -> dict[str, Any]:
        """Return the record of the directories below a root; see `Reader.directories`."""
        columns = self._core.directories(root)
        if columns is None:
            return Directories().to_record()
        paths, numbers, upper, dropped = columns
        paths = relative_paths(paths, self._tops[root])
        return columns_record(paths, array("Q", numbers), upper, dropped)

    def _count(self, shapes: list[_Shape], tally: Tally) -> None:
        """Count files by their shapes."""
        for key, count, size, sample, _ in shapes:
            product, _ = self._classify(key)
            if product is None:
                name = os.fsdecode(key)
                like = shape(name) if self._keeps_digits else name
                tally.add_unrecognized(like, os.fsdecode(sample), count)
            else:
                tally.add_product(product, count, size)

    def _classify(self, key: bytes) -> tuple[Product | None, FileClass]:
        # Other workers may clear it at any moment: what was looked up is not looked up again.
        found = self._known.get(key)
        if found is None:
            if len(self._known) > KNOWN_SHAPES:
                self._known.clear()
            name = os.fsdecode(key)
            product = self._classifier.classify(name)
            unknown = self._classifier.unrecognized
            found = (product, unknown(name) if product is None else FileClass(*product))
            self._known[key] = found
        return found

    def _count_programs(self, shapes: list[_Shape], cube: Cube) -> None:
        for key, count, size, _, _ in shapes:
            if program := self._classifier.program(os.fsdecode(key)):
                cube.add_program(program, count, size)

    def _number(
        self, numbers: dict[FileClass, int], shapes: list[_Shape], extensions: list[_Shape]
    ) -> tuple[list[int], list[int]]:
        """Return a number for each shape and extension: its class, as the cube's rows name it."""
        of_shapes, of_extensions = [0] * len(shapes), [0] * len(extensions)
        for key, _, _, _, index in shapes:
            of_shapes[index] = numbers.setdefault(self._classify(key)[1], len(numbers))
        for ending, _, _, _, index in extensions:
            file_class = FileClass("", ending.decode("ascii") or NO_EXTENSION)
            of_extensions[index] = numbers.setdefault(file_class, len(numbers))
        return of_shapes, of_extensions


def _pending(root: Root, device: int, chunks: list[Chunk]) -> list[Work]:
    return [Work(root, root.path, "", root.opened, device, chunk) for chunk in chunks]
