"""Trees at the edges: very many entries, very deep, strange times and types, no memory."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jwqlscan.errors import ScanFailedError
from jwqlscan.resource_limits import MEMORY
from jwqlscan.scanning.measure import scan
from jwqlscan.scanning.readers import available_readers
from jwqlscan.settings import ScanSettings
from tests.support import ROOT
from tests.support.hostile_fs import mounted
from tests.support.trees import (
    find,
    in_mount_namespace,
    make_tree,
    required,
    totals,
    walk,
    walk_elsewhere,
)

case = pytest.mark.case
readers = pytest.mark.parametrize("reader", available_readers())

SOAK = os.environ.get("JWQLSCAN_SOAK") == "1"
MANY = 1_000_000 if SOAK else 100_000
WIDTH = 100 if SOAK else 30  # of each of three levels
LEVELS = 100_000 if SOAK else 20_000


def on_tmpfs(where, code):
    """Return what to put before a command so that Python has built a tree in memory for it.

    The command is elsewhere when it starts: Python lists the working directory to import from it.
    """
    where.mkdir()
    build = f"import os, sys; sys.path.append({str(ROOT)!r}); os.chdir({str(where)!r})\n{code}"
    return [
        *in_mount_namespace(f"mount -t tmpfs -o size=3g,nr_inodes=0 none '{where}'"),
        *(sys.executable, "-c", f"{build}\nos.chdir('/')\nos.execv(sys.argv[1], sys.argv[1:])"),
    ]


# ---- very many ----

_PEAK = """
import json, re, sys
sys.path.append(sys.argv[1])
from tests.support import trees
how, path = sys.argv[2:]
if how == "naive":
    files, directories = trees.naive_walk(path).files, -1
else:
    tally = trees.walk(path, how, 4)
    files, directories = tally.files, tally.directories
    assert tally.complete
