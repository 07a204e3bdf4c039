"""A filesystem that misbehaves as it is told: hangs, is slow, fails, says strange sizes.

Run as a program it serves one, through FUSE, until it is killed; `mounted` does that for a test.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOUNT_SECONDS = 20


@contextlib.contextmanager
def mounted(where: Path, nodes: dict[str, dict[str, Any]], **settings: Any) -> Iterator[int]:
    """Mount a filesystem at `where` while the body runs, and yield its server's process number.

    Parameters
    ----------
    where : Path
        Made if it is not there.
    nodes : dict
        Paths from the mount point on to what is there; directories above them are made up. Keys:
        ``dir`` (true for a directory), ``mode`` (else a regular file's), ``listed`` (the mode whose
        type a listing gives in place of the true one), ``target`` (of a symbolic link), ``size``,
        ``blocks``, ``mtime``;
        by operation (``getattr``, ``opendir``, ``readdir``): ``hang`` (list), ``errno`` (to name),
        ``times`` (how often it fails; always without it), ``delay`` (seconds).
    settings
        ``statfs_hangs=True``; ``tells_types=False``: listings leave the entries' types out.
    """
    import pytest

    where.mkdir(parents=True, exist_ok=True)
    if not os.path.exists("/dev/fuse"):
        if os.environ.get("CI"):
            pytest.fail("this test needs /dev/fuse")
        pytest.skip("there is no /dev/fuse; with CI set this fails")
    spec = json.dumps({"nodes": nodes, **settings})
    server = subprocess.Popen([sys.executable, __file__, where, spec], start_new_session=True)
    try:
        until = time.monotonic() + MOUNT_SECONDS
        while not os.path.ismount(where):
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail("a FUSE filesystem could not be mounted: install fuse3 (Debian)")
            time.sleep(0.02)
        yield server.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGKILL)  # what hangs in it is then free
        server.wait()
        subprocess.run(["umount", "-l", where], check=False)


def serve(where: str, spec: dict[str, Any]) -> None:  # noqa: C901 - one case after the other
    from mfusepy import FUSE, FuseOSError, Operations

    nodes: dict[str, dict[str, Any]] = {"/": {"dir": True}}
    for path, node in spec["nodes"].items():
        full = "/" + path.strip("/")
        for above in Path(full).parents:
            nodes.setdefault(str(above), {"dir": True})
        nodes[full] = {**nodes.get(full, {}), **node}
    children: dict[str, list[str]] = {}
    for path in nodes:
        if path != "/":
            parent, name = os.path.split(path)
            children.setdefault(parent, []).append(name)

    def misbehave(operation: str, path: str) -> None:
        node = nodes.get(path)
        if node is None:
            raise FuseOSError(errno.ENOENT)
        if operation in node.get("hang", ()):
            threading.Event().wait()
        time.sleep(node.get("delay", {}).get(operation, 0))
        failure = node.get("errno", {}).get(operation)
        if failure is not None and node.get("times", 1) > 0:
            if "times" in node:
                node["times"] -= 1
            raise FuseOSError(getattr(errno, failure))

    class Misbehaving(Operations):
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            misbehave("getattr", path)
            node = nodes[path]
            if node.get("dir"):
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            return {
                "st_mode": node.get("mode", stat.S_IFREG) | 0o644,
                "st_nlink": 1,
                "st_size": node.get("size", 0),
                "st_blocks": node.get("blocks", 0),
                "st_mtime": node.get("mtime", 0) * 10**9,
            }

        def readlink(self, path: str) -> str:
            return str(nodes[path].get("target", "nowhere"))

        def opendir(self, path: str) -> int:
            misbehave("opendir", path)
            return 0

        def readdir(self, path: str, fh: int) -> Any:
            misbehave("readdir", path)
            types = (stat.S_IFREG, stat.S_IFDIR)
            for name in [".", "..", *children.get(path, [])]:
                node = nodes.get(os.path.join(path, name), {"dir": True})
                kind = node.get("mode", types[bool(node.get("dir"))])
                kind = node.get("listed", kind) if spec.get("tells_types", True) else 0
                yield name, {"st_mode": kind}, 0

        def statfs(self, path: str) -> dict[str, int]:
            if spec.get("statfs_hangs"):
                threading.Event().wait()
            return {"f_bsize": 512, "f_frsize": 512, "f_blocks": 1000, "f_bavail": 400}

    FUSE(
        Misbehaving(),
        where,
        foreground=True,
        ro=True,
        attr_timeout=0,
        entry_timeout=0,
        fsname="misbehaving",
    )


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
