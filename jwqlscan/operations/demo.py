"""The demonstration: a small JWST-like archive, made-up history, and a real run on it."""

from __future__ import annotations

import logging
import os
import random
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from operator import itemgetter
from typing import NamedTuple

from jwqlscan.config.loader import load_config
from jwqlscan.errors import ConfigError, ExitCode
from jwqlscan.model.directory_totals import DirectorySum
from jwqlscan.model.snapshot import AreaSnapshot, Snapshot
from jwqlscan.model.tally import Amount, Tally
from jwqlscan.operations.report import report
from jwqlscan.operations.run import run
from jwqlscan.store import open_store
from jwqlscan.text import escape
from jwqlscan.units import TIB_BYTES, counted, format_bytes, format_count

MARKER = ".made-by-jwqlscan-demo"
SEED = 20211225  # the launch
NOTE = "Sparse files: on the disk they occupy less than their sizes"
PROGRAMS = 24
HISTORY_DAYS = 730
HISTORY_STEP_DAYS = 5
DAILY_DAYS = 90  # the newest of them, run by run
INSIGHT_DAYS = 31  # the newest of them with numbers per program and directory
INSIGHT_STEP_DAYS = 30  # and of those before one so often
_MISSED = range(36, 44)  # days ago without a run: a gap in the plots
_UNREADABLE = (17, 58)  # days ago on which a part could not be read

CONFIG = """\
# Made by `jwqlscan demo`.
[archive]
path = "archive"

[central]
path = "central"

[central.areas]
logs = "logs"
outputs = "outputs"
test = "test"
preview_images = "preview_images"
thumbnails = "thumbnails"

[database]
url = "sqlite:///jwqlscan.db"

[outputs]
path = "outputs"

[state]
path = "state"
"""


class _Kind(NamedTuple):
    """How an instrument's files are named."""

    instrument: str
    detectors: tuple[str, ...]
    stage2: tuple[str, ...]
    stage3: tuple[str, ...]
    optics: str


_STAGE1 = ("uncal", "rate", "rateints")
_KINDS = (
    _Kind("fgs", ("guider1", "guider2"), ("cal", "i2d"), (), ""),
    _Kind(
        "miri",
        ("mirimage", "mirifulong", "mirifushort"),
        ("cal", "i2d", "s3d", "x1d"),
        ("i2d", "cat", "segm", "x1d", "s3d"),
        "f1130w",
    ),
    _Kind("niriss", ("nis",), ("cal", "calints", "i2d"), ("i2d", "c1d", "ami-oi"), "f480m-nrm"),
    _Kind(
        "nircam",
        ("nrca1", "nrca2", "nrcb4", "nrcalong", "NRCBLONG"),
        ("cal", "i2d", "crf"),
        ("i2d", "segm", "cat", "psfstack", "psfsub"),
        "f444w-f405n",
    ),
    _Kind(
        "nirspec",
        ("nrs1", "nrs2"),
        ("cal", "s2d", "x1d", "crfints"),
        ("s3d", "x1d", "x1dints", "whtlt"),
        "g395h-f290lp",
    ),
)
_MODES = ("id_1_image_cal", "acq1_2022150070312_cal", "track_2022150070312_stream")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Where a demonstration's configuration and report are, and how its run ended."""

    configuration: str
    report: str
    exit_code: ExitCode


async def run_demo(directory: str, report_line: Callable[[str], object]) -> Demonstration:
    """Make the demonstration in a directory and run on it.

    Parameters
    ----------
    directory : str
        Made if it does not exist; one made by an earlier demonstration is used again.
    report_line : callable
        Told, line by line, what was done.

    Raises
    ------
    ConfigError
        If the directory holds something else.
    """
    directory = os.path.abspath(directory)
    new = _claim(directory)
    if new:
        count, size = _make_files(directory)
        report_line(f"made {counted(count, 'sparse file')} ({format_bytes(size)}) in {directory}")
    config = load_config(os.path.join(directory, "config.toml"))
    logging.getLogger(__name__).debug("demo in %s", escape(directory))
    outcome = await run(config, with_report=False)
    for area in outcome.snapshot.areas:
        tally = area.tally
        report_line(
            f"measured {area.group} {area.name}: {counted(tally.files, 'file')}, "
            f"{format_bytes(tally.apparent_bytes)}, {format_count(tally.fits_files)} FITS"
        )
    if new:
        async with open_store(config.database_url) as store:
            for sample in _samples(outcome.snapshot):
                await store.record(sample)
        report_line(
            f"added {HISTORY_DAYS} days of made-up history, marked as sample data in the report"
        )
    written = await report(config, note=NOTE)
    report_line(f"stored in {outcome.store}")
    report_line(f"configuration: {config.file}")
    report_line(f"report: {written[0]}")
    return Demonstration(config.file, written[0], outcome.exit_code)


