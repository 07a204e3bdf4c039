"""The pure Python reader; the specification of what a reader does.

Every directory is opened relative to its open parent with O_NOFOLLOW, and its entries are stat'ed
relative to it: safe against symlinks swapped in, not bounded by PATH_MAX, and faster.
"""

from __future__ import annotations

import errno
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from stat import S_IFDIR, S_IFLNK, S_IFREG, ST_MTIME
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from jwqlscan.cube import CellKey, Cube, FileClass, extension
from jwqlscan.directories import Directories
from jwqlscan.names import shape
from jwqlscan.scanning.ledger import Ledgers, sums_of, tell
from jwqlscan.scanning.pace import Pace
from jwqlscan.scanning.reader import (
    ANSWERS,
    BATCH_SECONDS,
    ENTRIES,
    TRANSIENT,
    TRANSIENT_PAUSE_S,
    TRANSIENT_RETRIES,
    VANISHED,
    Batch,
    Link,
    Meter,
    OpenDirectory,
    Work,
    descriptors_to_keep,
    error_kind,
)
from jwqlscan.scanning.rules import Exclusion, ScanRules, join
from jwqlscan.tally import Product, ScanError, Tally

OPEN_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# Entries of one directory held at a time: a larger directory is streamed.
CHUNK_ENTRIES = 1024

# Between two looks at whether others want work: as many entries as take this long, on storage of
# any speed, and so few at first and at least.
BLOCK_SECONDS = 0.004
LEAST_ENTRIES = 8

# S_IFMT of stat(7), without a call an entry.
_KIND = 0o170000

# What reading a directory costs in metadata operations beside its entries: open, stat, and at
# least two listings.
DIRECTORY_OPERATIONS = 4

# Out of descriptors (EMFILE, ENFILE): others close some soon, so try again a while.
LIMIT_RETRIES = 50
LIMIT_PAUSE_S = 0.02

# A regular file: its name, its stat, its size, and what is allocated for this name of it.
_Stat: TypeAlias = tuple[str, os.stat_result, int, int]
Result = TypeVar("Result")
if TYPE_CHECKING:
    from jwqlscan.schemes import NameClassifier

    Scandir: TypeAlias = os._ScandirIterator[str]


