"""Trees as data: built from a description, with their totals, and other ways to read them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jwqlscan.model.directory_totals import Directories
from jwqlscan.model.tally import Tally
from jwqlscan.naming.jwst import Classifier
from jwqlscan.naming.schemes import NameClassifier
from jwqlscan.scanning.pool import Pool
from jwqlscan.scanning.readers import make_reader
from jwqlscan.scanning.readers.base import OpenDirectory, Root, Work, WorkerProgress
from jwqlscan.scanning.rules import ScanRules
from tests.support import ROOT

ROOT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Symlink(NamedTuple):
    target: str | bytes


class Hardlink(NamedTuple):
    """Another name of a file made before; the path is below the tree's root."""

    to: str | bytes


class Fifo(NamedTuple):
    pass


class Socket(NamedTuple):
    pass


class Sparse(NamedTuple):
    """A file with a hole of this size, and a byte after it."""

    hole: int


class Totals(NamedTuple):
    """What a tally must say; allocated bytes only the filesystem knows."""

    files: int = 0
    apparent_bytes: int = 0
    directories: int = 0
    symlinks: int = 0
    other: int = 0
    fits_files: int = 0
    fits_bytes: int = 0


Node = int | bytes | Symlink | Hardlink | Fifo | Socket | Sparse | Mapping[Any, Any]


def totals(tally: Tally) -> Totals:
    return Totals(*(getattr(tally, name) for name in Totals._fields))


def make_tree(root: str | bytes | Path, description: Mapping[Any, Any]) -> Totals:
    """Build a tree: a file's size or content, a mapping for a directory; return its totals."""
    sizes: dict[bytes, int] = {}
    counts = dict.fromkeys(Totals._fields, 0)
    base = os.fsencode(root)

    def count_file(path: bytes, size: int) -> None:
        sizes[path] = size
        counts["files"] += 1
        counts["apparent_bytes"] += size
        if path.endswith(b".fits"):
            counts["fits_files"] += 1
            counts["fits_bytes"] += size

    def build(below: bytes, nodes: Mapping[Any, Any]) -> None:
        counts["directories"] += 1
        for name, node in nodes.items():
            path = os.path.join(below, os.fsencode(name))
            full = os.path.join(base, path)
            match node:
                case int() | bytes():
                    data = node if isinstance(node, bytes) else b"x" * node
                    with open(full, "xb") as file:
                        file.write(data)
                    count_file(path, len(data))
                case Sparse(hole):
                    with open(full, "xb") as file:
                        file.seek(hole)
                        file.write(b"x")
                    count_file(path, hole + 1)
                case Symlink(target):
                    os.symlink(os.fsencode(target), full)
                    counts["symlinks"] += 1
                case Hardlink(to):
                    os.link(os.path.join(base, os.fsencode(to)), full)
                    count_file(path, sizes[os.fsencode(to)])
                case Fifo():
                    os.mkfifo(full)
                    counts["other"] += 1
                case Socket():
                    make_socket(full)
                    counts["other"] += 1
                case _:
                    os.mkdir(full)
                    build(path, node)

    os.makedirs(base, exist_ok=True)
    build(b"", description)
    return Totals(**counts)


def make_socket(path: bytes) -> None:
    # bound through a descriptor: sun_path holds 107 bytes
    directory = os.open(os.path.dirname(path), ROOT_FLAGS)
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(b"/proc/self/fd/%d/%s" % (directory, os.path.basename(path)))
    finally:
        os.close(directory)


