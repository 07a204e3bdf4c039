"""What only root may do: give directories away, and freeze a disk."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

THAW_S = 30  # whatever becomes of a test: what waits for a frozen disk can't even be killed


@pytest.fixture
def as_root() -> None:
    """Run a test as root alone."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("this test needs to mount or to give files away: run it as root")
        pytest.skip("only root can mount or give files away; with CI set this fails")


@pytest.fixture
def frozen(
    as_root: None, tmp_path: Path
) -> Iterator[tuple[Path, Callable[[], AbstractContextManager[None]]]]:
    """Give a disk of its own, and what stops it from answering those who write to it."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir(mode=0o755)
    with image.open("wb") as file:
        file.truncate(32 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True, capture_output=True)

    @contextmanager
    def freeze() -> Iterator[None]:
        thaw = f"sleep {THAW_S}; fsfreeze -u '{place}'"
        in_any_case = subprocess.Popen(["sh", "-c", thaw], start_new_session=True)
        subprocess.run(["fsfreeze", "-f", place], check=True)
        try:
            yield
        finally:
            os.killpg(in_any_case.pid, signal.SIGKILL)
            in_any_case.wait()
            subprocess.run(["fsfreeze", "-u", place], check=True)

    yield place, freeze
    subprocess.run(["umount", "-l", place], check=True)
