"""Runs on a database with years of JWQL's history: what is compared, and what is reported once."""

import json
import os
import re

import anyio
import pytest

from jwqlscan.config.loader import Overrides, load_config
from jwqlscan.errors import LastingWarning
from jwqlscan.model.tally import Amount, Product
from jwqlscan.naming.jwst import DETECTORS, FILETYPES
from jwqlscan.operations.areas import link_warnings
from jwqlscan.operations.doctor import examine
from jwqlscan.settings import ScanSettings
from jwqlscan.state.reported_warnings import NAME, unreported
from jwqlscan.store import open_store
from tests.cli.test_run import write
from tests.cli.test_run_command import home, jwqlscan  # noqa: F401
from tests.store.test_invalid_rows import DATE_GAPS, NUMBER_GAPS
from tests.store.test_jwql import connected, jwql_url, query  # noqa: F401
from tests.support.snapshots import make_area, make_snapshot, make_tally


@pytest.fixture
def run(tmp_path, jwql_url, home):  # noqa: F811
    """Return what runs on the archive and the JWQL database, without a report."""
    for name in ("public", "proprietary"):
        (tmp_path / "archive" / name).mkdir(parents=True)
    environment = {**home, "JWQLSCAN_DATABASE": jwql_url}

    def run(*options):
        where = ("--archive", tmp_path / "archive")
        return jwqlscan("run", *where, "--no-report", *options, env=environment)

    return run


def fill(tmp_path, count, size=2**30):
    """Write sparse files, so that no byte count is far from JWQL's 1.5 TiB."""
    for number in range(count):
        write(tmp_path / "archive/public" / f"jw0101800100{number:04}.dat", size)


def link(tmp_path, count):
    (tmp_path / "elsewhere").mkdir()
    for number in range(count):
        (tmp_path / f"elsewhere/{number}").write_text("x")
        (tmp_path / f"archive/public/{number}").symlink_to(tmp_path / f"elsewhere/{number}")


async def execute(url, sql):
    async with connected(url) as connection:
        await connection.execute(sql)


async def test_the_first_run_refuses_an_archive_that_was_emptied(run, jwql_url):  # noqa: F811
    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert "no files, and JWQL's monitor counted 1,730 on 2025-12-31; nothing is" in done.stderr
    assert await query(jwql_url, "SELECT count(*) FROM scan_run") == [(0,)]
    assert run("--allow-empty").returncode == 0


def test_the_first_run_names_the_links_of_an_archive_of_links(run, tmp_path):
    link(tmp_path, 3)
    done = run()
    assert done.returncode == 1
    assert "no files but 3 symbolic links (links are counted apart; scan.follow" in done.stderr


@pytest.mark.case("P36")
def test_a_large_drop_from_what_jwql_counted_is_suspect_until_it_is_accepted(run, tmp_path):
    fill(tmp_path, 800, size=2**31)
    for _ in range(2):
        done = run()
        assert done.returncode == 3
        expected = (
            "suspect: archive all: 800 files where JWQL's monitor of 2025-12-31, which follows"
            " links, found 1,730, down by 53 %"
        )
        assert expected in done.stderr
    assert run("--allow-drop").returncode == 0
    assert run().returncode == 0


@pytest.mark.case("P36")
async def test_what_jwql_counted_twice_is_no_drop(run, tmp_path, jwql_url):  # noqa: F811
    moved = "UPDATE filesystem_general SET date = date - INTERVAL '4 years'"  # to the end of 2021
    await execute(jwql_url, moved)
    fill(tmp_path, 800, size=2**30)
    done = run()
    assert (done.returncode, done.stderr) == (0, "")


def test_links_that_jwql_followed_are_no_drop(run, tmp_path):
    fill(tmp_path, 10)
    link(tmp_path, 1600)
    done = run()
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert "archive: 1,600 symbolic links and 10 files: links are counted apart" in line
    assert run().stderr == ""


@pytest.mark.case("P30")
async def test_a_label_that_an_enum_lacks_is_reported_once(
    run,
    tmp_path,
    jwql_url,  # noqa: F811
):
    fill(tmp_path, 1000, size=2**31)
    for number in range(2):
        name = f"jw0101800100{number}_02101_00001_nrca1_calints.fits"
        write(tmp_path / "archive/public" / name, 10)
    first, second = run(), run("--json")
    assert (first.returncode, second.returncode) == (0, 0)
    [line] = first.stderr.splitlines()
    assert "1 row left out; ALTER TYPE filetype_enum ADD VALUE 'calints' would take it" in line
    assert second.stderr == ""
    assert any("calints" in warning for warning in json.loads(second.stdout)["warnings"])
    await execute(jwql_url, "ALTER TYPE filetype_enum ADD VALUE 'calints'")
    third = run()
    assert (third.returncode, third.stderr) == (0, "")
    state = tmp_path / "home/.local/share/jwqlscan"
    assert json.loads((state / NAME).read_text()) == []


