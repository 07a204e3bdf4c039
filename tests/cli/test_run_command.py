"""`jwqlscan run`, `report` and `demo` as a user and cron have them: whole processes."""

import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from tests.cli.test_run import CAL, write

JWQLSCAN = [sys.executable, "-m", "jwqlscan"]


@pytest.fixture
def home(tmp_path):
    """An environment like cron's, with a home of its own."""
    (tmp_path / "home").mkdir()
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")}


@pytest.fixture
def archive(tmp_path):
    write(tmp_path / "archive/public/jw01018" / CAL, 4096)
    write(tmp_path / "archive/proprietary" / CAL, 4096)
    return tmp_path / "archive"


def jwqlscan(*arguments, env, cwd="/", **options):
    return subprocess.run(
        [*JWQLSCAN, *map(str, arguments)],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def test_a_run_with_an_archive_alone_works_and_is_silent(archive, home, tmp_path):
    done = jwqlscan("run", "--archive", archive, env=home)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    state = tmp_path / "home/.local/share/jwqlscan"
    assert (state / "jwqlscan.db").exists()
    assert (state / "outputs/monitor_filesystem/filesystem_monitor.html").exists()


def test_json_prints_the_snapshot_its_status_and_what_was_written(archive, home, tmp_path):
    out = tmp_path / "out"
    done = jwqlscan("run", "--archive", archive, "--outputs", out, "--json", env=home)
    result = json.loads(done.stdout)
    assert (result["status"], result["exit_code"]) == ("complete", 0)
    areas = {(area["group"], area["name"]): area for area in result["areas"]}
    assert areas["archive", "all"]["files"] == 2
    assert areas["archive", "public"]["by_product"] == [
        {"instrument": "nircam", "filetype": "cal", "count": 1, "bytes": 4096}
    ]
    assert result["written"][0] == str(out / "monitor_filesystem/filesystem_monitor.html")
    assert result["store"].startswith("sqlite:///")


def test_an_archive_with_names_of_its_own_gets_its_own_report(home, tmp_path):
    names = ("cam_p0001_7_raw.asdf", "cam_p0001_8_raw.asdf", "spec_p0002_7_cal.asdf", "x.asdf")
    for name in (*names, CAL):
        write(tmp_path / "archive" / name, 4096)
    (tmp_path / "c.toml").write_text(r"""
        [archive]
        path = "archive"
        [outputs]
        path = "out"
        [scan]
        scheme = "mine"
        [schemes.mine]
        endings = [".asdf"]
        patterns = ['(?P<instrument>[a-z]+)_(?P<program>p\d{4})_\d+_(?P<filetype>[a-z]+)']
        instruments = { cam = "camera", spec = "spectrograph" }
        """)
    done = jwqlscan("run", "-c", tmp_path / "c.toml", "--json", env=home)
    [area] = json.loads(done.stdout)["areas"]
    assert (area["files"], area["fits_files"], area["unrecognized"]["count"]) == (5, 4, 1)
    assert area["by_product"] == [
        {"instrument": "camera", "filetype": "raw", "count": 2, "bytes": 8192},
        {"instrument": "spectrograph", "filetype": "cal", "count": 1, "bytes": 4096},
    ]
    made = {path.name for path in (tmp_path / "out/monitor_filesystem").iterdir()}
    assert "camera_total_file_count_by_type_component.js" in made
    assert not {name for name in made if name.startswith(("fgs", "nircam"))}
    arguments = ("scan", tmp_path / "archive", "--scheme", "mine", "--by", "program", "--json")
    done = jwqlscan(*arguments, "-c", tmp_path / "c.toml", env=home)
    [area] = json.loads(done.stdout)["areas"]
    programs = [(row["program"], row["files"]) for row in area["by_program"]]
    assert programs == [("p0001", 2), ("p0002", 1)]


def test_a_configuration_file_is_found_and_flags_override_it(archive, home, tmp_path):
    place = tmp_path / "home/.config/jwqlscan"
    place.mkdir(parents=True)
    (place / "config.toml").write_text(f'[archive]\npath = "{archive}"\n[scan]\nworkers = 3\n')
    done = jwqlscan("run", "--no-report", "--json", env=home)
    assert json.loads(done.stdout)["workers"] == 3
    done = jwqlscan("run", "--no-report", "--json", env={**home, "JWQLSCAN_WORKERS": "4"})
    assert json.loads(done.stdout)["workers"] == 4
    done = jwqlscan(
        "run", "--no-report", "--json", "--workers", 5, env={**home, "JWQLSCAN_WORKERS": "4"}
    )
    assert json.loads(done.stdout)["workers"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "nothing to measure"),
        (["run", "-c", "/no/such.toml"], "/no/such.toml: No such file"),
        (["run", "--archive", "/no/such/archive"], "/no/such/archive (--archive)"),
        (
            ["run", "--archive", "/dev", "--database", "mysql://x"],
            "--database: the URL scheme mysql is not supported",
        ),
        (["report", "--since", "yesterday"], "not a duration"),
        (["run", "--workers", "0"], "--workers"),
        (["scan"], "DIR"),
    ],
)
def test_bad_input_is_told_and_exits_2(arguments, message, home):
    done = jwqlscan(*arguments, env=home)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_what_an_option_said_is_told_by_the_option_and_a_key_by_its_file(archive, home, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('archive.path = "/nowhere"\ncentral.path = "/nowhere"\n')
    done = jwqlscan("run", "-c", config, env=home)
    assert f"/nowhere (archive.path in {config})" in done.stderr
    done = jwqlscan("run", "-c", config, "--archive", archive, "--central", "/gone", env=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jwqlscan: /gone (--central): ")
    done = jwqlscan("run", "-c", config, env={**home, "JWQLSCAN_ARCHIVE": "/gone"})
    assert done.stderr.startswith("jwqlscan: /gone (JWQLSCAN_ARCHIVE): ")
    (archive / "public/out").mkdir()
    done = jwqlscan("run", "--archive", archive, "--outputs", archive / "public/out", env=home)
    assert "--outputs: " in done.stderr and f"is inside {archive}/public (--archive)" in done.stderr


def test_a_password_never_shows(archive, home):
    url = "postgresql://someone:s3cr3t@127.0.0.1:1/db"
    for flags in ([], ["-v"], ["--debug"]):
        done = jwqlscan("run", "--archive", archive, *flags, env={**home, "JWQLSCAN_DATABASE": url})
        assert done.returncode == 4
        assert "s3cr3t" not in done.stdout + done.stderr
        assert "127.0.0.1" in done.stderr


def test_a_database_that_is_down_is_reported_once_by_each_command(archive, home, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(
        f'archive.path = "{archive}"\ndatabase.url = "postgresql://u@127.0.0.1:1/d"\n'
    )
    config.chmod(0o600)
    for command, code in (("run", 4), ("run", 4), ("check", 1), ("status", 4), ("metrics", 4)):
        done = jwqlscan(command, "-c", config, env=home)
        assert (done.returncode, (done.stdout + done.stderr).count("Connection refused")) == (
            code,
            1,
        ), done


def test_a_log_file_is_written_when_configured_and_noted_in_the_store(archive, home, tmp_path):
    (tmp_path / "logs").mkdir()
    config = tmp_path / "c.toml"
    config.write_text(
        f'[archive]\npath = "{archive}"\n[log]\npath = "logs"\n'
        '[database]\nurl = "sqlite:///s.db"\n[df]\ntimeout = "0.000001s"\n'
    )
    done = jwqlscan("run", "-c", config, "--no-report", env=home)
    assert done.returncode == 3
    [log] = (tmp_path / "logs").iterdir()
    assert "capacity unknown" in log.read_text()
    connection = sqlite3.connect(tmp_path / "s.db")
    assert connection.execute("SELECT log_file FROM monitor").fetchall() == [(str(log),)]
    connection.close()


def test_verbose_logs_what_is_done(archive, home):
    done = jwqlscan("run", "--archive", archive, "--no-report", "-v", env=home)
    assert done.returncode == 0
    assert "scanning" in done.stderr and "storing" in done.stderr


def test_the_report_is_written_again_from_the_store(archive, home, tmp_path):
    jwqlscan("run", "--archive", archive, "--no-report", env=home)
    done = jwqlscan("report", "--since", "2y", env=home)
    assert done.returncode == 0
    assert os.path.exists(done.stdout.strip())


@pytest.mark.case("P06")
def test_an_interrupt_ends_the_run_and_leaves_no_lock(archive, home):
    for number in range(200):
        (archive / f"public/d{number}").mkdir()
    process = subprocess.Popen(
        [*JWQLSCAN, "run", "--archive", str(archive), "-v"],
        env=home,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        for line in process.stderr:  # the first log line: it is at work
            assert line
            break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert jwqlscan("run", "--archive", archive, "--no-report", env=home).returncode == 0


def test_the_version_names_readers_python_and_bokeh(home):
    done = jwqlscan("--version", env=home)
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("jwqlscan ", "scandir", "Python 3", "bokeh 3"))


def test_the_demo_runs_for_real_twice(home, tmp_path):
    first = jwqlscan("demo", tmp_path / "demo", env=home)
    assert first.returncode == 0, first.stderr
    page = first.stdout.splitlines()[-1].removeprefix("report: ")
    assert "<strong>Sample data.</strong>" in pathlib.Path(page).read_text(encoding="utf-8")
    connection = sqlite3.connect(tmp_path / "demo/jwqlscan.db")
    [(instruments,)] = connection.execute(
        "SELECT count(DISTINCT instrument) FROM filesystem_instrument"
    )
    real = connection.execute("SELECT count(*) FROM scan_run WHERE NOT sample").fetchone()
    connection.close()
    assert (instruments, real) == (5, (1,))
    again = jwqlscan("demo", tmp_path / "demo", env=home)
    assert again.returncode == 0, again.stderr


def test_the_demo_does_not_touch_a_directory_that_is_not_its_own(home, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious").write_text("x")
    done = jwqlscan("demo", tmp_path / "mine", env=home)
    assert done.returncode == 2
    assert os.listdir(tmp_path / "mine") == ["precious"]


@pytest.mark.case("P07")
def test_a_closed_output_is_quiet(archive, home):
    shell = f"{shutil.which('env')} {' '.join(JWQLSCAN)} scan {archive} --json | true"
    done = subprocess.run(["sh", "-c", shell], env=home, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_report_opens_the_page_if_asked(archive, home, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    env = {**home, "BROWSER": str(browser)}
    outputs = str(tmp_path / "out")
    done = jwqlscan("run", "--archive", str(archive), "--outputs", outputs, "--no-report", env=env)
    assert done.returncode == 0, done.stderr
    done = jwqlscan("report", "--outputs", outputs, "--open", env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opened").read_text() == pathlib.Path(done.stdout.strip()).as_uri()
