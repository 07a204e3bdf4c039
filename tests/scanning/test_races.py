"""Trees that change while they are read, or that lead astray: where a naive walker goes wrong.

Each test has a companion in which `naive_walk`, or a reader with one safeguard taken out, fails
under the same conditions: a test that the naive walker passes would prove nothing.
"""

import gc
import os
import subprocess
import sys
import threading
import time

import pytest

from jwqlscan.scanning.readers import available_readers, native, retries, scandir
from tests.support.trees import (
    Alone,
    Fifo,
    Hardlink,
    Socket,
    Symlink,
    find,
    in_mount_namespace,
    make_chain,
    make_tree,
    naive_names,
    naive_walk,
    read_alone,
    totals,
    walk,
    walk_elsewhere,
)

case = pytest.mark.case
readers = pytest.mark.parametrize("reader", available_readers())


class Between(Alone):
    """Wants work all the time, and does something once when it is given some."""

    def __init__(self, deed):
        super().__init__(wanted=1)
        self._deed = deed

    def share(self, work):
        if self._deed is not None:
            self._deed()
            self._deed = None
        super().share(work)

    @property
    def is_done(self):
        return self._deed is None


def once(deed):
    """Return something that can be called often and does it the first time."""
    deeds = [deed]

    def call():
        if deeds:
            deeds.pop()()

    return call


# ---- files that vanish ----

MANY = {f"{number:03}": 1 for number in range(200)}


@case("F01")
@readers
def test_files_removed_after_they_were_listed_have_vanished(tmp_path, reader):
    make_tree(tmp_path, MANY)
    pool = Between(lambda: [path.unlink() for path in tmp_path.iterdir()])
    tally = read_alone(tmp_path, reader, pool=pool)
    assert pool.is_done
    assert tally.files + tally.vanished == len(MANY)
    assert tally.vanished > 0
    assert tally.complete and not tally.errors


@case("F01")
def test_files_removed_after_they_were_listed_end_a_naive_walker(tmp_path):
    make_tree(tmp_path, MANY)
    with pytest.raises(FileNotFoundError):
        naive_walk(tmp_path, once(lambda: [path.unlink() for path in tmp_path.iterdir()]))


@case("F01", "F13")
@readers
def test_a_file_that_became_a_directory_is_no_file(tmp_path, reader):
    make_tree(tmp_path, MANY)

    def replace():
        for path in tmp_path.iterdir():
            path.unlink()
            path.mkdir()

    tally = read_alone(tmp_path, reader, pool=Between(replace))
    assert tally.files + tally.vanished == len(MANY)
    assert tally.apparent_bytes == tally.files  # of directories there is no size in it
    assert tally.vanished > 0


@case("F01", "F13")
def test_a_naive_walker_counts_the_size_of_a_file_that_became_a_directory(tmp_path):
    make_tree(tmp_path, {"a": 1})

    def replace():
        (tmp_path / "a").unlink()
        (tmp_path / "a").mkdir()

    assert naive_walk(tmp_path, once(replace)).apparent_bytes > 1


# ---- directories that vanish, move, or are replaced ----

MOVING = {"a": {**MANY, "b": {"c": {f"d{number}": {"f": 1} for number in range(5)}}}}
MOVING_FILES = len(MANY) + 5


@case("F03")
@readers
def test_nothing_is_lost_of_a_directory_that_is_moved_while_it_is_read(tmp_path, reader):
    make_tree(tmp_path / "root", MOVING)
    # Work is given away first in `a`, which has many files.
    pool = Between(lambda: os.rename(tmp_path / "root" / "a", tmp_path / "a"))
    tally = read_alone(tmp_path / "root", reader, pool=pool)
    assert pool.is_done
    assert tally.complete and not tally.vanished
    assert tally.files == MOVING_FILES


