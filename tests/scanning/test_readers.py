"""The readers: one suite over every reader that is here, `find` and the description as judges."""

import ctypes
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jwqlscan.errors import ConfigError
from jwqlscan.model.tally import Product
from jwqlscan.naming.jwst import Classifier
from jwqlscan.scanning.readers import available_readers, check_reader, make_reader
from jwqlscan.scanning.readers.scandir import CHUNK_ENTRIES
from jwqlscan.scanning.rules import ScanRules
from jwqlscan.system.mounts import MountTable
from tests.support.trees import (
    Alone,
    Fifo,
    Hardlink,
    Socket,
    Sparse,
    Symlink,
    du,
    find,
    in_mount_namespace,
    make_chain,
    make_tree,
    naive_names,
    read_alone,
    required,
    totals,
    walk,
    walk_elsewhere,
)
from tests.unit.test_jwst import KNOWN, UNKNOWN

NOBODY = 65534

every_reader = pytest.mark.parametrize("reader", available_readers())


@pytest.fixture(params=available_readers())
def reader(request):
    return request.param


@pytest.fixture
def large_tree(tmp_path):
    """Yield a place for trees that pytest is too slow, or not able, to remove."""
    yield tmp_path
    subprocess.run(["rm", "-rf", "--", tmp_path / "large"], check=True)


# ---- which readers there are ----


def test_the_native_reader_is_here_where_it_is_required():
    if os.environ.get("JWQLSCAN_REQUIRE_NATIVE") == "1":
        assert available_readers()[0] == "native"


def test_a_reader_that_is_not_here_is_an_error():
    with pytest.raises(ValueError, match=r"'turbo' is not available here: .*scandir"):
        make_reader("turbo", ScanRules(), Classifier())


def test_auto_is_the_best_reader_available():
    assert make_reader("auto", ScanRules(), Classifier()).name == available_readers()[0]


def test_a_reader_tells_its_name(reader):
    assert make_reader(reader, ScanRules(), Classifier()).name == reader


# ---- totals ----

JWST = {
    "jw01018001001_02101_00001_nrca1_cal.fits": 1000,
    "jw01018001001_02101_00002_nrca1_cal.fits": 500,
    "jw01018": {
        "jw01018001001_02101_00001_mirimage_rate.fits": 7,
        "readme.txt": 99,
        "empty": {},
        "jw_strange.fits": 11,
    },
}


@pytest.mark.parametrize("workers", [1, 2, 32])
def test_totals_are_those_of_the_description(tmp_path, reader, workers):
    description = {f"d{i}": {f"e{j}": JWST for j in range(5)} for i in range(10)}
    expected = make_tree(tmp_path, description)
    tally = walk(tmp_path, reader, workers)
    assert totals(tally) == expected
    assert tally.complete and not tally.skipped and not tally.vanished


def test_files_are_counted_by_product(tmp_path, reader):
    make_tree(tmp_path, JWST)
    tally = walk(tmp_path, reader)
    products = {product: (amount.count, amount.bytes) for product, amount in tally.products.items()}
    assert products == {
        Product("nircam", "cal"): (2, 1500),
        Product("miri", "rate"): (1, 7),
    }


def test_every_known_kind_of_name_is_counted_as_its_product(tmp_path, reader):
    unknown = [n for n in UNKNOWN if n and "\0" not in n and n.isascii() and "/" not in n]
    make_tree(tmp_path, dict.fromkeys([*KNOWN, *unknown], 1))
    tally = walk(tmp_path, reader)
    products = {tuple(product): amount.count for product, amount in tally.products.items()}
    assert products == Counter(KNOWN.values())
    assert tally.unrecognized == sum(name.endswith(".fits") for name in unknown)


def test_a_name_that_is_no_product_is_counted_with_a_sample(tmp_path, reader):
    make_tree(tmp_path, JWST)
    tally = walk(tmp_path, reader)
    assert tally.unrecognized == 1
    assert list(tally.unrecognized_samples.values()) == [f"{tmp_path}/jw01018/jw_strange.fits"]


def test_an_empty_root_is_one_directory(tmp_path, reader):
    assert totals(walk(tmp_path, reader)) == make_tree(tmp_path, {})


@pytest.mark.case("F21")
def test_sparse_files_have_both_their_sizes(tmp_path, reader):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    tally = walk(tmp_path, reader)
    assert tally.apparent_bytes == 2**40
    assert tally.allocated_bytes == find(tmp_path).allocated_bytes < 2**20


