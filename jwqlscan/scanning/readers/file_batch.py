"""File batches: columns of entries that were stat'ed, counted together.

The pure reader's other half. One by one, adding up a file's numbers takes as long as its stat; a
thousand files at a time they are columns, which built-in functions add up.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import compress
from stat import S_IFDIR, S_IFLNK, S_IFREG
from typing import TYPE_CHECKING, NamedTuple

from jwqlscan.model.cube import CellKey, Cube, FileClass, extension
from jwqlscan.model.tally import Product, Tally
from jwqlscan.naming.jwst import shape
from jwqlscan.scanning.readers.base import Batch, Link
from jwqlscan.scanning.readers.directory_totals import DirectoryTotals
from jwqlscan.scanning.rules import ScanRules, join

if TYPE_CHECKING:
    from jwqlscan.naming.schemes import NameClassifier

# S_IFMT of stat(7), without a call an entry.
KIND = 0o170000

# Limit of the allocated size that a broken filesystem reports, as in the compiled reader.
MAX_ALLOCATED = (2**63 - 1) // 512 * 512


class FileBatch:
    """Entries that are no directories, with their stats, waiting to be counted.

    Attributes
    ----------
    names : list of str
    stats : list of stat_result, of equal length
    """

    __slots__ = ("_paths", "_starts", "_totals", "names", "stats")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.stats: list[os.stat_result] = []
        self._starts: list[int] = []
        self._paths: list[str] = []
        self._totals: list[DirectoryTotals | None] = []

    def add(
        self,
        directory: str,
        names: list[str],
        stats: list[os.stat_result],
        totals: DirectoryTotals | None = None,
    ) -> None:
        """Add entries of a directory, to be added to its totals."""
        self._starts.append(len(self.names))
        self._paths.append(directory)
        self._totals.append(totals)
        self.names += names
        self.stats += stats

    def path(self, index: int) -> str:
        """Return the path of an entry."""
        directory = self._paths[bisect_right(self._starts, index) - 1]
        return join(directory, self.names[index])

    def accounts(self) -> Iterator[tuple[DirectoryTotals, int, int]]:
        """Yield the accounts, and from where to where their directories' entries are."""
        ends = [*self._starts[1:], len(self.names)]
        for totals, start, end in zip(self._totals, self._starts, ends, strict=True):
            if totals is not None:
                yield totals, start, end

    def clear(self) -> None:
        """Forget all entries."""
        for column in (self.names, self.stats, self._starts, self._paths, self._totals):
            column.clear()


class _Files(NamedTuple):
    """The regular files of a batch, as columns of equal length; `places` are their indices there.

    Of an inode that has several names, `allocated` is an equal part for each.
    """

    names: list[str]
    stats: Sequence[os.stat_result]
    sizes: Sequence[int]
    allocated: Sequence[int]
    places: Sequence[int]