@case("F03")
@readers
def test_a_directory_moved_to_where_is_still_to_be_read_is_met_again_and_no_error(tmp_path, reader):
    make_tree(tmp_path / "root", {**MOVING, "other": {}})
    pool = Between(lambda: os.rename(tmp_path / "root" / "a", tmp_path / "root" / "other" / "a"))
    tally = read_alone(tmp_path / "root", reader, pool=pool)
    assert pool.is_done
    assert tally.complete
    assert tally.files in (MOVING_FILES, 2 * MOVING_FILES)  # which of the two was listed first?


@case("F03")
def test_a_directory_that_is_moved_while_it_is_read_ends_a_naive_walker(tmp_path):
    make_tree(tmp_path / "root", MOVING)
    calls = iter(range(100))

    def move():
        if next(calls) == 1:  # the root was listed, and `a`
            os.rename(tmp_path / "root" / "a", tmp_path / "a")

    with pytest.raises(FileNotFoundError):
        naive_walk(tmp_path / "root", move)


@case("F03")
def test_a_naive_walker_loses_in_silence_what_is_below_a_directory_that_is_moved(tmp_path):
    make_tree(tmp_path / "root", {"a": {"b": {"f": 1}}})
    calls = iter(range(100))

    def move():
        if next(calls) == 1:
            os.rename(tmp_path / "root" / "a", tmp_path / "a")

    assert naive_walk(tmp_path / "root", move).files == 0


@case("F02")
@readers
def test_a_tree_removed_while_it_is_read_has_vanished(tmp_path, reader):
    make_tree(tmp_path / "root", MOVING)
    pool = Between(lambda: subprocess.run(["rm", "-rf", tmp_path / "root" / "a"], check=True))
    tally = read_alone(tmp_path / "root", reader, pool=pool)
    assert pool.is_done
    assert tally.complete and not tally.errors
    assert tally.vanished > 0


@case("F03")
@readers
def test_a_directory_that_moves_in_and_out_all_the_time_is_no_error(tmp_path, reader):
    make_tree(tmp_path, {"root": {"a": {"b": {str(n): 1 for n in range(20)}}}, "outside": {}})
    here, there = tmp_path / "root" / "a", tmp_path / "outside" / "a"
    stop = threading.Event()

    def move():
        while not stop.is_set():
            os.rename(here, there)
            os.rename(there, here)

    moving = threading.Thread(target=move)
    moving.start()
    try:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            tally = walk(tmp_path / "root", reader, 4)
            assert tally.complete, tally.error_samples
            assert tally.files in (0, 20)
    finally:
        stop.set()
        moving.join()


# ---- what leads outside ----


@pytest.fixture
def nested_swap(tmp_path):
    """Make a root in which a directory with another in it is replaced by a symlink to outside."""
    make_tree(
        tmp_path,
        {
            "outside": {"nest": {"canary": 1000, "deeper": {"canary": 1000}}},
            "root": {"d": {**MANY, "nest": {"own": 1, "deeper": {"own": 1}}}},
        },
    )

    def swap():
        os.rename(tmp_path / "root" / "d", tmp_path / "d")
        os.symlink("../outside", tmp_path / "root" / "d")

    return tmp_path / "root", swap


def keep_no_descriptors(monkeypatch):
    """Let every directory be opened from the root on, over several levels, as if short of them."""
    for module in (scandir, native):
        monkeypatch.setattr(module, "descriptors_to_keep", lambda: 0)


@case("F13", "F32")
@readers
@pytest.mark.parametrize("few", [False, True])
def test_no_level_of_a_path_may_be_a_symlink(nested_swap, reader, monkeypatch, few):
    root, swap = nested_swap
    if few:
        keep_no_descriptors(monkeypatch)
    pool = Between(swap)
    tally = read_alone(root, reader, pool=pool)
    assert pool.is_done
    assert tally.apparent_bytes == tally.files, "something from outside was counted"
    assert tally.complete


