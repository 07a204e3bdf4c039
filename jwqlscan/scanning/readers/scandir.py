"""The pure Python reader; the specification of what a reader does.

Every directory is opened relative to its open parent with O_NOFOLLOW, and its entries are stat'ed
relative to it: safe against symlinks swapped in, not bounded by PATH_MAX, and faster.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from itertools import islice
from stat import S_IFDIR, S_IFLNK, S_IFREG
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jwqlscan.model.tally import ScanError
from jwqlscan.scanning.rate_limit import RateLimit
from jwqlscan.scanning.readers.base import (
    ANSWERS,
    BATCH_SECONDS,
    ENTRIES,
    VANISHED,
    WRONG_TYPE,
    Batch,
    OpenDirectory,
    Work,
    WorkerProgress,
    descriptors_to_keep,
    error_kind,
)
from jwqlscan.scanning.readers.directory_totals import TotalsByRoot
from jwqlscan.scanning.readers.file_batch import KIND, FileBatch, FileBatchCounter
from jwqlscan.scanning.readers.retries import begin_listing, open_below, patiently, stat_again
from jwqlscan.scanning.rules import Exclusion, ScanRules, join

# Entries held at a time: a larger directory is streamed, smaller ones are counted together.
CHUNK_ENTRIES = 1024

# Entries to stat between checks for idle workers: as many as take this long, and so few at
# first and at least. On storage of 0.5 ms a stat, blocks of 8 made threads wait for the
# interpreter's lock twice as often, blocks that shrink while they wait for it even more.
BLOCK_SECONDS = 0.016
MIN_BLOCK = 32

# What is given away at least.
MIN_SHARE = 8

# What reading a directory costs in metadata operations beside its entries: open, stat, and at
# least two listings.
DIRECTORY_OPERATIONS = 4

Entries: TypeAlias = "list[os.DirEntry[str]]"
if TYPE_CHECKING:
    from jwqlscan.naming.schemes import NameClassifier

    Scandir: TypeAlias = os._ScandirIterator[str]


class _Reading(NamedTuple):
    """One call of `ScandirReader.read`: what waits, is to be counted, was counted; who reads."""

    work: list[Work]
    file_batch: FileBatch
    batch: Batch
    worker: WorkerProgress


class ScandirReader:
    """Reads with `os.scandir` on an open directory.

    Parameters
    ----------
    rules : ScanRules
    classifier : NameClassifier
    rate_limit : RateLimit
    """

    name = "scandir"

    def __init__(self, rules: ScanRules, classifier: NameClassifier, rate_limit: RateLimit) -> None:
        self._rate_limit = rate_limit
        self._rules = rules
        self._counter = FileBatchCounter(rules, classifier)
        self._exclusion = Exclusion(rules.exclude) if rules.exclude else None
        self._keep_below_fd = descriptors_to_keep()
        self._totals_by_root = TotalsByRoot(rules.roots.values(), rules.directories)

    def read(self, work: list[Work], worker: WorkerProgress) -> Batch:
        """Read some work and what is below it; see `Reader.read`."""
        this = _Reading(work, FileBatch(), Batch(), worker)
        deadline = time.monotonic() + BATCH_SECONDS
        while work:
            item = work.pop()
            if item.entries is None:
                self._read_directory(item, this)
            else:
                self._read_entries(item, list(item.entries), False, this)
            if worker.pool.wanted[0] or time.monotonic() > deadline:
                break
            if not work:  # to count much at a time, where others give away little at a time
                work.extend(worker.pool.more(item.root))
        self._count(this)
        this.batch.left = work
        return this.batch

    def where(self, worker: WorkerProgress) -> str:
        """Return the directory that a worker is at; also while it hangs in the kernel."""
        return worker.path

    def directories(self, root: int) -> dict[str, Any]:
        """Return the record of the directories below a root; see `Reader.directories`."""
        return self._totals_by_root.directories(root).to_record()

    def _read_directory(self, item: Work, this: _Reading) -> None:
        batch, worker = this.batch, this.worker
        worker.path = item.path
        self._rate_limit.wait(DIRECTORY_OPERATIONS)
        fd = self._open(item, this)
        worker.progress_counts[ANSWERS] += 1
        if fd < 0:
            return
        opened = OpenDirectory(fd)
        try:
            stat = os.fstat(fd)
        except OSError as error:
            _fail(batch, item.path, "stat", error)
            return
        opened.modified_ns = stat.st_mtime_ns
        if not self._enter(item, stat, batch):
            return
        batch.tally.directories += 1
        worker.progress_counts[ENTRIES] += 1
        worker.progress_counts[ANSWERS] += 1
        totals = self._totals_by_root.open(item.root.number, item.totals, item.path)
        here = Work(item.root, item.path, "", opened, stat.st_dev, None, totals)
        listed: Entries = []
        try:
            listing = patiently(begin_listing, fd, listed)
        except OSError as error:
            if error.errno != errno.ENOENT:  # removed since it was opened, so empty
                _fail(batch, item.path, "list", error)
            return
        with listing:
            more = True
            while more:
                more = _list_more(here, listing, listed, batch)
                entries, subdirectories = self._sort(here, listed, batch)
                this.work.extend(subdirectories)
                self._read_entries(here, entries, more, this)
                listed = []

    def _sort(self, here: Work, listed: Entries, batch: Batch) -> tuple[Entries, list[Work]]:
        """Return what is no directory, and the directories to be read."""
        if self._exclusion is not None:
            listed = self._included(self._exclusion, here, listed, batch)
        try:
            are_directories = [entry.is_dir(follow_symlinks=False) for entry in listed]
        except OSError:  # the filesystem gives no d_type, and a stat failed
            listed, are_directories = _told_apart(here, listed, batch)
        if True not in are_directories:
            return listed, []
        entries: Entries = []
        directories: list[Work] = []
        for entry, is_directory in zip(listed, are_directories, strict=True):
            if not is_directory:
                entries.append(entry)
            elif entry.name in self._rules.snapshot_names:
                batch.tally.add_skipped("snapshot")
            else:
                directories.append(self._child(here, entry.name))
        return entries, directories

    def _included(self, exclusion: Exclusion, here: Work, listed: Entries, batch: Batch) -> Entries:
        root, path = here.root.path, here.path
        included = [entry for entry in listed if not exclusion.matches(root, path, entry.name)]
        if excluded := len(listed) - len(included):
            batch.tally.add_skipped("excluded", excluded)
        return included

    def _child(self, here: Work, name: str) -> Work:
        path = join(here.path, name)
        if here.parent.fd < self._keep_below_fd:
            return Work(here.root, path, name, here.parent, here.device, None, here.totals)
        below_root = path[len(here.root.path) :].lstrip("/")
        opened, listed_ns = here.root.opened, here.parent.modified_ns
        return Work(here.root, path, below_root, opened, here.device, None, here.totals, listed_ns)

    def _read_entries(self, here: Work, entries: Entries, more: bool, this: _Reading) -> None:
        """Stat entries that are no directories.

        When others want work they get pending directories, else entries of this one: all of them
        while it has more to list, since nobody else can list on and the others would run dry.
        """
        work, worker = this.work, this.worker
        while entries:
            wanted = worker.pool.wanted[0]
            if wanted and work:
                half = (len(work) + 1) // 2
                worker.pool.share(work[:half])
                del work[:half]
            elif len(entries) > MIN_SHARE:
                parts = wanted or (more and worker.pool.wanted[1])
                if parts:
                    _share_entries(here, entries, parts, more, worker)
            size = worker.block_entries
            block = entries[-size:]
            del entries[-size:]
            self._rate_limit.wait(len(block))
            started = time.monotonic()
            self._read_block(here, block, this)
            worker.block_entries = self._next_size(len(block), size, time.monotonic() - started)
        if len(this.file_batch.names) >= CHUNK_ENTRIES:
            self._count(this)

    def _next_size(self, read: int, size: int, seconds: float) -> int:
        """Return the size of the next block, for it to take about `BLOCK_SECONDS`."""
        if seconds > 2 * BLOCK_SECONDS:
            return max(MIN_BLOCK, size // 2)
        if read == size and seconds < BLOCK_SECONDS / 2 and not self._rate_limit.interval_ns:
            return min(CHUNK_ENTRIES, size * 2)
        return size

    def _read_block(self, here: Work, block: Entries, this: _Reading) -> None:
        """Stat some entries.

        Nothing else is done between two stats: where many threads wait for storage, each of them
        holds up the others by what it does while it has the interpreter's lock.
        """
        worker = this.worker
        stats: list[os.stat_result] = []
        lost: set[os.DirEntry[str]] = set()
        worker.answered = stats
        for entry in block:
            try:
                stats.append(entry.stat(follow_symlinks=False))
            except OSError as first:
                again = stat_again(entry, first)
                if isinstance(again, OSError):
                    worker.progress_counts[ANSWERS] += 1
                    lost.add(entry)
                    self._fail_stat(here, entry, again, this.batch)
                else:
                    stats.append(again)
        worker.answered = ()
        worker.progress_counts[ANSWERS] += len(stats)
        worker.progress_counts[ENTRIES] += len(block)
        if lost:
            block = [entry for entry in block if entry not in lost]
        self._check_types(here, block, stats, this)
        names = [entry.name for entry in block]
        if self._rules.follow_file_symlinks:
            stats = [_followed(here, *one) for one in zip(names, stats, strict=True)]
        this.file_batch.add(here.path, names, stats, here.totals)

    def _check_types(
        self, here: Work, block: Entries, stats: list[os.stat_result], this: _Reading
    ) -> None:
        """Count the entries whose type in the listing is another than that of their stat.

        One that is a directory is taken out of the block, to be read as one.
        """
        listed = [entry.is_file(follow_symlinks=False) for entry in block]
        if all(listed) and all(stat.st_mode & KIND == S_IFREG for stat in stats):
            return
        for index in reversed(range(len(block))):
            entry, kind = block[index], stats[index].st_mode & KIND
            is_right = (
                entry.is_symlink()
                if kind == S_IFLNK
                else listed[index]
                if kind == S_IFREG
                else kind != S_IFDIR and not listed[index] and not entry.is_symlink()
            )
            if is_right or not here.parent.is_unchanged:
                continue
            _fail_type(this.batch, join(here.path, entry.name))
            if kind == S_IFDIR:
                del block[index], stats[index]
                self._add_directory(here, entry.name, this)

    def _add_directory(self, here: Work, name: str, this: _Reading) -> None:
        if name in self._rules.snapshot_names:
            this.batch.tally.add_skipped("snapshot")
        else:
            this.work.append(self._child(here, name))

    def _fail_stat(self, here: Work, entry: os.DirEntry[str], error: OSError, batch: Batch) -> None:
        """Count an entry that can't be stat'ed, by its type in the listing if that is enough."""
        counter = ""
        if error.errno not in VANISHED:
            with suppress(OSError):  # it asks, where the listing gave no type
                if entry.is_symlink():
                    counter = "" if self._rules.follow_file_symlinks else "symlinks"
                elif not entry.is_file(follow_symlinks=False):
                    counter = "other"  # a FIFO, a socket or a device
        if counter:
            setattr(batch.tally, counter, getattr(batch.tally, counter) + 1)
        else:
            _fail(batch, join(here.path, entry.name), "stat", error)

    def _count(self, this: _Reading) -> None:
        tally, worker = this.batch.tally, this.worker
        if not this.file_batch.names:
            return
        files, apparent_bytes = tally.files, tally.apparent_bytes
        self._counter.count(this.file_batch, this.batch)
        worker.files += tally.files - files
        worker.apparent_bytes += tally.apparent_bytes - apparent_bytes

    def _open(self, item: Work, this: _Reading) -> int:
        """Open a directory, or count why not and return -1."""
        batch = this.batch
        skipped_paths = self._rules.mounts.skipped_paths.get(item.path)
        if skipped_paths is not None and item.name != ".":
            batch.tally.add_skipped(skipped_paths)
            return -1
        try:
            return patiently(open_below, item.parent.fd, item.name)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP) and self._count_other(item, this):
                return -1
            if error.errno not in VANISHED:
                batch.tally.directories += 1
            _fail(batch, item.path, "open", error)
            return -1

    def _count_other(self, item: Work, this: _Reading) -> bool:
        """Count what was listed as a directory and is none; False if it was replaced since."""
        above, _, name = item.name.rpartition("/")
        parent = item.parent
        try:
            if item.listed_ns is not None:  # its parent is closed: see `_child`
                fd = patiently(open_below, parent.fd, above or ".")
                parent = OpenDirectory(fd, item.listed_ns)
            stat = os.lstat(name, dir_fd=parent.fd)
        except OSError:
            return False
        if stat.st_mode & KIND == S_IFDIR or not parent.is_unchanged:
            return False
        _fail_type(this.batch, item.path)
        path = item.path[: -len(name)].rstrip("/") or "/"
        here = item._replace(path=path, name="", parent=parent)
        if self._rules.follow_file_symlinks:
            stat = _followed(here, name, stat)
        this.file_batch.add(path, [name], [stat], item.totals)
        return True

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


def _followed(here: Work, name: str, stat: os.stat_result) -> os.stat_result:
    """Return the stat of the file that a symlink leads to, which then allocates nothing.

    What is no symlink, or one that is broken, forbidden or leads to no regular file, is itself.
    """
    if stat.st_mode & KIND != S_IFLNK:
        return stat
    try:
        target = os.stat(name, dir_fd=here.parent.fd)
    except OSError:
        return stat
    if target.st_mode & KIND != S_IFREG:
        return stat
    return os.stat_result((*target[:3], 1, *target[4:10]), {"st_blocks": 0})


def _list_more(here: Work, listing: Scandir, listed: Entries, batch: Batch) -> bool:
    """Add entries to those listed, up to `CHUNK_ENTRIES`; return whether there may be more."""
    try:
        listed.extend(islice(listing, CHUNK_ENTRIES - len(listed)))
    except OSError as error:  # what was listed before it is kept
        if error.errno != errno.ENOENT:  # removed while it was being listed
            _fail(batch, here.path, "list", error)
        return False
    return len(listed) == CHUNK_ENTRIES


def _told_apart(here: Work, listed: Entries, batch: Batch) -> tuple[Entries, list[bool]]:
    """Return the entries that are known to be directories or not, and which."""
    known: Entries = []
    are_directories: list[bool] = []
    for entry in listed:
        try:
            are_directories.append(entry.is_dir(follow_symlinks=False))
        except OSError as error:
            _fail(batch, join(here.path, entry.name), "stat", error)
        else:
            known.append(entry)
    return known, are_directories


def _share_entries(
    here: Work, entries: Entries, parts: int, everything: bool, worker: WorkerProgress
) -> None:
    """Give entries away in equal parts; the first part is kept, unless it is to be everything."""
    size = max(MIN_SHARE, -(-len(entries) // (parts + (not everything))))
    kept = 0 if everything else size
    given = entries[: len(entries) - kept]
    del entries[: len(entries) - kept]
    worker.pool.share(
        [here._replace(entries=given[start : start + size]) for start in range(0, len(given), size)]
    )


def _fail_type(batch: Batch, path: str) -> None:
    batch.tally.add_error(ScanError(path, "list", WRONG_TYPE, error_kind(WRONG_TYPE)))


def _fail(batch: Batch, path: str, operation: str, error: OSError) -> None:
    number = error.errno or 0
    if number in VANISHED and operation != "list":
        batch.tally.vanished += 1
    else:
        batch.tally.add_error(ScanError(path, operation, number, error_kind(number)))
