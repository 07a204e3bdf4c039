"""The spool: what was measured survives a store that is down."""

import os

import pytest
from snapshots import make_snapshot

from jwqlscan import spool
from jwqlscan.store import open_store


async def test_what_waits_is_stored_oldest_first_and_removed(tmp_path):
    directory = str(tmp_path / "spool")
    newer, older = make_snapshot(day=2), make_snapshot(day=1)
    await spool.put(directory, newer)
    await spool.put(directory, older)
    assert [os.path.basename(p)[:8] for p in spool.waiting(directory)] == sorted(
        s.timestamp.strftime("%Y%m%d") for s in (older, newer)
    )
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        assert await spool.flush(directory, store) == []
        history = await store.history()
    assert history.general.date == [older.timestamp, newer.timestamp]
    assert spool.waiting(directory) == []


async def test_a_file_stored_but_not_removed_is_stored_once(tmp_path):
    directory = str(tmp_path / "spool")
    snapshot = make_snapshot()
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        await store.record(snapshot)
        await spool.put(directory, snapshot)
        await spool.flush(directory, store)
        history = await store.history()
    assert len(history.general.date) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"record_version": 99}'])
async def test_a_file_that_is_no_snapshot_is_set_aside_and_the_rest_goes_on(tmp_path, content):
    directory = tmp_path / "spool"
    await spool.put(str(directory), make_snapshot())
    (directory / "00000000-broken.json").write_text(content)
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        await spool.flush(str(directory), store)
        history = await store.history()
    assert len(history.general.date) == 1
    assert os.listdir(directory) == ["00000000-broken.json.bad"]
