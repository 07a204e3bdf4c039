"""Insight in both stores: what runs found comes back; what changed, in real runs too."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jwqlscan.config.loader import Overrides, load_config
from jwqlscan.errors import ConfigError
from jwqlscan.history.insight import GROWTH_BY
from jwqlscan.history.insight_queries import read_insight
from jwqlscan.history.rollups import PROJECTIONS, projection
from jwqlscan.model.cube import AGE_LABELS, CellKey, Cube, FileClass, Sum
from jwqlscan.model.directory_totals import Directories, DirectorySum
from jwqlscan.model.snapshot import Snapshot
from jwqlscan.operations import run as job
from jwqlscan.operations.run import run
from jwqlscan.operations.views import compare_runs
from jwqlscan.store import open_store
from tests.support.marks import STORES
from tests.support.snapshots import START, make_area, make_snapshot, make_tally
from tests.support.trees import make_tree

LONG = "x/" * 1500
HOSTILE = "bad\udcff\nname \u202e\u4e2d"


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store/jwqlscan.db"
    return request.getfixturevalue("pg_url")


def looked(scale=1, **programs):
    """Return a tally with a cube, programs and directories."""
    cube, tree = Cube(), Directories()
    cube.add(CellKey(FileClass("nircam", "cal"), 0, 0, 2, 40), 10 * scale, 1000 * scale, 4096)
    cube.add(CellKey(FileClass("", "log"), 2**31, -1, 8, 0), 5, 50, 512)
    for program, size in programs.items():
        cube.add_program(program.removeprefix("p"), 1, size)
    tree.upper[""] = DirectorySum(10 * scale + 5, 1000 * scale + 50, 4608, 10, 1000)
    tree.upper["a"] = DirectorySum(1, 1000 * scale, 0, 0, 0)
    tree.lower[f"a/{HOSTILE}"] = DirectorySum(1, 7, 0, 1, 7)
    tree.lower[f"a/{LONG}"] = DirectorySum(2**63 - 1, 2**63 - 1)
    return make_tally(cube=cube, tree=tree)


def snapshot(day, tally=None, **fields):
    return make_snapshot(day, make_area(tally=tally or looked(), **fields))


async def test_what_a_run_found_comes_back_safe_to_print(url):
    tally = looked(p01018=20, p02000=900)
    async with open_store(url) as store:
        assert (await read_insight(store)).empty
        await store.record(make_snapshot(0))  # one that did not look
        assert (await read_insight(store)).empty
        await store.record(snapshot(1, tally))
        insight = await read_insight(store)
    [area] = insight.areas
    assert (area.group, area.name, area.path) == ("archive", "all", "/archive/all")
    assert area.complete and area.date == START + timedelta(days=1)
    assert area.total == Sum(15, 1050, 4608)
    assert area.projections == {by: tuple(projection(tally.cube, by)) for by in PROJECTIONS}
    assert [row.label for row in area.projections["program"]] == ["02000", "01018"]
    paths = {one.path: one for one in area.directories}
    assert paths[""].sum == Sum(15, 1050, 4608) and paths[""].fits_files == 10
    assert paths["a"].sum.apparent_bytes == 1000
    assert paths[r"a/bad\xff\x0aname \u202e中"].sum == Sum(1, 7, 0)
    [cut] = [path for path in paths if path.startswith("a/x/x/")]
    assert len(cut) < 400 and paths[cut].sum.files == 2**63 - 1
    assert insight.growths == ()  # of one run there is none


async def test_runs_in_any_order_and_twice_give_the_same_growth(url):
    runs = [snapshot(day, looked(day + 1, p01018=day, p02000=7)) for day in range(9)]
    async with open_store(url) as store:
        for day in (4, 0, 8, 2, 1, 8, 7, 3, 5, 6, 4):
            await store.record(Snapshot.from_record(json.loads(json.dumps(runs[day].to_record()))))
        insight = await read_insight(store)
    assert {(one.by, one.window) for one in insight.growths} == {
        (by, window) for by in GROWTH_BY for window in ("last", "7d", "30d")
    }
    week = insight.growth("archive", "all", "program", "7d")
    assert (week.since, week.until) == (runs[1].timestamp, runs[8].timestamp)
    assert week.exact and not week.notes and week.changed == 2
    assert (week.before, week.after) == (Sum(25, 2050, 4608), Sum(95, 9050, 4608))
    [none, row] = week.rows
    assert (none.label, none.files_change, none.bytes_change) == ("(no program)", 70, 6993)
    assert (row.label, row.kind, row.before, row.after) == (
        "01018",
        "changed",
        Sum(1, 1),
        Sum(1, 8),
    )
    assert row.series == tuple(range(9)) and week.dates == tuple(r.timestamp for r in runs)
    last = insight.growth("archive", "all", "instrument", "last")
    assert [(r.label, r.files_change, r.bytes_change) for r in last.rows] == [("nircam", 10, 1000)]
    assert insight.growth("archive", "all", "owner", "last").rows[0].label == "root"


async def test_what_did_not_change_is_not_stored_again(url):
    async with open_store(url) as store:
        for day in range(5):
            await store.record(snapshot(day, looked(p01018=3)))
        for question, count in (("scan_value", 7), ("scan_series", 7), ("scan_insight", 5)):
            assert (await store.select(f"SELECT count(*) FROM {question}"))[0][0] == count


async def test_a_run_that_is_deleted_takes_its_own_insight_along_only(url):
    async with open_store(url) as store:
        for day in range(3):
            await store.record(snapshot(day, looked(day + 1)))
        await store.select("SELECT 1")
    date = f"{START + timedelta(days=1):%Y-%m-%d}"
    await execute(url, f"DELETE FROM scan_run WHERE CAST(date AS TEXT) LIKE '{date}%'")
    async with open_store(url) as store:
        last = (await read_insight(store)).growth("archive", "all", "extension", "last")
        assert last.since == START and last.before.files == 15 and last.after.files == 35
        count = "SELECT count(*) FROM scan_value"
        before = (await store.select(count))[0][0]
        assert await store.thin_insight(None) == 0
        assert (await store.select(count))[0][0] < before
        assert (await read_insight(store)).growth("archive", "all", "extension", "last") == last


async def execute(url, sql):
    if url.startswith("sqlite"):
        import sqlite3

        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.execute("PRAGMA foreign_keys = ON")
        with connection:
            connection.execute(sql)
        connection.close()
        return
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


async def test_old_insight_is_thinned_to_one_run_a_week(url):
    async with open_store(url) as store:
        for day in range(40):
            await store.record(snapshot(day, looked(day + 1)))
        whole = await read_insight(store)
        assert await store.thin_insight(START - timedelta(days=1)) == 0
        thinned = await store.thin_insight(START + timedelta(days=30))
        kept = (await store.select("SELECT count(*) FROM scan_insight"))[0][0]
        assert thinned + kept == 40 and 10 + 4 <= kept <= 10 + 6
        assert (await store.select("SELECT count(*) FROM scan_run"))[0][0] == 40
        insight = await read_insight(store)
        assert insight.areas == whole.areas
        assert insight.growth("archive", "all", "filetype", "last") is not None
        assert [[row.bytes_change for row in g.rows] for g in insight.growths[:6]] == [
            [row.bytes_change for row in g.rows] for g in whole.growths[:6]
        ]


async def test_a_user_with_the_rights_that_the_readme_names_can_store_it(pg_url):
    from urllib.parse import urlsplit, urlunsplit

    import asyncpg

    async with open_store(pg_url) as store:
        await store.record(snapshot(0))
    role = f"writer_{os.getpid()}"
    connection = await asyncpg.connect(pg_url)
    await connection.execute(f"""
        CREATE ROLE {role} LOGIN PASSWORD 'x';
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
        GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
        GRANT UPDATE, DELETE ON scan_value, scan_series, scan_insight TO {role};
    """)
    parts = urlsplit(pg_url)
    url = urlunsplit(parts._replace(netloc=f"{role}:x@{parts.hostname}:{parts.port}"))
    try:
        async with open_store(url) as store:
            for day in range(1, 12):
                await store.record(snapshot(day, looked(day)))
            assert await store.thin_insight(START + timedelta(days=11)) > 0
    finally:
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await connection.close()


async def test_growth_says_where_it_is_not_exact_and_why(url):
    first, second = looked(p01018=1), looked(2, p01018=5, p02000=9)
    first.cube.folded, first.tree.lower_dropped = {"programs": 3}, 4
    async with open_store(url) as store:
        await store.record(snapshot(0, first))
        newest = snapshot(1, second, state="partial")
        await store.record(replace(newest, suspicions=("fewer",), sample=True))
        insight = await read_insight(store)
    growth = insight.growth("archive", "all", "program", "last")
    assert not growth.exact and len(growth.notes) == 3
    assert [(row.label, row.kind, row.exact, row.bounds) for row in growth.rows] == [
        ("(no program)", "changed", False, None),
        ("02000", "added", False, None),
        ("01018", "changed", False, None),
    ]
    assert "3 smallest programs" in growth.notes[0] and "made up" in growth.notes[2]
    directories = insight.growth("archive", "all", "directory", "last")
    assert any("4 smallest directories, of up to 7 bytes" in note for note in directories.notes)
    assert insight.area("archive").complete is False


# ---- real runs ----


def config_for(tmp_path, **parts):
    lines = [f'[archive]\npath = "{tmp_path}/archive"', f'[state]\npath = "{tmp_path}/state"']
    lines += [f"[{table}]\n{text}" for table, text in parts.items()]
    (tmp_path / "config.toml").write_text("\n".join(lines) + "\n")
    return load_config(str(tmp_path / "config.toml"), Overrides())


def names(program, count, suffix="cal"):
    return {f"jw{program}001001_02101_{n:05}_nrca1_{suffix}.fits": 1000 for n in range(count)}


async def changes_of(config, by):
    found = await compare_runs(config.database_url, "last", by, top=99)
    return {row.label: (row.kind, row.files_change, row.bytes_change) for row in found.rows}, found


async def test_a_tree_changed_in_known_ways_grows_by_just_that(tmp_path):
    top = tmp_path / "archive"
    make_tree(
        top,
        {
            "jw01018": {"a": names("01018", 3), "b": {"old.jpg": 10}},
            "jw02000": {"a": names("02000", 5, "rate")},
            "jw03000": {"a": names("03000", 2)},
        },
    )
    config = config_for(tmp_path)
    await run(config, with_report=False)
    (top / "jw01018/a").rename(top / "jw01018/c")  # a directory of 3 files gets another name
    (top / "jw01018/b/new.jpg").write_bytes(b"x" * 500)
    (top / "jw01018/b/x.LOG").write_bytes(b"x" * 7)
    make_tree(top / "jw04000", names("04000", 4))
    (top / "jw03000/a" / min(names("03000", 1))).unlink()
    for path in (top / "jw02000/a").iterdir():
        os.chown(path, 12345, 54321)
        os.utime(path, (0, 0))
    await run(config, with_report=False)

    found, growth = await changes_of(config, "directory")
    assert growth.exact
    assert found == {
        "": ("changed", 5, 3507),
        "jw01018": ("changed", 2, 507),
        "jw01018/a": ("removed", -3, -3000),
        "jw01018/b": ("changed", 2, 507),
        "jw01018/c": ("added", 3, 3000),
        "jw03000": ("changed", -1, -1000),
        "jw03000/a": ("changed", -1, -1000),
        "jw04000": ("added", 4, 4000),
    }
    found, _ = await changes_of(config, "program")
    assert found == {
        "03000": ("changed", -1, -1000),
        "04000": ("added", 4, 4000),
        "(no program)": ("changed", 2, 507),
    }
    found, _ = await changes_of(config, "owner")
    assert found == {"root": ("changed", 0, -1493), "12345": ("added", 5, 5000)}
    found, _ = await changes_of(config, "extension")
    assert found == {
        "fits": ("changed", 3, 3000),
        "jpg": ("changed", 1, 500),
        "log": ("added", 1, 7),
    }
    found, _ = await changes_of(config, "filetype")
    assert found["cal"] == ("changed", 3, 3000) and "rate" not in found
    found, _ = await changes_of(config, "instrument")
    assert found["nircam"] == ("changed", 3, 3000)
    async with open_store(config.database_url) as store:
        [area] = (await read_insight(store)).areas[:1]
    ages = {row.label: row.sum.files for row in area.projections["age"]}
    assert ages[AGE_LABELS[8]] == 5  # those that were touched


async def test_a_series_leaves_out_what_an_incomplete_run_could_not_read(url):
    async with open_store(url) as store:
        for day, scale in enumerate((5, 1, 6, 7)):
            state = "partial" if scale == 1 else "complete"
            await store.record(snapshot(day, looked(scale), state=state))
    growth = await compare_runs(url, START, "extension")
    [row] = [row for row in growth.rows if row.label == "fits"]
    assert row.series == (5000, 6000, 7000)


async def test_a_run_that_could_not_read_everything_is_told_as_such(tmp_path):
    make_tree(tmp_path / "archive", {"jw01018": {"a": names("01018", 3)}, "b": {"x": 1}})
    config = config_for(tmp_path)
    await run(config, with_report=False)
    area = {"path": f"{tmp_path}/archive"}
    async with open_store(config.database_url) as store:
        tally = looked()
        tally.errors = {"permission": 1}
        broken = replace(make_area(tally=tally, state="partial"), **area)
        await store.record(make_snapshot(0, broken, timestamp=datetime.now(UTC)))
    growth = await compare_runs(config.database_url, "last", "directory")
    assert not growth.exact
    assert any("not complete" in note for note in growth.notes)


async def test_insight_can_be_turned_off_and_bounded(tmp_path):
    make_tree(tmp_path / "archive", {f"d{n}": {f"f.x{n}": n} for n in range(9)})
    config = config_for(tmp_path, insight="enabled = false")
    outcome = await run(config, with_report=False)
    assert not outcome.snapshot.areas[0].tally.cube and not outcome.snapshot.areas[0].tally.tree
    with pytest.raises(ConfigError, match="two runs, and there are none that kept insight"):
        await compare_runs(config.database_url, "last", "owner")
    config = config_for(tmp_path, insight="max_extensions = 3\nmax_directories = 4")
    await run(config, with_report=False)
    async with open_store(config.database_url) as store:
        [area] = (await read_insight(store)).areas[:1]
    assert area.folded == {"classes": 6, "directories": 6}
    assert [row.label for row in area.projections["extension"]] == ["(other)", "x8", "x7", "x6"]
    assert [one.path for one in area.directories] == ["", "d8", "d7", "d6"]


async def test_a_run_thins_old_insight_if_asked(tmp_path):
    make_tree(tmp_path / "archive", {"f": 1})
    config = config_for(tmp_path, insight='thin_after = "30d"')
    async with open_store(config.database_url) as store:
        for day in (*range(21), *range(80, 93)):
            await store.record(snapshot(day))
    outcome = await run(config, with_report=False, allow_drop=True)
    assert outcome.exit_code == 0 and not outcome.warnings
    async with open_store(config.database_url) as store:
        kept = (await store.select("SELECT count(*) FROM scan_insight"))[0][0]
    assert 17 <= kept <= 18  # of three weeks or a part of a fourth, 13 days, and of today


async def test_a_clock_that_is_years_ahead_thins_nothing_that_is_current(tmp_path, monkeypatch):
    make_tree(tmp_path / "archive", {"f": 1})
    config = config_for(tmp_path, insight='thin_after = "30d"')
    async with open_store(config.database_url) as store:
        for day in range(21):
            await store.record(snapshot(day))

    class Ahead(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime(2036, 6, 1, tzinfo=UTC)

    monkeypatch.setattr(job, "datetime", Ahead)
    await run(config, with_report=False, allow_drop=True)
    async with open_store(config.database_url) as store:
        assert (await store.select("SELECT count(*) FROM scan_insight"))[0][0] == 22


def jwqlscan(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", *arguments], capture_output=True, text=True
    )


async def test_growth_is_printed_for_people_and_for_programs(tmp_path):
    config = config_for(tmp_path)
    async with open_store(config.database_url) as store:
        for day in range(9):
            await store.record(snapshot(day, looked(day + 1, p01018=day)))
    options = ["growth", "-c", str(tmp_path / "config.toml")]
    done = jwqlscan(*options, "--by", "program", "--since", "7d")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "archive from 2026-03-02 03:17 to 2026-03-09 03:17 UTC: +70 files, +6.84 KiB"
    assert lines[2].split() == ["program", "files", "change", "size", "change", "trend"]
    assert lines[4].split()[:6] == ["01018", "1", "8", "B", "+7", "B"]
    found = json.loads(jwqlscan(*options, "--since", "2026-03-01", "--json").stdout)
    assert (found["area"], found["by"], found["exact"]) == ("archive", "directory", True)
    assert found["since"] == START.isoformat() and found["changed"] == 2
    assert found["rows"][0]["apparent_bytes_change"] == 8000
    for arguments, words in (
        (["--since", "frog"], "neither last, nor a date"),
        (["--since", "2099-01-01"], "no run is newer than 2099-01-01"),
        (["--area", "archive/nowhere"], "no run looked into archive/nowhere; there are archive"),
        (["--by", "colour"], "'colour' is not one of"),
    ):
        done = jwqlscan(*options, *arguments)
        assert done.returncode == 2
        assert words in " ".join(done.stderr.replace("│", "").split())
    assert "Traceback" not in done.stderr
