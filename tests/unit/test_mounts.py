"""The mount table: the kernel's format, and what must not be entered."""

import os
from pathlib import Path

import pytest

from jwqlscan.system.mounts import Mount, MountTable, parse_mountinfo, read_mount_table

LINES = r"""
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/sda1 rw,errors=continue
22 36 0:20 / /proc rw,nosuid shared:5 - proc proc rw
40 36 0:33 / /a\040b\011c\012d\134e rw - tmpfs none rw
41 36 0:34 / /net rw - autofs /etc/auto.net rw,fd=6,indirect
42 36 0:35 / /net/host rw shared:1 master:2 propagate_from:3 unbindable - nfs4 h:/x y rw
43 36 0:36 / /bytes\377 rw - fuse.sshfs x rw
no mount at all
""".strip().split("\n")


def test_a_line_has_device_mount_point_and_type():
    assert parse_mountinfo(LINES[:1]) == [
        Mount(os.makedev(98, 0), "/mnt1", "/mnt2", "ext3", "/dev/sda1")
    ]


def test_optional_fields_do_not_shift_the_type():
    assert [mount.fstype for mount in parse_mountinfo(LINES)] == [
        *("ext3", "proc", "tmpfs", "autofs", "nfs4", "fuse.sshfs")
    ]


def test_octal_escapes_are_undone():
    assert parse_mountinfo(LINES)[2].point == "/a b\tc\nd\\e"


@pytest.mark.case("F16", "F17")
def test_pseudo_filesystems_and_autofs_are_told(tmp_path):
    (tmp_path / "mountinfo").write_text("\n".join(LINES))
    table = read_mount_table({"/": "/"}, mountinfo=str(tmp_path / "mountinfo"))
    assert table.pseudo_devices == {os.makedev(0, 20), os.makedev(0, 34)}
    assert table.skipped_paths == {"/net": "pseudo"}
    assert table.crossed["/net/host"] == "nfs4"
    assert "/proc" not in table.crossed


def test_mount_points_are_told_by_the_path_of_the_root_they_are_below(tmp_path):
    (tmp_path / "mountinfo").write_text("\n".join(LINES))
    table = read_mount_table(
        {"/link": "/net", "/other": "/elsewhere"}, mountinfo=str(tmp_path / "mountinfo")
    )
    assert table.crossed == {"/link/host": "nfs4"}
    assert table.skipped_paths == {}


def test_a_mount_point_that_is_not_utf_8_is_kept_byte_for_byte(tmp_path):
    (tmp_path / "mountinfo").write_bytes(b"1 2 0:1 / /\xff\xc3 rw - autofs x rw\n")
    [point] = read_mount_table({"/": "/"}, mountinfo=str(tmp_path / "mountinfo")).skipped_paths
    assert os.fsencode(point) == b"/\xff\xc3"


def test_without_a_mount_table_nothing_is_passed_over(tmp_path):
    assert read_mount_table({"/": "/"}, mountinfo=str(tmp_path / "none")) == MountTable()


def test_the_real_proc_is_a_pseudo_filesystem():
    assert os.stat("/proc").st_dev in read_mount_table().pseudo_devices


def test_the_place_of_this_test_is_none():
    assert Path(__file__).stat().st_dev not in read_mount_table().pseudo_devices