class ScandirReader:
    """Reads with `os.scandir` on an open directory.

    Parameters
    ----------
    rules : ScanRules
    classifier : NameClassifier
    pace : Pace
    """

    name = "scandir"

    def __init__(self, rules: ScanRules, classifier: NameClassifier, pace: Pace) -> None:
        self._pace = pace
        self._rules = rules
        self._classifier = classifier
        self._lookup = classifier.lookup
        self._exclusion = Exclusion(rules.exclude) if rules.exclude else None
        self._keep_below_fd = descriptors_to_keep()
        # Ascending, for bisect: seconds before 1970 of the ages' ends.
        self._age_limits = [-limit for limit in rules.age_limits]
        self._ledgers = Ledgers(rules.roots.values(), rules.directories)

    def read(self, work: list[Work], meter: Meter) -> Batch:
        """Read some work and what is below it; see `Reader.read`."""
        batch = Batch()
        deadline = time.monotonic() + BATCH_SECONDS
        while work:
            item = work.pop()
            if item.entries is None:
                self._read_directory(item, work, batch, meter)
            else:
                self._read_entries(item, list(item.entries), False, work, batch, meter)
            if meter.pool.wanted[0] or time.monotonic() > deadline:
                break
        batch.left = work
        return batch

    def where(self, meter: Meter) -> str:
        """Return the directory that a worker is at; also while it hangs in the kernel."""
        return meter.path

    def directories(self, root: int) -> Directories:
        """Return what the directories below a root sum up to; see `Reader.directories`."""
        return self._ledgers.directories(root)

    def _read_directory(self, item: Work, work: list[Work], batch: Batch, meter: Meter) -> None:
        meter.path = item.path
        self._pace.wait(DIRECTORY_OPERATIONS)
        fd = self._open(item, batch)
        meter.gauges[ANSWERS] += 1
        if fd < 0:
            return
        opened = OpenDirectory(fd)
        try:
            stat = os.fstat(fd)
        except OSError as error:
            _fail(batch, item.path, "stat", error)
            return
        if not self._enter(item, stat, batch):
            return
        batch.tally.directories += 1
        meter.gauges[ENTRIES] += 1
        meter.gauges[ANSWERS] += 1
        account = self._ledgers.open(item.root.number, item.account, item.path)
        here = item._replace(name="", parent=opened, device=stat.st_dev, account=account)
        try:
            listing, listed = _patiently(partial(_begin_listing, fd))
        except OSError as error:
            if error.errno != errno.ENOENT:  # removed since it was opened, so empty
                _fail(batch, item.path, "list", error)
            return
        with listing:
            more = True
            while more:
                entries: list[os.DirEntry[str]] = []
                subdirectories: list[Work] = []
                more = self._list_chunk(here, listed, entries, subdirectories, batch)
                work.extend(subdirectories)
                self._read_entries(here, entries, more, work, batch, meter)

    def _list_chunk(
        self,
        here: Work,
        listing: Iterator[os.DirEntry[str]],
        entries: list[os.DirEntry[str]],
        subdirectories: list[Work],
        batch: Batch,
    ) -> bool:
        """List some entries; return whether there may be more."""
        listed = 0
        try:
            for entry in islice(listing, CHUNK_ENTRIES):
                listed += 1
                if self._exclusion is not None and self._exclusion.matches(
                    here.root.path, here.path, entry.name
                ):
                    batch.tally.add_skipped("excluded")
                    continue
                try:
                    is_directory = entry.is_dir(follow_symlinks=False)
                except OSError as error:  # the filesystem gives no d_type, and stat failed
                    _fail(batch, join(here.path, entry.name), "stat", error)
                    continue
                if is_directory:
                    if entry.name in self._rules.snapshot_names:
                        batch.tally.add_skipped("snapshot")
                    else:
                        subdirectories.append(self._child(here, entry.name))
                else:
                    entries.append(entry)
        except OSError as error:  # what was listed before it is kept
            if error.errno != errno.ENOENT:  # removed while it was being listed
                _fail(batch, here.path, "list", error)
            return False
        return listed == CHUNK_ENTRIES

    def _child(self, here: Work, name: str) -> Work:
        path = join(here.path, name)
        if here.parent.fd < self._keep_below_fd:
            return Work(here.root, path, name, here.parent, here.device, None, here.account)
        below_root = path[len(here.root.path) :].lstrip("/")
        opened = here.root.opened
        return Work(here.root, path, below_root, opened, here.device, None, here.account)

    def _read_entries(
        self,
        here: Work,
        entries: list[os.DirEntry[str]],
        more: bool,
        work: list[Work],
        batch: Batch,
        meter: Meter,
    ) -> None:
        """Stat entries that are no directories.

        When others want work they get pending directories, else entries of this one: all of them
        while it has more to list, since nobody else can list on and the others would run dry.
        """
        before = sums_of(batch) if here.account is not None and entries else None
        while entries:
            wanted = meter.pool.wanted[0]
            if wanted and work:
                half = (len(work) + 1) // 2
                meter.pool.share(work[:half])
                del work[:half]
            elif wanted and len(entries) > LEAST_ENTRIES:
                _share_entries(here, entries, wanted, more, meter)
            size = meter.block_entries
            block = entries[-size:]
            del entries[-size:]
            self._pace.wait(len(block))
            started = time.monotonic()
            self._read_block(here, block, batch, meter)
            meter.block_entries = self._next_size(len(block), size, time.monotonic() - started)
        if before is not None:
            tell(here.account, batch, before)

    def _next_size(self, read: int, size: int, seconds: float) -> int:
        """Return the size of the next block, for it to take about `BLOCK_SECONDS`."""
        if seconds > 2 * BLOCK_SECONDS:
            return max(LEAST_ENTRIES, size // 2)
        if read == size and seconds < BLOCK_SECONDS / 2 and not self._pace.interval_ns:
            return min(CHUNK_ENTRIES, size * 2)
        return size

    def _read_block(
        self, here: Work, block: list[os.DirEntry[str]], batch: Batch, meter: Meter
    ) -> None:
        files = apparent_bytes = allocated_blocks = 0
        endings = self._classifier.endings
        fits: list[str] = []
        fits_sizes: list[int] = []
        cells: list[_Stat] | None = [] if self._age_limits else None
        gauges = meter.gauges
        for entry in block:
            gauges[ANSWERS] += 1
            try:
                stat = entry.stat(follow_symlinks=False)
            except OSError as first:
                again = _stat_again(entry, first)
                if isinstance(again, OSError):
                    _fail(batch, join(here.path, entry.name), "stat", again)
                    continue
                stat = again
            if stat.st_mode & _KIND != S_IFREG:
                followed = self._read_other(here, entry.name, stat.st_mode, batch)
                if followed is None:
                    continue
                stat = followed
                shared = 0
            elif stat.st_nlink > 1:
                allocated = stat.st_blocks * 512
                batch.links.append(Link(stat.st_dev, stat.st_ino, stat.st_nlink, allocated))
                shared = allocated // stat.st_nlink
            else:
                allocated_blocks += stat.st_blocks
                shared = stat.st_blocks * 512
            size = stat.st_size
            if size < 0:  # as du does with what a broken filesystem says
                size = 0
            files += 1
            apparent_bytes += size
            name = entry.name
            if name.endswith(endings):
                fits.append(name)
                fits_sizes.append(size)
            if cells is not None:
                cells.append((name, stat, size, shared))
        tally = batch.tally
        tally.files += files
        tally.apparent_bytes += apparent_bytes
        tally.allocated_bytes += allocated_blocks * 512
        products = self._count_fits(here, fits, fits_sizes, tally)
        if cells is not None:
            self._count_cells(cells, iter(products), tally.cube)
        gauges[ENTRIES] += len(block)
        meter.files += files
        meter.apparent_bytes += apparent_bytes

    def _count_cells(
        self, stats: list[_Stat], products: Iterator[Product | None], cube: Cube
    ) -> None:
        """Count files in the cube; `products` has those of the FITS files among them, in order."""
        times = self._age_limits
        endings = self._classifier.endings
        unrecognized = self._classifier.unrecognized
        program = self._classifier.program
        cube.product_extension = self._classifier.product_extension
        add = cube.add
        for name, stat, size, allocated in stats:
            if name.endswith(endings):
                product = next(products)
                file_class = unrecognized(name) if product is None else FileClass(*product)
            else:
                file_class = FileClass("", extension(name))
            age = bisect_right(times, -stat[ST_MTIME])
            key = CellKey(file_class, stat.st_uid, stat.st_gid, age, size.bit_length())
            add(key, 1, size, allocated)
            if number := program(name):
                cube.add_program(number, 1, size)

    def _count_fits(
        self, here: Work, names: list[str], sizes: list[int], tally: Tally
    ) -> list[Product | None]:
        """Count FITS files by product, and return their products."""
        tally.fits_files += len(names)
        tally.fits_bytes += sum(sizes)
        products = tally.products
        found = self._lookup(names)
        for product, name, size in zip(found, names, sizes, strict=True):
            if product is None:
                tally.add_unrecognized(shape(name), join(here.path, name))
            elif (amount := products.get(product)) is not None:
                amount.count += 1
                amount.bytes += size
            else:
                tally.add_product(product, 1, size)
        return found

    def _read_other(self, here: Work, name: str, mode: int, batch: Batch) -> os.stat_result | None:
        """Count what is no regular file; return the stat of a file that a symlink leads to."""
        kind = mode & _KIND
        if kind == S_IFLNK:
            if self._rules.follow_file_symlinks:
                try:
                    target = os.stat(name, dir_fd=here.parent.fd)
                except OSError:  # a broken or forbidden symlink is a symlink
                    target = None
                if target is not None and target.st_mode & _KIND == S_IFREG:
                    return target
            batch.tally.symlinks += 1
        elif kind == S_IFDIR:  # it was none when the directory was listed
            batch.tally.vanished += 1
        else:
            batch.tally.other += 1
        return None

    def _open(self, item: Work, batch: Batch) -> int:
        """Open a directory, or count why not and return -1."""
        barred = self._rules.mounts.barred.get(item.path)
        if barred is not None and item.name != ".":
            batch.tally.add_skipped(barred)
            return -1
        try:
            return _patiently(partial(_open_below, item.parent.fd, item.name))
        except OSError as error:
            if error.errno not in VANISHED:
                batch.tally.directories += 1
            _fail(batch, item.path, "open", error)
            return -1

    def _enter(self, item: Work, stat: os.stat_result, batch: Batch) -> bool:
        """Tell whether an open directory is to be read here; count why not."""
        is_root = item.name == "."
        if not is_root:
            if stat.st_dev != item.device:
                if self._rules.one_file_system:
                    batch.tally.add_skipped("mount")
                    return False
                if stat.st_dev in self._rules.mounts.pseudo_devices:
                    batch.tally.add_skipped("pseudo")
                    return False
            other = self._rules.roots.get((stat.st_dev, stat.st_ino))
            if other == item.root.number:  # a bind mount of the root below itself
                batch.tally.add_skipped("loop")
                return False
            if other is not None:
                batch.nested.add(other)
                return False
        return True


def _patiently(call: Callable[[], Result]) -> Result:
    """Call something that takes a descriptor, again while there is none or storage fails."""
    no_descriptor = transient = 0
    while True:
        try:
            return call()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and no_descriptor < LIMIT_RETRIES:
                no_descriptor += 1
                time.sleep(LIMIT_PAUSE_S)
            elif error.errno in TRANSIENT and transient < TRANSIENT_RETRIES:
                transient += 1
                time.sleep(TRANSIENT_PAUSE_S)
            else:
                raise


def _stat_again(entry: os.DirEntry[str], error: OSError) -> os.stat_result | OSError:
    """Stat an entry again if its failure may pass; return the last error if it did not."""
    for _ in range(TRANSIENT_RETRIES if error.errno in TRANSIENT else 0):
        time.sleep(TRANSIENT_PAUSE_S)
        try:
            return entry.stat(follow_symlinks=False)
        except OSError as next_error:
            error = next_error
    return error


def _begin_listing(fd: int) -> tuple[Scandir, Iterator[os.DirEntry[str]]]:
    """Return what is to be closed, and the entries.

    What can't be listed at all fails here, where it can be tried again; a listing that fails later
    can't go on from there.
    """
    listing = os.scandir(fd)  # on a duplicate of the descriptor
    try:
        first = next(listing, None)
    except OSError:
        listing.close()
        raise
    return listing, listing if first is None else chain((first,), listing)


def _open_below(fd: int, path: str) -> int:
    """Open a directory, maybe several levels down, without following a symlink at any of them."""
    if "/" not in path:
        return os.open(path, OPEN_FLAGS, dir_fd=fd)
    current = os.dup(fd)
    for name in path.split("/"):
        try:
            deeper = os.open(name, OPEN_FLAGS, dir_fd=current)
        finally:
            os.close(current)
        current = deeper
    return current


def _share_entries(
    here: Work, entries: list[os.DirEntry[str]], wanted: int, everything: bool, meter: Meter
) -> None:
    """Give entries away in equal parts; the first part is kept, unless it is to be everything."""
    size = max(LEAST_ENTRIES, -(-len(entries) // (wanted + (not everything))))
    kept = 0 if everything else size
    given = entries[: len(entries) - kept]
    del entries[: len(entries) - kept]
    meter.pool.share(
        [here._replace(entries=given[start : start + size]) for start in range(0, len(given), size)]
    )


def _fail(batch: Batch, path: str, operation: str, error: OSError) -> None:
    number = error.errno or 0
    if number in VANISHED and operation != "list":
        batch.tally.vanished += 1
    else:
        batch.tally.add_error(ScanError(path, operation, number, error_kind(number)))
