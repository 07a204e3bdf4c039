"""The least power: what a scan does to a tree, call by call, and what it needs to do so."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jwqlscan.scanning.readers import available_readers
from tests.support import ROOT
from tests.support.trees import Fifo, Socket, Symlink, make_tree, required, walk_elsewhere

NOBODY = 65534
PAGE = ROOT / "jwqlscan/docs/least-privilege.md"

readers = pytest.mark.parametrize("reader", available_readers())
only_root = pytest.mark.usefixtures("as_root")

TREE = {
    "a.fits": 10,
    "fifo": Fifo(),
    "socket": Socket(),
    "link": Symlink("a.fits"),
    "to_outside": Symlink("../outside"),
    "to_secret": Symlink("../outside/secret"),
    "dangling": Symlink("nothing"),
    "d": {"jw80500012009_01101_00001_nrca1_cal.fits": 20, "fifo": Fifo(), "e": {"deep": 30}},
    ".snapshot": {"old": 40},
}


@pytest.fixture
def place(tmp_path):
    """Make a directory with the tree that is scanned, and beside it what only symlinks lead to."""
    make_tree(tmp_path / "place" / "outside", {"secret": 1})
    make_tree(tmp_path / "place" / "tree", TREE)
    for name, kind in (("null", stat.S_IFCHR), ("disk", stat.S_IFBLK), ("whiteout", stat.S_IFCHR)):
        device = {"null": (1, 3), "disk": (7, 0), "whiteout": (0, 0)}[name]
        try:
            os.mknod(tmp_path / "place" / "tree" / "d" / name, kind | 0o600, os.makedev(*device))
        except PermissionError:  # only root makes devices, and not in every container
            assert os.geteuid() != 0 or not os.environ.get("CI")
    return tmp_path / "place"


# ---- what is done to a tree ----

# Calls on an open directory that neither read nor change anything there but its listing.
HARMLESS = re.compile(
    r"getdents64\(|close\(|fstat\(|lseek\(.*, 0, SEEK_SET\)|dup3?\("
    r"|fcntl\([^,]*, (F_DUPFD_CLOEXEC|F_GETFL|F_SETFD|F_GETFD)"
)
STAT = re.compile(r"(?:newfstatat|statx)\(.*\bAT_(SYMLINK_NOFOLLOW|EMPTY_PATH)\b")
OPEN = re.compile(r'openat\([^,]*, "(?P<name>.*)", (?P<flags>[A-Z_|]+)(\)|$)')
OPEN_FLAGS = {"O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"}


def traced(log, *command, **kwargs):
    """Run under strace; return what every thread called, by its number."""
    log.mkdir()
    # -ff: a file a thread, so that no call is told in two parts; -s 0: all text but paths left out.
    under = [required("strace"), "-ff", "-qq", "-y", "-s", "0", "-o", str(log / "of")]
    done = subprocess.run(
        [*under, *map(str, command)], capture_output=True, text=True, timeout=120, **kwargs
    )
    assert done.returncode == 0, done.stderr
    threads = {file.suffix[1:]: file.read_text().splitlines() for file in log.iterdir()}
    calls = [call for thread in threads.values() for call in thread]
    assert not [call for call in calls if "io_uring" in call], (
        "strace sees nothing of what that does"
    )
    return threads


def allowed(call, root):
    """Tell whether a call of the scan is one of the few it may do to the tree."""
    if HARMLESS.match(call) or STAT.match(call):
        return True
    # The kernel's name of the root itself, to find it in the mount table.
    if call.startswith('readlink("/proc/self/fd/'):
        return True
    if re.match(r'newfstatat\([^,]*, "\.", [^"]*, 0\) += 0$', call):  # may the root be searched?
        return f"<{root}>, " in call
    opened = OPEN.match(call)
    if opened is None:
        return False
    flags = set(opened["flags"].split("|"))
    needed = {"O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW"}
    if opened["name"].startswith("/"):  # only the root is opened by path, and may be a symlink
        needed.discard("O_NOFOLLOW")
        if opened["name"] not in (str(root), f"{root}/public", f"{root}/proprietary"):
            return False
    return needed <= flags <= OPEN_FLAGS


def allowed_to_df(call, root):
    """Tell whether a call is one that df asks about the filesystem of the root with."""
    if "openat(" in call:
        return f'"{root}", O_RDONLY|O_NOCTTY' in call
    return bool(HARMLESS.match(call) or STAT.match(call)) or f'("{root}"' in call


def misdeeds(threads, root):
    """Return the calls on the tree, or on what lies beside it, that a scan may not do."""
    place = f"{root.parent}/"
    parent = threads_of_the_first(threads)
    found = []
    for number, calls in threads.items():
        is_df = any(re.match(r'execve\("[^"]*/df"', call) for call in calls)
        for call in calls:
            if place not in call:
                continue
            fine = allowed_to_df if is_df else allowed
            if number in parent or not fine(call, root):  # the parent never touches a tree
                found.append(call)
    return found


def threads_of_the_first(threads):
    """Return the numbers of the threads of the process that was started first, the parent."""
    calls = "\n".join(call for thread in threads.values() for call in thread)
    [first] = set(threads) - set(re.findall(r"^(?:v?fork|clone3?)\(.* = ([0-9]+)$", calls, re.M))
    own = {first}
    waiting = [first]
    while waiting:
        for call in threads[waiting.pop()]:
            thread = re.match(r"clone3?\(.*CLONE_THREAD.* = ([0-9]+)$", call)
            if thread:
                own.add(thread[1])
                waiting.append(thread[1])
    return own


def directories_listed(threads, root):
    calls = "\n".join(call for thread in threads.values() for call in thread)
    listed = set(re.findall(rf"^getdents64\(\d+<{re.escape(str(root))}(/?[^>]*)>", calls, re.M))
    return {path.lstrip("/") for path in listed}


@pytest.mark.case("F24", "S05")
@readers
def test_a_scan_opens_directories_stats_entries_and_does_nothing_else(place, tmp_path, reader):
    root = place / "tree"
    command = [sys.executable, "-m", "jwqlscan", "scan", "-q", "--reader", reader, root]
    threads = traced(tmp_path / "log", *command, cwd="/")
    assert directories_listed(threads, root) == {"", "d", "d/e"}, "the trace shows the scan"
    assert misdeeds(threads, root) == []


@pytest.mark.case("S05")
@readers
def test_a_run_opens_directories_stats_entries_and_does_nothing_else(place, tmp_path, reader):
    root = place / "tree"
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "jwqlscan", "run", "--reader", reader, "--archive", root]
    options = [
        "--no-report",
        "--outputs",
        tmp_path / "out",
        "--database",
        f"sqlite:///{tmp_path}/db/x.db",
    ]
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    threads = traced(tmp_path / "log", *command, *options, cwd="/", env=environment)
    assert directories_listed(threads, root) == {"", "d", "d/e"}, "the trace shows the scan"
    assert misdeeds(threads, root) == []


@pytest.mark.case("P23")
def test_every_process_that_a_run_starts_is_a_program_of_its_own(place, tmp_path):
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "jwqlscan", "run", "--archive", place / "tree"]
    options = ["--outputs", tmp_path / "out", "--database", f"sqlite:///{tmp_path}/db/x.db"]
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    threads = traced(tmp_path / "log", *command, *options, cwd="/", env=environment)
    started = {
        made[1]
        for calls in threads.values()
        for call in calls
        if "CLONE_THREAD" not in call
        and (made := re.match(r"(?:v?fork|clone3?)\(.* = ([0-9]+)$", call))
    }
    programs = {
        number
        for number in started
        if any(re.match(r"execve\(.* = 0$", call) for call in threads[number])
    }
    assert started == programs
    assert len(started) >= 2  # a scanning process and a df


@pytest.mark.case("S13")
def test_no_program_is_looked_up_where_the_caller_says(place, tmp_path):
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("df", "sh", "python", "python3", Path(sys.executable).name):
        (trap / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/caught\n")
        (trap / name).chmod(0o755)
    (tmp_path / "out").mkdir()
    environment = {"PATH": f"{trap}:/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "jwqlscan", "run", "--no-report", "--archive", place / "tree"]
    done = subprocess.run(
        [*command, "--outputs", tmp_path / "out"],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "caught").exists()


def test_a_tree_is_the_same_after_a_scan_down_to_its_access_times(place):
    def facts():
        paths = [place / "tree", *sorted((place / "tree").rglob("*"))]
        stats = [(path, path.lstat()) for path in paths if not path.is_dir()]
        return [(path, s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns, s.st_mode) for path, s in stats]

    before = facts()
    subprocess.run(
        [sys.executable, "-m", "jwqlscan", "scan", "-q", place / "tree"],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    assert facts() == before


# What a scan must not do to an entry `name` of the open directory `fd`, and the call that shows it.
MISDEEDS = {
    "os.close(os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=fd))": "openat",
    "os.close(os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd))": "openat",
    "os.close(os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd))": "openat",
    "os.stat(name, dir_fd=fd)": "newfstatat",
    "os.readlink(name, dir_fd=fd)": "readlinkat",
    "os.access(name, os.R_OK, dir_fd=fd)": "faccessat",
    "os.utime(name, dir_fd=fd)": "utimensat",
    "os.close(os.open('new', os.O_WRONLY | os.O_CREAT, dir_fd=fd))": "openat",
}

_MUTANT = """
import os, sys
sys.path.append(sys.argv[1])
from jwqlscan.scanning.readers.scandir import ScandirReader
read_block = ScandirReader._read_block
def misbehave(self, here, block, this):
    for entry in block:
        name, fd = entry.name, here.parent.fd
        try:
            %s
        except OSError:
            pass
    read_block(self, here, block, this)