@pytest.mark.case("F30")
def test_a_directory_of_many_entries_is_exact(large_tree, reader):
    count = 3 * CHUNK_ENTRIES + 1
    assert count > 2 * CHUNK_ENTRIES
    large = large_tree / "large"
    expected = make_tree(large, {f"{i:05}.fits": i % 7 for i in range(count)} | {"d": {}, "e": {}})
    for workers in (1, 8):
        assert totals(walk(large, reader, workers)) == expected


def test_a_wide_directory_of_directories_is_exact(large_tree, reader):
    large = large_tree / "large"
    expected = make_tree(large, {f"d{i}": {} for i in range(5000)} | {"a": 1})
    assert totals(walk(large, reader, 8)) == expected


@pytest.mark.case("F29")
def test_depth_is_not_bounded_by_the_length_of_a_path(large_tree, reader):
    levels = 2500
    large = large_tree / "large"
    large.mkdir()
    make_chain(large, levels, 3)
    tally = walk(large, reader, 8)
    assert (tally.files, tally.apparent_bytes, tally.directories) == (
        levels,
        levels * 3,
        levels + 1,
    )
    assert tally.complete
    assert len(str(large)) + 2 * levels > os.pathconf("/", "PC_PATH_MAX")  # it was deep enough


# ---- symbolic and hard links, what is no file ----

LINKS = {
    "outside.fits": 10,
    "root": {
        "a.fits": 5,
        "to_file": Symlink("a.fits"),
        "to_outside.fits": Symlink("../outside.fits"),
        "to_directory": Symlink("d"),
        "d": {"b": 3},
        "dangling": Symlink("nothing"),
        "to_itself": Symlink("to_itself"),
        "up": Symlink(".."),
    },
}


@pytest.mark.case("F11")
def test_symlinks_are_counted_and_not_followed(tmp_path, reader):
    make_tree(tmp_path, LINKS)
    tally = walk(tmp_path / "root", reader)
    assert totals(tally) == (2, 8, 2, 6, 0, 1, 5)
    assert tally.complete and not tally.vanished


def test_symlinks_to_files_can_be_followed(tmp_path, reader):
    make_tree(tmp_path, LINKS)
    tally = walk(tmp_path / "root", reader, rules=ScanRules(follow_file_symlinks=True))
    assert totals(tally) == (4, 8 + 5 + 10, 2, 4, 0, 2, 15)
    assert tally.complete


def test_what_a_followed_symlink_leads_to_is_allocated_where_it_lies(tmp_path, reader):
    make_tree(tmp_path, LINKS)
    rules = ScanRules(follow_file_symlinks=True)
    followed = walk(tmp_path / "root", reader, rules=rules).allocated_bytes
    assert followed == find(tmp_path / "root").allocated_bytes


@pytest.mark.case("F24")
def test_sockets_and_fifos_are_counted_apart_and_not_opened(tmp_path, reader):
    expected = make_tree(tmp_path, {"fifo": Fifo(), "socket": Socket(), "file": 1})
    assert totals(walk(tmp_path, reader)) == expected
    assert expected.other == 2


@pytest.mark.case("F20")
@pytest.mark.parametrize("workers", [1, 8])
def test_hard_links_count_once_in_allocated_bytes(tmp_path, reader, workers):
    names = {f"d{i}": {f"h{j}": Hardlink("first") for j in range(20)} for i in range(10)}
    expected = make_tree(tmp_path, {"first": 10_000, **names})
    tally = walk(tmp_path, reader, workers)
    assert totals(tally) == expected
    assert tally.allocated_bytes == find(tmp_path).allocated_bytes == 12_288


def test_hard_links_from_outside_do_not_change_what_is_inside(tmp_path, reader):
    make_tree(tmp_path, {"in": {"a": 5000}, "out": {"b": Hardlink("in/a")}})
    assert walk(tmp_path / "in", reader).allocated_bytes == 8192


# ---- names ----

NAMES = {
    b"bad\xff\xfe.fits": 1,
    b"new\nline": 2,
    b"esc\x1b[2Jape": 3,
    b"-rf": 4,
    b" ": 5,
    b"x" * 250 + b".fits": 6,
    "ü".encode(): {b"\x80": {b"\xc3": 7}},
    **{bytes([code]): 1 for code in range(1, 256) if chr(code) not in "/. "},
}