class FileBatchCounter:
    """Counts piles.

    Parameters
    ----------
    rules : ScanRules
    classifier : NameClassifier
    """

    def __init__(self, rules: ScanRules, classifier: NameClassifier) -> None:
        self._classifier = classifier
        self._classes: dict[Product, FileClass] = {}
        # Ascending, for bisect: seconds before 1970 of the ages' ends.
        self._age_limits = [-limit for limit in rules.age_limits]

    def count(self, file_batch: FileBatch, batch: Batch) -> None:
        """Count a batch, and clear it."""
        files = _files(file_batch, batch)
        tally = batch.tally
        if not files.names:
            file_batch.clear()
            return
        tally.files += len(files.names)
        tally.apparent_bytes += sum(files.sizes)
        products = self._count_fits(file_batch, files, tally)
        if self._age_limits:
            self._count_cells(files, iter(products), tally.cube)
        self._tell(file_batch, files)
        file_batch.clear()

    def _tell(self, file_batch: FileBatch, files: _Files) -> None:
        """Add to the directories' accounts what files lie in each."""
        endings = self._classifier.endings
        for totals, start, end in file_batch.accounts():
            first, last = bisect_left(files.places, start), bisect_left(files.places, end)
            if first == last:
                continue
            sizes = files.sizes[first:last]
            names = files.names[first:last]
            fits = [size for name, size in zip(names, sizes, strict=True) if name.endswith(endings)]
            allocated = sum(files.allocated[first:last])
            totals.add((last - first, sum(sizes), allocated, len(fits), sum(fits)))

    def _count_fits(
        self, file_batch: FileBatch, files: _Files, tally: Tally
    ) -> list[Product | None]:
        """Count FITS files by product, and return their products."""
        endings = self._classifier.endings
        names, sizes = files.names, files.sizes
        are_fits = [name.endswith(endings) for name in names]
        if False in are_fits:
            names = list(compress(names, are_fits))
            sizes = list(compress(sizes, are_fits))
        tally.fits_files += len(names)
        tally.fits_bytes += sum(sizes)
        found = self._classifier.lookup(names)
        sizes_of: defaultdict[Product | None, list[int]] = defaultdict(list)
        for product, size in zip(found, sizes, strict=True):
            sizes_of[product].append(size)
        for product, some in sizes_of.items():
            if product is not None:
                tally.add_product(product, len(some), sum(some))
        if None in sizes_of:
            places = compress(files.places, are_fits)
            for product, name, place in zip(found, names, places, strict=True):
                if product is None:
                    tally.add_unrecognized(shape(name), file_batch.path(place))
        return found

    def _count_cells(self, files: _Files, products: Iterator[Product | None], cube: Cube) -> None:
        """Count files in the cube; `products` has those of the FITS files among them, in order."""
        times = self._age_limits
        _, _, _, _, uids, gids, _, _, mtimes, _ = zip(*files.stats, strict=True)
        endings = self._classifier.endings
        classes = [
            self._class_of(name, next(products))
            if name.endswith(endings)
            else FileClass("", extension(name))
            for name in files.names
        ]
        ages = [bisect_right(times, -mtime) for mtime in mtimes]
        bits = map(int.bit_length, files.sizes)
        sums: dict[tuple[FileClass, int, int, int, int], list[int]] = {}
        for key, size, allocated in zip(
            zip(classes, uids, gids, ages, bits, strict=True),
            files.sizes,
            files.allocated,
            strict=True,
        ):
            row = sums.get(key)
            if row is None:
                sums[key] = [1, size, allocated]
            else:
                row[0] += 1
                row[1] += size
                row[2] += allocated
        for key, row in sums.items():
            cube.add(CellKey(*key), *row)
        cube.product_extension = self._classifier.product_extension
        program = self._classifier.program
        for name, size in zip(files.names, files.sizes, strict=True):
            if number := program(name):
                cube.add_program(number, 1, size)

    def _class_of(self, name: str, product: Product | None) -> FileClass:
        if product is None:
            return self._classifier.unrecognized(name)
        found = self._classes.get(product)
        if found is None:
            found = self._classes[product] = FileClass(*product)
        return found


def _files(file_batch: FileBatch, batch: Batch) -> _Files:
    """Return the regular files of a batch; count all other entries, note hard links."""
    names, stats = file_batch.names, file_batch.stats
    # Column by column: zip(*stats) would make all ten, for half as much time again.
    modes = [stat.st_mode for stat in stats]
    links = [stat.st_nlink for stat in stats]
    sizes = [stat.st_size for stat in stats]
    places: Sequence[int] = range(len(stats))
    if any(mode & KIND != S_IFREG for mode in set(modes)):
        places = [index for index, mode in enumerate(modes) if mode & KIND == S_IFREG]
        _count_others(modes, batch.tally)
        names = [names[index] for index in places]
        stats = [stats[index] for index in places]
        sizes = [sizes[index] for index in places]
    if min(sizes, default=0) < 0:  # from a broken filesystem: as du counts it
        sizes = [max(size, 0) for size in sizes]
    allocated = [stat.st_blocks * 512 for stat in stats]
    if min(allocated, default=0) < 0 or max(allocated, default=0) > MAX_ALLOCATED:
        allocated = [min(max(size, 0), MAX_ALLOCATED) for size in allocated]
    batch.tally.allocated_bytes += sum(allocated)
    if max(links) > 1:
        for index, stat in enumerate(stats):
            if stat.st_nlink > 1:
                link = Link(stat.st_dev, stat.st_ino, stat.st_nlink, allocated[index])
                batch.links.append(link)
                batch.tally.allocated_bytes -= link.allocated_bytes
                allocated[index] //= stat.st_nlink
    return _Files(names, stats, sizes, allocated, places)


def _count_others(modes: Sequence[int], tally: Tally) -> None:
    """Count what is no regular file."""
    for mode, count in Counter(modes).items():
        kind = mode & KIND
        if kind == S_IFLNK:
            tally.symlinks += count
        elif kind == S_IFDIR:  # it was none when its directory was listed
            tally.vanished += count
        elif kind != S_IFREG:
            tally.other += count
