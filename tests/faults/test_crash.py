"""A run that is killed at every point where it changes a file or sends something to a server.

Whatever the point: the report is whole, the database sound, and after the next run every snapshot
that had reached the disk is stored, once, and nothing half-made is left. With JWQLSCAN_SOAK=1 all
points are tried, else those where something becomes final, and some between them.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from jwqlscan.model.snapshot import Snapshot
from tests.support.trees import make_tree, required

HERE = Path(__file__).parent / "crash"
POINTS_IN_CI = 12
# What makes something final: a part of the call, and of the path.
SPOOLING = ("rename", "/spool/")
REMOVING = ("unlink", "/spool/")
PAGE = ("rename", "/filesystem_monitor.html")
FINAL = (SPOOLING, REMOVING, PAGE)
REPORT = "outputs/monitor_filesystem"
CAL = "jw01018001001_02101_00001_nrca1_cal.fits"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    built = tmp_path_factory.mktemp("shim") / "crash_points.so"
    flags = ["-shared", "-fPIC", "-O1", "-w"]
    command = [required("gcc"), *flags, HERE / "crash_points.c", "-o", built, "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return built


@pytest.fixture(scope="module")
def killer(shim):
    """Yield a function that runs a configuration, killed at a point, and returns the exit code."""
    environment = {**os.environ, "LD_PRELOAD": str(shim)}
    with subprocess.Popen(
        [sys.executable, HERE / "crashing_runs.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:

        def run(config, at=0, log=None):
            order = {"config": str(config), "at": at, "log": log and str(log)}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())["code"]

        yield run
        process.stdin.close()


def make_host(place, database, archive=None):
    archive = archive or place / "archive"
    make_tree(archive, {"public": {CAL: 100, "b.txt": 5}, "proprietary": {"c.fits": 7}})
    config = place / "config.toml"
    config.write_text(
        f'archive.path = "{archive}"\nstate.path = "{place}/state"\n'
        f'outputs.path = "{place}/outputs"\n'
        + (f'database.url = "{database}"\n' if database else "")
    )
    config.chmod(0o600)
    return config


class SqliteRuns:
    """What the default store of a host holds."""

    def __init__(self, place):
        self._file = place / "state" / "jwqlscan.db"

    def run_ids(self):
        if not self._file.exists():
            return []
        with contextlib.closing(sqlite3.connect(self._file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                return []
            return [run for (run,) in connection.execute("SELECT run_id FROM scan_run")]


class PostgresqlRuns:
    def __init__(self, url):
        self.database = url

    def run_ids(self):
        async def ask():
            connection = await asyncpg.connect(self.database)
            try:
                return [
                    str(row[0]) for row in await connection.fetch("SELECT run_id FROM scan_run")
                ]
            finally:
                await connection.close()

        return asyncio.run(ask())


def spooled_ids(place):
    """Return the runs that wait; each file must hold a whole snapshot."""
    found = []
    for path in sorted((place / "state/spool").glob("*.json")):
        record = json.loads(path.read_text())
        address = ("for_store", "configured")  # which store it waits for
        snapshot = {name: value for name, value in record.items() if name not in address}
        found.append(Snapshot.from_record(snapshot).run_id)
    return found


def files_of(place):
    return {
        path.name: path.read_bytes()
        for path in (place / REPORT).iterdir()
        if not path.name.startswith(".")
    }


def chosen(points, always=(), most=POINTS_IN_CI):
    """Return all points with JWQLSCAN_SOAK=1, else some that are evenly spread, and the ends.

    JWQLSCAN_SOAK_PART=1/3 makes that every third, from the first on; 2/3 from the second.
    """
    if os.environ.get("JWQLSCAN_SOAK") == "1":
        part, parts = map(int, os.environ.get("JWQLSCAN_SOAK_PART", "1/1").split("/"))
        return points[part - 1 :: parts]
    step = -(-len(points) // most)
    return sorted({*points[::step], points[-1], *always})


def decisive(log):
    """Return the points at which a snapshot or the page becomes final, and those right after."""
    spooled, removed, page = (
        next(n for n, *call in log if is_call(final, *call)) for final in FINAL
    )
    committed = max(n for n, call, _ in log[:removed] if call == "fdatasync")
    return sorted({n + more for n in (spooled, committed, removed, page) for more in (0, 1)})


def litter(place):
    """Return the temporary files below a directory, made to look as if they were old."""
    found = sorted(place.glob("*/**/.*.tmp"))
    for path in found:
        os.utime(path, (0, 0))
    return found


def endings(files):
    return {name: content[-16:] for name, content in files.items()}


def is_call(sought, call, path):
    return sought[0] in call and sought[1] in path


def try_points(place, killer, runs, points):
    """Kill a run at each point, run again, and check that nothing was lost, torn or doubled.

    Returns the calls before which runs were killed: another run may have others at a point.
    """
    config = place / "config.toml"
    old = files_of(place)
    tried = []
    for at in points:
        before = runs.run_ids()
        if killer(config, at, place / "log") == 0:  # this run had fewer points
            assert at > 0.7 * points[-1]
            break
        *done, (number, *here) = read_log(place / "log")
        tried.append(here)
        assert number == at if isinstance(at, int) else is_call(at, *here)
        reached = {*runs.run_ids(), *spooled_ids(place)} - {*before}
        # From the moment that the spool file has its name, the snapshot is safe.
        assert len(reached) == any(is_call(SPOOLING, *call) for _, *call in done), here
        assert endings(files_of(place)) == endings(old), here
        half_made = litter(place)
        assert len(half_made) <= len(old) + 1, here
        assert killer(config) == 0, f"the run after {here}"
        assert litter(place) == [], here
        after = runs.run_ids()
        assert len(after) == len({*after}) == len(before) + len(reached) + 1, here
        assert reached <= {*after}, here
        assert spooled_ids(place) == []
        old = files_of(place)
    return tried


def read_log(path):
    lines = [line.split(" ", 2) for line in path.read_text().splitlines()]
    return [(int(number), call, where) for number, call, where in lines]


@pytest.mark.case("P01", "P13", "P15")
def test_a_run_killed_at_any_point_loses_nothing_and_tears_nothing(tmp_path, killer):
    config = make_host(tmp_path, "")
    assert killer(config) == 0
    assert killer(config, 0, tmp_path / "log") == 0
    log = read_log(tmp_path / "log")
    calls = {call for _, call, _ in log}
    assert {"fsync"} < calls and len(log) > 60, calls
    points = chosen([n for n, _, _ in log], decisive(log))
    tried = try_points(tmp_path, killer, SqliteRuns(tmp_path), [*FINAL, *points])
    print(f"killed at {len(tried)} of {len(log)} points")


@pytest.mark.case("P01")
def test_no_call_that_changes_a_file_escapes_the_count(tmp_path, killer):
    config = make_host(tmp_path, "")
    for _ in range(2):
        assert killer(config, 0, tmp_path / "log") == 0
    # How far a run is it writes into its lock as time goes by: once more, or once less.
    counted = Counter(
        call.removesuffix("64")
        for _, call, path in read_log(tmp_path / "log")
        if (Path(path).name, call[:6]) != ("lock", "pwrite")
    )
    calls = "write writev pwrite64 pwritev pwritev2 fsync fdatasync sync_file_range ftruncate"
    calls += " truncate fallocate copy_file_range rename renameat renameat2 unlink unlinkat link"
    calls += " linkat symlink symlinkat"
    strace = [required("strace"), "-f", "-qq", "-y", "-o", str(tmp_path / "trace")]
    strace += ["-e", "trace=" + calls.replace(" ", ",")]
    run = [sys.executable, "-m", "jwqlscan", "run", "-c", config]
    subprocess.run([*strace, *run], check=True, timeout=120)
    below = re.compile(rf"\d+ +(\w+)\(.*{re.escape(str(tmp_path))}/(state|outputs)[/>]")
    lines = (tmp_path / "trace").read_text().splitlines()
    progress = re.compile(r"\d+ +pwrite\w*\(.*/state/lock>")
    seen = filter(None, (below.match(line) for line in lines if not progress.match(line)))
    assert Counter(call[1].removesuffix("64") for call in seen) == counted


@pytest.mark.case("P03")
def test_all_that_a_run_writes_is_on_disk_before_its_name_and_before_anything_relies_on_it(
    tmp_path, killer
):
    config = make_host(tmp_path, "")
    for _ in range(2):
        assert killer(config, 0, tmp_path / "log") == 0
    log = read_log(tmp_path / "log")
    renamed = [(n, path) for n, call, path in log if "rename" in call]
    assert {Path(path).name for _, path in renamed} > {*files_of(tmp_path)}
    for n, path in renamed:
        directory, name = os.path.split(path)
        half_made = re.compile(rf"{re.escape(directory)}/\.{re.escape(name)}\.[0-9a-f]{{16}}\.tmp")
        before = [call for _, call, where in log[: n - 1] if half_made.fullmatch(where)]
        assert before[-1] == "fsync" and "write" in before, path
        assert ("fsync", directory) in [(*call,) for _, *call in log[n:]], path
    # Nothing else is written but the database, whose rules SQLite keeps, and the lock.
    others = {path for _, call, path in log if "write" in call and not path.endswith(".tmp")}
    assert {Path(path).name.split("-")[0] for path in others} == {"jwqlscan.db", "lock"}
    # The spool's file has its name for good before the store hears of it; it goes after the commit.
    [removed] = [n for n, *call in log if is_call(REMOVING, *call)]
    [spooled] = [n for n, *call in log if is_call(SPOOLING, *call)]
    wal = [(n, call) for n, call, path in log[spooled:removed] if path.endswith(".db-wal")]
    named = next(n for n, call, path in log[spooled:] if (call, path[-6:]) == ("fsync", "/spool"))
    assert named < wal[0][0] and wal[-1][1] == "fdatasync"
    # The page comes last, as what it links to is there, and then the record of how the run ended.
    page, attempt = (path for _, path in renamed[-2:])
    assert is_call(PAGE, "rename", page) and attempt.endswith("/last-attempt.json")


@pytest.mark.case("P01", "P17")
def test_the_first_run_of_all_killed_at_any_point_leaves_nothing_in_the_way(tmp_path, killer):
    config = make_host(tmp_path, "")
    assert killer(config, 0, tmp_path / "log") == 0
    log = read_log(tmp_path / "log")
    stored = next(n for n, *call in log if is_call(SPOOLING, *call))
    points = [n for n, _, _ in log if n <= stored + 40 or os.environ.get("JWQLSCAN_SOAK")]
    points = chosen(points, most=POINTS_IN_CI // 2)
    for at in points:
        for made in ("state", "outputs"):
            shutil.rmtree(tmp_path / made)
        assert killer(config, at) == -9
        reached = spooled_ids(tmp_path)
        assert killer(config) == 0, f"the run after point {at}: {log[at - 1]}"
        assert {*reached} <= {*SqliteRuns(tmp_path).run_ids()}
        assert len(files_of(tmp_path)) > 2
    print(f"the first run killed at {len(points)} of {len(log)} points")


@pytest.mark.case("P01", "P12")
def test_a_run_killed_at_any_message_to_postgresql_is_stored_once(tmp_path, killer, pg_url):
    config = make_host(tmp_path, pg_url)
    assert killer(config) == 0
    assert killer(config, 0, tmp_path / "log") == 0
    log = read_log(tmp_path / "log")
    sends = [n for n, call, _ in log if call == "send"]
    assert len(sends) > 5
    tried = try_points(tmp_path, killer, PostgresqlRuns(pg_url), chosen(sends))
    print(f"killed at {len(tried)} of {len(sends)} messages")


# ---- power loss ----


@pytest.fixture
def disk(tmp_path, as_root):
    """Yield a mounted ext4 of its own, and what mounts a copy of it as it is on the disk now."""
    below, here, there = (tmp_path / name for name in ("below", "disk", "after"))
    image, copy = below / "image", below / "copy"
    quiet = {"check": True, "capture_output": True}

    def mount(file, place):
        subprocess.run(["mount", "-o", "loop", file, place], **quiet)

    def make(program, file, size):
        with file.open("wb") as opened:
            opened.truncate(size)
        subprocess.run([required(program), "-q", file], **quiet)

    @contextlib.contextmanager
    def after_power_loss():
        # What the kernel has not written is not in the backing file, as it is not on a disk. The
        # copy is of one moment: one that takes a while is of a disk that never was, now and then.
        copy.unlink(missing_ok=True)
        reflink = "always" if has_btrfs else "auto"
        subprocess.run(["cp", f"--reflink={reflink}", image, copy], **quiet)
        mount(copy, there)
        try:
            yield there
        finally:
            subprocess.run(["umount", there], **quiet)

    for place in (below, here, there):
        place.mkdir()
    has_btrfs = "btrfs" in Path("/proc/filesystems").read_text()
    if has_btrfs:
        make("mkfs.btrfs", tmp_path / "pool", 2**30)
        mount(tmp_path / "pool", below)
    try:
        make("mkfs.ext4", image, 64 * 2**20)
        mount(image, here)
        try:
            yield here, after_power_loss
        finally:
            subprocess.run(["umount", "-l", here], **quiet)
    finally:
        if has_btrfs:
            subprocess.run(["umount", "-l", below], **quiet)


@pytest.mark.case("P02")
def test_what_a_run_has_said_is_stored_is_there_after_power_loss(disk, killer):
    here, after_power_loss = disk
    config = make_host(here, "", here.parent / "archive")
    for _ in range(2):
        assert killer(config) == 0
        ids = SqliteRuns(here).run_ids()
        files = files_of(here)
        with after_power_loss() as there:
            assert SqliteRuns(there).run_ids() == ids
            assert files_of(there) == files


@pytest.mark.case("P02")
def test_power_loss_at_any_point_loses_nothing_that_was_spooled_and_tears_nothing(disk, killer):
    here, after_power_loss = disk
    config = make_host(here, "", here.parent / "archive")
    assert killer(config) == 0
    assert killer(config, 0, here / "log") == 0
    old = files_of(here)
    tried = 0
    for at in chosen([n for n, _, _ in read_log(here / "log")], most=POINTS_IN_CI // 2):
        before = SqliteRuns(here).run_ids()
        if killer(config, at, here / "log") == 0:
            break
        *done, (_, *point) = read_log(here / "log")
        # Safe is what has its name, and whose directory was written down to the disk.
        renamed = [n for n, *call in done if is_call(SPOOLING, *call)]
        written = [n for n, call, path in done if call == "fsync" and path.endswith("/spool")]
        safe = bool(renamed and written and written[-1] > renamed[0])
        with after_power_loss() as there:
            found = {*SqliteRuns(there).run_ids(), *spooled_ids(there)}
            assert {*before} <= found, point
            assert len(found - {*before}) >= safe, point
            assert endings(files_of(there)) == endings(old), point
            assert killer(config_of(there, config)) == 0, point
            assert found <= {*SqliteRuns(there).run_ids()}, point
        assert killer(config) == 0
        tried += 1
    print(f"power lost at {tried} points")


def config_of(there, config):
    moved = there / "config.toml"
    moved.write_text(config.read_text().replace(str(config.parent), str(there)))
    return moved
