"""The scanning process: surveys roots and walks them, told what to do by its parent.

It alone touches the scanned trees, so that a mount that hangs takes only this process with it.
Orders come as JSON lines on standard input, answers go as JSON lines to standard output; nothing
of jwqlscan that needs another package is imported here. End of input ends the process.

Orders::

    {"op": "survey", "paths": [...]}
    {"op": "scan", "roots": [...], "others": [...], "workers": n, "reader": ..., "rules": {...}}

Answers: one ``{"survey": index, ...}`` a path; ``{"progress": [...]}`` now and then; at the end
one ``{"result": {...}}``, or ``{"failed": traceback}`` for a bug.
"""

from __future__ import annotations

import json
import os
import resource
import select
import threading
import time
import traceback
from typing import Any

from jwqlscan.mounts import read_mount_table
from jwqlscan.names import Classifier
from jwqlscan.pool import Pool
from jwqlscan.reader import OpenDirectory, Root, ScanRules, error_kind, make_reader, useful_cores

# How often the number of active workers is looked at, and the parent told of progress.
ADJUST_SECONDS = 0.01
PROGRESS_SECONDS = 0.1

# Roots are opened following symlinks: a root may be one. Nothing below it is.
ROOT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC


def main() -> None:
    """Serve the parent until it closes standard input."""
    _raise_descriptor_limit()
    child = _Child()
    child.serve()


def _raise_descriptor_limit() -> None:
    """Take all the descriptors allowed: each level of each worker's descent keeps one open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A hard limit of "infinity" or millions makes no sense to reach for.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))


class _Child:
    def __init__(self) -> None:
        self._send_lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC)
        self._pool: Pool | None = None
        self._scan: dict[str, Any] = {}
        self._opened: dict[str, tuple[OpenDirectory, int, int]] = {}
        self._started = 0.0

    def serve(self) -> None:
        pending = b""
        next_progress = 0.0
        while True:
            wait = ADJUST_SECONDS if self._pool is not None else None
            ready, _, _ = select.select([0, self._wake_read], [], [], wait)
            if 0 in ready:
                data = os.read(0, 1 << 16)
                if not data:
                    return
                pending += data
                *lines, pending = pending.split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
            if self._pool is None:
                continue
            if self._wake_read in ready:
                os.read(self._wake_read, 16)
                self._finish(self._pool)
                self._pool = None
                continue
            self._pool.adjust()
            if time.monotonic() >= next_progress:
                next_progress = time.monotonic() + PROGRESS_SECONDS
                self._send({"progress": list(self._pool.progress)})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode("ascii") + b"\n"
        with self._send_lock:
            while data:
                data = data[os.write(1, data) :]

    def _obey(self, order: dict[str, Any]) -> None:
        if order["op"] == "survey":
            # A thread a path: one that hangs must not keep the others waiting.
            for index, path in enumerate(order["paths"]):
                threading.Thread(target=self._survey, args=(index, path), daemon=True).start()
        else:
            try:
                self._start_scan(order)
            except Exception:  # a bug, or a reader that is not there: the parent shows it
                self._send({"failed": traceback.format_exc()})

    def _survey(self, index: int, path: str) -> None:
        try:
            opened = OpenDirectory(os.open(path, ROOT_FLAGS))
            stat = os.fstat(opened.fd)
            with os.scandir(opened.fd) as listing:  # readable, not just there
                next(listing, None)
        except OSError as error:
            number = error.errno or 0
            self._send({"survey": index, "errno": number, "kind": error_kind(number)})
            return
        self._opened[path] = (opened, stat.st_dev, stat.st_ino)
        self._send({"survey": index, "device": stat.st_dev, "inode": stat.st_ino})

    def _start_scan(self, order: dict[str, Any]) -> None:
        roots, devices = [], []
        for index, path in order["roots"]:
            opened, device, _ = self._open_root(path)
            roots.append(Root(index, path, opened))
            devices.append(device)
        rules = order["rules"]
        reader = make_reader(
            order["reader"],
            ScanRules(
                exclude=tuple(rules["exclude"]),
                snapshot_names=frozenset(rules["snapshot_names"]),
                one_file_system=rules["one_file_system"],
                follow_file_symlinks=rules["follow_file_symlinks"],
                mounts=read_mount_table(),
                roots={(device, inode): index for device, inode, index in order["identities"]},
            ),
            Classifier(rules["extra_filetypes"]),
        )
        self._scan = {"reader": reader.name}
        self._started = time.monotonic()
        self._pool = Pool(
            reader,
            roots,
            devices,
            order["workers"],
            useful_cores(reader.name),
            lambda: os.write(self._wake_write, b"."),
        )
        self._pool.start()

    def _open_root(self, path: str) -> tuple[OpenDirectory, int, int]:
        if path not in self._opened:  # surveyed by another process
            opened = OpenDirectory(os.open(path, ROOT_FLAGS))
            stat = os.fstat(opened.fd)
            self._opened[path] = (opened, stat.st_dev, stat.st_ino)
        return self._opened[path]

    def _finish(self, pool: Pool) -> None:
        if pool.failure is not None:
            self._send({"failed": "".join(traceback.format_exception(pool.failure))})
            return
        self._send({"progress": list(pool.progress)})
        self._send(
            {
                "result": {
                    **self._scan,
                    "seconds": time.monotonic() - self._started,
                    "segments": [
                        {
                            "root": index,
                            "nested": sorted(segment.nested),
                            "tally": segment.tally.to_record(),
                        }
                        for index, segment in pool.segments.items()
                    ],
                    "linked": [[mask, size] for mask, size in pool.linked_bytes().items()],
                }
            }
        )
