"""Years of JWQL's own rows, taken into a store of ours."""

import subprocess
from zoneinfo import ZoneInfo

import pytest

from jwqlscan.errors import ConfigError, StoreError
from jwqlscan.store import MONITOR_NAME, OLD_MONITOR_NAME, Tables, open_store
from jwqlscan.store.transfer.import_jwql import import_jwql, zone_of
from tests.store.test_copy import jwqlscan, told, without_password
from tests.store.test_jwql import DAYS, HISTORY, JWQL, connected, jwql_url, query  # noqa: F401
from tests.support import stores
from tests.support.snapshots import START, make_snapshot

NEW_YORK = ZoneInfo("America/New_York")
PRODUCT_ROWS = DAYS * 15


@pytest.fixture
def ours(tmp_path):
    return f"sqlite:///{tmp_path}/ours.db"


async def imported(url, target, zone=NEW_YORK):
    async with open_store(url, Tables.FOREIGN) as source, open_store(target) as store:
        done = await import_jwql(source, store, zone)
        return done, await stores.everything(store)


async def dates(url, values, target, zone=NEW_YORK):
    """Give JWQL rows of those local dates, in that order; return what they become."""
    async with connected(url) as connection:
        await connection.execute("TRUNCATE filesystem_general, filesystem_instrument")
        await connection.execute("TRUNCATE central_storage, monitor")
        for number, value in enumerate(values):
            await connection.execute(
                "INSERT INTO filesystem_general (date, total_file_count, total_file_size,"
                " fits_file_count, fits_file_size, used, available)"
                f" VALUES ('{value}', {number}, 1, 1, 1, 1, 1)"
            )
    done, rows = await imported(url, target, zone)
    rows = sorted(rows["filesystem_general"], key=lambda row: row[1])
    return [row[0].removesuffix(":00.000000Z") for row in rows], done.notes


async def test_years_are_taken_as_they_were_with_their_dates_in_utc(jwql_url, ours):  # noqa: F811
    before = await query(jwql_url, "SELECT relname FROM pg_class ORDER BY 1")
    done, rows = await imported(jwql_url, ours)
    assert await query(jwql_url, "SELECT relname FROM pg_class ORDER BY 1") == before
    assert done.rows == {
        "filesystem_general": DAYS,
        "filesystem_instrument": PRODUCT_ROWS,
        "central_storage": 2 * DAYS,
        "monitor": DAYS,
    }
    first, last = rows["filesystem_general"][0], rows["filesystem_general"][-1]
    assert first == ("2024-01-01T10:00:00.000000Z", 1000, 1.5, 900, 1.25, 2.0, 8.0)
    assert last[0] == "2025-12-31T10:00:00.000000Z"
    summer = [row[0] for row in rows["filesystem_general"] if "07-01" in row[0]]
    assert summer == ["2024-07-01T09:00:00.000000Z", "2025-07-01T09:00:00.000000Z"]
    assert ("2024-07-01T09:00:00.000000Z", "fgs", "cal", 182, 91.0) in rows["filesystem_instrument"]
    assert ("2024-07-01T09:00:00.000000Z", "all", 10.0, 0.5, 5.0) in rows["central_storage"]
    date = "2024-07-01T09:00:00.000000Z"
    assert ("dark_monitor", date, date, "SUCCESS", "dark.log") in rows["monitor"]
    assert any("from mid 2021 to January 2022" in note for note in done.notes)


async def test_taking_them_again_changes_nothing(jwql_url, ours):  # noqa: F811
    _, rows = await imported(jwql_url, ours)
    done, again = await imported(jwql_url, ours)
    assert (done.rows, again) == ({}, rows)
    assert done.present == PRODUCT_ROWS + 4 * DAYS
    async with connected(jwql_url) as connection:
        await connection.execute(
            "INSERT INTO central_storage (date, area, size, used, available)"
            " VALUES ('2026-01-01 05:00', 'all', 1, 2, 3)"
        )
    done, _ = await imported(jwql_url, ours)
    assert done.rows == {"central_storage": 1}


async def test_the_history_shows_them_beside_our_own_runs(jwql_url, ours):  # noqa: F811
    async with open_store(ours) as store:
        await store.record(make_snapshot())
    await imported(jwql_url, ours)
    async with open_store(ours) as store:
        history = await store.history()
    assert len(history.general.date) == DAYS + 1 and history.general.date[-1] == START


async def test_into_postgresql(jwql_url, ours, pg_server):  # noqa: F811
    from urllib.parse import urlsplit, urlunsplit

    async with connected(pg_server) as connection:
        await connection.execute("DROP DATABASE IF EXISTS imported")
        await connection.execute("CREATE DATABASE imported")
    target = urlunsplit(urlsplit(pg_server)._replace(path="/imported"))
    _, there = await imported(jwql_url, target)
    _, rows = await imported(jwql_url, ours)
    assert there == rows
    async with connected(pg_server) as connection:
        await connection.execute("DROP DATABASE imported WITH (FORCE)")