@pytest.mark.case("F26", "F29")
def test_any_name_is_counted(tmp_path, reader):
    expected = make_tree(tmp_path, NAMES)
    assert totals(walk(tmp_path, reader)) == expected


@pytest.mark.case("F26")
def test_a_name_that_is_not_utf_8_comes_back_byte_for_byte(tmp_path, reader):
    make_tree(tmp_path, {b"\xff": {b"bad\xfe\n.fits": 1}})
    [sample] = walk(tmp_path, reader).unrecognized_samples.values()
    assert os.fsencode(sample) == os.fsencode(tmp_path) + b"/\xff/bad\xfe\n.fits"


# ---- what is passed over ----

PASSED_OVER = {
    "keep": {"a.tmp": 1, "b": 2, "logs": {"c": 4, "d.tmp": 8}},
    "logs": {"e": 16},
    "f.tmp": 32,
    ".snapshot": {"g": 64},
    "~snapshot": 128,
}


@pytest.mark.parametrize(
    ("exclude", "apparent_bytes", "excluded"),
    [
        ((), 191, 0),
        (("*.tmp",), 150, 3),
        (("logs",), 163, 2),
        (("keep/logs",), 179, 1),
        (("/logs",), 175, 1),
        (("keep/*.tmp",), 182, 2),
        (("*.tmp", "keep/logs"), 146, 3),
        (("[ab]*",), 188, 2),
    ],
)
def test_excluded_entries_are_skipped_and_counted(
    tmp_path, reader, exclude, apparent_bytes, excluded
):
    make_tree(tmp_path, PASSED_OVER)
    tally = walk(tmp_path, reader, rules=ScanRules(exclude=exclude))
    assert tally.apparent_bytes == apparent_bytes
    assert tally.skipped.get("excluded", 0) == excluded
    assert tally.skipped["snapshot"] == 1


def test_a_pattern_matches_names_that_are_not_utf_8(tmp_path, reader):
    make_tree(tmp_path, {b"\xff.tmp": 1, b"\xff": 2})
    tally = walk(tmp_path, reader, rules=ScanRules(exclude=("\udcff.*",)))
    assert tally.apparent_bytes == 2


@pytest.mark.case("F18")
def test_snapshot_directories_are_skipped_and_counted(tmp_path, reader):
    names = (".snapshot", "~snapshot", ".zfs")
    make_tree(tmp_path, {name: {"old": 100} for name in names} | {"now": 1, "d": {".zfs": {}}})
    tally = walk(tmp_path, reader)
    assert totals(tally) == (1, 1, 2, 0, 0, 0, 0)
    assert tally.skipped == {"snapshot": 4}


@pytest.mark.case("F18")
def test_snapshot_directories_are_read_when_none_is_named(tmp_path, reader):
    make_tree(tmp_path, {".snapshot": {"old": 100}})
    assert walk(tmp_path, reader, rules=ScanRules(snapshot_names=frozenset())).files == 1


@pytest.mark.case("F16")
def test_an_autofs_mount_point_is_not_opened(tmp_path, reader):
    make_tree(tmp_path, {"net": {"host": {"file": 1}}, "here": {"host": 2}})
    rules = ScanRules(mounts=MountTable(skipped_paths={f"{tmp_path}/net/host": "pseudo"}))
    tally = walk(tmp_path, reader, rules=rules)
    assert totals(tally) == (1, 2, 3, 0, 0, 0, 0)
    assert tally.skipped == {"pseudo": 1}


def test_another_root_is_noted_and_not_entered(tmp_path, reader):
    make_tree(tmp_path, {"a": 1, "other": {"b": 2}})
    other = os.stat(tmp_path / "other")
    rules = ScanRules(roots={(other.st_dev, other.st_ino): 7})
    # `walk` adds its own root: read with both
    from tests.support.trees import _root

    root, device, own = _root(str(tmp_path), rules)
    made = make_reader(reader, own._replace(roots={**rules.roots, **own.roots}), Classifier())
    from jwqlscan.scanning.readers.base import Work, WorkerProgress

    batch = made.read([Work(root, root.path, ".", root.opened, device)], WorkerProgress(Alone()))
    assert batch.nested == {7}
    assert totals(batch.tally) == (1, 1, 1, 0, 0, 0, 0)


# ---- mounts ----