def _claim(directory: str) -> bool:
    """Make the directory ours; return whether it is new."""
    if os.path.exists(os.path.join(directory, MARKER)):
        return False
    try:
        os.makedirs(directory, exist_ok=True)
        if os.listdir(directory):
            raise ConfigError(f"{escape(directory)} is not empty: name a directory to be made")
        with open(os.path.join(directory, "config.toml"), "x", encoding="utf-8") as file:
            file.write(CONFIG)
    except OSError as error:
        raise ConfigError(f"{escape(directory)}: {error.strerror}") from None
    return True


def _make_files(directory: str) -> tuple[int, int]:
    rng = random.Random(SEED)  # noqa: S311 - the same demonstration everywhere
    count = total = 0
    for path, size in _files(rng):
        full = os.path.join(directory, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "xb") as file:
            file.truncate(size)
        count, total = count + 1, total + size
    # Last: a demonstration that was cut off is not taken for a whole one.
    with open(os.path.join(directory, MARKER), "x", encoding="utf-8"):
        pass
    return count, total


def _files(rng: random.Random) -> Iterator[tuple[str, int]]:
    """Yield relative paths and sizes in bytes; sparse, so large enough to show on TiB axes."""
    for number in range(PROGRAMS):
        program = f"{1018 + 137 * number:05d}"
        area = "proprietary" if number % 4 == 3 else "public"
        base = f"archive/{area}/jw{program}"
        for name in _program_names(rng, program):
            yield f"{base}/{name[:19]}/{name}.fits", rng.randrange(2, 180) * 2**30
            if name.endswith(("_cal", "_rate")):
                yield f"{base}/{name[:19]}/{name}.jpg", rng.randrange(20_000, 90_000)
                yield f"central/preview_images/jw{program}/{name}_integ0.jpg", 60 * 2**20
                yield f"central/thumbnails/jw{program}/{name}_integ0.thumb", 8 * 2**20
        yield f"{base}/jw{program}-o001_20260101t000000_pool.csv", 4_096
        yield f"{base}/jw{program}-o001_image2_00001_asn.json", 2_048
    yield "archive/public/jw01018/jw01018001001_02101_00001_nrcz9_cal.fits", 33_555_552
    yield "archive/public/jw01018/jw01018001001_02101_00001_nis_wonder.fits", 33_555_552
    yield "archive/public/README.txt", 1_234
    yield "archive/public/core.12345", 0
    for day in range(60):
        yield f"central/logs/monitor_{day:03d}.log", rng.randrange(1, 900) * 2**20
        yield f"central/outputs/bad_pixels/{day:03d}.json", rng.randrange(5, 50) * 2**30
    for number in range(25):
        yield f"central/test/scratch {number}.tmp", rng.randrange(0, 90) * 2**30


def _program_names(rng: random.Random, program: str) -> Iterator[str]:
    for kind in _KINDS:
        for observation in range(1, 3):
            visit = f"{program}{observation:03d}001"
            activity = f"{rng.randrange(2, 9):02d}101"
            for exposure in range(1, 3):
                for detector in kind.detectors:
                    name = f"jw{visit}_{activity}_{exposure:05d}_{detector}"
                    yield from (f"{name}_{suffix}" for suffix in (*_STAGE1, *kind.stage2))
            if kind.instrument == "fgs":
                yield from (f"jw{visit}_gs-{mode}" for mode in _MODES)
            if kind.instrument == "nirspec":
                yield f"jw{visit}_01_msa"
            target = f"jw{program}-o{observation:03d}_t001_{kind.instrument}_{kind.optics}"
            yield from (f"{target}_{suffix}" for suffix in kind.stage3)


