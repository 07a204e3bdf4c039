"""`status` and `history`, over both stores and as a user has them."""

import csv
import io
import json
import re
import subprocess
import sys
from datetime import timedelta

import asyncpg
import pytest

from jwqlscan.errors import ConfigError
from jwqlscan.operations.views import series, status
from jwqlscan.store import open_store
from tests.support.marks import STORES
from tests.support.snapshots import START, make_area, make_snapshot, make_tally

TIB = 2**40


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/s.db"
    return request.getfixturevalue("pg_url")


async def record(url, *snapshots):
    async with open_store(url) as store:
        for snapshot in snapshots:
            await store.record(snapshot)


def compare_runs(day, files, **fields):
    return make_snapshot(
        day,
        make_area(tally=make_tally(files)),
        make_area(name="public", tally=make_tally(files)),
        make_area("central", "all"),
        **fields,
    )


async def test_status_gives_the_newest_runs_first_with_what_changed(url):
    await record(url, compare_runs(0, 10), compare_runs(1, 15), compare_runs(2, 12))
    found = await status(url, 2, START + timedelta(days=3))
    assert [one.run.date for one in found.runs] == [
        START + timedelta(days=2),
        START + timedelta(days=1),
    ]
    assert [one.totals[0].files_change for one in found.runs] == [-3, 5]
    assert found.runs[0].age == timedelta(days=1)
    assert [total.area.label for total in found.runs[0].totals] == ["archive", "central"]


async def test_the_first_run_has_changed_since_nothing(url):
    await record(url, compare_runs(0, 10))
    [one] = (await status(url, 5)).runs
    assert one.totals[0].files_change is None


async def test_a_run_is_compared_with_the_complete_one_before_it(url):
    half_read = make_snapshot(1, make_area(tally=make_tally(3), state="partial"))
    await record(url, compare_runs(0, 10), half_read, compare_runs(2, 12))
    found = await status(url, 5)
    assert [one.totals[0].files_change for one in found.runs] == [2, -7, None]


async def test_a_run_that_failed_since_is_told(url):
    await record(url, compare_runs(0, 10), compare_runs(2, 12))
    async with open_store(url) as store:
        await store.record_failure(START + timedelta(days=1), START + timedelta(days=1), "")
    assert (await status(url, 5)).failed is None
    async with open_store(url) as store:
        await store.record_failure(START + timedelta(days=3), START + timedelta(days=3), "")
    assert (await status(url, 5)).failed.started == START + timedelta(days=3)


async def test_samples_are_no_runs(url):
    await record(url, compare_runs(0, 10, sample=True), compare_runs(1, 11))
    [one] = (await status(url, 5)).runs
    assert one.totals[0].area.files == 11


async def test_an_incomplete_run_says_why(url):
    await record(url, make_snapshot(0, make_area(state="stalled", note="at /a/b")))
    [one] = (await status(url, 5)).runs
    assert not one.run.complete
    assert "stalled (at /a/b)" in one.run.incomplete_reasons[0]


async def test_an_empty_store_has_no_runs(url):
    async with open_store(url):  # made, as by `jwqlscan db migrate`
        pass
    assert (await status(url, 5)).runs == ()
    assert (await series(url)).points == ()


@pytest.mark.parametrize(
    "command", ["status", "history", "check", "metrics", "growth", "report", "db prune --keep 1y"]
)
def test_each_command_that_reads_a_file_that_is_missing_says_so_and_makes_none(tmp_path, command):
    file = tmp_path / "s.db"  # made by a monitoring user, no run could write to it
    done = jwqlscan(*command.split(), "--database", f"sqlite:///{file}", HOME=str(tmp_path))
    line = f"sqlite:///{file}: is not there: check the path, the first `jwqlscan run` makes it\n"
    if command == "check":
        assert (done.returncode, done.stdout) == (3, f"JWQLSCAN UNKNOWN - {line}")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"jwqlscan: {line}")
    assert not file.exists()


async def test_the_archives_history_is_in_bytes(url):
    await record(url, compare_runs(0, 10), compare_runs(1, 15))
    points = (await series(url)).points
    assert [(p.files, p.bytes, p.fits_files) for p in points] == [
        (10, 2 * TIB, 7),
        (15, 2 * TIB, 7),
    ]
    assert [p.status for p in points] == ["complete", "complete"]