@pytest.fixture
def mounted(tmp_path):
    make_tree(tmp_path, {"a": 1, "mnt": {"hidden": 1000}, "p": {}, "loop": {"in": {}}, "z": {}})
    return in_mount_namespace(
        f"mount -t tmpfs none '{tmp_path}/mnt'",
        f"printf 12345 > '{tmp_path}/mnt/b'",
        f"mount --bind /proc '{tmp_path}/p'",
        f"mount --bind '{tmp_path}' '{tmp_path}/loop/in'",
    )


@pytest.mark.case("F14", "F15", "F17")
def test_mounts_are_crossed_but_never_into_pseudo_filesystems_or_loops(tmp_path, reader, mounted):
    tally = walk_elsewhere(tmp_path, reader, under=mounted)
    assert totals(tally) == (2, 6, 4, 0, 0, 0, 0)
    assert tally.skipped == {"pseudo": 1, "loop": 1}
    assert tally.complete


@pytest.mark.case("F15")
@pytest.mark.parametrize("through", ["{}", "{}-link"])
def test_what_is_bound_a_second_time_is_read_once(tmp_path, reader, through):
    top = tmp_path / "top"
    make_tree(top, {"a": {"b": {"f": 1}, "inside": {}}, "again": {}, "c": {}, "whole": {}, "d": 2})
    (tmp_path / "top-link").symlink_to(top)
    under = in_mount_namespace(
        f"mount --bind '{top}/a/b' '{top}/again'",
        f"mount --bind '{top}/a' '{top}/a/inside'",
        f"mount --bind / '{top}/whole'",  # not read again from its root on: it is the same tree
        f"mount -t tmpfs none '{top}/c'",
        f"printf 123 > '{top}/c/e'",
    )
    root = through.format(top)
    tally = walk_elsewhere(root, reader, under=under, exclude=["whole"])
    assert totals(tally) == (3, 6, 4, 0, 0, 0, 0)
    assert tally.skipped == {"loop": 2, "excluded": 1}


@pytest.mark.case("F15")
def test_a_bind_mount_of_what_is_hidden_elsewhere_is_read(tmp_path, reader):
    make_tree(tmp_path, {"a": {"f": 1}, "shown": {}})
    under = in_mount_namespace(
        f"mount --bind '{tmp_path}/a' '{tmp_path}/shown'", f"mount -t tmpfs none '{tmp_path}/a'"
    )
    tally = walk_elsewhere(tmp_path, reader, under=under)
    assert totals(tally) == (1, 1, 3, 0, 0, 0, 0)
    assert tally.skipped == {}


@pytest.mark.case("F14")
def test_one_file_system_crosses_no_mount(tmp_path, reader, mounted):
    tally = walk_elsewhere(tmp_path, reader, under=mounted, one_file_system=True)
    assert totals(tally) == (1, 1, 3, 0, 0, 0, 0)
    assert tally.skipped == {"mount": 2, "loop": 1}


@pytest.fixture
def btrfs(tmp_path):
    """Yield what mounts a btrfs with a subvolume, where `st_dev` and the mount table differ."""
    if "btrfs" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no btrfs")  # no CI can help that
    image, place = tmp_path / "image", tmp_path / "tree"
    make_tree(place, {})
    with image.open("wb") as file:
        file.truncate(128 * 2**20)
    under = in_mount_namespace(
        f"{required('mkfs.btrfs')} -q -f '{image}' > /dev/null 2>&1",
        f"mount -o loop '{image}' '{place}'",
        f"cd '{place}'; mkdir d again; printf 1 > d/f",
        "btrfs subvolume create d/sub > /dev/null; mkdir d/sub/deep; printf 22 > d/sub/deep/g",
        f"mount --bind d/sub/deep '{place}/again'",
        "cd /",
    )
    return place, under


@pytest.mark.case("F19")
def test_btrfs_subvolumes_are_filesystems_of_their_own(btrfs, reader):
    place, under = btrfs
    tally = walk_elsewhere(place, reader, under=under)
    assert totals(tally) == (2, 3, 4, 0, 0, 0, 0)
    assert tally.skipped == {"loop": 1}
    tally = walk_elsewhere(place, reader, under=under, one_file_system=True)
    assert totals(tally) == (1, 1, 2, 0, 0, 0, 0)
    assert tally.skipped == {"mount": 1, "loop": 1}


# ---- what can't be read ----


