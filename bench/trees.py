"""Make a directory tree to measure on, and know its totals without walking it.

    python bench/trees.py PROFILE DIR [--files N] [--seed S]

The same profile, number of files and seed make the same tree. What it holds is written to
``DIR.manifest.json``, computed from the description; a tree whose manifest fits is used again.
Files are sparse: a tree takes inodes, not space.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

FORMAT = 1  # part of the manifest: trees of another format are not used again
DIRECTORIES_A_BATCH = 500
FILES_A_BATCH = 20_000  # of one flat directory
MAX_SIZE_BYTES = 2**27
PROCESSES = 2

FILES_A_VISIT = 44
VISITS_A_PROGRAM = 30

# Detector tokens and the suffixes of exposure-level products, by instrument.
DETECTORS = {
    "nircam": [f"nrc{module}{n}" for module in "ab" for n in (1, 2, 3, 4, "long")],
    "nirspec": ["nrs1", "nrs2"],
    "niriss": ["nis"],
    "miri": ["mirimage", "mirifulong", "mirifushort"],
    "fgs": ["guider1", "guider2"],
}
SUFFIXES = {
    "nircam": ["uncal", "rate", "rateints", "cal", "i2d", "trapsfilled", "o001_crf"],
    "nirspec": ["uncal", "rate", "rateints", "cal", "calints", "s2d", "x1d", "x1dints", "bsub"],
    "niriss": [
        "uncal",
        "rate",
        "rateints",
        "cal",
        "calints",
        "ami-oi",
        "amilg",
        "x1d",
        "c1001_crf",
    ],
    "miri": ["uncal", "ramp", "rate", "rateints", "cal", "calints", "x1d", "s3d", "a3001_crfints"],
    "fgs": ["uncal", "rate", "cal", "dark"],
}
OPTICS = {
    "nircam": ["f444w", "f322w2-grismr", "f300m-maskrnd-sub320a335r", "clear-f200w"],
    "nirspec": ["g395h_f290lp", "f100lp-g140h-s200a1-s200a2-allslits", "clear-prism"],
    "niriss": ["f380m-nrm", "f090w", "gr700xd-clear"],
    "miri": ["f1130w", "ch1-long", "ch4-shortmediumlong", "p750l"],
    "fgs": ["clear"],
}
STAGE3_SUFFIXES = ["i2d", "s3d", "x1d", "x1dints", "s2d", "segm", "whtlt", "psfsub", "c1d", "crf"]
TARGETS = ["t{n:03d}", "s{n:05d}", "s{n:09d}", "b{n:09d}", "v{n:09d}", "t{n:03d}-epoch1"]
COMPANIONS = ["rate.jpg", "rate.thumb", "cal.jpg", "cal.thumb"]
JUNK = [".DS_Store", "README", "core.4711", "notes of the night.txt", "copie-abîmée.tmp", "x.fits~"]
UNRECOGNIZED = [
    "jw{visit}_02101_00001_nrcz9_cal.fits",  # no such detector
    "jw{visit}_02101_00001_nrs1_newkind.fits",  # no such suffix
    "jw{visit}_cal.fits",
    "mosaic_v2_final.fits",
]


class Shape(NamedTuple):
    """A tree's description: directories by number, each with its path and number of files."""

    directories: int  # below the root
    path: Callable[[int], str]  # of a directory
    count: Callable[[int], int]  # files in it


@dataclass
class Totals:
    """What a tree holds.

    `files` counts every name of a regular file, and `apparent_bytes` every name's size: a file
    with two hard links counts twice. `unique_bytes` counts it once, as du does. `directories`
    has the root in it. `symlink_bytes` is what lstat says of the links themselves.
    """

    files: int = 0
    apparent_bytes: int = 0
    unique_bytes: int = 0
    hard_links: int = 0
    fits_files: int = 0
    fits_bytes: int = 0
    directories: int = 0
    symlinks: int = 0
    symlink_bytes: int = 0

    def add(self, other: Totals) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def add_name(self, name: str, size: int) -> None:
        self.files += 1
        self.apparent_bytes += size
        if name.endswith(".fits"):
            self.fits_files += 1
            self.fits_bytes += size


@dataclass
class Content:
    """One directory's own entries: sizes by name, and targets by name."""

    files: dict[str, int] = field(default_factory=dict)
    hard_links: dict[str, str] = field(default_factory=dict)
    symlinks: dict[str, str] = field(default_factory=dict)

    def totals(self) -> Totals:
        totals = Totals(symlinks=len(self.symlinks), hard_links=len(self.hard_links))
        totals.unique_bytes = sum(self.files.values())
        totals.symlink_bytes = sum(len(os.fsencode(target)) for target in self.symlinks.values())
        for name, size in self.files.items():
            totals.add_name(name, size)
        for name, target in self.hard_links.items():
            totals.add_name(name, self.files[target])
        return totals


