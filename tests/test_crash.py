"""A run that is killed at every point where it changes a file or sends something to a server.

Whatever the point: the report is whole, the database sound, and after the next run every snapshot
that had reached the disk is stored, once. With JWQLSCAN_SOAK=1 all points are tried, else as many
as take a minute.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from trees import make_tree, required

from jwqlscan.snapshot import Snapshot

HERE = Path(__file__).parent / "crash"
POINTS_IN_CI = 20
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
    """Yield a function that runs a configuration, killed at a point, and returns its exit code."""
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
    return [
        Snapshot.from_record(json.loads(path.read_text())).run_id
        for path in sorted((place / "state/spool").glob("*.json"))
    ]


def files_of(place):
    return {
        path.name: path.read_bytes()
        for path in (place / REPORT).iterdir()
        if not path.name.startswith(".")
    }


def chosen(points):
    """Return all points with JWQLSCAN_SOAK=1, else some that are evenly spread, and the ends."""
    if os.environ.get("JWQLSCAN_SOAK") == "1":
        return points
    step = max(1, len(points) // POINTS_IN_CI)
    return sorted({*points[::step], points[-1]})


def endings(files):
    return {name: content[-16:] for name, content in files.items()}


def is_spooling(call, path):
    return "rename" in call and "/spool/" in path


def try_points(place, killer, runs, points):
    """Kill a run at each point, run again, and check that nothing was lost, torn or doubled."""
    config = place / "config.toml"
    old = files_of(place)
    tried = 0
    for at in points:
        before = runs.run_ids()
        if killer(config, at, place / "log") == 0:  # this run had fewer points
            assert at > 0.7 * max(points)
            break
        tried += 1
        *done, (number, *here) = read_log(place / "log")
        assert number == at
        reached = {*runs.run_ids(), *spooled_ids(place)} - {*before}
        # From the moment that the spool file has its name, the snapshot is safe.
        assert len(reached) == any(is_spooling(*call) for _, *call in done), here
        assert endings(files_of(place)) == endings(old), here
        assert killer(config) == 0, f"the run after {here}"
        after = runs.run_ids()
        assert len(after) == len({*after}) == len(before) + len(reached) + 1, here
        assert reached <= {*after}, here
        assert spooled_ids(place) == []
        old = files_of(place)
    return tried


def read_log(path):
    lines = [line.split(" ", 2) for line in path.read_text().splitlines()]
    return [(int(number), call, where) for number, call, where in lines]


@pytest.mark.case("P01", "P13")
def test_a_run_killed_at_any_point_loses_nothing_and_tears_nothing(tmp_path, killer):
    config = make_host(tmp_path, "")
    assert killer(config) == 0
    assert killer(config, 0, tmp_path / "log") == 0
    log = read_log(tmp_path / "log")
    calls = {call for _, call, _ in log}
    assert {"fsync"} < calls and len(log) > 60, calls
    runs = SqliteRuns(tmp_path)
    tried = try_points(tmp_path, killer, runs, chosen([n for n, _, _ in log]))
    print(f"killed at {tried} of {len(log)} points")


@pytest.mark.case("P01", "P17")
def test_the_first_run_of_all_killed_at_any_point_leaves_nothing_in_the_way(tmp_path, killer):
    config = make_host(tmp_path, "")
    assert killer(config, 0, tmp_path / "log") == 0
    log = read_log(tmp_path / "log")
    stored = next(n for n, *call in log if is_spooling(*call))
    for at in chosen([n for n, _, _ in log if n <= stored + 40])[::2]:
        for made in ("state", "outputs"):
            shutil.rmtree(tmp_path / made)
        assert killer(config, at) == -9
        reached = spooled_ids(tmp_path)
        assert killer(config) == 0, f"the run after point {at}: {log[at - 1]}"
        assert {*reached} <= {*SqliteRuns(tmp_path).run_ids()}
        assert len(files_of(tmp_path)) > 2


@pytest.mark.case("P01", "P12")
def test_a_run_killed_at_any_message_to_postgresql_is_stored_once(tmp_path, killer, pg_url):
    config = make_host(tmp_path, pg_url)
    assert killer(config) == 0
    assert killer(config, 0, tmp_path / "log") == 0
    log = read_log(tmp_path / "log")
    sends = [n for n, call, _ in log if call == "send"]
    assert len(sends) > 5
    tried = try_points(tmp_path, killer, PostgresqlRuns(pg_url), chosen(sends))
    print(f"killed at {tried} of {len(sends)} messages")


# ---- power loss ----


@pytest.fixture
def disk(tmp_path):
    """Yield a mounted ext4 of its own, and what mounts a copy of it as it is on the disk now."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("this test needs to mount: run it as root")
        pytest.skip("only root may mount; with CI set this fails")
    image, copy = tmp_path / "image", tmp_path / "copy"
    here, there = tmp_path / "disk", tmp_path / "after"
    here.mkdir()
    there.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    quiet = {"check": True, "capture_output": True}
    subprocess.run([required("mkfs.ext4"), "-q", image], **quiet)
    subprocess.run(["mount", "-o", "loop", image, here], **quiet)

    @contextlib.contextmanager
    def after_power_loss():
        # What the kernel has not written is not in the backing file, as it is not on a disk.
        subprocess.run(["cp", "--sparse=always", image, copy], **quiet)
        subprocess.run(["mount", "-o", "loop", copy, there], **quiet)
        try:
            yield there
        finally:
            subprocess.run(["umount", there], **quiet)

    try:
        yield here, after_power_loss
    finally:
        subprocess.run(["umount", "-l", here], **quiet)


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
    for at in chosen([n for n, _, _ in read_log(here / "log")])[::2]:
        before = SqliteRuns(here).run_ids()
        if killer(config, at, here / "log") == 0:
            break
        *done, (_, *point) = read_log(here / "log")
        # Safe is what has its name, and whose directory was written down to the disk.
        renamed = [n for n, *call in done if is_spooling(*call)]
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


def config_of(there, config):
    moved = there / "config.toml"
    moved.write_text(config.read_text().replace(str(config.parent), str(there)))
    return moved