@case("F13", "F32")
def test_a_reader_that_opens_several_levels_at_once_is_led_outside(nested_swap, monkeypatch):
    root, swap = nested_swap
    keep_no_descriptors(monkeypatch)
    monkeypatch.setattr(
        scandir,
        "open_below",
        lambda fd, path: os.open(path, retries.OPEN_FLAGS, dir_fd=fd),
    )
    tally = read_alone(root, "scandir", pool=Between(swap))
    assert tally.apparent_bytes > tally.files


@case("F13")
def test_a_reader_that_follows_the_last_level_is_led_outside(nested_swap, monkeypatch):
    root, _ = nested_swap
    make_tree(root / "..", {"other": {"e": {"own": 1}, **MANY}})
    other = root.parent / "other"

    def swap():
        os.rename(other / "e", other.parent / "e")
        os.symlink("../outside/nest", other / "e")

    flags = retries.OPEN_FLAGS & ~os.O_NOFOLLOW
    safe = read_alone(other, "scandir", pool=Between(swap))
    assert (safe.apparent_bytes, safe.vanished) == (len(MANY), 1)
    (other / "e").unlink()
    os.rename(other.parent / "e", other / "e")
    monkeypatch.setattr(retries, "OPEN_FLAGS", flags)
    assert read_alone(other, "scandir", pool=Between(swap)).apparent_bytes >= 1000


ASTRAY = {
    "outside": {"canary": 1000},
    "root": {"own": 1, "to_file": Symlink("../outside/canary"), "fifo": Fifo(), "s": Socket()},
}


@case("F11", "F24")
@readers
def test_only_regular_files_are_files(tmp_path, reader):
    make_tree(tmp_path, ASTRAY)
    assert totals(walk(tmp_path / "root", reader)) == (1, 1, 1, 1, 2, 0, 0)


@case("F11", "F24")
def test_a_naive_walker_takes_everything_for_a_file_and_follows_symlinks(tmp_path):
    make_tree(tmp_path, ASTRAY)
    found = naive_walk(tmp_path / "root")
    assert (found.files, found.apparent_bytes) == (4, 1001)


@case("F24")
def test_a_naive_walker_that_opens_what_it_finds_hangs_at_a_fifo(tmp_path):
    make_tree(tmp_path, {"fifo": Fifo()})
    code = (
        "import os, sys; print('at work', flush=True)\n"
        "[open(os.path.join(d, n)) for d, _, names in os.walk(sys.argv[1]) for n in names]"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE
    ) as opening:
        assert opening.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            opening.wait(0.5)
        opening.kill()


@case("F11")
@readers
def test_a_dangling_symlink_is_a_symlink(tmp_path, reader):
    make_tree(tmp_path, {"dangling": Symlink("nothing"), "itself": Symlink("itself")})
    tally = walk(tmp_path, reader)
    assert tally.symlinks == 2
    assert tally.complete and not tally.vanished


@case("F11")
def test_a_dangling_symlink_ends_a_naive_walker(tmp_path):
    make_tree(tmp_path, {"dangling": Symlink("nothing")})
    with pytest.raises(FileNotFoundError):
        naive_walk(tmp_path)


# ---- what is there twice ----


@case("F20")
@readers
def test_the_bytes_of_hard_links_are_allocated_once(tmp_path, reader):
    make_tree(tmp_path, {"a": 10_000, "b": Hardlink("a"), "d": {"c": Hardlink("a")}})
    assert walk(tmp_path, reader).allocated_bytes == find(tmp_path).allocated_bytes


@case("F20")
def test_a_naive_walker_allocates_the_bytes_of_every_name(tmp_path):
    make_tree(tmp_path, {"a": 10_000, "b": Hardlink("a"), "d": {"c": Hardlink("a")}})
    assert naive_walk(tmp_path).allocated_bytes == 3 * find(tmp_path).allocated_bytes


@pytest.fixture
def cycle(tmp_path):
    """Make a directory that is bound below itself; return it and what to put before a command."""
    root = tmp_path / "root"
    make_tree(root, {"a": {"f": 1, "b": {"c": {}}}})
    return root, in_mount_namespace(
        f"mount --bind '{root}' '{root}/a/b/c'", f"mount --bind '{root}/a' '{root}/a/b/c/a/b/c'"
    )


