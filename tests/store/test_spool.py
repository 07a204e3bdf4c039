"""The spool: what was measured survives a store that is down."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest

from jwqlscan.errors import SnapshotRefusedError, StoreError, StoreUnavailableError
from jwqlscan.store import open_store, spool, spool_contents
from tests.support import ROOT
from tests.support.marks import STORES
from tests.support.snapshots import make_area, make_snapshot, make_tally
from tests.support.trees import in_mount_namespace


class FakeStore:
    """Keeps what it is given; fails where it is told to."""

    def __init__(self, failures=None, location="sqlite:////fake.db"):
        self.runs = []
        self.failures = failures or {}
        self.location = location

    @asynccontextmanager
    async def exclusive(self):
        yield

    async def record(self, snapshot):
        if error := self.failures.get(snapshot.run_id):
            raise error
        self.runs.append(snapshot.run_id)
        return []


def reason(directory, name):
    return (directory / "bad" / f"{name}.reason").read_text()


@pytest.mark.case("P13")
async def test_what_waits_is_stored_oldest_first_and_removed(tmp_path):
    directory = str(tmp_path / "spool")
    newer, older = make_snapshot(day=2), make_snapshot(day=1)
    await spool.put(directory, newer)
    await spool.put(directory, older)
    assert [os.path.basename(p)[:8] for p in spool_contents.waiting(directory)] == sorted(
        s.timestamp.strftime("%Y%m%d") for s in (older, newer)
    )
    store = FakeStore()
    await spool.flush(directory, store)
    assert store.runs == [older.run_id, newer.run_id]
    assert spool_contents.waiting(directory) == []


@pytest.mark.case("P13", "P21")
async def test_a_file_stored_but_not_removed_is_stored_once(tmp_path):
    directory = str(tmp_path / "spool")
    snapshot = make_snapshot()
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        await store.record(snapshot)
        await spool.put(directory, snapshot)
        assert (await spool.store_waiting(directory, store)).stored == 1
        history = await store.history()
    assert len(history.general.date) == 1
    assert spool_contents.waiting(directory) == []


def changed(**fields):
    return json.dumps(make_snapshot().to_record() | fields)


def changed_area(**fields):
    record = make_snapshot().to_record()
    record["areas"][0] |= fields
    return json.dumps(record)


@pytest.mark.case("P13", "S14")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "no JSON object"),
        ("{}", "'record_version' is missing"),
        ("[" * 100_000, "recursion"),
        (b"\xff", "decode"),
        ('{"record_version": 0}', "0 is no record version"),
        (changed(record_version=True), "True is no record version"),
        (changed(workers="8"), "workers is no int"),
        (changed(workers=True), "workers is no int"),
        (changed(seconds=float("nan")), "NaN is no number"),
        (changed(host=None), "host is no str"),
        (changed(run_id="one"), "badly formed"),
        (changed(ended="2026-03-01T03:17:10"), "ended has no time zone"),
        (changed(ended="yesterday"), "isoformat"),
        (changed_area(path=1), "path is no str"),
        (changed_area(capacity={"size_bytes": "x", "used_bytes": 1, "available_bytes": 1}), "int"),
        (changed_area(tally=make_tally().to_record() | {"errors": {"io": "2"}}), "errors is no"),
    ],
)
async def test_a_file_that_is_no_snapshot_is_set_aside_and_the_rest_goes_on(
    tmp_path, content, why, caplog
):
    directory = tmp_path / "spool"
    good = make_snapshot()
    await spool.put(str(directory), good)
    name = "00000000-broken.json"
    content = content if isinstance(content, bytes) else content.encode()
    (directory / name).write_bytes(content)
    store = FakeStore()
    [warning] = await spool.flush(str(directory), store)
    assert store.runs == [good.run_id]
    assert why in reason(directory, name) and why in warning and str(directory / name) in warning
    assert os.listdir(directory) == ["bad"]
    assert (directory / "bad" / name).read_bytes() == content
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def directory_with_a_file(path):
    path.mkdir()
    (path / "x").touch()


def link_to_a_snapshot(path):
    target = path.with_name("elsewhere")
    target.write_text(json.dumps(make_snapshot().to_record()))
    path.symlink_to(target)


def listening_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def huge(path):
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (directory_with_a_file, "no regular file"),
        (link_to_a_snapshot, "a symbolic link"),
        (os.mkfifo, "no regular file"),
        (listening_socket, "unreadable"),
        (huge, "1.00 TiB"),
    ],
)
async def test_what_is_no_plain_file_is_set_aside_unread(tmp_path, monkeypatch, make, why):
    directory = tmp_path / "s"
    good = make_snapshot()
    await spool.put(str(directory), good)
    monkeypatch.chdir(directory)  # the name of a socket must be short
    make((directory / "00.json").relative_to(directory))
    store = FakeStore()
    flushed = await spool.store_waiting(str(directory), store)
    assert store.runs == [good.run_id]
    assert list(flushed.set_aside) == [str(directory / "00.json")]
    assert why in reason(directory, "00.json")
    assert os.path.lexists(directory / "bad/00.json")
    assert spool_contents.waiting(str(directory)) == []


async def test_what_is_set_aside_twice_under_one_name_is_kept_twice(tmp_path):
    for content in ("one", "two"):
        (tmp_path / "00.json").write_text(content)
        await spool.flush(str(tmp_path), FakeStore())
    kept = {name: (tmp_path / "bad" / name).read_text() for name in os.listdir(tmp_path / "bad")}
    assert {kept["00.json"], kept["00.json.2"]} == {"one", "two"}
    assert len(kept) == 4


async def test_what_can_not_be_set_aside_stays_and_does_not_block_the_rest(tmp_path):
    good = make_snapshot()
    await spool.put(str(tmp_path), good)
    (tmp_path / "00.json").touch()
    (tmp_path / "bad").write_text("a file where the directory should be")
    store = FakeStore()
    [warning] = await spool.flush(str(tmp_path), store)
    assert "can't be set aside" in warning
    assert store.runs == [good.run_id]
    assert sorted(os.listdir(tmp_path)) == ["00.json", "bad"]


async def test_a_snapshot_that_is_refused_for_good_is_set_aside_and_the_rest_goes_on(tmp_path):
    directory = str(tmp_path)
    snapshots = [make_snapshot(day) for day in range(3)]
    paths = [await spool.put(directory, snapshot) for snapshot in snapshots]
    store = FakeStore({snapshots[1].run_id: SnapshotRefusedError("it does not fit")})
    flushed = await spool.store_waiting(directory, store)
    assert flushed.stored == 2
    assert store.runs == [snapshots[0].run_id, snapshots[2].run_id]
    assert list(flushed.set_aside) == [paths[1]]
    assert "it does not fit" in reason(tmp_path, os.path.basename(paths[1]))
    assert os.listdir(directory) == ["bad"]


ARCHIVE, TRIAL = "postgresql://jwql@dbhost/jwql", "sqlite:////tmp/trial.db"


async def test_a_run_tried_on_another_store_does_not_take_what_waits(tmp_path):
    directory = str(tmp_path)
    theirs, ours, anyones = (make_snapshot(day) for day in range(3))
    waits = await spool.put(directory, theirs, ARCHIVE)
    await spool.put(directory, ours, TRIAL, configured=False)
    await spool.put(directory, anyones)
    store = FakeStore(location=TRIAL)
    flushed = await spool.store_waiting(directory, store, configured=False)
    assert store.runs == [ours.run_id, anyones.run_id]
    assert spool_contents.waiting(directory) == [waits]
    [warning] = flushed.warnings
    assert f"for {ARCHIVE}: 1; if that is {TRIAL} now" in warning
    # Another user of the same database is no other store.
    store = FakeStore(location="postgresql://owner@dbhost/jwql")
    assert (await spool.store_waiting(directory, store, configured=False)).warnings == ()
    assert store.runs == [theirs.run_id] and spool_contents.waiting(directory) == []


async def test_what_waits_for_a_store_that_was_tried_does_not_go_to_the_configured_one(tmp_path):
    directory = str(tmp_path)
    waits = await spool.put(directory, make_snapshot(), TRIAL, configured=False)
    store = FakeStore(location=ARCHIVE)
    [warning] = (await spool.store_waiting(directory, store)).warnings
    assert TRIAL in warning and spool_contents.waiting(directory) == [waits]
    flushed = await spool.store_waiting(directory, store, from_others=True)
    assert (flushed.stored, flushed.warnings, spool_contents.waiting(directory)) == (1, (), [])


async def test_a_corrected_configuration_takes_what_was_measured_before(tmp_path):
    directory = str(tmp_path)
    await spool.put(directory, make_snapshot(), "postgresql://jwql@mistyped/jwql")
    flushed = await spool.store_waiting(directory, FakeStore(location=ARCHIVE))
    assert (flushed.stored, flushed.warnings, spool_contents.waiting(directory)) == (1, (), [])


@pytest.mark.parametrize("error", [StoreError("corrupt"), StoreUnavailableError("down")])
async def test_a_store_that_fails_as_a_whole_leaves_the_rest_waiting(tmp_path, error):
    directory = str(tmp_path)
    snapshots = [make_snapshot(day) for day in range(3)]
    paths = [await spool.put(directory, snapshot) for snapshot in snapshots]
    with pytest.raises(type(error)):
        await spool.flush(directory, FakeStore({snapshots[1].run_id: error}))
    assert spool_contents.waiting(directory) == paths[1:]
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("kind", STORES)
async def test_both_stores_tell_a_value_that_does_not_fit_from_a_store_that_is_ill(
    tmp_path, request, kind
):
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("pg_url")
    directory = str(tmp_path / "spool")
    twice = make_area("central", "logs")
    surrogate = make_area(state="\udcff")
    good = [make_snapshot(day) for day in (1, 9)]
    bad = [
        make_snapshot(2, workers=2**63),
        make_snapshot(3, make_area(), twice, twice),
        make_snapshot(4, surrogate),
        make_snapshot(timestamp=good[0].timestamp),
        make_snapshot(5, make_area(group="nobody's")),
    ]
    for snapshot in (*good, *bad):
        await spool.put(directory, snapshot)
    async with open_store(url) as store:
        flushed = await spool.store_waiting(directory, store)
        assert (flushed.stored, len(flushed.set_aside)) == (2, 5)
        assert (await store.history()).general.date == [s.timestamp for s in good]
    assert spool_contents.waiting(directory) == []


async def test_a_spool_that_grows_or_ages_is_warned_of_and_kept(tmp_path, monkeypatch):
    directory = str(tmp_path)
    path = await spool.put(directory, make_snapshot())
    assert spool_contents.crowding(directory) == []
    os.utime(path, (0, time.time() - 31 * 86400))
    [warning] = spool_contents.crowding(directory)
    assert "31 days" in warning and directory in warning and "db flush" in warning
    [warning] = await spool.flush(directory, FakeStore())
    assert "31 days" in warning
    for day in range(spool_contents.MANY_FILES):
        (tmp_path / f"{day}.json").touch()
    assert spool_contents.crowding(directory) == []
    with (tmp_path / "0.json").open("r+b") as file:
        file.truncate(2**30 + 1)
    assert "1.00 GiB" in spool_contents.crowding(directory)[0]
    file_too_many = tmp_path / "more.json"
    file_too_many.touch()
    os.truncate(tmp_path / "0.json", 0)
    assert "101 snapshots" in spool_contents.crowding(directory)[0]
    assert len(spool_contents.waiting(directory)) == 101


async def test_a_stored_file_that_can_not_be_removed_is_said(tmp_path, monkeypatch):
    path = await spool.put(str(tmp_path), make_snapshot())

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        flushed = await spool.store_waiting(str(tmp_path), FakeStore())
    assert flushed.stored == 1
    assert flushed.warnings == (f"{path} is stored, but can't be removed: Permission denied",)


async def test_the_spool_is_private_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        path = await spool.put(str(tmp_path / "spool"), make_snapshot())
        (tmp_path / "spool/00.json").touch(0o644)
        await spool.flush(str(tmp_path / "spool"), FakeStore({}))
        reason_file = tmp_path / "spool/bad/00.json.reason"
        path = await spool.put(str(tmp_path / "spool"), make_snapshot())
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(path).st_mode) == stat.S_IMODE(reason_file.stat().st_mode) == 0o600
    for directory in (tmp_path / "spool", tmp_path / "spool/bad"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_a_spool_that_is_no_directory_is_told_in_one_line(tmp_path):
    place = tmp_path / "spool"
    place.touch()
    with pytest.raises(StoreError, match="spool"):
        await spool.put(str(place), make_snapshot())
    with pytest.raises(StoreError, match=r"state\.path"):
        spool_contents.waiting(str(place))


PUT = """
import anyio, sys
sys.path.insert(0, sys.argv[1])
from tests.support.snapshots import make_snapshot
from jwqlscan.store import spool
from jwqlscan.errors import StoreError
try:
    anyio.run(spool.put, sys.argv[2], make_snapshot())
except StoreError as error:
    print(error)
"""


@pytest.mark.case("P04")
def test_a_full_disk_is_told_and_leaves_no_half_snapshot(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    under = in_mount_namespace(
        f"mount -t tmpfs -o size=16k none '{place}'",
        f"head -c 16384 /dev/zero > '{place}/full' || true",
    )
    command = [*under, "sh", "-c", f'"$@"; ls -A "{place}"', "sh", sys.executable, "-c", PUT]
    done = subprocess.run([*command, str(ROOT), str(place)], capture_output=True, text=True)
    assert "No space left on device: the snapshot is not kept" in done.stdout, done.stderr
    assert done.stdout.splitlines()[1:] == ["full"]
