"""The reader: reads directories. Two kinds (`scandir`, `native`), one contract.

A reader is handed some work of one root and reads depth first below it until that is done, or
until its time is up, or until other workers want work. It knows nothing of areas; it asks the
classifier about names and nothing else about FITS.
"""

from __future__ import annotations

import errno
import os
import resource
from array import array
from collections.abc import Sized
from typing import Any, NamedTuple, Protocol

from jwqlscan.model.tally import Tally

# A batch ends after this time, so that the tallies are merged now and then. Each batch of the
# compiled reader brings its names' shapes, up to 1,300 on a JWST tree, and with insight as many
# cells: classifying and adding them takes 3 to 4 ms (a scan of 400,000 files takes 0.9 s of
# processor time). Progress is read from progress_counts, and does not wait for a batch's end.
BATCH_SECONDS = 0.5

# In place of an errno: the listing gave an entry another type than its stat. As in platform.h.
WRONG_TYPE = -1

_ERROR_KINDS = {
    WRONG_TYPE: "type",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EIO: "io",
    errno.ESTALE: "stale",
    errno.ETIMEDOUT: "timeout",
    errno.ELOOP: "loop",
    errno.ENAMETOOLONG: "name",
    errno.EILSEQ: "name",
    errno.EMFILE: "limit",
    errno.ENFILE: "limit",
    errno.ENOMEM: "limit",
}

# Of a worker's progress_counts.
ENTRIES = 0
ANSWERS = 1

# What failed for a reason that may pass, a disk's or a server's, is tried again so often.
TRANSIENT = frozenset({errno.EIO, errno.ESTALE})
TRANSIENT_RETRIES = 2
TRANSIENT_PAUSE_S = 0.005

# Errors of opening or stat'ing an entry that was there when its directory was listed: gone, or
# replaced by something that is no directory (O_DIRECTORY | O_NOFOLLOW gives ENOTDIR or ELOOP).
VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def error_kind(number: int) -> str:
    """Return the kind an errno is counted under."""
    return _ERROR_KINDS.get(number, "other")


class OpenDirectory:
    """A directory kept open so that its children are opened relative to it.

    Closed when the last child that waits for it is gone: reference counting is the life time.
    """

    __slots__ = ("fd", "modified_ns")

    def __init__(self, fd: int, modified_ns: int = -1) -> None:
        self.fd = fd
        self.modified_ns = modified_ns

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing was added, removed or renamed since it was opened to be read.

        Then what its listing gave as an entry's type can't have become wrong since.
        """
        try:
            return os.fstat(self.fd).st_mtime_ns == self.modified_ns
        except OSError:
            return False

    def __del__(self) -> None:
        os.close(self.fd)


class Root(NamedTuple):
    """A directory tree to be walked: the roots found below it are others' work."""

    number: int
    path: str
    opened: OpenDirectory


class Work(NamedTuple):
    """Something to be read: a directory or, with `entries`, some listed entries of one.

    Attributes
    ----------
    root : Root
    path : str
        Of the directory, for messages.
    name : str
        To be opened relative to `parent`: ``.`` for the root itself; several components only
        where descriptors are scarce, each of which is then opened without following symlinks.
    parent : OpenDirectory
        The open parent; with `entries`, the open directory itself.
    device : int
        st_dev of the parent, to notice mount points.
    entries : sized or None
        Pending entries, as the reader that listed them keeps them; None: the directory itself.
    totals : object or None
        What a reader in Python keeps of the parent; with `entries`, of the directory itself.
    listed_ns : int or None
        Where descriptors are scarce: st_mtime_ns of the directory that lists it, which is closed.
    """

    root: Root
    path: str
    name: str
    parent: OpenDirectory
    device: int
    entries: Any = None
    totals: Any = None
    listed_ns: int | None = None


class Link(NamedTuple):
    """A name of an inode that has several; which area counts its bytes is decided later."""

    device: int
    inode: int
    links: int
    allocated_bytes: int


class Batch:
    """What a reader brings back from one call.

    Attributes
    ----------
    tally : Tally
        `allocated_bytes` without the inodes in `links`.
    links : list of Link
    nested : set of int
        Numbers of the roots met below this one.
    left : list of Work
        What it did not get to.
    """

    __slots__ = ("left", "links", "nested", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.links: list[Link] = []
        self.nested: set[int] = set()
        self.left: list[Work] = []


class WorkShare(Protocol):
    """What a reader sees of the pool."""

    wanted: array[int]
    """Two C ints, read often, without a lock: how many workers could go on if they had work; and
    into how many parts a directory with more to list is to be split before they have none."""

    def share(self, work: list[Work]) -> None:
        """Give work to the other workers."""
        ...

    def more(self, root: Root) -> list[Work]:
        """Return more work of a root, for a reader that has done its own but has time; or []."""
        ...


class WorkerProgress:
    """A worker's progress_counts: what it has read, for those who watch it, and who waits for work.

    Only this worker writes them; others read them without a lock.

    Attributes
    ----------
    progress_counts : array of uint64, shape (2,)
        At `ENTRIES` the entries read; at `ANSWERS` the calls that the storage has answered,
        with any result: as long as that grows, it is alive.
    answered : sized
        What the storage has answered beside that, where the reader is in Python: the stats of a
        block, until all are there.
    files, apparent_bytes : int
    path : str
        The directory being read, where the reader is in Python; see `Reader.where`.
    place : object
        What a reader keeps to know where the worker is.
    root : int
        Number of the root being read; -1 between two batches.
    block_entries : int
        How many entries a reader that looks at `pool` between blocks of them reads in one.
    pool : WorkShare
    thread : int
        The worker's, as the kernel numbers it.
    """

    __slots__ = (
        "answered",
        "apparent_bytes",
        "block_entries",
        "files",
        "path",
        "place",
        "pool",
        "progress_counts",
        "root",
        "thread",
    )

    def __init__(self, pool: WorkShare) -> None:
        self.progress_counts = array("Q", [0, 0])
        self.answered: Sized = ()
        self.thread = 0
        self.root = -1
        self.place: Any = None
        self.files = 0
        self.apparent_bytes = 0
        self.path = ""
        self.block_entries = 32
        self.pool = pool


class Reader(Protocol):
    """Reads directories."""

    name: str

    def read(self, work: list[Work], worker: WorkerProgress) -> Batch:
        """Read some work of one root, and what is below it, until done or out of time.

        Never raises OSError: what can't be read is counted in the batch's tally.
        """
        ...

    def where(self, worker: WorkerProgress) -> str:
        """Return the directory that a worker is at; also while it hangs in the kernel."""
        ...

    def directories(self, root: int) -> dict[str, Any]:
        """Return the record of the directories below a root, by the number of the root.

        Only those of that root's own segment, and in them what has been read until now; of those
        below the depth only what is finished.
        """
        ...


def descriptors_to_keep() -> int:
    """Return the descriptor number below which open directories are kept for their children.

    Descriptors are given out lowest first, so a high number means that many are in use.
    """
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4
