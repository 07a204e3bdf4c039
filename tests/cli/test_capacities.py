"""Capacity: each filesystem once, quotas each, and none where a filesystem reports no size."""

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwqlscan.config.loader import Overrides, load_config
from jwqlscan.history.forecast import reached
from jwqlscan.model.snapshot import Capacity
from jwqlscan.monitoring.check import Level, gather, judge
from jwqlscan.monitoring.metrics import metrics_text
from jwqlscan.operations import run as job
from jwqlscan.operations.run import run
from jwqlscan.operations.views import series, status
from jwqlscan.output.json_objects import history_object, run_object, status_object
from jwqlscan.reporting.filesystems import filesystems
from jwqlscan.settings import Thresholds
from jwqlscan.store import open_store
from jwqlscan.system import df
from jwqlscan.system.capacities import same_room, total_capacity, with_mount
from jwqlscan.system.mounts import Mount
from jwqlscan.units import MAX_BYTES, TIB_BYTES, format_bytes
from tests.support.snapshots import make_area, make_snapshot, make_tally
from tests.support.trees import make_tree

ROOMS = st.builds(Capacity, *[st.integers(1, 2**60)] * 3)


def config_for(tmp_path, archive):
    (tmp_path / "config.toml").write_text(
        f'[archive]\npath = "{archive}"\n[state]\npath = "{tmp_path}/state"\n'
    )
    return load_config(str(tmp_path / "config.toml"), Overrides())


async def history_of(config):
    async with open_store(config.database_url) as store:
        return await store.history()


@given(st.lists(st.tuples(st.integers(0, 3), ROOMS), min_size=1, max_size=6))
def test_a_total_has_each_different_room_once(parts):
    total = total_capacity(parts)
    distinct = {}
    for device, room in parts:
        found = distinct.setdefault(device, [])
        if not any(
            same_room((room.size_bytes, room.used_bytes), (one.size_bytes, one.used_bytes))
            for one in found
        ):
            found.append(room)
    assert total.size_bytes == sum(one.size_bytes for found in distinct.values() for one in found)
    assert total_capacity([*parts, parts[0]]).size_bytes == total.size_bytes


def test_what_was_written_between_two_df_makes_no_second_filesystem():
    rooms = [Capacity(10**15, used, 10**15 - used) for used in (6 * 10**14, 6 * 10**14 + 10**12)]
    assert total_capacity((1, room) for room in rooms) == rooms[0]


def test_an_unknown_capacity_makes_the_total_unknown():
    known = Capacity(10, 5, 5)
    assert total_capacity([(1, known), (1, None)]) == known
    assert total_capacity([(1, known), (2, None)]) is None
    assert not total_capacity([(1, known), (2, Capacity(0, 0, 0))]).has_size


def test_only_what_df_left_open_is_taken_from_the_mount_table():
    mount = Mount(1, "/", "/m", "btrfs", "/dev/sdb")
    subvolume = Capacity(3, 2, 1, source="-", fstype="-", target="/m/public")
    assert with_mount(subvolume, mount) == Capacity(
        3, 2, 1, source="/dev/sdb", fstype="btrfs", target="/m"
    )
    plain = Capacity(3, 2, 1, source="srv:/x", fstype="nfs4", target="/net")
    assert with_mount(plain, mount) == plain


# ---- real filesystems ----


@pytest.fixture
def mounted(tmp_path, as_root):
    """Mount with the options given, and unmount at the end."""
    place = tmp_path / "m"
    place.mkdir()

    def mount(*arguments):
        subprocess.run(["mount", *map(str, arguments), place], check=True, capture_output=True)
        return place

    yield mount
    subprocess.run(["umount", place], check=True)


@pytest.mark.case("F39")
async def test_btrfs_subvolumes_are_one_filesystem(tmp_path, mounted):
    if "btrfs" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no btrfs")  # no CI can help that
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 200 * 2**20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
    place = mounted("-o", "loop", image)
    for name in ("public", "proprietary"):
        subprocess.run(["btrfs", "-q", "subvolume", "create", place / name], check=True)
        (place / name / "a.fits").write_text("x")
    os.sync()
    config = config_for(tmp_path, place)
    outcome = await run(config, with_report=False)
    total = outcome.snapshot.area("archive", "all").capacity
    assert total.size_bytes == os.statvfs(place).f_blocks * os.statvfs(place).f_frsize
    assert (total.fstype, total.target) == ("btrfs", str(place))
    [one] = filesystems(await history_of(config))
    assert one.name == str(place) and "archive proprietary" in one.remark
    assert one.used[-1] + one.available[-1] < 1.01 * total.size_bytes / TIB_BYTES