# Not getrusage(2): its ru_maxrss is also what was before execve(2).
[most] = re.findall("VmHWM: *([0-9]+) kB", open("/proc/self/status").read().replace("\\t", " "))
print(json.dumps([files, directories, int(most) * 1024]))
"""

# Beyond what a scan of next to nothing takes; a naive walker keeps some 200 bytes a name.
ROOM_BYTES = 6 * 2**20


def peak(how, path, under):
    """Return files, directories and the most memory that walking took."""
    done = subprocess.run(
        [*under, sys.executable, "-c", _PEAK, str(ROOT), how, path],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def many(tmp_path):
    """Return directories of few and of very many files, and what to put before a command."""
    make = "for n in range(%d): os.mknod(f'{n:07}_some_name_that_is_long_enough.data')"
    return [(tmp_path / name, on_tmpfs(tmp_path / name, make % n)) for name, n in SIZES.items()]


SIZES = {"few": 1000, "many": MANY}


@case("F30")
@readers
def test_very_many_entries_of_a_directory_take_little_memory(many, reader):
    (_, _, few), (files, directories, most) = (peak(reader, *one) for one in many)
    assert (files, directories) == (MANY, 1)
    assert most - few < ROOM_BYTES


@case("F30")
def test_very_many_entries_of_a_directory_take_a_naive_walker_much_memory(many):
    (_, _, few), (files, _, most) = (peak("naive", *one) for one in many)
    assert files == MANY
    assert most - few > ROOM_BYTES


@case("F31")
@readers
def test_very_many_directories_take_little_memory(tmp_path, reader):
    make = (
        "for a in range(%d):\n os.mkdir(f'{a}')\n for b in range(%d):\n  os.mkdir(f'{a}/{b}')\n"
        "  for c in range(%d): os.mkdir(f'{a}/{b}/{c}')"
    )
    taken = []
    for name, width in (("few", 3), ("many", WIDTH)):
        under = on_tmpfs(tmp_path / name, make % (width, width, width))
        files, directories, most = peak(reader, tmp_path / name, under)
        assert (files, directories) == (0, 1 + width + width**2 + width**3)
        taken.append(most)
    assert taken[1] - taken[0] < ROOM_BYTES


@case("F29")
@readers
def test_the_deepest_tree_is_read_to_its_end(tmp_path, reader):
    make = f"from tests.support.trees import make_chain; make_chain('.', {LEVELS}, 1)"
    under = on_tmpfs(tmp_path / "deep", make)
    tally = walk_elsewhere(tmp_path / "deep", reader, under=under, workers=2)
    assert (tally.files, tally.directories) == (LEVELS, LEVELS + 1)
    assert tally.complete


@case("F29")
@readers
def test_names_of_255_bytes_are_read_however_many_levels_of_them(tmp_path, reader):
    name = "é" * 127 + "x"
    node = {name: 1}
    for _ in range(14):
        node = {name: node, "f": 1}
    expected = make_tree(tmp_path / "long", node)
    assert totals(walk(tmp_path / "long", reader)) == expected
    assert expected.files == 15


@case("F12")
def test_a_chain_of_too_many_symlinks_is_told_in_one_line(tmp_path):
    (tmp_path / "0").mkdir()
    for number in range(41):  # path_resolution(7): 40 are followed
        os.symlink(str(number), tmp_path / str(number + 1))
    command = [sys.executable, "-m", "jwqlscan", "scan", "-q"]
    ends = [
        subprocess.run([*command, tmp_path / last], capture_output=True, text=True, timeout=60)
        for last in ("40", "41")
    ]
    assert [done.returncode for done in ends] == [0, 1]
    assert "41: Too many levels of symbolic links" in ends[1].stderr
    assert ends[1].stderr.count("\n") == 1


# ---- strange times, types and mounts ----

TIMES = (2**63 - 1, 2**40, 253402300800, 2**32, 2**31, 0, -1, -(2**31), -(2**40), -(2**63))


@case("F23")
@readers
def test_a_time_before_1970_or_after_9999_is_nothing_special(tmp_path, reader):
    make = (
        f"for n, t in enumerate({TIMES}):\n"
        " os.mkdir(f'd{n}'); open(f'd{n}/f.fits', 'w').write('xx')\n"
        " for path in (f'd{n}/f.fits', f'd{n}'):\n"
        "  os.system(f'touch -m -d @{t} {path} 2>&-') and sys.exit(f'no such time: {t}')"
    )
    under = on_tmpfs(tmp_path / "old", make)
    tally = walk_elsewhere(tmp_path / "old", reader, under=under)
    assert totals(tally)[:3] == (len(TIMES), 2 * len(TIMES), 1 + len(TIMES))
    assert tally.complete


@case("F23")
@readers
def test_a_time_that_storage_makes_up_is_nothing_special(tmp_path, reader):
    times = (2**62, -(2**62), 253402300800, -1)
    nodes = {f"d/{n}.fits": {"size": 1, "mtime": time} for n, time in enumerate(times)}
    with mounted(tmp_path / "fs", nodes):
        tally = walk(tmp_path / "fs", reader)
    assert (tally.files, tally.errors) == (len(times), {})


@case("F25")
@readers
def test_types_that_a_listing_does_not_tell_are_found_out(tmp_path, reader):
    nodes = {"d/e/f.fits": {"size": 3}, "d/g": {"size": 4}, "h": {"dir": True}}
    with mounted(tmp_path / "fs", nodes, tells_types=False):
        with os.scandir(tmp_path / "fs") as listing:
            assert {entry.is_dir() for entry in listing} == {True}
        tally = walk(tmp_path / "fs", reader)
    assert totals(tally) == (2, 7, 4, 0, 0, 1, 3)
    assert tally.complete


@case("F25", "F06")
@readers
def test_an_entry_whose_type_can_not_be_found_out_is_an_error_and_the_rest_goes_on(
    tmp_path, reader
):
    nodes = {"d/a": {"size": 1}, "d/b": {"size": 1, "errno": {"getattr": "EIO"}}}
    with mounted(tmp_path / "fs", nodes, tells_types=False):
        tally = walk(tmp_path / "fs", reader)
    assert (tally.files, tally.errors) == (1, {"io": 1})


_AUTOFS = """
import ctypes, os, select, subprocess, sys
point, *command = sys.argv[1:]
asked, ask = os.pipe()
options = f"fd={ask},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
mount = ctypes.CDLL(None, use_errno=True).mount
if mount(b"auto", os.fsencode(point), b"autofs", 0, options.encode()):
    sys.exit("autofs can't be mounted: " + os.strerror(ctypes.get_errno()))