async def test_history_begins_when_it_is_asked_to(url):
    await record(url, compare_runs(0, 10), compare_runs(1, 15))
    points = (await series(url, since=START + timedelta(hours=1))).points
    assert [p.files for p in points] == [15]


async def test_history_of_an_area_of_central_storage(url):
    await record(url, make_snapshot(0))
    [point] = (await series(url, "central/logs")).points
    assert point.bytes == 2**38
    assert point.files is None


async def test_history_of_an_area_of_the_archive(url):
    await record(url, compare_runs(0, 10))
    [point] = (await series(url, "archive/public")).points
    assert point.files == 10


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("archive/pubic",), "no run measured archive/pubic; there are archive, archive/public"),
        (("central/log",), "no run measured central/log; there are archive, archive/public"),
        (("", "nircm"), "no instrument nircm is stored; there are"),
        (("", "NIRCam", "call"), "no filetype call is stored; there are"),
    ],
)
async def test_a_name_that_nothing_is_stored_of_is_told_with_those_there_are(url, asked, told):
    await record(url, make_snapshot(0))
    with pytest.raises(ConfigError, match=re.escape(told)):
        await series(url, *asked)


async def test_what_is_known_but_older_than_asked_for_is_no_mistake(url):
    await record(url, make_snapshot(0))
    for asked in ("archive/public", "central/logs"):
        assert (await series(url, asked, since=START + timedelta(days=1))).points == ()


async def test_history_of_a_filetype_sums_its_instruments(url):
    snapshot = make_snapshot(0)
    await record(url, snapshot)
    products = snapshot.areas[0].tally.products
    product, amount = next(iter(products.items()))
    [point] = (await series(url, "", product.instrument, product.filetype)).points
    assert (point.files, point.bytes) == (amount.count, amount.bytes)
    [point] = (await series(url, "", product.instrument)).points
    assert point.files == sum(
        other.count for key, other in products.items() if key.instrument == product.instrument
    )


async def test_samples_and_jwqls_own_rows_are_told_apart(url):
    await record(url, compare_runs(0, 10, sample=True))
    insert = (
        "INSERT INTO filesystem_general (date, total_file_count, total_file_size, fits_file_count,"
        " fits_file_size, used, available) VALUES ('2025-01-01T00:00:00.000000Z', 1, 1, 1, 1, 1, 1)"
    )
    if url.startswith("sqlite"):
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute(insert)
            connection.commit()
    else:
        connection = await asyncpg.connect(url)
        await connection.execute(insert)
        await connection.close()
    assert [p.status for p in (await series(url)).points] == ["", "sample"]


@pytest.mark.parametrize("area", ["nowhere", "archive/", "../x"])
async def test_an_area_of_no_group_is_refused(url, area):
    with pytest.raises(ConfigError, match="no area"):
        await series(url, area)


async def test_products_of_one_area_are_refused(url):
    with pytest.raises(ConfigError, match="whole archive"):
        await series(url, "central/logs", "nircam")


def jwqlscan(*arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", **env},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_status_prints_a_table_and_json(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    await record(url, compare_runs(0, 10), compare_runs(1, 15))
    done = jwqlscan("status", "--database", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2026-03-02 03:17 " in done.stdout and "+5" in done.stdout
    result = json.loads(jwqlscan("status", "--database", url, "--json").stdout)
    assert result["runs"][0]["totals"][0]["files_change"] == 5


@pytest.mark.case("S10")
async def test_history_prints_a_table_csv_and_json(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    await record(url, compare_runs(0, 10), compare_runs(1, 15))
    arguments = ("history", "--database", url, "--since", "100y")
    assert "2.00 TiB" in jwqlscan(*arguments).stdout
    rows = list(csv.DictReader(io.StringIO(jwqlscan(*arguments, "--format", "csv").stdout)))
    assert [row["files"] for row in rows] == ["10", "15"]
    points = json.loads(jwqlscan(*arguments, "--format", "json").stdout)["points"]
    assert [point["bytes"] for point in points] == [2 * TIB, 2 * TIB]


@pytest.mark.parametrize(
    "arguments",
    [
        ("history", "--area", "x"),
        ("history", "--since", "often"),
        ("history", "--since", "99999y"),
        ("history", "--format", "xml"),
        ("status", "-n", "0"),
    ],
)
def test_bad_input_exits_2(tmp_path, arguments):
    done = jwqlscan(*arguments, "--database", f"sqlite:///{tmp_path}/s.db")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
