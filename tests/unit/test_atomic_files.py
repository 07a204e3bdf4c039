"""Files are written whole or not at all, as the configuration says, and never elsewhere."""

from __future__ import annotations

import ctypes
import grp
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time

import anyio
import pytest

from jwqlscan.errors import ConfigError
from jwqlscan.system.atomic_files import (
    LITTER_AGE_S,
    make_directory,
    remove_litter,
    write_atomically,
)
from tests.support.trees import in_mount_namespace, required


def permissions(path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.fixture(params=[0o000, 0o077, 0o777], ids="umask-{:03o}".format)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


async def test_text_and_bytes_are_written(tmp_path):
    await write_atomically(str(tmp_path / "a"), "dé", 0o600, None)
    await write_atomically(str(tmp_path / "b"), b"\xff\x00", 0o600, None)
    assert (tmp_path / "a").read_bytes() == "dé".encode()
    assert (tmp_path / "b").read_bytes() == b"\xff\x00"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664])
async def test_the_mode_is_the_one_asked_for_whatever_the_umask(tmp_path, umask, mode):
    await write_atomically(str(tmp_path / "file"), "x", mode, None)
    assert permissions(tmp_path / "file") == mode


async def test_the_group_is_the_one_asked_for(tmp_path):
    group = grp.getgrgid(os.getgid()).gr_name
    await write_atomically(str(tmp_path / "file"), "x", 0o640, group)
    assert (tmp_path / "file").stat().st_gid == os.getgid()


async def test_an_unknown_group_is_told_and_nothing_is_written(tmp_path):
    with pytest.raises(ConfigError, match="no-such-group"):
        await write_atomically(str(tmp_path / "file"), "x", 0o640, "no-such-group")
    assert os.listdir(tmp_path) == []


async def test_a_symlink_is_replaced_and_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "file").symlink_to(victim)
    await write_atomically(str(tmp_path / "file"), "x", 0o640, None)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_text() == "x"


async def test_another_name_of_the_old_file_keeps_its_content(tmp_path):
    (tmp_path / "file").write_text("old")
    os.link(tmp_path / "file", tmp_path / "other")
    await write_atomically(str(tmp_path / "file"), "new", 0o640, None)
    assert (tmp_path / "other").read_text() == "old"


async def test_the_temporary_is_never_one_that_was_planted(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("jwqlscan.system.atomic_files.secrets.token_hex", lambda _: "guessed")
    (tmp_path / ".file.guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        await write_atomically(str(tmp_path / "file"), "x", 0o640, None)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "file").exists()


async def test_a_failed_rename_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        await write_atomically(str(tmp_path / "file"), "x", 0o640, None)
    assert os.listdir(tmp_path) == ["file"]


async def test_a_failed_fsync_leaves_the_old_file_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("old")

    def refuse(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jwqlscan.system.atomic_files.os.fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        await write_atomically(str(tmp_path / "file"), "new", 0o640, None)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


async def test_a_cancelled_write_leaves_no_temporary(tmp_path):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await write_atomically(str(tmp_path / "file"), "x" * 1_000_000, 0o640, None)
    assert set(os.listdir(tmp_path)) <= {"file"}


@pytest.mark.case("P04")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it stays open
async def test_a_disk_that_does_not_answer_is_left_in_time(frozen, monkeypatch):
    place, freeze = frozen
    monkeypatch.setattr("jwqlscan.system.atomic_files.WRITE_TIMEOUT_S", 0.5)
    await write_atomically(str(place / "report"), "old", 0o600, None)
    with freeze(), anyio.fail_after(25):
        with pytest.raises(OSError, match="no answer from the disk"):
            await write_atomically(str(place / "report"), "new", 0o600, None)
        with pytest.raises(OSError, match="no answer from the disk"):
            await make_directory(str(place / "d"), 0o600, None)
    assert (place / "report").read_text() == "old"


async def test_a_name_of_255_bytes_can_be_written(tmp_path):
    name = "é" * 127 + "x"
    await write_atomically(str(tmp_path / name), "x", 0o640, None)
    assert os.listdir(tmp_path) == [name]


async def test_a_name_that_is_not_utf8_can_be_written(tmp_path):
    name = os.fsdecode(b"bad\xff")
    await write_atomically(os.path.join(str(tmp_path), name), "x", 0o640, None)
    assert os.listdir(tmp_path) == [name]


async def test_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        await write_atomically(str(tmp_path / "none" / "file"), "x", 0o640, None)


async def test_a_reader_sees_the_old_or_the_new_and_nothing_between(tmp_path):
    path = tmp_path / "file"
    contents = ["a" * 300_000, "b" * 300_000]
    path.write_text(contents[0])
    seen = set()

    async def write() -> None:
        for turn in range(20):
            await write_atomically(str(path), contents[turn % 2], 0o640, None)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        for _ in range(40):
            seen.add(await anyio.to_thread.run_sync(path.read_text))
    assert seen <= set(contents)


@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755)])
async def test_a_directory_can_be_entered_by_those_who_can_read(tmp_path, umask, mode, expected):
    await make_directory(str(tmp_path / "new"), mode, None)
    assert permissions(tmp_path / "new") == expected