@pytest.mark.case("F35")
async def test_the_hour_that_comes_twice(jwql_url, ours):  # noqa: F811
    local = ["2024-11-02 01:30", "2024-11-03 00:59", "2024-11-03 01:30", "2024-11-03 01:10"]
    local += ["2024-11-03 01:40", "2024-11-03 02:00", "2025-11-02 01:10", "2025-11-03 01:10"]
    found, notes = await dates(jwql_url, local, ours)
    assert found == [
        *("2024-11-02T05:30", "2024-11-03T04:59", "2024-11-03T05:30", "2024-11-03T06:10"),
        *("2024-11-03T06:40", "2024-11-03T07:00", "2025-11-02T05:10", "2025-11-03T06:10"),
    ]
    [note] = [note for note in notes if "has twice" in note]
    assert note.startswith("4 dates") and "2024-11-03 01:10" in note


@pytest.mark.case("F35")
async def test_the_hour_that_does_not_exist(jwql_url, ours):  # noqa: F811
    local = ["2025-03-09 01:59", "2025-03-09 02:30", "2025-03-09 03:00"]
    found, notes = await dates(jwql_url, local, ours)
    assert found == ["2025-03-09T06:59", "2025-03-09T07:30", "2025-03-09T07:00"]
    [note] = [note for note in notes if "never had" in note]
    assert note.startswith("1 date lies in") and "2025-03-09 02:30" in note and "right zone" in note


async def test_in_utc_there_is_nothing_to_decide(jwql_url, ours):  # noqa: F811
    local = ["2025-03-09 02:30", "2024-11-03 01:30"]
    found, notes = await dates(jwql_url, local, ours, zone_of("UTC"))
    assert found == ["2025-03-09T02:30", "2024-11-03T01:30"]
    assert not [note for note in notes if "hour" in note]


async def test_monitors_that_run_side_by_side_do_not_turn_each_others_clock(
    jwql_url,  # noqa: F811
    ours,
):
    async with connected(jwql_url) as connection:
        await connection.execute("TRUNCATE monitor")
        for name, start, end in (
            ("a", "01:50", "01:55"),
            ("b", "01:10", "01:56"),
            ("a", "01:05", "01:06"),
        ):
            await connection.execute(
                "INSERT INTO monitor (monitor_name, start_time, end_time, log_file)"
                f" VALUES ('{name}', '2024-11-03 {start}', '2024-11-03 {end}', '')"
            )
    _, rows = await imported(jwql_url, ours)
    assert [(row[0], row[1][11:16], row[2][11:16]) for row in rows["monitor"]] == [
        ("a", "05:50", "05:55"),
        ("a", "06:05", "06:06"),
        ("b", "05:10", "05:56"),
    ]


async def test_rows_of_our_own_runs_are_utc_already_and_left_to_copy(jwql_url, ours):  # noqa: F811
    async with open_store(jwql_url) as store:
        await store.record(make_snapshot())
        await store.record_failure(START.replace(hour=9), START.replace(hour=10), "x.log")
    async with connected(jwql_url) as connection:  # as version 0.1.0 called its runs
        await connection.execute(
            f"UPDATE monitor SET monitor_name = '{OLD_MONITOR_NAME}' WHERE status = 'FAILURE'"
        )
    done, rows = await imported(jwql_url, ours)
    assert len(rows["filesystem_general"]) == len(rows["monitor"]) == DAYS
    assert any(note.startswith("7 rows of jwqlscan's own runs") for note in done.notes)


@pytest.mark.case("P36")
async def test_rows_of_jwqls_filesystem_monitor_are_taken_beside_our_own_runs(
    jwql_url,  # noqa: F811
    ours,
):
    async with open_store(jwql_url) as store:
        await store.record(make_snapshot())
    async with connected(jwql_url) as connection:  # JWQL goes on after our first run
        for status in ("SUCCESS", "FAILURE"):
            await connection.execute(
                "INSERT INTO monitor (monitor_name, start_time, end_time, status, log_file)"
                f" SELECT '{MONITOR_NAME}', start_time + INTERVAL '1 day', end_time, '{status}',"
                f" 'theirs' FROM monitor WHERE monitor_name = '{MONITOR_NAME}'"
                " AND log_file <> 'theirs'"
            )
    _, rows = await imported(jwql_url, ours)
    found = sorted((row[3], row[4]) for row in rows["monitor"] if row[0] == MONITOR_NAME)
    assert found == [("FAILURE", "theirs"), ("SUCCESS", "theirs")]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE filesystem_general SET total_file_count = 5 WHERE total_file_count = 1700",
        "INSERT INTO filesystem_instrument (date, instrument, filetype, count, size)"
        " SELECT date, instrument, filetype, count + 1, size FROM filesystem_instrument LIMIT 1",
    ],
)
async def test_a_conflict_is_one_line_and_changes_nothing(jwql_url, ours, change):  # noqa: F811
    async with connected(jwql_url) as connection:
        await connection.execute("DELETE FROM filesystem_general WHERE total_file_count < 1600")
    _, rows = await imported(jwql_url, ours)
    async with connected(jwql_url) as connection:
        await connection.execute(HISTORY.partition("INSERT INTO filesystem_instrument")[0])
        await connection.execute(
            "DELETE FROM filesystem_general a USING filesystem_general b"
            " WHERE a.date = b.date AND a.id > b.id"
        )
        await connection.execute(change)
    with pytest.raises(StoreError) as caught:
        await imported(jwql_url, ours)
    assert "\n" not in str(caught.value)
    async with open_store(ours) as store:
        assert await stores.everything(store) == rows