@pytest.mark.case("F04")
@pytest.mark.parametrize(
    ("mode", "expected", "errors"),
    [
        (0o000, (1, 1, 2, 0, 0, 0, 0), 1),
        (0o111, (1, 1, 2, 0, 0, 0, 0), 1),
        (0o444, (1, 1, 2, 0, 0, 0, 0), 3),  # listed, but what is in it can't be stat'ed
        (0o555, (3, 111, 3, 0, 0, 0, 0), 0),
    ],
)
def test_a_directory_without_permission_is_counted_and_the_rest_goes_on(
    tmp_path, reader, mode, expected, errors
):
    make_tree(tmp_path, {"open": 1, "closed": {"a": 10, "b": 100, "sub": {}}})
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path / "closed", mode)
    try:
        tally = walk_elsewhere(tmp_path, reader, user=NOBODY)
    finally:
        os.chmod(tmp_path / "closed", 0o755)
    if mode == 0o444:  # the directory in it is known to be one
        expected = (1, 1, 3, 0, 0, 0, 0)
    assert totals(tally) == expected
    assert sum(tally.errors.values()) == errors
    assert set(tally.errors) <= {"permission"}
    assert not tally.vanished


@pytest.mark.case("F04")
@pytest.mark.parametrize("follow", [False, True])
def test_what_a_listing_tells_is_counted_where_nothing_can_be_statted(tmp_path, reader, follow):
    inside = {"a": 10, "b": {}, "link": Symlink("a"), "fifo": Fifo(), "socket": Socket()}
    make_tree(tmp_path, {"open": 1, "closed": inside})
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path / "closed", 0o444)
    try:
        tally = walk_elsewhere(tmp_path, reader, user=NOBODY, follow_file_symlinks=follow)
    finally:
        os.chmod(tmp_path / "closed", 0o755)
    # A symlink that is to be followed might be a file.
    assert totals(tally) == (1, 1, 3, 0 if follow else 1, 2, 0, 0)
    failed = {os.path.basename(e.path) for e in tally.error_samples}
    assert failed == ({"a", "b", "link"} if follow else {"a", "b"})
    assert tally.errors == {"permission": len(failed)}


@pytest.mark.case("F04", "F37")
def test_an_error_keeps_path_operation_and_kind(tmp_path, reader):
    make_tree(tmp_path, {"closed": {}})
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path / "closed", 0)
    [error] = walk_elsewhere(tmp_path, reader, user=NOBODY).error_samples
    assert error[1:] == ("open", 13, "permission")
    assert error.path.endswith("/closed")


def injected(directory, syscall, error, when):
    return [
        required("strace"),
        *("-f", "-qq", "-o", "/dev/null", "-P", str(directory)),
        *("-e", f"trace={syscall}", "-e", f"inject={syscall}:error={error}:when={when}"),
    ]


def own_stats(directory, reader, tmp_path):
    """Return how often a reader stats the open directory itself, before what is in it."""
    log = tmp_path / "strace.log"
    under = [required("strace"), "-f", "-qq", "-o", str(log), "-P", str(directory)]
    walk_elsewhere(directory.parent, reader, under=[*under, "-e", "trace=newfstatat"])
    return log.read_text().count("AT_EMPTY_PATH")


@pytest.fixture
def three_files(tmp_path):
    make_tree(tmp_path, {"root": {"ok": 1, "d": {"a": 10, "b": 100, "c": 1000}}})
    return tmp_path / "root" / "d"


@pytest.mark.case("F01", "F37")
@pytest.mark.parametrize(
    ("error", "vanished", "errors"),
    [("ENOENT", 3, {}), ("EIO", 0, {"io": 3}), ("ESTALE", 0, {"stale": 3})],
)
def test_a_file_that_can_not_be_statted_is_counted_by_kind(
    tmp_path, three_files, reader, error, vanished, errors
):
    when = own_stats(three_files, reader, tmp_path) + 1
    under = injected(three_files, "newfstatat", error, f"{when}+")
    tally = walk_elsewhere(three_files.parent, reader, under=under)
    assert totals(tally) == (1, 1, 2, 0, 0, 0, 0)
    assert tally.vanished == vanished
    assert tally.errors == errors
    if errors:
        assert {sample.path for sample in tally.error_samples} == {
            f"{three_files}/{name}" for name in "abc"
        }
        assert {sample.operation for sample in tally.error_samples} == {"stat"}


@pytest.mark.case("F06")
def test_one_file_that_can_not_be_statted_does_not_cost_the_others(tmp_path, three_files, reader):
    when = own_stats(three_files, reader, tmp_path) + 2  # it is tried three times
    under = injected(three_files, "newfstatat", "EIO", f"{when}..{when + 2}")
    tally = walk_elsewhere(three_files.parent, reader, under=under)
    assert tally.files == 3
    assert tally.errors == {"io": 1}


