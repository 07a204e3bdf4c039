"""A tree of some thousand entries, as a host has them, that is the same on each host."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

DIRECTORIES = 400
MAX_FILES = 18  # of a directory
STEMS = (
    "jw01018001001_02101_00001_nrca1 jw02725484097_04101_00002_mirimage jw93025001001_gs-fg"
    " README index lib.so.1 .hidden data file\x07bell caf\u00e9"
).split()
ENDINGS = "_cal.fits _rate.fits _i2d.fits _thumb.thumb .fits .txt .json.gz .tar.XZ .c~ .".split()
DAY_S = 86400


@pytest.fixture(scope="session")
def varied_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tree of directories at many depths, links of both kinds, sizes, names and ages.

    It is shared: tests only read it.
    """
    top = tmp_path_factory.mktemp("varied") / "tree"
    choose = random.Random(4)
    directories = [top]
    top.mkdir()
    for number in range(DIRECTORIES):
        # Half of them in the newest: a tree that is deep here and wide there.
        parent = directories[-1] if choose.random() < 0.5 else choose.choice(directories)
        made = parent / f"{choose.choice(STEMS)} {number}"
        made.mkdir()
        directories.append(made)
    files: list[Path] = []
    for directory in directories:
        for number in range(choose.randrange(MAX_FILES)):
            path = directory / f"{number}{choose.choice(STEMS)}{choose.choice(ENDINGS)}"
            kind = choose.random()
            if kind < 0.04:
                path.symlink_to(choose.choice([*directories, "nowhere"]))
            elif kind < 0.08 and files:
                path.hardlink_to(choose.choice(files))
            else:
                _make_file(path, choose)
                files.append(path)
    return top


def _make_file(path: Path, choose: random.Random) -> None:
    with path.open("wb") as file:
        size = choose.choice([0, choose.randrange(5000), 2 ** choose.randrange(40)])
        file.write(b"x" * min(size, 5000))
        file.truncate(size)  # what is large is sparse
    age = choose.randrange(4000) * DAY_S + DAY_S / 2
    os.utime(path, (os.stat(path).st_mtime - age,) * 2)