os.close(ask)
# In a group of its own, or the kernel takes it for the automounter itself.
done = subprocess.Popen(command, process_group=0)
try:
    status = done.wait(10)
except subprocess.TimeoutExpired:
    status = 99
    done.kill()
sys.exit("the automounter was asked" if select.select([asked], [], [], 0)[0] else status)
"""


@pytest.fixture
def automounted(tmp_path):
    if "autofs" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no autofs")  # no CI can help that
    root = tmp_path / "root"
    make_tree(root, {"a": {"auto": {}, "file": 1}})
    return root, [*in_mount_namespace(), sys.executable, "-c", _AUTOFS, str(root / "a" / "auto")]


@case("F16")
@readers
@pytest.mark.parametrize("through", ["its own path", "a symlink"])
def test_an_automounter_is_asked_nothing(tmp_path, automounted, reader, through):
    root, under = automounted
    if through == "a symlink":
        (tmp_path / "link").symlink_to(root)
        root = tmp_path / "link"
    tally = walk_elsewhere(root, reader, under=under)
    assert totals(tally) == (1, 1, 2, 0, 0, 0, 0)
    assert tally.skipped == {"pseudo": 1}


@case("F16")
def test_a_naive_walker_asks_an_automounter_and_waits(automounted):
    root, under = automounted
    code = "import os, sys; list(os.walk(sys.argv[1]))"
    # Nobody answers: it waits until it is killed.
    done = subprocess.run(
        [*under, *("timeout", "-s", "KILL", "0.5"), sys.executable, "-c", code, root],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == "the automounter was asked\n"


# ---- no memory, and trees that grow ----


@case("F33")
@readers
@pytest.mark.parametrize("call", ["getdents64", "openat"])
def test_a_kernel_out_of_memory_is_an_error_and_the_rest_goes_on(tmp_path, reader, call):
    make_tree(tmp_path, {"root": {"d": {"e": {"lost": 1}}, "ok": {"found": 1}}})
    root = tmp_path / "root"
    under = [required("strace"), "-f", "-qq", "-o", "/dev/null", "-P", str(root / "d")]
    under += ["-e", f"trace={call}", "-e", f"inject={call}:error=ENOMEM:when=1"]
    tally = walk_elsewhere(root, reader, under=under)
    assert tally.files == 1
    assert tally.errors == {"limit": 1}


_GREEDY = """
import sys
sys.path.append(sys.argv[1])
from jwqlscan.scanning.readers.scandir import ScandirReader
read = ScandirReader.read
def read_or_not(self, work, worker):
    if work[0].root.path == "/dev/shm":
        raise MemoryError
    return read(self, work, worker)
ScandirReader.read = read_or_not
from jwqlscan.scanning.child import main
main()
"""


@case("F33", "P08")
async def test_a_scan_without_memory_is_a_failed_area_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr("jwqlscan.scanning.child_process._CHILD", _GREEDY)
    make_tree(tmp_path, {"file": 1})
    settings = ScanSettings(reader="scandir")
    found = (await scan([str(tmp_path), "/dev/shm"], settings)).areas
    assert [one.state for one in found] == ["complete", "failed"]
    assert found[0].tally.files == 1
    assert found[1].note.endswith(f"ended early (status 1): {MEMORY}")
    with pytest.raises(ScanFailedError, match=r"/dev/shm failed: .* out of memory: .* was stored"):
        await scan(["/dev/shm"], settings)


@case("F34")
@readers
def test_files_that_grow_are_counted_with_a_size_that_they_had(tmp_path, reader):
    make_tree(tmp_path, {f"d{i}": {f"{j}": 1 for j in range(50)} for i in range(20)})
    stop = threading.Event()

    def grow():
        while not stop.is_set():
            for path in tmp_path.glob("*/*"):
                with path.open("ab") as file:
                    file.write(b"x")

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            before = find(tmp_path).totals
            tally = walk(tmp_path, reader, 4)
            after = find(tmp_path).totals
            assert tally.complete
            assert tally.files == before.files
            assert before.apparent_bytes <= tally.apparent_bytes <= after.apparent_bytes
    finally:
        stop.set()
        growing.join()
