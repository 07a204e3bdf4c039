"""Files are written whole or not at all, as the configuration says, and never elsewhere."""

from __future__ import annotations

import grp
import os
import stat

import anyio
import pytest

from jwqlscan.errors import ConfigError
from jwqlscan.files import make_directory, write_atomically


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
    monkeypatch.setattr("jwqlscan.files.secrets.token_hex", lambda _: "guessed")
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

    monkeypatch.setattr("jwqlscan.files.os.fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        await write_atomically(str(tmp_path / "file"), "new", 0o640, None)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


async def test_a_cancelled_write_leaves_no_temporary(tmp_path):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await write_atomically(str(tmp_path / "file"), "x" * 1_000_000, 0o640, None)
    assert set(os.listdir(tmp_path)) <= {"file"}


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