async def test_rows_that_are_there_twice_are_taken_once(jwql_url, ours):  # noqa: F811
    async with connected(jwql_url) as connection:
        await connection.execute(
            "INSERT INTO central_storage (date, area, size, used, available)"
            " SELECT date, area, size, used, available FROM central_storage"
        )
    _, rows = await imported(jwql_url, ours)
    assert len(rows["central_storage"]) == 2 * DAYS


async def test_numbers_that_are_none_cost_their_row_with_a_warning(jwql_url, ours):  # noqa: F811
    async with connected(jwql_url) as connection:
        await connection.execute("UPDATE filesystem_general SET used = 'NaN' WHERE id = 5")
    done, rows = await imported(jwql_url, ours)
    assert len(rows["filesystem_general"]) == DAYS - 1
    [warning] = done.warnings
    assert "used" in warning and "left out" in warning


async def test_a_table_that_is_missing_is_said(jwql_url, ours):  # noqa: F811
    async with connected(jwql_url) as connection:
        await connection.execute("DROP TABLE central_storage")
    done, _ = await imported(jwql_url, ours)
    assert "no table central_storage there" in done.notes


async def test_what_is_no_jwql_database_is_refused(pg_url, ours, jwql_url):  # noqa: F811
    async with connected(jwql_url) as connection:
        await connection.execute("DROP TABLE filesystem_general, filesystem_instrument")
        await connection.execute("DROP TABLE central_storage, monitor")
    with pytest.raises(StoreError, match="has no table"):
        await imported(pg_url, ours)


async def test_a_database_is_not_imported_into_itself(jwql_url):  # noqa: F811
    with pytest.raises(StoreError, match="used as they are"):
        await imported(jwql_url, jwql_url)


async def test_a_user_who_may_only_read_is_enough(jwql_url, ours):  # noqa: F811
    async with connected(jwql_url) as connection:
        name = f"reader_{jwql_url[-8:]}"
        await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
        await connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    try:
        reader = jwql_url.replace(jwql_url.split("@")[0], f"postgresql://{name}:x")
        done, _ = await imported(reader, ours)
        assert done.rows["filesystem_general"] == DAYS
    finally:
        async with connected(jwql_url) as connection:
            await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize("name", ["", "Mars/Base", "../etc/passwd", "America", "a\0b", "x" * 300])
def test_a_zone_that_is_none_is_told(name):
    with pytest.raises(ConfigError, match="no zone is called") as caught:
        zone_of(name)
    assert "\n" not in str(caught.value)


def command(*arguments, home, **environment):
    return jwqlscan("db", "import-jwql", *arguments, **{"HOME": str(home), **environment})


async def test_the_command_says_what_it_took_and_what_it_means(jwql_url, tmp_path):  # noqa: F811
    url, environment = without_password(jwql_url)
    done = command(url, "--time-zone", "America/New_York", home=tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert f"filesystem_instrument {PRODUCT_ROWS:,}" in lines[0]
    assert lines[1:] and all(line.startswith("note: ") for line in lines[1:])
    assert (tmp_path / ".local/share/jwqlscan/jwqlscan.db").exists()


def test_the_zone_has_to_be_said_and_to_exist(tmp_path):
    url = "postgresql://u@127.0.0.1:1/x"
    assert "--time-zone" in told(command(url, home=tmp_path), 2)
    done = command(url, "--time-zone", "Mars/Base", home=tmp_path)
    assert "Mars/Base" in told(done, 2)
    assert subprocess.run(["ls", "-A", tmp_path], capture_output=True).stdout == b""


@pytest.mark.case("S01")
def test_a_password_among_the_arguments_is_refused(tmp_path):
    done = command("postgresql://u:s3cret@h/x", "--time-zone", "UTC", home=tmp_path)
    assert "s3cret" not in told(done, 2)