def _samples(snapshot: Snapshot) -> Iterator[Snapshot]:
    """Yield made-up earlier snapshots: the real one, shrunk the more the older."""
    rng = random.Random(SEED)  # noqa: S311 - the same demonstration everywhere
    older = range(HISTORY_DAYS, DAILY_DAYS, -HISTORY_STEP_DAYS)
    share = 0.0
    for days in (*older, *range(DAILY_DAYS, 0, -1)):
        grown = (1 - days / HISTORY_DAYS) ** 1.2 * 0.8 + 0.195
        share = max(share, grown * rng.uniform(0.985, 1.0))
        if days in _MISSED:
            continue
        at = snapshot.timestamp - timedelta(days=days, seconds=rng.randrange(-300, 300))
        seconds = snapshot.seconds * share * rng.uniform(0.8, 1.3)
        unreadable = days in _UNREADABLE
        looks = 1 if days <= INSIGHT_DAYS else INSIGHT_STEP_DAYS
        yield replace(
            snapshot,
            run_id=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            timestamp=at,
            ended=at + timedelta(seconds=seconds),
            seconds=seconds,
            areas=tuple(
                _quality(
                    _shrunk(area, share, 0.8 if unreadable else 1.0, looked=days % looks == 0),
                    *(unreadable, rng),
                )
                for area in snapshot.areas
            ),
            sample=True,
        )


def _quality(area: AreaSnapshot, unreadable: bool, rng: random.Random) -> AreaSnapshot:
    """Add what goes wrong on a live archive: names that are new, files that vanish, and errors."""
    if area.group != "archive" or area.name not in ("all", "public"):
        return area
    area.tally.vanished = rng.choice((0, 0, 0, 1, 2, 5))
    if unreadable:
        area.tally.errors = {"permission": rng.randrange(2, 9), "io": rng.randrange(1, 4)}
        return replace(area, state="partial")
    return area


def _shrunk(area: AreaSnapshot, share: float, read: float, *, looked: bool) -> AreaSnapshot:
    """Return a share of what there is in an area, of which that much could be read."""

    def part(number: int) -> int:
        return round(number * share * read)

    old, capacity = area.tally, area.capacity
    products = {p: Amount(part(a.count), part(a.bytes)) for p, a in old.products.items()}
    tally = Tally(
        files=part(old.files),
        apparent_bytes=part(old.apparent_bytes),
        allocated_bytes=part(old.allocated_bytes),
        directories=part(old.directories),
        symlinks=old.symlinks,
        other=old.other,
        fits_files=part(old.fits_files),
        fits_bytes=part(old.fits_bytes),
        unrecognized=round(old.unrecognized * min(1.0, share + 0.3)),
        products=products,
    )
    if looked:
        _shrink_insight(old, tally, share, read)
    if capacity is None:
        return replace(area, tally=tally)
    used = part(capacity.used_bytes) or TIB_BYTES
    return replace(
        area,
        tally=tally,
        capacity=replace(
            capacity,
            used_bytes=used,
            available_bytes=max(0, capacity.used_bytes + capacity.available_bytes - used),
        ),
    )


def _shrink_insight(old: Tally, new: Tally, share: float, read: float) -> None:
    """Make up the cube and the directories: together they have that share, some grow faster."""
    for key, numbers in old.cube.cells.items():
        files, apparent, allocated = (round(n * share * read) for n in numbers)
        if files:
            new.cube.add(key, files, apparent, allocated)
    if new.cube.cells:  # what rounding took or gave, so that all adds up
        largest = max(new.cube.cells.values(), key=itemgetter(1))
        for index, exact in enumerate((new.files, new.apparent_bytes, new.allocated_bytes)):
            largest[index] += exact - sum(cell[index] for cell in new.cube.cells.values())
    programs = old.cube.programs
    whole = sum(size for _, size in programs.values()) or 1
    mean = sum(_pace(program) * size for program, (_, size) in programs.items()) / whole

    def part(program: str) -> float:
        return share * (1 + (_pace(program) - mean) * (1 - share)) * read

    for program, (files, apparent) in programs.items():
        if count := round(files * part(program)):
            new.cube.add_program(program, count, round(apparent * part(program)))
    for mine, theirs in ((new.tree.upper, old.tree.upper), (new.tree.lower, old.tree.lower)):
        for path, total in theirs.items():
            named = re.search(r"(?:^|/)jw([0-9]{5})", path)
            mine[path] = DirectorySum(
                *(round(n * (part(named[1]) if named else share * read)) for n in total)
            )


def _pace(program: str) -> float:
    """Return whether a program grew early or late: from -0.9 to 0.9, -0.9 the latest."""
    return int(program) * 37 % 100 / 55 - 0.9