# Two more tries, and only for what may pass.
TRIES = [
    *[(error, times, times < 3) for error in ("EIO", "ESTALE") for times in (2, 3)],
    *[(error, 1, False) for error in ("EACCES", "ETIMEDOUT")],
]


@pytest.mark.case("F06")
@pytest.mark.parametrize(("error", "times", "recovers"), TRIES)
def test_a_stat_is_tried_twice_more_and_only_after_what_may_pass(
    tmp_path, three_files, reader, error, times, recovers
):
    when = own_stats(three_files, reader, tmp_path) + 1
    under = injected(three_files, "newfstatat", error, f"{when}..{when + times - 1}")
    tally = walk_elsewhere(three_files.parent, reader, under=under)
    assert tally.files == 4 - (not recovers)
    assert sum(tally.errors.values()) == (not recovers)


@pytest.mark.case("F06")
@pytest.mark.parametrize(("error", "times", "recovers"), TRIES)
@pytest.mark.parametrize(
    ("syscall", "place", "operation"), [("openat", "d", "open"), ("getdents64", "d/e", "list")]
)
def test_a_directory_is_tried_twice_more_and_only_after_what_may_pass(
    tmp_path, reader, syscall, place, operation, error, times, recovers
):
    make_tree(tmp_path, {"root": {"d": {"e": {"found": 1}}}})
    root = tmp_path / "root"
    under = injected(root / place, syscall, error, f"1..{times}")
    tally = walk_elsewhere(root, reader, under=under)
    assert (tally.files, tally.directories) == (int(recovers), 3)
    found = [(e.path, e.operation) for e in tally.error_samples]
    assert found == ([] if recovers else [(f"{root}/d/e", operation)])


@pytest.mark.case("F02", "F04")
@pytest.mark.parametrize(
    ("error", "directories", "vanished", "errors"),
    [
        ("ENOENT", 2, 1, {}),
        ("ENOTDIR", 2, 1, {}),  # replaced by a file
        ("ELOOP", 2, 1, {}),  # replaced by a symlink
        ("EIO", 3, 0, {"io": 1}),
        ("EACCES", 3, 0, {"permission": 1}),
    ],
)
def test_a_directory_that_can_not_be_opened_is_counted_by_kind(
    tmp_path, reader, error, directories, vanished, errors
):
    make_tree(tmp_path, {"root": {"ok": 1, "parent": {"child": {"lost": 10}}}})
    root = tmp_path / "root"
    under = injected(root / "parent", "openat", error, "1..3")
    tally = walk_elsewhere(root, reader, under=under)
    assert (tally.files, tally.directories) == (1, directories)
    assert tally.vanished == vanished
    assert tally.errors == errors
    for sample in tally.error_samples:
        assert (sample.path, sample.operation) == (f"{root}/parent/child", "open")


@pytest.mark.case("F05")
def test_what_was_listed_before_an_error_is_kept(tmp_path, reader):
    count = 1500
    names = {f"{i:0100}": 1 for i in range(count)}  # more than any reader lists at once
    make_tree(tmp_path, {"root": {"d": names, "e": {"ok": 1}}})
    root = tmp_path / "root"
    tally = walk_elsewhere(root, reader, under=injected(root / "d", "getdents64", "EIO", "2..4"))
    assert 1 < tally.files < count
    assert tally.directories == 3
    assert tally.errors == {"io": 1}
    assert [(e.path, e.operation) for e in tally.error_samples] == [(f"{root}/d", "list")]


@pytest.mark.case("F02")
def test_a_directory_removed_after_it_was_opened_is_an_empty_one(tmp_path, reader):
    make_tree(tmp_path, {"root": {"d": {"a": 1}, "e": {"ok": 1}}})
    root = tmp_path / "root"
    under = injected(root / "d", "getdents64", "ENOENT", "1")
    tally = walk_elsewhere(root, reader, under=under)
    assert totals(tally) == (1, 1, 3, 0, 0, 0, 0)
    assert tally.complete


@pytest.mark.case("F02")
def test_directories_removed_after_they_were_listed_have_vanished(tmp_path, reader):
    make_tree(tmp_path, {f"d{i}": {} for i in range(4)} | {"file": 1})

    class Removing(Alone):
        def share(self, work):
            for directory in tmp_path.glob("d*"):
                directory.rmdir()
            super().share(work)

    tally = read_alone(tmp_path, reader, pool=Removing(wanted=1))
    assert totals(tally) == (1, 1, 1, 0, 0, 0, 0)
    assert tally.vanished == 4
    assert tally.complete