@pytest.mark.case("P30")
async def test_what_doctor_prints_makes_jwqls_tables_take_every_product(
    tmp_path,
    jwql_url,  # noqa: F811
):
    (tmp_path / "c.toml").write_text(
        "[archive]\npath = 'a'\n[state]\npath = 's'\n[scan]\nextra_filetypes = ['x1d-new']\n"
    )
    config = load_config(str(tmp_path / "c.toml"), Overrides(database=jwql_url))
    products = {Product(name, word): Amount(1, 1) for name in DETECTORS for word in FILETYPES}
    products[Product("nircam", "x1d-new")] = Amount(1, 1)
    everything = make_area(tally=make_tally(products=products))

    async def looked_at():
        [found] = [one for one in await examine(config) if one.what == "JWQL's tables"]
        assert found.well
        return found.text

    text = await looked_at()
    assert "ALTER TYPE filetype_enum ADD VALUE 'mbsub'; ALTER TYPE" in text
    async with connected(jwql_url) as connection:
        for statement in text.partition("runs: ")[2].split("; "):
            await connection.execute(statement)
    assert await looked_at() == "take every product"
    async with open_store(jwql_url) as store:
        assert await store.record(make_snapshot(0, everything)) == []


@pytest.mark.case("P30")
async def test_rows_without_a_number_are_reported_once(run, tmp_path, jwql_url):  # noqa: F811
    fill(tmp_path, 1000, size=2**31)
    await execute(jwql_url, "UPDATE central_storage SET used = 'NaN' WHERE id = 5")
    await execute(jwql_url, "UPDATE monitor SET end_time = 'infinity' WHERE id = 7")
    done = run()
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "central_storage: rows with sizes that are no numbers (NaN, Infinity): 1" in lines[0]
    assert "monitor: rows with dates that are none" in lines[1]
    assert run().stderr == ""


@pytest.mark.case("P30")
async def test_every_command_works_beside_rows_without_a_number_or_a_date(
    tmp_path,
    jwql_url,  # noqa: F811
    home,  # noqa: F811
):
    (tmp_path / "archive/public").mkdir(parents=True)
    fill(tmp_path, 1000, size=2**31)
    await execute(jwql_url, NUMBER_GAPS + DATE_GAPS)
    environment = {**home, "JWQLSCAN_DATABASE": jwql_url}
    for number in range(2):
        done = jwqlscan("run", "--archive", tmp_path / "archive", env=environment)
        assert done.returncode == 0, done.stderr
        assert len(done.stderr.splitlines()) == (0 if number else 7)  # 3 tables, and 4 with dates
    for command in (
        *("status", "growth", "history", "history --area central", "history --filetype cal"),
        *("check", "metrics", "report", "db prune --keep 1y --dry-run"),
        *("history --format csv --since 10y", "history --format json --since 10y"),
    ):
        done = jwqlscan(*command.split(), env=environment, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert not re.search(r"(?i)\bnan\b|infinity", done.stdout), command


@pytest.mark.parametrize(
    ("files", "links", "follow", "expected"),
    [(0, 1, False, 1), (3, 4, False, 1), (4, 4, False, 0), (0, 0, False, 0), (0, 9, True, 0)],
)
def test_an_area_of_mostly_links_is_reported_unless_they_are_followed(
    files, links, follow, expected
):
    areas = [make_area(tally=make_tally(files, symlinks=links)), make_area("archive", "public")]
    found = link_warnings(areas, ScanSettings(follow_file_symlinks=follow))
    assert len(found) == expected


async def test_a_lasting_warning_is_given_again_once_its_cause_came_back(tmp_path):
    state = str(tmp_path)
    lasting, other = LastingWarning("2 rows left out of s2d"), "df: no answer"
    assert await unreported(state, [lasting, other, lasting]) == [lasting, other]
    more = LastingWarning("3 rows left out of s2d")
    assert await unreported(state, [more, other]) == [other]
    product = LastingWarning("3 rows left out of s3d")
    assert await unreported(state, [more, product]) == [product]
    assert await unreported(state, [], all_known=False) == []
    assert await unreported(state, [more, product]) == []
    assert await unreported(state, []) == []
    assert await unreported(state, [lasting]) == [lasting]


@pytest.mark.parametrize("content", ["", "{", "3", "[3, null]", "[" * 100_000, "\udcff"])
async def test_what_was_reported_may_be_any_damaged_file(tmp_path, content):
    path = tmp_path / NAME
    path.write_bytes(os.fsencode(content))
    assert await unreported(str(tmp_path), [LastingWarning("x")]) == ["x"]
    assert await unreported(str(tmp_path), [LastingWarning("x")]) == []


async def test_a_state_that_can_not_be_written_costs_repetition_only(tmp_path):
    missing = str(tmp_path / "missing")
    for _ in range(2):
        assert await unreported(missing, [LastingWarning("x"), "y"]) == ["x", "y"]


async def test_what_was_reported_may_be_a_pipe(tmp_path):
    os.mkfifo(tmp_path / NAME)
    with anyio.fail_after(60):
        assert await unreported(str(tmp_path), [LastingWarning("x")]) == ["x"]