@case("F15")
@readers
def test_a_directory_bound_below_itself_is_read_once(cycle, reader):
    root, under = cycle
    tally = walk_elsewhere(root, reader, under=under)
    assert tally.files == 1
    assert set(tally.skipped) == {"loop"}


@case("F15")
def test_a_naive_walker_reads_a_directory_bound_below_itself_again(cycle):
    root, under = cycle
    code = "import os, sys; print(sum(len(names) for _, _, names in os.walk(sys.argv[1])))"
    done = subprocess.run(
        [*under, sys.executable, "-c", code, root], capture_output=True, text=True, timeout=60
    )
    assert int(done.stdout) > 1


# ---- what is too deep, and names that are no text ----

LEVELS = 2200


@pytest.fixture
def chain(tmp_path):
    make_chain(tmp_path, LEVELS, 1)
    assert len(str(tmp_path)) + 2 * LEVELS > os.pathconf("/", "PC_PATH_MAX")
    yield tmp_path
    # The fixture of pytest is not able to remove it.
    subprocess.run(["rm", "-rf", "--", tmp_path / "d"], check=True)


@case("F29")
@readers
def test_everything_is_found_however_deep(chain, reader):
    tally = read_alone(chain, reader)
    assert tally.files == LEVELS
    assert tally.complete


@case("F29")
def test_a_naive_walker_does_not_find_what_is_too_deep(chain):
    try:
        found = len(naive_names(chain)), naive_walk(chain).files
    except (RecursionError, OSError):  # which of them, Python's version and its limits decide
        return
    assert max(found) < LEVELS


@case("F26")
def test_names_that_are_no_text_are_printed_and_can_be_told_apart(tmp_path):
    make_tree(tmp_path, {b"jw\xff.fits": 1, b"jw\xfe.fits": 1, "jw\\xff.fits": 1})
    done = subprocess.run(
        [sys.executable, "-m", "jwqlscan", "scan", "--json", tmp_path],
        capture_output=True,
        timeout=60,
        check=True,
    )
    for name in (rb"jw\\xff.fits", rb"jw\\xfe.fits", rb"jw\\\\xff.fits"):
        assert b"/" + name + b'"' in done.stdout


@case("F26")
def test_a_naive_walker_can_not_print_names_that_are_no_text(tmp_path):
    make_tree(tmp_path, {b"jw\xff.fits": 1})
    with pytest.raises(UnicodeEncodeError):
        "\n".join(naive_names(tmp_path)).encode()


@case("F13")
@readers
def test_a_directory_replaced_by_a_symlink_after_it_was_listed_has_vanished(tmp_path, reader):
    make_tree(tmp_path, {"outside": {"canary": 1000}, "root": {"e": {"own": 1}, **MANY}})

    def swap():
        os.rename(tmp_path / "root" / "e", tmp_path / "e")
        os.symlink("../outside", tmp_path / "root" / "e")

    tally = read_alone(tmp_path / "root", reader, pool=Between(swap))
    assert (tally.apparent_bytes, tally.directories, tally.vanished) == (len(MANY), 1, 1)
    assert tally.complete


def test_a_file_that_vanished_keeps_its_directory_open_no_longer(tmp_path, monkeypatch):
    make_tree(tmp_path / "t", {f"d{number}": {"a": 1, "b": 1} for number in range(20)})
    list_more = scandir._list_more

    def list_and_remove(here, listing, listed, batch):
        more = list_more(here, listing, listed, batch)
        for entry in listed:
            if entry.is_file():
                os.unlink(entry.name, dir_fd=here.parent.fd)
        return more

    monkeypatch.setattr(scandir, "_list_more", list_and_remove)
    gc.disable()  # else it may hide what is held in a circle
    try:
        before = len(os.listdir("/proc/self/fd"))
        assert walk(tmp_path / "t", "scandir", 1).vanished == 40
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()
