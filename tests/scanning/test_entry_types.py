"""Entries whose type in the listing is not the one that their stat shows."""

import os
import stat

import pytest

from jwqlscan.scanning.readers import available_readers
from jwqlscan.scanning.rules import ScanRules
from jwqlscan.system.mounts import MountTable
from tests.support.hostile_fs import mounted
from tests.support.trees import make_tree, read_alone, required, totals, walk, walk_elsewhere

KINDS = {
    "file": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "link": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}

readers = pytest.mark.parametrize("reader", available_readers())


def node(kind, listed):
    """Describe an entry of one kind that is listed as another."""
    own = {"dir": True} if kind == "directory" else {"mode": KINDS[kind], "size": 10}
    return {**own, "listed": KINDS[listed]}


def unsure(place):
    """Return the rules for a filesystem of the kind that the mount table calls fuse."""
    return ScanRules(mounts=MountTable(unsure_devices=frozenset({os.stat(place).st_dev})))


def counted(tally):
    numbers = (tally.files, tally.apparent_bytes, tally.directories, tally.symlinks, tally.other)
    return numbers, tally.errors, tally.vanished


@pytest.mark.case("F42")
@readers
def test_every_kind_listed_as_every_other_is_counted_by_its_stat(tmp_path, reader):
    nodes = {}
    for kind in KINDS:
        for listed in KINDS:
            nodes[f"{kind}_as_{listed}"] = node(kind, listed)
            if kind == "directory":
                nodes[f"{kind}_as_{listed}/inside"] = {"size": 1}
    contradicted = [
        f"{kind}_as_{listed}"
        for kind in KINDS
        for listed in KINDS
        if kind != listed and {kind, listed} != {"fifo", "socket"}  # which are counted as one
    ]
    with mounted(tmp_path / "m", nodes):
        tally = walk(tmp_path / "m", reader, 1, rules=unsure(tmp_path / "m"))
    assert counted(tally) == ((5 + 5, 5 * 10 + 5, 1 + 5, 5, 10), {"type": len(contradicted)}, 0)
    assert {error.path for error in tally.error_samples} <= {
        f"{tmp_path}/m/{name}" for name in contradicted
    }


@pytest.mark.case("F42")
@readers
@pytest.mark.parametrize("follow", [False, True])
def test_files_listed_as_something_else_are_files(tmp_path, reader, follow):
    """Three files, of which the compiled reader once counted one."""
    listed = {"a": "link", "b": "fifo", "c": "file"}
    nodes = {name: node("file", kind) for name, kind in listed.items()}
    with mounted(tmp_path / "m", nodes):
        tally = walk(tmp_path / "m", reader, rules=ScanRules(follow_file_symlinks=follow))
    # Without its kind in the mount table: the first entry of each type shows what it is.
    assert (tally.files, tally.errors, tally.vanished) == (3, {"type": 2}, 0)


@pytest.mark.case("F32", "F42")
@pytest.mark.parametrize("descriptors", [8, 20])  # none, and some, stay open for their entries
@readers
def test_scarce_descriptors_change_no_count_of_wrong_types(tmp_path, reader, descriptors):
    depth = 16
    nodes = {}
    for level in range(depth):
        above = "d/" * level
        nodes |= {f"{above}{kind}": node(kind, "directory") for kind in ("file", "link", "fifo")}
        nodes[f"{above}link_to_file"] = {**node("link", "directory"), "target": "file"}
        nodes[f"{above}subdirectory"] = node("directory", "file")
        nodes[f"{above}removed"] = {**node("file", "directory"), "errno": {"getattr": "ENOENT"}}
    under = [required("prlimit"), f"--nofile={descriptors}:{descriptors}"]
    with mounted(tmp_path / "m", nodes):
        for followed in (0, 1):
            tally = walk_elsewhere(
                tmp_path / "m", reader, under=under, follow_file_symlinks=bool(followed)
            )
            files, links = depth * (1 + followed), depth * (2 - followed)
            assert counted(tally) == (
                (files, 10 * files, 2 * depth, links, depth),
                {"type": 5 * depth},
                depth,
            )
            assert all(os.path.lexists(error.path) for error in tally.error_samples)


@pytest.mark.case("F42")
@readers
def test_a_mount_table_tells_where_types_are_checked(tmp_path, reader):
    nodes = {"a_right": node("link", "link"), "b_wrong": node("file", "link")}
    with mounted(tmp_path / "m", nodes):
        tally = walk_elsewhere(tmp_path / "m", reader)
    assert (tally.files, tally.symlinks, tally.errors) == (1, 1, {"type": 1})


@pytest.mark.case("F42")
def test_links_whose_type_is_right_are_not_statted_one_by_one(tmp_path):
    if "native" not in available_readers():
        pytest.skip("the scandir reader stats all entries")
    links = tmp_path / "root/links"
    links.mkdir(parents=True)
    for number in range(500):
        (links / f"{number}").symlink_to("nowhere")
    log = tmp_path / "strace.log"
    strace = [required("strace"), "-f", "-qq", "-o", str(log), "-P", str(links)]
    tally = walk_elsewhere(tmp_path / "root", "native", under=[*strace, "-e", "trace=newfstatat"])
    assert tally.symlinks == 500 and tally.complete
    assert log.read_text().count("AT_SYMLINK_NOFOLLOW") < 10


@pytest.mark.case("F32")
@readers
def test_a_directory_that_has_no_descriptor_does_not_make_the_next_one_wait(tmp_path, reader):
    make_tree(tmp_path, {"root": {"above": {f"d{number}": {} for number in range(40)}}})
    strace = [required("strace"), "-f", "-qq", "-o", "/dev/null", "-P", f"{tmp_path}/root/above"]
    under = [*strace, "-e", "trace=openat", "-e", "inject=openat:error=EMFILE"]
    started = os.times().elapsed
    tally = walk_elsewhere(tmp_path / "root", reader, under=under)
    assert tally.errors == {"limit": 40}
    assert os.times().elapsed - started < 30  # of a second each it would be 40


def test_a_right_tree_has_no_wrong_type(tmp_path):
    expected = make_tree(tmp_path, {"a": 1, "d": {"b": 2}})
    for reader in available_readers():
        tally = read_alone(tmp_path, reader)
        assert totals(tally) == expected and tally.complete