@pytest.mark.case("F32")
def test_descriptors_that_have_run_out_are_waited_for(tmp_path, reader):
    make_tree(tmp_path, {"root": {"parent": {"child": {"found": 10}}}})
    under = injected(tmp_path / "root" / "parent", "openat", "EMFILE", "1..5")
    tally = walk_elsewhere(tmp_path / "root", reader, under=under)
    assert (tally.files, tally.directories) == (1, 3)
    assert tally.complete


@pytest.mark.case("F32")
def test_descriptors_that_have_run_out_while_listing_are_waited_for(tmp_path, reader):
    make_tree(tmp_path, {"root": {"d": {"found": 10}}})
    # os.scandir lists a duplicate, made by fcntl(2)
    under = injected(tmp_path / "root" / "d", "fcntl", "EMFILE", "1..5")
    tally = walk_elsewhere(tmp_path / "root", reader, under=under)
    assert (tally.files, tally.directories) == (1, 2)
    assert tally.complete


@pytest.mark.case("F32")
def test_descriptors_that_have_run_out_for_good_are_an_error(tmp_path, reader):
    make_tree(tmp_path, {"root": {"parent": {"child": {"lost": 10}}, "ok": 1}})
    under = injected(tmp_path / "root" / "parent", "openat", "ENFILE", "1+")
    tally = walk_elsewhere(tmp_path / "root", reader, under=under)
    assert tally.files == 1
    assert tally.errors == {"limit": 1}


@pytest.mark.case("F32")
@pytest.mark.parametrize("workers", [1, 5])
def test_few_descriptors_lose_nothing_of_a_wide_and_deep_tree(large_tree, reader, workers):
    large = large_tree / "large"
    for number in range(20):
        chain = large / str(number)
        chain.mkdir(parents=True)
        make_chain(chain, 50, 1)
    under = [required("prlimit"), "--nofile=64:64"]
    tally = walk_elsewhere(large, reader, workers=workers, under=under)
    assert (tally.files, tally.directories) == (20 * 50, 1 + 20 * 51)
    assert tally.complete and not tally.vanished


# ---- trees that change ----


@pytest.mark.case("F01", "F02")
@pytest.mark.parametrize("workers", [1, 8])
def test_files_that_come_and_go_are_no_errors(tmp_path, reader, workers):
    expected = make_tree(tmp_path, {f"d{i}": {f"{j}": 1 for j in range(100)} for i in range(20)})
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            for i in range(20):
                path = tmp_path / f"d{i}" / "comes"
                path.touch()
                path.unlink()
                (tmp_path / f"d{i}" / "goes").mkdir()
                (tmp_path / f"d{i}" / "goes").rmdir()

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            tally = walk(tmp_path, reader, workers)
            assert tally.complete, tally.error_samples
            assert 0 <= tally.files - expected.files <= 20
            assert 0 <= tally.directories - expected.directories <= 20
            assert tally.apparent_bytes == expected.apparent_bytes
    finally:
        stop.set()
        churning.join()


_SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
one, two = (os.fsencode(path) for path in sys.argv[1:])
AT_FDCWD, RENAME_EXCHANGE = -100, 2
print("ready", flush=True)
while os.getppid() != 1:
    if libc.renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