ScandirReader._read_block = misbehave
from jwqlscan.scanning.child import main
main()
"""

_SCAN_WITH_A_MUTANT = """
import sys
from jwqlscan.scanning import child_process as process
process._CHILD = sys.argv.pop(1)
from jwqlscan.cli.app import app
app(["scan", "-q", "--reader", "scandir", sys.argv[1]])
"""


@pytest.mark.case("S05")
@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_reader_that_does_more_is_caught(place, tmp_path, misdeed):
    root = place / "tree"
    mutant = [sys.executable, "-c", _SCAN_WITH_A_MUTANT, _MUTANT % misdeed, root]
    found = misdeeds(traced(tmp_path / "log", *mutant, cwd="/"), root)
    assert {call.split("(")[0].rstrip("2") for call in found} == {MISDEEDS[misdeed]}


@pytest.mark.case("S05")
@pytest.mark.parametrize("misdeed", ["os.listdir(sys.argv[1])", "os.stat(sys.argv[1] + '/d')"])
def test_a_parent_that_looks_at_the_tree_is_caught(place, tmp_path, misdeed):
    root = place / "tree"
    code = (
        f"import os, sys; {misdeed}\nfrom jwqlscan.cli.app import app; app(['scan', sys.argv[1]])"
    )
    threads = traced(tmp_path / "log", sys.executable, "-c", code, root, cwd="/")
    assert misdeeds(threads, root)


# ---- what is needed for it ----


def as_the_readme_says(user):
    """Return the documented command that lets a scan read everything and do nothing else."""
    [line] = re.findall(r"^.* (setpriv .*?) /\S*jwqlscan run", PAGE.read_text(), re.M)
    command = line.replace("=jwqlscan", f"={user}").split(" ")
    return [required("setpriv"), *command[1:]]


@pytest.fixture
def closed(tmp_path):
    """Yield a tree of directories that nobody may enter, and what is in it."""
    node = {"file": 100}
    for depth in range(5):
        node = {"file.fits": depth, "deeper": node, "link": Symlink("file.fits"), "fifo": Fifo()}
    root = tmp_path / "closed"
    expected = make_tree(root, {"one": node, "two": {"file": 7}})
    directories = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for directory in directories:
        os.chown(directory, 1, 1)
        os.chmod(directory, 0)
    yield root, expected
    for directory in directories:
        os.chmod(directory, 0o755)


def scan_as(under, root, reader):
    command = [*under, sys.executable, "-m", "jwqlscan", "scan", "--json", "--reader", reader]
    return subprocess.run(
        [*command, str(root)], capture_output=True, text=True, timeout=60, cwd="/"
    )


@pytest.mark.case("S05")
@only_root
@readers
def test_one_capability_is_enough_to_read_everything(closed, reader):
    root, expected = closed
    done = scan_as(as_the_readme_says(NOBODY), root, reader)
    assert done.returncode == 0, done.stderr
    [area] = json.loads(done.stdout)["areas"]
    found = {name: area[name] for name in expected._fields}
    assert found == expected._asdict()
    assert area["errors"] == {}


@pytest.mark.case("S05")
@only_root
@readers
def test_without_that_capability_the_same_user_reads_nothing(closed, reader):
    root, _ = closed
    os.chmod(root, 0o755)
    tally = walk_elsewhere(root, reader, user=NOBODY)
    assert tally.files == 0
    assert tally.errors == {"permission": 2}


@pytest.mark.case("S05")
@only_root
def test_that_capability_lets_nobody_write_and_is_the_only_one(tmp_path):
    code = (
        "import os, sys\n"
        "print(*[line.split()[1] for line in open('/proc/self/status') if line[:3] == 'Cap'])\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
        "try:\n    open(sys.argv[1] + '/new', 'w')\nexcept PermissionError:\n    print('refused')"
    )
    done = subprocess.run(
        [*as_the_readme_says(NOBODY), sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )
    capabilities, ids, writing = done.stdout.splitlines()
    assert set(capabilities.split()) == {f"{1 << 2:016x}"}  # capabilities(7): CAP_DAC_READ_SEARCH
    assert ids == f"{(NOBODY,) * 3} {(NOBODY,) * 3} []"
    assert writing == "refused"


@pytest.mark.case("S05")
@only_root
@readers
def test_a_run_with_that_capability_stores_and_reports(closed, tmp_path, reader):
    root, expected = closed
    home = tmp_path / "home"
    for directory in (home, home / "outputs"):
        directory.mkdir(mode=0o700)
        os.chown(directory, NOBODY, NOBODY)
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    command = [sys.executable, "-m", "jwqlscan", "run", "--json", "--reader", reader]
    done = subprocess.run(
        [
            *(*as_the_readme_says(NOBODY), *command),
            *("--archive", root, "--outputs", home / "outputs"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        cwd="/",
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert {area["files"] for area in outcome["areas"]} == {expected.files}
    assert Path(outcome["written"][0]).stat().st_uid == NOBODY
