"""What `--json` prints, against the schemas in the package, for every command."""

import json
import os
import socket
import subprocess
import sys
from datetime import datetime
from importlib.resources import files

import anyio
import pytest
from jsonschema import Draft202012Validator
from typer.main import get_command

from jwqlscan.cli.app import app
from jwqlscan.store import open_store, spool
from tests.support.snapshots import make_snapshot

SCHEMAS = files("jwqlscan.output") / "schemas"
CAL = "jw01018001001_02101_00001_nrcb4_cal.fits"
OWN_FORMAT = {"metrics", "help"}  # Prometheus' own, and Markdown


def commands(group=None, before=()):
    """Yield every command's words, with what Typer knows of it."""
    group = group or get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


COMMANDS = dict(commands())


def schema(words):
    return json.loads((SCHEMAS / f"{'-'.join(words)}.json").read_text(encoding="utf-8"))


def strict(part):
    """Return a schema that allows no field it does not name: what is printed must be described."""
    if isinstance(part, list):
        return [strict(one) for one in part]
    if not isinstance(part, dict):
        return part
    made = {key: strict(value) for key, value in part.items()}
    if "properties" in made and "type" in made:
        made.setdefault("additionalProperties", False)
    return made


def jwqlscan(*arguments, home, **env):
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), **env},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )


def validated(words, *arguments, home, code=0, **env):
    done = jwqlscan(*words, "--json", *arguments, home=home, **env)
    assert done.returncode == code, done.stderr
    printed = json.loads(done.stdout)
    assert len(done.stdout.splitlines()) == 1
    checker = Draft202012Validator(
        strict(schema(words)), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    assert [error.message for error in checker.iter_errors(printed)] == []
    return printed


@pytest.fixture
def home(tmp_path):
    """A home with an archive, hostile names in it, and a configuration."""
    for place in (b"archive/public", b"archive/public/\xff\x1b", b"central/logs"):
        os.makedirs(os.fsencode(tmp_path) + b"/" + place)
    for name in (f"archive/public/{CAL}", "archive/public/x.fits", "central/logs/l"):
        (tmp_path / name).write_text("x")
    (tmp_path / "archive/public/link").symlink_to("x")
    place = tmp_path / ".config/jwqlscan"
    place.mkdir(parents=True)
    (place / "config.toml").write_text(
        f"[archive]\npath = '{tmp_path}/archive'\n[central]\npath = '{tmp_path}/central'\n"
        "[central.areas]\nlogs = 'logs'\n"
    )
    return tmp_path


def test_every_command_that_reports_has_json_and_a_schema():
    with_json = {words for words, command in COMMANDS.items() if "json" in names(command)}
    assert with_json == set(COMMANDS) - {(word,) for word in OWN_FORMAT}
    assert {"-".join(words) for words in with_json} == {
        file.name.removesuffix(".json") for file in SCHEMAS.iterdir()
    }


def names(command):
    return {parameter.name for parameter in command.params}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_speaks_alike(words):
    assert {"debug", "log_format"} <= names(COMMANDS[words])


@pytest.mark.parametrize("file", sorted(SCHEMAS.iterdir(), key=str), ids=lambda file: file.name)
def test_schemas_are_schemas_and_allow_what_later_versions_add(file):
    text = file.read_text(encoding="utf-8")
    Draft202012Validator.check_schema(json.loads(text))
    assert '"additionalProperties": false' not in text


def undescribed(part, where=""):
    """Yield the fields of a schema that have no description, by their paths."""
    if isinstance(part, list):
        for one in part:
            yield from undescribed(one, where)
    elif isinstance(part, dict):
        for name, field in part.get("properties", {}).items():
            if not field.get("description"):
                yield f"{where}/{name}"
        for key, value in part.items():
            yield from undescribed(value, f"{where}/{key}")


@pytest.mark.parametrize("file", sorted(SCHEMAS.iterdir(), key=str), ids=lambda file: file.name)
def test_every_field_of_a_schema_is_described(file):
    assert list(undescribed(json.loads(file.read_text(encoding="utf-8")))) == []


def test_a_field_without_a_description_is_found_wherever_it_is():
    field = {"description": "", "items": {"properties": {"inner": {"type": "string"}}}}
    assert list(undescribed({"properties": {"outer": field}})) == [
        "/outer",
        "/properties/outer/items/inner",
    ]


def test_scan(home):
    validated(["scan"], home / "archive", home=home)
    by = "extension filetype instrument stage owner group program age size directory".split()
    options = [word for one in by for word in ("--by", one)]
    found = validated(["scan"], *options, home / "archive", home / "central", home=home)
    assert {f"by_{one}" for one in by} <= set(found["areas"][0])
    validated(["scan"], "--top", 3, home / "archive", home=home)


def test_scan_of_what_is_missing_and_of_names_that_are_not_utf_8(home):
    hostile = os.fsdecode(os.fsencode(home / "archive/public") + b"/\xff\x1b")
    found = validated(["scan"], hostile, home=home)
    assert "path_b64" in found["areas"][0]


def test_growth(home):
    validated(["run"], "--no-report", home=home)
    (home / "archive/public" / CAL.replace("nrcb4", "nrcb3")).write_text("xy")
    validated(["run"], "--no-report", home=home)
    for by in ("directory", "program", "filetype", "owner"):
        found = validated(["growth"], "--since", "last", "--by", by, home=home)
        assert found["exact"] and found["rows"] and found["changed"]


def test_run_status_history_report_and_check(home):
    run = validated(["run"], home=home)
    assert datetime.fromisoformat(run["timestamp"]).tzinfo is not None
    failing = {"JWQLSCAN_DATABASE": f"postgresql://u@127.0.0.1:{free_port()}/d"}
    assert validated(["run"], home=home, code=4, **failing)["exit_code"] == 4
    status = validated(["status"], home=home)
    assert status["runs"][0]["run_id"] == run["run_id"]
    assert len(validated(["history"], home=home)["points"]) == 1
    validated(["history"], "--area", "central/logs", home=home)
    validated(["history"], "--instrument", "nircam", home=home)
    validated(["report"], home=home)
    check = validated(["check"], "--timeout", "30s", home=home, code=check_code(home))
    assert check["line"].startswith(f"JWQLSCAN {check['level']} - ")


def check_code(home):
    """Return what `check` finds of this machine's disk."""
    return jwqlscan("check", home=home).returncode


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_nothing_stored_yet(home):
    jwqlscan("db", "migrate", home=home)
    assert validated(["status"], home=home)["runs"] == []
    assert validated(["check"], home=home, code=3)["level"] == "UNKNOWN"


def test_doctor_schedule_and_init(home):
    assert validated(["doctor"], home=home)["well"]
    assert set(validated(["schedule"], "--cron", home=home)["files"]) == {"crontab"}
    units = validated(["schedule"], "--systemd", home=home)["files"]
    assert set(units) == {"jwqlscan.service", "jwqlscan.timer"}
    new = home / "new.toml"
    made = validated(["init"], "--archive", "archive", "-c", new, home=home)
    assert (made["written"], made["set"]) == (str(new), ["archive.path"])


def test_bench(home):
    validated(["bench"], home / "archive", "--workers", "1,auto", "--rounds", 1, home=home)


def test_demo(home):
    made = validated(["demo"], home / "demo", home=home)
    assert os.path.exists(made["report"]) and os.path.exists(made["configuration"])


def test_db_flush_and_migrate(home):
    place = home / ".local/share/jwqlscan/spool"
    anyio.run(spool.put, str(place), make_snapshot(0))
    (place / "00.json").write_text("{")
    flushed = validated(["db", "flush"], home=home, code=3)
    assert flushed["stored"] == 1 and len(flushed["set_aside"]) == 1
    validated(["db", "migrate"], home=home)


def test_db_copy_import_and_prune(home, pg_url):
    validated(["run"], home=home)
    source = f"sqlite:///{home}/.local/share/jwqlscan/jwqlscan.db"
    copied = validated(["db", "copy"], source, f"sqlite:///{home}/c.db", home=home)
    assert copied["runs"] == 1
    validated(["db", "prune"], "--keep", "10y", "--dry-run", home=home)
    anyio.run(make_tables, pg_url)
    password = pg_url.split("//")[1].split(":")[1].split("@")[0]
    url = pg_url.replace(f":{password}@", "@")
    zone = ("--time-zone", "UTC")
    imported = validated(["db", "import-jwql"], url, *zone, home=home, PGPASSWORD=password)
    assert imported["runs"] == 0 and password not in str(imported)


async def make_tables(url):
    async with open_store(url):
        pass


def test_log_lines_are_json_with_the_runs_id(home):
    done = jwqlscan("run", "-v", "--no-report", "--log-format", "json", "--json", home=home)
    run_id = json.loads(done.stdout)["run_id"]
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {event["run_id"] for event in events} == {run_id}
    assert {"scanning", "storing"} <= {event["message"] for event in events}
    assert all(datetime.fromisoformat(event["time"]).tzinfo for event in events)
    assert {event["level"] for event in events} == {"info"}


def test_an_error_is_a_json_line_too(home):
    (home / ".config/jwqlscan/config.toml").write_text("[nonsense]\n")
    for arguments in (["run"], ["status"], ["db", "flush"]):
        done = jwqlscan(*arguments, home=home, JWQLSCAN_LOG_FORMAT="json")
        assert (done.returncode, done.stdout) == (2, "")
        [event] = map(json.loads, done.stderr.splitlines())
        assert event["level"] == "error" and "nonsense" in event["message"]
        assert ("run_id" in event) == (arguments == ["run"])