class Batch(NamedTuple):
    """Work for one process: some directories, or a part of the one flat directory."""

    root: str
    profile: str
    files: int
    seed: int
    start: int
    stop: int


def jwst_shape(files: int) -> Shape:
    """Areas public and proprietary, a directory a program, in it a directory a visit."""
    visits = max(1, round(files / FILES_A_VISIT))
    programs = -(-visits // VISITS_A_PROGRAM)
    areas = ["public", "proprietary"]

    def program_path(program: int) -> str:
        return f"{areas[program % 5 == 4]}/jw{program + 1001:05d}"

    def path(n: int) -> str:
        if n < 2:
            return areas[n]
        n -= 2
        if n < programs:
            return program_path(n)
        program, observation = divmod(n - programs, VISITS_A_PROGRAM)
        return f"{program_path(program)}/jw{program + 1001:05d}{observation + 1:03d}001"

    def count(n: int) -> int:
        visit = n - 2 - programs
        return 0 if visit < 0 else share(files, visits, visit)

    return Shape(2 + programs + visits, path, count)


def small_shape(files: int) -> Shape:
    """Directories of 2 files, 1,000 in each of some more directories."""
    leaves = max(1, files // 2)
    groups = -(-leaves // 1000)

    def path(n: int) -> str:
        if n < groups:
            return f"g{n:05d}"
        return f"g{(n - groups) // 1000:05d}/d{(n - groups) % 1000:03d}"

    return Shape(
        groups + leaves, path, lambda n: share(files, leaves, n - groups) if n >= groups else 0
    )


def flat_shape(files: int) -> Shape:
    """All files in the root."""
    return Shape(0, str, lambda n: files)


def deep_shape(files: int) -> Shape:
    """10 files and 3 directories in each directory; a chain of 12 directories besides."""
    chain = min(12, max(1, files // 100))
    directories = max(chain, round(files / 10))

    def path(n: int) -> str:
        if n < chain:
            return "/".join(f"level{i}" for i in range(n + 1))
        names = []
        n -= chain
        while n >= 0:
            names.append(f"branch{n}")
            n = n // 3 - 1
        return "/".join(reversed(names))

    return Shape(directories, path, lambda n: share(files, directories, n))


SHAPES = {"jwst": jwst_shape, "small": small_shape, "flat": flat_shape, "deep": deep_shape}
DEFAULT_FILES = {"jwst": 400_000, "small": 400_000, "flat": 1_000_000, "deep": 10_000}


def share(total: int, parts: int, n: int) -> int:
    """Return the size of part `n` of `parts`; they add up to the total."""
    return total * (n + 1) // parts - total * n // parts


def exposure_names(rng: random.Random, visit: str) -> Iterator[str]:
    """Yield a visit's names without end: stages 0 to 2 with companions, guide star files, MSA."""
    instrument = rng.choice(list(DETECTORS))
    series = rng.random() < 0.1
    mode = rng.choice(["id", "acq1", "acq2", "track", "fg"])
    stamp = f"{rng.randrange(2022, 2027)}{rng.randrange(1, 366):03d}{rng.randrange(86400):06d}"
    yield f"jw{visit}_gs-{mode}_{stamp}_{rng.choice(['stream', 'cal', 'uncal', 'image_cal'])}.fits"
    yield f"jw{visit}_gs-id_1_stacked_uncal.fits"
    if instrument == "nirspec":
        yield f"jw{visit}_01_msa.fits"
    if rng.random() < 0.02:
        yield rng.choice(UNRECOGNIZED).format(visit=visit)
    if rng.random() < 0.03:
        yield rng.choice(JUNK)
    activity = rng.choice(["01", "02", "0a", "1b", "03"])
    for exposure in range(1, 10_000_000):
        segment = f"-seg{exposure:03d}" if series else ""
        for detector in rng.sample(DETECTORS[instrument], k=min(3, len(DETECTORS[instrument]))):
            stem = f"jw{visit}_021{activity}_{exposure:05d}{segment}_{detector}_"
            for suffix in SUFFIXES[instrument]:
                yield f"{stem}{suffix}.fits"
            yield stem + COMPANIONS[exposure % 4]


def stage3_names(rng: random.Random, visit: str) -> Iterator[str]:
    """Yield an observation's stage 3 names without end, with associations and catalogues."""
    program, observation = visit[:5], visit[5:8]
    instrument = rng.choice(list(OPTICS))
    association = rng.choice([f"o{observation}", f"c1{observation}", f"a3{observation}"])
    yield f"jw{program}-{association}_{rng.randrange(10**14):014d}_image3_00001_asn.json"
    yield f"jw{program}_{rng.randrange(10**14):014d}_pool.csv"
    for number in range(1, 10_000_000):
        for target, optics in product(TARGETS, OPTICS[instrument]):
            stem = f"jw{program}-{association}_{target.format(n=number)}_{instrument}_{optics}_"
            for suffix in rng.sample(STAGE3_SUFFIXES, k=4):
                yield f"{stem}{suffix}.fits"
            yield f"{stem}cat.ecsv"


def visit_content(rng: random.Random, visit: str, count: int) -> Content:
    """Describe one visit's directory."""
    content = Content()
    names = (stage3_names if rng.random() < 0.1 else exposure_names)(rng, visit)
    hard_link = count > 2 and rng.random() < 0.02
    for name, _ in zip(names, range(count - hard_link), strict=False):
        content.files[name] = int(rng.random() * MAX_SIZE_BYTES)
    first, *_ = content.files or [""]
    if hard_link:
        content.hard_links["copy_" + first] = first
    if rng.random() < 0.02:
        content.symlinks["latest.fits"] = rng.choice([first, "gone.fits", ".."]) or ".."
    return content


def plain_content(rng: random.Random, first: int, count: int) -> Content:
    """Describe `count` exposures, numbered on from `first`."""
    return Content(
        {
            f"jw{1000 + n // 10**8:05d}{n // 10**5 % 10**3:03d}001_02101_{n % 10**5:05d}"
            "_nrcalong_rate.fits": int(rng.random() * MAX_SIZE_BYTES)
            for n in range(first, first + count)
        }
    )


def create(content: Content, directory: int) -> None:
    """Make the entries relative to an open directory."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    for name, size in content.files.items():
        fd = os.open(name, flags, 0o644, dir_fd=directory)
        os.ftruncate(fd, size)
        os.close(fd)
    for name, target in content.hard_links.items():
        os.link(target, name, src_dir_fd=directory, dst_dir_fd=directory)
    for name, target in content.symlinks.items():
        os.symlink(target, name, dir_fd=directory)


def make_entries(path: str, content: Content) -> Totals:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        create(content, directory)
    finally:
        os.close(directory)
    return content.totals()


def make_batch(batch: Batch) -> Totals:
    """Fill a batch's directories, each from a seed of its own: the split changes nothing."""
    totals = Totals()
    shape = SHAPES[batch.profile](batch.files)
    if shape.directories == 0:
        rng = random.Random(f"{batch.seed}:{batch.start}")
        content = plain_content(rng, batch.start, batch.stop - batch.start)
        return make_entries(batch.root, content)
    for n in range(batch.start, batch.stop):
        count = shape.count(n)
        if count == 0:
            continue
        rng = random.Random(f"{batch.seed}:{n}")
        path = shape.path(n)
        if batch.profile == "jwst":
            content = visit_content(rng, path[-11:], count)
        else:
            content = plain_content(rng, n * 1000, count)
        totals.add(make_entries(f"{batch.root}/{path}", content))
    return totals


def batches(profile: str, root: str, files: int, seed: int) -> list[Batch]:
    directories = SHAPES[profile](files).directories
    end, step = (directories, DIRECTORIES_A_BATCH) if directories else (files, FILES_A_BATCH)
    return [
        Batch(root, profile, files, seed, start, min(start + step, end))
        for start in range(0, end, step)
    ]


def build(profile: str, root: Path, files: int, seed: int) -> Totals:
    """Make the tree in a directory that is not there yet, and return what it holds."""
    shape = SHAPES[profile](files)
    root.mkdir(parents=True)
    for n in range(shape.directories):
        (root / shape.path(n)).mkdir()
    totals = Totals(directories=1 + shape.directories)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for part in pool.map(make_batch, batches(profile, str(root), files, seed)):
            totals.add(part)
    return totals


def manifest_path(root: Path) -> Path:
    return root.parent / (root.name + ".manifest.json")


def read_manifest(root: Path) -> dict:
    try:
        return json.loads(manifest_path(root).read_text())
    except FileNotFoundError:
        return {}


def make_tree(profile: str, root: Path, files: int | None = None, seed: int = 1) -> dict:
    """Return the manifest of a tree, making the tree unless it is there.

    A tree left half made is removed first; a directory that is not ours is an error.
    """
    root = Path(os.path.abspath(root))
    files = DEFAULT_FILES[profile] if files is None else files
    wanted = {"format": FORMAT, "profile": profile, "seed": seed, "N": files}
    found = read_manifest(root)
    if root.exists() and any(found.get(key) != value for key, value in wanted.items()):
        raise FileExistsError(f"{root} holds something else: remove it or name another directory")
    if root.exists() and found["complete"]:
        return found
    if root.exists():
        shutil.rmtree(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    manifest_path(root).write_text(json.dumps(wanted | {"complete": False}) + "\n")
    totals = build(profile, root, files, seed)
    manifest = wanted | vars(totals) | {"complete": True}
    manifest_path(root).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("profile", choices=SHAPES)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--files", type=int, help=f"default: {DEFAULT_FILES}")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.perf_counter()
    try:
        manifest = make_tree(options.profile, options.dir, options.files, options.seed)
    except FileExistsError as error:
        print(f"trees.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(manifest))
    print(f"{time.perf_counter() - started:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
