"""Whole runs on a disk that fills up: what was there stays, and what was measured is kept."""

import json
import subprocess
import sys

import pytest

from tests.support.trees import in_mount_namespace, make_tree

case = pytest.mark.case

# Runs in a namespace where `small` is a filesystem of 24 MB: a run with room; runs with as little
# as is told, in kB; one with room again. Says of each how it ended and what there is.
RUNS = """
import glob, json, os, sqlite3, subprocess, sys
place, leave = sys.argv[1], json.loads(sys.argv[2])
small, ballast = f"{place}/small", f"{place}/small/ballast"
report = glob.escape(place) + "/**/monitor_filesystem/*"

def fill(kilobytes):
    with open(ballast, "wb", buffering=0) as file:
        space = os.statvfs(small)
        try:
            while True:
                file.write(bytes(space.f_frsize))
        except OSError:
            pass
        file.truncate(max(0, os.fstat(file.fileno()).st_size - kilobytes * 1024))

def stored():
    try:
        connection = sqlite3.connect(glob.glob(glob.escape(place) + "/**/s.db", recursive=True)[0])
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        count = connection.execute("SELECT count(*) FROM scan_run").fetchone()[0]
        connection.close()
    except (IndexError, sqlite3.OperationalError):
        return 0
    return count

def run(kilobytes):
    if kilobytes is not None:
        fill(kilobytes)
    before = {p: open(p, "rb").read() for p in glob.glob(report, recursive=True)}
    command = [sys.executable, "-m", "jwqlscan", "run", "-c", f"{place}/c.toml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    if os.path.exists(ballast):
        os.unlink(ballast)
    found = glob.glob(glob.escape(place) + "/**", recursive=True, include_hidden=True)
    print(json.dumps({
        "code": done.returncode,
        "said": done.stderr,
        "stored": stored(),
        "spooled": sum("/spool/" in path and path.endswith(".json") for path in found),
        "half made": [path for path in found if path.endswith(".tmp")],
        "same page": all(
            open(path, "rb").read() == content
            for path, content in before.items() if path.endswith("monitor.html")
        ),
        "whole": all(
            open(path, "rb").read()[-8:] == content[-8:] for path, content in before.items()
        ),
    }), flush=True)

for kilobytes in (None, *leave, None):
    run(kilobytes)
"""


def runs(tmp_path, leave, **paths):
    """Run where a filesystem is full but for so many kB, each time with room before and after."""
    make_tree(tmp_path / "archive", {"public": {"a.txt": 5}, "proprietary": {"b.txt": 7}})
    (tmp_path / "small").mkdir()
    config = tmp_path / "c.toml"
    config.write_text(
        f'archive.path = "{tmp_path}/archive"\nstate.path = "{tmp_path}/{paths["state"]}"\n'
        f'outputs.path = "{tmp_path}/{paths["outputs"]}"\n'
        f'database.url = "sqlite:///{tmp_path}/{paths["database"]}/s.db"\n'
    )
    config.chmod(0o600)
    under = in_mount_namespace(f"mount -t tmpfs -o size=24m none '{tmp_path}/small'")
    command = [sys.executable, "-c", RUNS, str(tmp_path), json.dumps(leave)]
    done = subprocess.run([*under, *command], capture_output=True, text=True, timeout=200)
    assert (done.stderr, done.returncode) == ("", 0)
    return [json.loads(line) for line in done.stdout.splitlines()]


@case("P04")
def test_a_report_that_finds_no_room_leaves_the_old_one_and_the_snapshot_is_stored(tmp_path):
    first, *full, last = runs(
        tmp_path, [16, 400], state="state", database="state", outputs="small/outputs"
    )
    assert first["code"] == 0, first
    for number, done in enumerate(full):
        assert done["code"] == 5, done
        assert "No space left on device" in done["said"] and "jwqlscan report" in done["said"]
        assert done["said"].count("\n") == 1
        assert done["stored"] == number + 2 and done["spooled"] == 0
        assert done["same page"] and done["whole"] and done["half made"] == []
    assert (last["code"], last["said"], last["stored"]) == (0, "", len(full) + 2)
    assert not last["same page"]


@case("P04")
def test_a_database_that_finds_no_room_leaves_the_snapshots_in_a_spool_that_has(tmp_path):
    first, *full, last = runs(
        tmp_path, [0, 40], state="state", database="small/database", outputs="outputs"
    )
    assert first["code"] == 0, first
    for number, done in enumerate(full):
        assert done["code"] == 4, done
        assert ": make room" in done["said"] and "the next run stores it" in done["said"]
        assert (done["stored"], done["spooled"]) == (1, number + 1)
        assert not done["same page"] and done["half made"] == []  # it shows an alarm
    assert (last["code"], last["said"]) == (0, "")
    assert (last["stored"], last["spooled"]) == (len(full) + 2, 0)


@case("P04")
def test_a_spool_that_finds_no_room_does_not_keep_the_snapshot_from_the_database(tmp_path):
    first, *full, last = runs(
        tmp_path, [4, 4], state="small/state", database="database", outputs="outputs"
    )
    assert first["code"] == 0, first
    for number, done in enumerate(full):
        assert done["code"] == 0, done
        assert (
            "the snapshot is not kept there; make room; it is stored all the same" in done["said"]
        )
        assert done["said"].count("\n") == 1
        assert (done["stored"], done["spooled"], done["half made"]) == (number + 2, 0, [])
    assert (last["code"], last["said"], last["stored"]) == (0, "", len(full) + 2)


@case("P04")
def test_a_log_that_finds_no_room_costs_nothing_but_itself(tmp_path):
    make_tree(tmp_path / "archive", {"a.txt": 5})
    (tmp_path / "small").mkdir()
    config = tmp_path / "c.toml"
    config.write_text(
        f'archive.path = "{tmp_path}/archive"\nstate.path = "{tmp_path}/state"\n'
        f'log.path = "{tmp_path}/small"\n'
    )
    config.chmod(0o600)
    under = in_mount_namespace(
        f"mount -t tmpfs -o size=8k none '{tmp_path}/small'",
        f"head -c 100k /dev/zero >'{tmp_path}/small/full' 2>/dev/null || true",
    )
    command = [sys.executable, "-m", "jwqlscan", "run", "-c", config, "--no-report"]
    done = subprocess.run([*under, *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith(f"jwqlscan: log.path: {tmp_path}/small/jwqlscan_")
    assert line.endswith(": No space left on device; the log of this run ends here")


@case("P04")
def test_whatever_room_is_left_a_run_keeps_its_snapshot_or_says_that_it_did_not(tmp_path):
    leave = [0, 4, 12, 60, 120]
    first, *full, last = runs(
        tmp_path, leave, state="small/state", database="small/state", outputs="small/outputs"
    )
    assert first["code"] == 0, first
    codes = [done["code"] for done in full]
    kept = 1
    for done in full:
        assert done["half made"] == [] and done["whole"], done
        assert "Traceback" not in done["said"] and done["said"].count("\n") <= 2, done
        kept += done["code"] in (0, 4, 5)
        assert done["stored"] + done["spooled"] == kept, done
        if done["code"] in (1, 2):
            assert "No space left on device" in done["said"], done
    assert codes[0] == 2 and {1, 4, 5} <= {*codes}, codes
    assert (last["code"], last["said"]) == (0, "")
    assert (last["stored"], last["spooled"]) == (kept + 1, 0)
    print(dict(zip(leave, codes, strict=True)))