"""


@pytest.fixture
def swapped(tmp_path):
    """Yield a root in which a directory and a symlink to one outside change places all the time."""
    assert ctypes.CDLL(None).renameat2, "this test needs a C library with renameat2"
    inside = {"d": {"own": 1}, "link": Symlink("../outside")}
    make_tree(tmp_path, {"outside": {"canary": 1000, "nest": {"canary": 1000}}, "root": inside})
    root = tmp_path / "root"
    swapper = subprocess.Popen(
        [sys.executable, "-c", _SWAP, root / "d", root / "link"], stdout=subprocess.PIPE
    )
    assert swapper.stdout.readline() == b"ready\n"
    yield root
    assert swapper.poll() is None, "the swapper failed"
    swapper.kill()
    swapper.communicate()


@pytest.mark.case("F13")
def test_a_symlink_swapped_in_never_leads_outside(swapped, reader):
    rules = ScanRules()
    seen = set()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        tally = read_alone(swapped, reader, rules)
        # its own directory is met under both names at most; a canary is larger than its own file
        assert tally.files <= 2 and tally.directories <= 3
        assert tally.apparent_bytes == tally.files, "something from outside was counted"
        seen.add((tally.files, tally.directories, tally.vanished))
    assert len(seen) > 1, "the swap was never met"


@pytest.mark.case("F13")
def test_a_symlink_swapped_in_leads_a_naive_walker_outside(swapped):
    end = time.monotonic() + 20
    while "canary" not in naive_names(swapped):
        assert time.monotonic() < end, "the mutant survived: the test above proves nothing"


# ---- any tree ----

file_names = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
) | st.from_regex(r"jw[0-9]{11}_[0-9]{5}_[0-9]{5}_nrca1_(cal|rate)\.fits", fullmatch=True).map(
    str.encode
)
leaves = (
    st.integers(0, 9000)
    | st.binary(max_size=8).filter(lambda b: b and b"\0" not in b).map(Symlink)
    | st.just(Fifo())
    | st.just(Hardlink("first"))
    | st.builds(Sparse, st.integers(0, 2**40))
)
forests = st.recursive(
    st.dictionaries(file_names, leaves, max_size=6),
    lambda inner: st.dictionaries(file_names, leaves | inner, max_size=6),
    max_leaves=30,
)


MODES = (0, 0o111, 0o444, 0o640, 0o755, 0o1777, 0o2755, 0o4711)


def change_modes(root, modes):
    """Give what is in a tree modes, from below: root reads it whatever they are."""
    for directory, names, files in os.walk(os.fsencode(root), topdown=False):
        for name in (*files, *(names if os.geteuid() == 0 else ())):
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                os.chmod(path, modes[zlib.crc32(name) % len(modes)])


@every_reader
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(forest=forests, modes=st.lists(st.sampled_from(MODES), min_size=1))
def test_any_tree_is_counted_as_described_and_as_find_and_du_do(reader, forest, modes):
    with tempfile.TemporaryDirectory() as root:
        expected = make_tree(root, {"first": 5000, **{b"_" + k: v for k, v in forest.items()}})
        change_modes(root, modes)
        found = find(root)
        assert found.totals == expected
        assert found.allocated_bytes + found.other_bytes == du(root)
        for workers in (1, 8):
            tally = walk(root, reader, workers)
            assert totals(tally) == expected
            assert tally.allocated_bytes == found.allocated_bytes
            assert tally.complete and not tally.vanished


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(forest=forests, exclude=st.sets(st.sampled_from(["*a*", "*.fits", "_*/*b*", "[!_]*"])))
def test_every_reader_brings_back_the_same_tally(forest, exclude):
    with tempfile.TemporaryDirectory() as root:
        make_tree(root, {"first": 5000, **{b"_" + k: v for k, v in forest.items()}})
        rules = ScanRules(exclude=tuple(exclude))
        records = [walk(root, name, 2, rules).to_record() for name in available_readers()]
        for record in records:  # which of the names of one shape is the sample is not promised
            record["unrecognized_samples"] = sorted(record["unrecognized_samples"])
        assert all(record == records[0] for record in records)


@pytest.mark.case("S05")
def test_only_directories_are_opened(tmp_path, reader):
    make_tree(tmp_path, {"root": {"d": {"file": 1, "fifo": Fifo(), "link": Symlink("file")}}})
    root = tmp_path / "root"
    log = tmp_path / "strace.log"
    under = [required("strace"), "-f", "-qq", "-y", "-o", str(log), "-P", str(root)]
    under += ["-P", str(root / "d")]
    walk_elsewhere(root, reader, under=[*under, "-e", "trace=all"])
    calls = re.findall(r"^[0-9]+ +([a-z0-9_]+)\(", log.read_text(), re.M)
    allowed = {"openat", "newfstatat", "fstat", "fcntl", "getdents64", "lseek", "close", "dup3"}
    assert set(calls) <= allowed | {"dup", "chdir"}
    for call in re.findall(r"openat\(.*", log.read_text()):
        assert "O_DIRECTORY" in call
    assert stat.S_ISFIFO(os.stat(root / "d" / "fifo").st_mode)


def test_a_reader_that_is_missing_is_told_in_one_line():
    with pytest.raises(ConfigError, match=r"reader 'turbo' is not available here, only .*scandir"):
        check_reader("turbo")
    for name in ("auto", *available_readers()):
        check_reader(name)
