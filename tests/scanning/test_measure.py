"""Measuring areas that nest, overlap, repeat or are not there, each with a process that can die."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from jwqlscan.errors import ConfigError, ScanFailedError
from jwqlscan.scanning.measure import measure as measure_areas
from jwqlscan.scanning.measure import scan
from jwqlscan.scanning.readers import available_readers
from jwqlscan.scanning.supervisor import Supervisor
from jwqlscan.settings import Area, ScanSettings
from tests.support import ROOT
from tests.support.trees import (
    Hardlink,
    Symlink,
    find,
    in_mount_namespace,
    make_tree,
    required,
    totals,
)

TREE = {
    "a.fits": 1,
    "one": {"b": 10, "deep": {"er": {"c.fits": 100, "hard": Hardlink("a.fits")}}},
    "two": {"d": 1000, "hard": Hardlink("one/b"), "empty": {}},
    "to_one": Symlink("one"),
}
EVERY_ROOT = [".", "one", "one/deep", "one/deep/er", "two", "two/empty"]


@pytest.fixture
def tree(tmp_path):
    make_tree(tmp_path / "tree", TREE)
    return tmp_path / "tree"


async def measure(*paths, **settings):
    return await scan([str(path) for path in paths], ScanSettings(**settings))


def children():
    """Return the processes that this one has started and that are still there."""
    listing = subprocess.run(
        ["ps", "-ww", "-o", "pid=", "-o", "args=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
    ).stdout
    return [int(line.split()[0]) for line in listing.splitlines() if "scanning.child" in line]


# ---- areas ----


@pytest.mark.case("F38")
@pytest.mark.parametrize("reader", available_readers())
@pytest.mark.parametrize("workers", [1, 8])
async def test_every_area_has_the_numbers_of_a_scan_of_its_own(tree, reader, workers):
    paths = [tree / name for name in EVERY_ROOT]
    measurement = await measure(*paths, *reversed(paths), reader=reader, workers=workers)
    for one in measurement.areas:
        found = find(one.area.path)
        assert totals(one.tally) == found.totals, one.area.path
        assert one.tally.allocated_bytes == found.allocated_bytes, one.area.path
        assert one.state == "complete"
    assert [one.area.path for one in measurement.areas] == [
        *(os.path.normpath(path) for path in paths),
        *(os.path.normpath(path) for path in reversed(paths)),
    ]


async def test_a_union_counts_what_areas_share_once(tree):
    measurement = await measure(*(tree / name for name in ("one", "one/deep", "two", "one")))
    union = measurement.union(measurement.areas)
    found = find(tree / "one", tree / "two")
    assert totals(union) == found.totals
    assert union.allocated_bytes == found.allocated_bytes
    assert measurement.union([]).files == 0


@pytest.mark.case("F38")
async def test_a_symlinked_root_is_the_directory_it_leads_to(tree):
    measurement = await measure(tree / "to_one", tree / "one", tree)
    one, two, _ = measurement.areas
    assert one.tally == two.tally
    assert one.area.path == f"{tree}/to_one"
    assert totals(measurement.union(measurement.areas)) == find(tree).totals


@pytest.mark.parametrize("reader", available_readers())
def test_every_directory_is_opened_once_however_many_areas_contain_it(tree, tmp_path, reader):
    command = [sys.executable, "-m", "jwqlscan", "scan", "--reader", reader]
    roots = {os.path.normpath(tree / name) for name in EVERY_ROOT}
    log = tmp_path / "log"
    log.mkdir()
    # -ff: a file a thread, so that no call is told in two parts
    under = [required("strace"), "-ff", "-qq", "-y", "-o", str(log / "of"), "-e", "getdents64"]
    subprocess.run([*under, *command, *roots], check=True, capture_output=True, timeout=60)
    calls = "".join(file.read_text() for file in log.iterdir())
    ends = re.findall(r"getdents64\(\d+<([^>]*)>.*\) += 0$", calls, re.M)
    for path, _, _ in os.walk(tree):
        surveys = ends.count(path) - 1  # a small root is listed to its end by its probe
        assert 0 <= surveys <= (path in roots), path


async def test_a_trailing_slash_or_dot_changes_nothing(tree):
    measurement = await measure(f"{tree}/", f"{tree}//one/./", f"{tree}/one")
    assert [one.area.path for one in measurement.areas] == [
        str(tree),
        f"{tree}/one",
        f"{tree}/one",
    ]
    assert totals(measurement.areas[0].tally) == find(tree).totals


async def test_dot_dot_behind_a_symlink_is_where_the_kernel_goes(tmp_path):
    make_tree(tmp_path, {"x": {"y": {"z": {}}, "right": 1}, "link": Symlink("x/y"), "wrong": 2})
    measurement = await measure(tmp_path / "link" / ".." / ".")
    assert measurement.areas[0].tally.apparent_bytes == 1


async def test_a_relative_path_is_below_the_working_directory(tree, monkeypatch):
    monkeypatch.chdir(tree)
    measurement = await measure("one", ".")
    assert [one.area.path for one in measurement.areas] == [f"{tree}/one", str(tree)]


async def test_an_empty_root_has_no_files(tmp_path):
    measurement = await measure(tmp_path)
    assert totals(measurement.areas[0].tally) == (0, 0, 1, 0, 0, 0, 0)
    assert measurement.areas[0].state == "complete"


@pytest.mark.parametrize("number", [1, 2])
async def test_areas_on_several_filesystems_have_a_process_each(tree, number):
    measurement = await measure(tree, *["/dev/shm", "/sys/kernel/mm"][:number])
    assert totals(measurement.areas[0].tally) == find(tree).totals
    assert len({one.device for one in measurement.areas}) == 1 + number
    assert all(one.tally.directories for one in measurement.areas)
    assert children() == []


_MEASURE = """
import asyncio, json, sys
sys.path.append(sys.argv[1])
from tests.support.trees import find
from jwqlscan.scanning.measure import scan
from jwqlscan.settings import ScanSettings
_, _, reader, *roots = sys.argv
m = asyncio.run(scan(roots, ScanSettings(reader=reader)))
numbers = lambda tally: [tally.files, tally.apparent_bytes, tally.allocated_bytes]
judge = [find(root) for root in roots]
print(json.dumps({
    "areas": [numbers(one.tally) for one in m.areas],
    "union": numbers(m.union(m.areas)),
    "skipped": [one.tally.skipped for one in m.areas],
    "mounts": [one.tally.mounts for one in m.areas],
    "devices": len({one.device for one in m.areas}),
    "find": [[f.totals.files, f.totals.apparent_bytes, f.allocated_bytes] for f in judge],
}))
"""


def measured(reader, roots, *mounts):
    """Return what is found of some roots where things are mounted, and what find(1) says."""
    command = [sys.executable, "-c", _MEASURE, str(ROOT), reader, *map(str, roots)]
    done = subprocess.run(
        [*in_mount_namespace(*mounts), *command], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


every_reader = pytest.mark.parametrize("reader", available_readers())


@every_reader
def test_an_area_on_a_mount_inside_another_is_part_of_both(tree, reader):
    empty = tree / "two/empty"
    done = measured(
        reader,
        [tree, tree / "two", empty],
        f"mount -t tmpfs none '{empty}'",
        f"printf 12345 > '{empty}/x'",
    )
    assert [one[1] for one in done["areas"]] == [1127, 1015, 5]
    assert done["union"][1] == 1127
    assert done["areas"] == done["find"]
    assert done["mounts"] == [{str(empty): "tmpfs"}, {str(empty): "tmpfs"}, {}]


@pytest.mark.case("F20")
@every_reader
def test_a_file_with_names_in_two_processes_is_allocated_once(tree, reader):
    mount = tree / "two/empty"
    done = measured(
        reader,
        [tree, mount / "inner"],
        f"mount -t tmpfs none '{mount}'",
        f"mkdir '{mount}/inner'",
        f"head -c 100000 /dev/zero > '{mount}/one-name'",
        f"ln '{mount}/one-name' '{mount}/inner/another'",
        f"ln '{mount}/one-name' '{mount}/a-third'",
        f"head -c 5000 /dev/zero > '{mount}/inner/alone'",
    )
    assert done["devices"] == 2
    assert done["areas"] == done["find"]
    assert done["union"] == done["areas"][0]


@pytest.mark.case("F15")
@every_reader
@pytest.mark.parametrize("own", [True, False], ids=["its own filesystem", "the same filesystem"])
def test_what_another_area_has_is_read_there_where_it_is_bound_into_this_one(tree, reader, own):
    other = tree.parent / "other"
    other.mkdir()
    done = measured(
        reader,
        [tree, other],
        *([f"mount -t tmpfs none '{other}'"] if own else []),
        f"mkdir '{other}/sub'; printf 12345 > '{other}/sub/x'; printf 1 > '{other}/y'",
        f"mount --bind '{other}/sub' '{tree}/two/empty'",
    )
    assert [one[1] for one in done["areas"]] == [1122, 6]
    assert done["union"][1] == 1128
    assert done["skipped"] == [{"loop": 1}, {}]


@pytest.mark.case("F15")
@every_reader
@pytest.mark.parametrize("which", ["bound", "source"])
@pytest.mark.parametrize("own", [True, False], ids=["its own filesystem", "the same filesystem"])
def test_an_area_that_is_bound_into_another_is_part_of_both(tree, reader, own, which):
    source, bound = tree.parent / "source", tree / "two/empty"
    source.mkdir()
    done = measured(
        reader,
        [tree, source / "d" if which == "source" else bound],
        *([f"mount -t tmpfs none '{source}'"] if own else []),
        f"mkdir '{source}/d'; printf 12345 > '{source}/d/x'",
        f"mount --bind '{source}/d' '{bound}'",
    )
    assert done["areas"] == done["find"]
    assert done["union"] == done["areas"][0]
    assert done["skipped"] == [{}, {}]


# ---- roots that are none ----


@pytest.mark.case("F12", "F38")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nothing", "No such file or directory"),
        ("a.fits", "Not a directory"),
        ("dangling", "No such file or directory"),
        ("loop", "Too many levels of symbolic links"),
        ("fifo", "Not a directory"),
        ("x" * 256, "File name too long"),
        ("nul\0", "Invalid argument"),
    ],
)
async def test_a_root_that_is_no_directory_is_one_line(tree, name, problem):
    os.symlink("gone", tree / "dangling")
    os.symlink("loop", tree / "loop")
    os.mkfifo(tree / "fifo")
    with pytest.raises(ScanFailedError, match=problem) as caught:
        await measure(tree, f"{tree}/{name}")
    assert name.removesuffix("\0") in str(caught.value)
    assert children() == []


async def test_an_empty_path_is_not_the_working_directory():
    with pytest.raises(ConfigError, match="an empty path names no directory"):
        await measure("")


@pytest.mark.case("F04")
@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444])
def test_a_root_without_permission_can_not_be_measured(tree, mode):
    os.chmod(tree, mode)
    # without capabilities root, too, is bound by the mode of what it owns
    under = [required("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]
    command = [sys.executable, "-m", "jwqlscan", "scan", str(tree)]
    try:
        done = subprocess.run(
            [*(under if os.geteuid() == 0 else ()), *command],
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        os.chmod(tree, 0o755)
    assert done.returncode == 1
    assert done.stderr == (
        f"jwqlscan: {tree}: Permission denied; give directories that you can read\n"
    )


# ---- the process ----


async def test_it_tells_reader_workers_and_time(tree):
    measurement = await measure(tree, workers=3, reader="scandir")
    assert (measurement.reader, measurement.workers) == ("scandir", 3)
    assert 0 < measurement.seconds < 60
    entries = measurement.areas[0].tally.entries
    assert measurement.entries_per_second == pytest.approx(entries / measurement.seconds)


async def test_progress_ends_at_what_was_counted(tree):
    told = []
    measurement = await scan([str(tree)], None, told.append)
    tally = measurement.areas[0].tally
    assert told[-1].files == tally.files
    assert told[-1].entries == tally.entries
    assert told[-1].apparent_bytes == tally.apparent_bytes
    assert told[-1].waiting == 0


async def test_the_process_is_there_while_it_scans_and_gone_afterwards(tree):
    seen = []
    await scan([str(tree)], None, lambda _: seen.append(len(children())))
    assert seen[0] == 1
    assert children() == []


@pytest.mark.case("P08")
async def test_a_process_killed_in_the_middle_is_a_failed_scan_and_no_hang(varied_tree):
    killed = []
    assert children() == []

    def kill(progress):
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        assert killed

    settings = ScanSettings(workers=1, max_rate=1000)  # so slow that it can't be over
    with pytest.raises(ScanFailedError, match=r"/tree failed: its .* ended early \(signal 9\)"):
        await scan([str(varied_tree)], settings, kill)
    assert killed
    assert children() == []


@pytest.mark.case("P22")
async def test_a_bug_in_the_process_is_shown_with_its_traceback(tree):
    # The configuration refuses such a filetype, so that one that gets through is a bug.
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*_start_scan.*ValueError.*x123"):
        await measure(tree, extra_filetypes=("x123",))
    assert children() == []


async def test_an_order_that_is_none_is_shown_with_its_traceback(tree):
    supervisor = Supervisor()
    try:
        supervisor._process.order({"op": "dance"})
        answer = await supervisor.answer()
        assert "KeyError" in answer["failed"]
    finally:
        supervisor.close()


_SLOW_SURVEY = """
import sys, time
sys.path.append(sys.argv[1])
from jwqlscan.scanning import child
send = child._Child._send
def send_and_dawdle(self, message):
    send(self, message)
    if "probe" in message:
        time.sleep(0.1)