async def test_a_directory_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old").chmod(0o711)
    await make_directory(str(tmp_path / "old"), 0o644, None)
    assert permissions(tmp_path / "old") == 0o711


@pytest.mark.parametrize("planted", ["symlink", "file"])
async def test_what_is_planted_in_a_directorys_place_is_refused(tmp_path, planted):
    (tmp_path / "real").mkdir()
    if planted == "symlink":
        (tmp_path / "new").symlink_to(tmp_path / "real")
    else:
        (tmp_path / "new").write_text("")
    with pytest.raises(NotADirectoryError):
        await make_directory(str(tmp_path / "new"), 0o640, None)


async def test_a_symlink_to_a_directory_is_taken_where_it_may_be(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    await make_directory(str(tmp_path / "link"), 0o640, None, follow_symlink=True)
    assert (tmp_path / "link").is_symlink()


async def test_directories_above_are_made_too(tmp_path):
    await make_directory(str(tmp_path / "a" / "b" / "c"), 0o640, None)
    assert permissions(tmp_path / "a") == permissions(tmp_path / "a" / "b" / "c") == 0o750


# ---- what an attacker plants, and what a disk does ----

# Writes argv[2] to argv[1] in a process of its own, and says how it went.
_WRITE = """
import asyncio, sys
from jwqlscan.system.atomic_files import write_atomically
try:
    asyncio.run(write_atomically(sys.argv[1], sys.argv[2] * int(sys.argv[3]), 0o600, None))
except OSError as error:
    print(error.strerror)
else:
    print("written")
"""


def write_elsewhere(path, text, times=1, under=()):
    command = [*under, sys.executable, "-c", _WRITE, str(path), text, str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.case("S04")
@pytest.mark.parametrize("planted", ["symlink", "dangling", "hard link", "fifo", "socket"])
async def test_what_is_planted_at_the_target_is_replaced(tmp_path, planted):
    victim, target = tmp_path / "victim", tmp_path / "file"
    victim.write_text("precious")
    if planted == "symlink":
        target.symlink_to(victim)
    elif planted == "dangling":
        target.symlink_to(tmp_path / "made-by-attack")
    elif planted == "hard link":
        os.link(victim, target)
    elif planted == "fifo":
        os.mkfifo(target)
    else:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(os.path.relpath(target))  # AF_UNIX names are short
    with anyio.fail_after(60):
        await write_atomically(str(target), "new", 0o600, None)
    assert victim.read_text() == "precious"
    assert stat.S_ISREG(os.lstat(target).st_mode)
    assert target.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["file", "victim"]


@pytest.mark.case("S04")
@pytest.mark.parametrize("planted", ["symlink", "hard link", "fifo", "directory"])
async def test_nothing_planted_at_the_temporary_name_is_opened(tmp_path, monkeypatch, planted):
    victim, temporary = tmp_path / "victim", tmp_path / ".file.guessed.tmp"
    victim.write_text("precious")
    monkeypatch.setattr("jwqlscan.system.atomic_files.secrets.token_hex", lambda _: "guessed")
    if planted == "symlink":
        temporary.symlink_to(victim)
    elif planted == "hard link":
        os.link(victim, temporary)
    elif planted == "fifo":
        os.mkfifo(temporary)
    else:
        temporary.mkdir()
    with anyio.fail_after(60):
        with pytest.raises(OSError, match=r"File exists|Is a directory"):
            await write_atomically(str(tmp_path / "file"), "new", 0o600, None)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "file").exists()


@pytest.mark.case("S04")
async def test_a_directory_that_is_swapped_for_a_link_is_not_written_through(tmp_path):
    place, other, elsewhere = (tmp_path / name for name in ("place", "other", "elsewhere"))
    place.mkdir()
    elsewhere.mkdir()
    other.symlink_to(elsewhere)
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd, exchange = -100, 2  # renameat2(2)
    swapped, over = 0, threading.Event()

    def swap() -> None:
        nonlocal swapped
        names = (os.fsencode(place), os.fsencode(other))
        while not over.is_set():
            swapped += libc.renameat2(at_cwd, names[0], at_cwd, names[1], exchange) == 0

    attacker = threading.Thread(target=swap)
    attacker.start()
    written = 0
    try:
        for turn in range(2000):
            try:
                await write_atomically(
                    str(place / "file"), f"{turn}", 0o600, None, follow_symlink=False
                )
            except NotADirectoryError:
                continue
            written += 1
            if written >= 20 and turn >= 100:
                break
    finally:
        over.set()
        attacker.join()
    assert swapped > 100 and written
    assert os.listdir(elsewhere) == []


@pytest.mark.case("P03")
@pytest.mark.parametrize("calls", ["fchmod", "fsync", "rename,renameat,renameat2"])
def test_a_disk_error_leaves_the_old_file_and_no_temporary(tmp_path, calls):
    (tmp_path / "file").write_text("old")
    under = [required("strace"), "-f", "-qq", "-o", "/dev/null"]
    under += ["-e", f"inject={calls}:error=EIO:when=1"]
    assert write_elsewhere(tmp_path / "file", "new", under=under) == "Input/output error"
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.case("P04")
def test_a_full_disk_leaves_the_old_file_and_no_temporary_and_works_again(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    under = in_mount_namespace(f"mount -t tmpfs -o size=64k none {place}")
    script = (
        'python="$1"; write="$2"; place="$3"; cd "$place"\n'
        '"$python" -c "$write" "$place/file" old 1\n'
        '"$python" -c "$write" "$place/file" x 200000\n'
        "cat file; echo; ls -A\n"
        '"$python" -c "$write" "$place/file" new 1\n'
        "cat file\n"
    )
    command = [*under, "sh", "-ec", script, "sh", sys.executable, _WRITE, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == [
        *("written", "No space left on device", "old", "file", "written", "new"),
    ]


@pytest.mark.case("P03")
def test_the_file_is_on_disk_before_its_name_and_the_name_before_the_end(tmp_path):
    log = tmp_path / "log"
    (tmp_path / "d").mkdir()
    under = [required("strace"), "-f", "-qq", "-y", "-o", str(log)]
    under += ["-e", "trace=fsync,fdatasync,rename,renameat,renameat2"]
    assert write_elsewhere(tmp_path / "d" / "file", "new", under=under) == "written"
    calls = [
        re.sub(r"\.[0-9a-f]{16}\.tmp", ".TOKEN.tmp", line.split(maxsplit=1)[1])
        for line in log.read_text().splitlines()
        if f"{tmp_path}/d" in line
    ]
    assert len(calls) == 3, calls
    assert re.fullmatch(rf"fsync\(\d+<{tmp_path}/d/\.file\.TOKEN\.tmp>\) += 0", calls[0])
    assert re.match(r"rename.*\.file\.TOKEN\.tmp.*\"file\".* = 0", calls[1])
    assert re.fullmatch(rf"fsync\(\d+<{tmp_path}/d>\) += 0", calls[2])


# Each step copies the disk as it is at that moment, as if the power went; then looks at the copies.
_POWER = """
python="$1"; write="$2"; top="$3"
copy() { cp "$top/disk" "$top/copy-$1"; }
"$python" -c "$write" "$top/mnt/file" old 100000
copy old
"$python" -c "$write" "$top/mnt/file" new 100000
copy new
umount "$top/mnt"
for name in old new; do
    mount -o loop "$top/copy-$name" "$top/mnt"
    head -c 3 "$top/mnt/file"; stat -c ' %s' "$top/mnt/file"; ls -A "$top/mnt"
    umount "$top/mnt"
done
"""


@pytest.mark.case("P02")
def test_a_written_file_survives_a_loss_of_power(tmp_path):
    (tmp_path / "mnt").mkdir()
    with open(tmp_path / "disk", "wb") as file:
        file.truncate(8 * 2**20)
    mkfs = [required("mkfs.ext4"), "-q", "-F", str(tmp_path / "disk")]
    subprocess.run(mkfs, check=True, capture_output=True)
    under = in_mount_namespace()
    mount = f"mount -o loop {tmp_path}/disk {tmp_path}/mnt"
    if subprocess.run([*under, "sh", "-c", mount], capture_output=True).returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("this test needs loop devices: run it as root, with /dev/loop-control")
        pytest.skip("no loop devices here; with CI set this fails")
    command = [*under, "sh", "-ec", mount + "\n" + _POWER, "sh"]
    done = subprocess.run(
        [*command, sys.executable, _WRITE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == [
        *("written", "written"),
        *("old 300000", "file", "lost+found"),
        *("new 300000", "file", "lost+found", ""),
    ]


# ---- what killed runs left ----


def test_old_temporaries_of_ours_are_removed_and_nothing_else(tmp_path):
    old = time.time() - LITTER_AGE_S - 60
    left, token = [], "0123456789abcdef"
    for name in (f".page.html.{token}.tmp", f"..{token}.tmp", f".odd\n.{token}.tmp"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (old, old))
    for name in ("page.html", ".hidden.tmp", f"page.{token}.tmp", f".page.{token}", ".a.0123.tmp"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (old, old))
        left.append(name)
    (tmp_path / f".young.{token}.tmp").touch()
    (tmp_path / f".directory.{token}.tmp").mkdir()
    os.utime(tmp_path / f".directory.{token}.tmp", (old, old))
    (tmp_path / f".link.{token}.tmp").symlink_to("page.html")
    os.utime(tmp_path / f".link.{token}.tmp", (old, old), follow_symlinks=False)
    left += [f"{name}.{token}.tmp" for name in (".young", ".directory", ".link")]
    remove_litter(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted(left)


async def test_the_temporary_of_a_killed_process_is_one_that_is_removed_later(tmp_path):
    strace = [required("strace"), "-f", "-qq", "-o", "/dev/null"]
    under = [*strace, "-e", "inject=rename,renameat,renameat2:signal=KILL:when=1"]
    command = [*under, sys.executable, "-c", _WRITE, str(tmp_path / ("a" * 250)), "x", "1"]
    subprocess.run(command, capture_output=True, timeout=60)
    [name] = os.listdir(tmp_path)
    os.utime(tmp_path / name, (0, 0))
    remove_litter(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_not_there_has_no_litter(tmp_path):
    remove_litter(str(tmp_path / "none"))


@pytest.mark.case("P35")
def test_litter_that_another_process_renames_meanwhile_is_skipped(tmp_path, monkeypatch):
    names = [f".{name}.0123456789abcdef.tmp" for name in "abc"]
    for name in names[1:]:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    monkeypatch.setattr("os.listdir", lambda _: names)  # the first was there when it was listed
    remove_litter(str(tmp_path))
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


_WRITE_WITHOUT_THREADS = """
import asyncio, sys, threading
from jwqlscan.system.atomic_files import make_directory, write_atomically

def start(thread):
    raise RuntimeError("can't start new thread")

async def write(directory):
    await make_directory(directory, 0o600, None)
    await write_atomically(f"{directory}/file", "x", 0o640, None)

threading.Thread.start = start
asyncio.new_event_loop().run_until_complete(write(sys.argv[1]))
"""


@pytest.mark.case("P27")
def test_without_a_thread_a_file_is_written_all_the_same(tmp_path):
    """It may be a snapshot: what was measured for hours."""
    command = [sys.executable, "-c", _WRITE_WITHOUT_THREADS, str(tmp_path / "d")]
    subprocess.run(command, check=True, timeout=60)
    assert (tmp_path / "d/file").read_text() == "x"
    assert (tmp_path / "d/file").stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path / "d") == ["file"]