def make_chain(root: Path, levels: int, size: int, name: str = "d") -> None:
    """Make a directory in a directory in a directory..., with a file in each but the root."""
    here = os.open(root, ROOT_FLAGS)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        deeper = os.open(name, ROOT_FLAGS, dir_fd=here)
        os.close(here)
        here = deeper
        with open(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
            file.write(b"x" * size)
    os.close(here)


# ---- reading trees ----


def walk(
    path: str | Path,
    reader: str = "auto",
    workers: int = 4,
    rules: ScanRules | None = None,
    classifier: NameClassifier | None = None,
) -> Tally:
    """Read a tree through a pool in this process, as the scanning process does."""
    root, device, rules = _root(str(path), rules)
    done = threading.Event()
    made = make_reader(reader, rules, classifier or Classifier())
    pool = Pool(made, [root], [device], workers, 1.0, slow=True, finished=done.set)
    pool.start()
    assert done.wait(120), "the pool did not end"
    if pool.failure is not None:
        raise pool.failure
    tally = pool.segments[0].tally
    tally.tree = Directories.from_record(pool.directories(0))
    tally.allocated_bytes += sum(pool.shared_link_bytes().values())
    return tally


class Alone:
    """What a reader sees of a pool that nobody else works in; given work waits here."""

    def __init__(self, wanted: int = 0) -> None:
        self.wanted = array("i", [wanted, 0])
        self.shared: list[Work] = []

    def share(self, work: list[Work]) -> None:
        self.shared.extend(work)

    def more(self, root: Root) -> list[Work]:
        return []


def read_alone(
    path: str | Path,
    reader: str,
    rules: ScanRules | None = None,
    pool: Alone | None = None,
    classifier: NameClassifier | None = None,
) -> Tally:
    """Read a tree with a reader and nothing else."""
    root, device, rules = _root(str(path), rules)
    pool = pool or Alone()
    worker = WorkerProgress(pool)
    made = make_reader(reader, rules, classifier or Classifier())
    waiting = [Work(root, root.path, ".", root.opened, device)]
    total = Tally()
    while waiting:
        batch = made.read([waiting.pop()], worker)
        total.merge(batch.tally)
        waiting += batch.left + pool.shared
        pool.shared = []
    del batch  # the last that could keep a directory from being finished
    total.tree = Directories.from_record(made.directories(0))
    return total


def _root(path: str, rules: ScanRules | None) -> tuple[Root, int, ScanRules]:
    opened = OpenDirectory(os.open(path, ROOT_FLAGS))
    stat = os.fstat(opened.fd)
    rules = (rules or ScanRules())._replace(roots={(stat.st_dev, stat.st_ino): 0})
    return Root(0, path, opened), stat.st_dev, rules


# ---- the walker that everyone writes first: the mutant that tests must catch ----


class Naive(NamedTuple):
    """What a walker by path finds."""

    files: int
    apparent_bytes: int
    allocated_bytes: int
    names: tuple[str, ...]


def naive_walk(path: str | Path, between: Callable[[], object] = lambda: None) -> Naive:
    """Walk by path, and call something between the listing of each directory and its stats."""
    stats = []
    found: list[str] = []
    for directory, _, names in os.walk(path):
        between()
        stats += [os.stat(os.path.join(directory, name)) for name in names]
        found += names
    return Naive(
        len(found),
        sum(stat.st_size for stat in stats),
        512 * sum(stat.st_blocks for stat in stats),
        tuple(found),
    )


def naive_names(path: str | Path) -> set[str]:
    """Return the names of files that a walker by path finds."""
    return {name for _, _, names in os.walk(path) for name in names}


class RootInfo(NamedTuple):
    """What find(1) says of a tree; `other_bytes` are allocated for what is no file."""

    totals: Totals
    allocated_bytes: int
    other_bytes: int


def find(*paths: str | Path) -> RootInfo:
    """Count with find: another program, another language, the same tree."""
    listing = subprocess.run(
        ["find", *map(str, paths), "-printf", r"%y %s %b %D:%i %f\0"],
        check=True,
        capture_output=True,
    ).stdout
    counts = dict.fromkeys(Totals._fields, 0)
    blocks: dict[bytes, int] = {}
    others: dict[bytes, int] = {}
    for line in listing.split(b"\0")[:-1]:
        kind, size, used, inode, name = line.split(b" ", 4)
        if kind == b"f":
            counts["files"] += 1
            counts["apparent_bytes"] += int(size)
            blocks[inode] = int(used)
            if name.endswith(b".fits"):
                counts["fits_files"] += 1
                counts["fits_bytes"] += int(size)
        else:
            counts[{b"d": "directories", b"l": "symlinks"}.get(kind, "other")] += 1
            others[inode] = int(used)
    return RootInfo(Totals(**counts), 512 * sum(blocks.values()), 512 * sum(others.values()))


def du(path: str | Path) -> int:
    """Return what du(1) says is allocated for a tree."""
    command = ["du", "-s", "-B1", "--", str(path)]
    done = subprocess.run(command, check=True, capture_output=True)
    return int(done.stdout.split(b"\t")[0])


# ---- reading trees in another process, to which something is done ----

_WALK = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from tests.support import trees
from jwqlscan.system.mounts import read_mount_table
from jwqlscan.scanning.rules import ScanRules
order = json.loads(sys.argv[2])
if order["user"] is not None:
    os.chdir(order["path"])  # what lies above it may be closed to that user
    order["path"] = "."
    trees.walk("/proc/self/fdinfo", order["reader"], 1)  # all is imported
    os.setgroups([])
    os.setgid(order["user"])
    os.setuid(order["user"])
roots = {order["path"]: os.path.realpath(order["path"])}
rules = ScanRules(mounts=read_mount_table(roots), **order["rules"])
tally = trees.walk(order["path"], order["reader"], order["workers"], rules)
print(json.dumps(tally.to_record()))
"""


def walk_elsewhere(
    path: str | Path,
    reader: str,
    *,
    workers: int = 1,
    under: Sequence[str] = (),
    user: int | None = None,
    **rules: object,
) -> Tally:
    """Scan in a process of its own: under other programs, or as another user."""
    order = {
        "path": str(path),
        "reader": reader,
        "workers": workers,
        "user": user if os.geteuid() == 0 else None,
        "rules": rules,
    }
    done = subprocess.run(
        [*under, sys.executable, "-c", _WALK, str(ROOT), json.dumps(order)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return Tally.from_record(json.loads(done.stdout))


def required(program: str) -> str:
    """Return a program's path; without it the test fails and says what to install."""
    path = shutil.which(program)
    if path is None:
        pytest.fail(f"this test needs {program}: install the package of that name")
    return path


def in_mount_namespace(*commands: str) -> list[str]:
    """Return what to put before a command so that these mounts are there, for it alone."""
    unshare = [required("unshare"), "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        unshare.append("--map-root-user")
    if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("this test needs to mount: run it as root")
        pytest.skip("only root may mount here; with CI set this fails")
    return [*unshare, "sh", "-ec", "\n".join([*commands, 'exec "$@"']), "sh"]