@pytest.mark.case("F40")
async def test_directories_with_quotas_are_each_reported_and_added(tmp_path, monkeypatch):
    rooms = {"public": (40, 30, 10), "proprietary": (10, 9, 1)}
    make_tree(tmp_path / "a", {name: {"f": 1} for name in rooms})
    rows = "\n".join(
        f"*/{name}) echo '{' '.join(str(n * TIB_BYTES) for n in room)}"
        f" 1000 1 999 nfs4 srv:/data      {tmp_path}';;"
        for name, room in rooms.items()
    )
    # df pads the source to the width of its heading
    header = "1B-blocks Used Avail Inodes IUsed IFree Type Filesystem     Mounted on"
    script = tmp_path / "df"
    script.write_text(
        f'#!/bin/sh\neval "path=\\${{$#}}"\necho "{header}"\ncase "$path" in\n{rows}\nesac\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(job, "capacity", partial(df.capacity, df_paths=(str(script),)))
    config = config_for(tmp_path, tmp_path / "a")
    outcome = await run(config, with_report=False)
    sizes = {a.name: a.capacity.size_bytes // TIB_BYTES for a in outcome.snapshot.areas}
    assert sizes == {"all": 50, "public": 40, "proprietary": 10}
    found = filesystems(await history_of(config))
    assert {(round(one.limit), round(one.used[-1])) for one in found} == {(40, 30), (10, 9)}
    assert all("(archive " in one.name for one in found)
    verdict = judge(await gather(config.database_url), Thresholds(min_free_percent=(20, 15)))
    [line] = [one.text for one in verdict.findings if one.level is Level.CRITICAL]
    assert line.startswith("archive/proprietary 10.0 % free")


@pytest.mark.case("F41")
async def test_a_filesystem_that_reports_no_size_is_never_full(tmp_path, mounted):
    place = mounted("-t", "tmpfs", "-o", "size=0", "tmpfs")
    (place / "a.fits").write_text("x")
    config = config_for(tmp_path, place)
    outcome = await run(config, with_report=False)
    assert outcome.snapshot.status == "complete"
    assert run_object(outcome)["areas"][0]["capacity"]["size_bytes"] is None
    evidence = await gather(config.database_url)
    limits = Thresholds(min_free_percent=(10, 5), min_days_until_full=(90, 30))
    assert evidence.days_until_full("archive") is None
    assert judge(evidence, limits).level is Level.OK
    assert "filesystem_size_bytes" not in await metrics_text(config)
    history = await history_of(config)
    assert history.general.used == [None] and filesystems(history) == []
    [point] = (await series(config.database_url)).points
    assert point.available_bytes is None and point.files == 1


async def test_a_size_of_0_that_an_older_version_stored_is_unknown_too(tmp_path):
    config = config_for(tmp_path, tmp_path)
    room = Capacity(5, 3, 2, target="/m")
    async with open_store(config.database_url) as store:
        for day in range(3):
            await store.record(make_snapshot(day, make_area(capacity=room)))
    import sqlite3

    connection = sqlite3.connect(config.database_url.removeprefix("sqlite:///"))
    with connection:
        connection.execute("UPDATE filesystem_general SET used = 0, available = 0")
        connection.execute("UPDATE scan_area SET size_bytes=0, used_bytes=0, available_bytes=0")
    connection.close()
    evidence = await gather(config.database_url)
    assert evidence.days_until_full("archive") is None
    assert evidence.runs[0].areas[0].available_bytes is None
    assert filesystems(await history_of(config)) == []


def test_a_limit_of_0_is_not_reached():
    assert reached(None, 0, 0) is None


# ---- sums beyond what databases take ----


async def test_a_sum_beyond_what_a_database_takes_is_reported_where_it_is_shown(tmp_path, mounted):
    place = mounted("-t", "tmpfs", "tmpfs")
    for number in range(3):
        (place / f"f{number}").touch()
        os.truncate(place / f"f{number}", 2**62)
    config = config_for(tmp_path, place)
    outcome = await run(config, with_report=False)
    [warning] = [one for one in outcome.warnings if "beyond 2**63 - 1" in one]
    assert warning.startswith("archive: apparent_bytes ")
    found = status_object(await status(config.database_url, 1))
    assert found["runs"][0]["totals"][0]["capped"] is True
    found = history_object(await series(config.database_url))
    assert found["points"][0]["capped"] is True
    assert json.dumps(run_object(outcome)).count(str(3 * 2**62))
    assert format_bytes(MAX_BYTES) == "8 EiB or more"


async def test_growth_of_a_capped_sum_is_not_exact(tmp_path):
    from jwqlscan.operations.views import compare_runs
    from tests.store.test_insight import looked

    config = config_for(tmp_path, tmp_path)
    async with open_store(config.database_url) as store:
        for day, size in enumerate((1, 2**64)):
            tally = looked()
            for cell in tally.cube.cells.values():
                cell[1] = size
            await store.record(make_snapshot(day, make_area(tally=tally)))
    found = await compare_runs(config.database_url, "last", "owner")
    assert not found.exact and not any(row.exact for row in found.rows)
    assert "2**63" in found.notes[-1]


async def test_the_warning_of_capped_sums_names_each_group_once():
    from jwqlscan.model.capped_sums import capped_warnings

    tally = make_tally(apparent_bytes=2**63)
    areas = [make_area(name=name, tally=tally) for name in ("all", "public")]
    assert len(capped_warnings(areas)) == 1
    assert capped_warnings([make_area()]) == []