child._Child._send = send_and_dawdle
child.main()
"""


async def test_the_late_end_of_a_survey_does_not_pass_for_the_end_of_the_scan(tree, monkeypatch):
    # The parent may order a scan before the thread that probed has said its last.
    monkeypatch.setattr("jwqlscan.scanning.child_process._CHILD", _SLOW_SURVEY)
    area = Area("archive", "all", str(tree), "archive.path")
    supervisor = Supervisor()
    try:
        found = await supervisor.probe([area.path], 10)
        settings = ScanSettings(max_rate=100)  # 0.3 s: longer than the probe dawdles
        measurement = await measure_areas(supervisor, [area], found, settings, lambda _: None)
    finally:
        supervisor.close()
    assert totals(measurement.areas[0].tally) == find(tree).totals


async def test_a_root_that_was_replaced_after_the_survey_is_a_failed_area(tree):
    # Of several filesystems each has its own process, which opens its roots by path again.
    paths = ["/dev/shm", str(tree)]
    areas = [Area("central", path, path, path) for path in paths]
    supervisor = Supervisor()
    try:
        found = await supervisor.probe(paths, 10)
        os.rename(tree, f"{tree}.old")
        os.mkdir(tree)
        both = await measure_areas(supervisor, areas, found, ScanSettings(), lambda _: None)
        other, lost = both.areas
        assert (other.state, lost.state) == ("complete", "failed")
        assert re.search(f"{tree}: .*there a moment ago", lost.note)
        os.rmdir(tree)
        both = await measure_areas(supervisor, areas, found, ScanSettings(), lambda _: None)
        assert re.search(f"{tree}: No such file", both.areas[1].note)
    finally:
        supervisor.close()


async def test_a_process_that_can_not_start_is_a_failed_scan(tree, monkeypatch):
    monkeypatch.setattr("jwqlscan.scanning.child_process._CHILD", "import no_such_module")
    with pytest.raises(ScanFailedError, match="No module named 'no_such_module'"):
        await measure(tree)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_process_does_not_outlive_its_parent_and_dies_in_silence(end, varied_tree):
    command = [sys.executable, "-m", "jwqlscan", "scan", "-q", "--max-rate", "100", varied_tree]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0
    ) as parent:
        deadline = time.monotonic() + 60
        while not (found := _children_of(parent.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.3)  # it scans by now; were it not, the test would still hold
        os.killpg(parent.pid, end)  # as Ctrl-C does
        error = parent.communicate(timeout=60)[1]
    while any(_is_alive(pid) for pid in found):
        assert time.monotonic() < deadline, "the scanning process lives on"
        time.sleep(0.01)
    assert b"Traceback" not in error
    assert error.count(b"\n") <= 1


def _children_of(pid):
    listing = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    ).stdout
    return [int(line) for line in listing.split()]


def _is_alive(pid):
    state = subprocess.run(["ps", "-o", "stat=", str(pid)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")
