"""`jwqlscan init`: a configuration from options, questions, or JWQL's own."""

import json
import os
import pty
import stat
import subprocess
import sys
import tomllib
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwqlscan.config.from_jwql import _from_connection_string, _from_parts
from jwqlscan.config.loader import load_config
from jwqlscan.config.template import EXAMPLE, commented
from jwqlscan.store.dsn import redacted
from tests.store.test_jwql import connected
from tests.support import ROOT

JWQL = {
    "admin_account": "x",
    "connection_string": "postgresql+psycopg2://jwql:s3cr%40t@db:5432/jwqldb",
    "database": {"engine": "postgresql", "name": "other", "host": "elsewhere"},
    "filesystem": "/data/jwst/",
    "jwql_dir": "/data/central",
    "log_dir": "/data/central/logs",
    "mast_token": "t0ken",
    "outputs": "/data/central/outputs",
    "preview_image_filesystem": "/data/previews",
    "thumbnail_filesystem": "",
    "working": "/scratch/working",
}


def jwqlscan(*arguments, cwd, **options):
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def init(tmp_path, *arguments):
    return jwqlscan("init", *arguments, cwd=tmp_path, stdin=subprocess.DEVNULL)


def from_jwql(tmp_path, config):
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return init(tmp_path, "--from-jwql", "config.json", "-c", "c.toml")


def unexpected(done):
    """Return the lines of standard error that no directory of another host explains."""
    expected = ("No such file or directory; mount or make it", "can read the report there")
    return [line for line in done.stderr.splitlines() if not any(e in line for e in expected)]


def test_the_package_has_the_example_that_is_in_the_repository():
    inside = ROOT / "jwqlscan/config" / EXAMPLE
    assert inside.is_symlink() and inside.samefile(ROOT / EXAMPLE)
    assert commented({}) == (ROOT / EXAMPLE).read_text(encoding="utf-8")


def test_every_key_of_the_example_can_be_set():
    section = ""
    for line in commented({}).splitlines():
        text = line.removeprefix("# ")
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1] if text == line else ""  # a table that is an example
        elif section and " = " in text and text.split(" = ")[0].isidentifier():
            name = f"{section}.{text.split(' = ')[0]}"
            value = tomllib.loads(commented({name: "some value"}))
            for part in name.split("."):
                value = value[part]
            assert value == "some value"


def test_options_make_a_private_file_with_all_comments(tmp_path):
    (tmp_path / "data").mkdir()
    done = init(tmp_path, "--archive", "data", "--database", "sqlite:///s.db")
    file = tmp_path / ".config/jwqlscan/config.toml"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"written: {file}", "next: jwqlscan doctor"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    comments = [line for line in commented({}).splitlines() if " = " not in line]
    assert set(comments) <= set(file.read_text().splitlines())
    config = load_config(str(file))
    assert config.archive_path == str(tmp_path / "data")  # from where it was said
    assert config.database_url == f"sqlite:///{tmp_path}/s.db"
    assert config.central_path is None
    assert config.state_path == str(tmp_path / ".local/share/jwqlscan")
    assert tomllib.loads(file.read_text())["state"]["path"] == config.state_path  # for cron too


def test_a_file_that_is_there_is_never_touched(tmp_path):
    (tmp_path / "c.toml").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("c.toml", "dangling"):
        done = init(tmp_path, "--archive", "data", "-c", name)
        assert (done.returncode, done.stdout) == (2, "")
        assert "is there already and stays as it is" in done.stderr
    assert (tmp_path / "c.toml").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["c.toml", "dangling"]


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "new\nline", "\x7f", "ü 中", "#[x]='"])
def test_a_hostile_name_comes_back_as_it_was(tmp_path, name):
    done = init(tmp_path, "--central", name, "-c", "c.toml")
    assert done.returncode == 0
    assert load_config(str(tmp_path / "c.toml")).central_path == str(tmp_path / name)


@pytest.mark.parametrize(
    "arguments",
    [
        (),  # no terminal to ask at
        ("--archive", b"\xff"),
        ("--archive", "a", "--database", "mysql://x"),
        ("--archive", "a", "--database", "postgresql://u:s3cr3t@h/d"),
        ("--archive", "a", "-c", "/proc/c.toml"),
        ("--from-jwql", "missing.json"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, arguments):
    words = [os.fsdecode(word) if isinstance(word, bytes) else word for word in arguments]
    done = init(tmp_path, *words)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "s3cr3t" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_jwql_says_is_taken_over(tmp_path):
    done = from_jwql(tmp_path, JWQL)
    assert (done.returncode, unexpected(done)) == (0, [])
    config = load_config(str(tmp_path / "c.toml"))
    assert config.archive_path == "/data/jwst" and config.central_path == "/data/central"
    assert {area.name: area.path for area in config.central_areas} == {
        "all": "/data/central",
        "logs": "/data/central/logs",
        "outputs": "/data/central/outputs",
        "preview_images": "/data/previews",
        "working": "/scratch/working",
    }
    assert config.database_url == "postgresql://jwql:s3cr%40t@db:5432/jwqldb"
    assert config.outputs.directory == "/data/central/outputs"
    assert config.outputs.allow_inside  # it is inside what is measured, as it always was
    assert config.log_path == "/data/central/logs"
    assert config.scan.follow_file_symlinks  # as JWQL does
    assert "t0ken" not in (tmp_path / "c.toml").read_text()
    assert "s3cr" not in done.stdout


def test_the_parts_of_a_database_make_a_url(tmp_path):
    parts = {"name": "jwql db", "user": "u@x", "password": "p:/@", "host": "::1", "port": 5433}
    from_jwql(tmp_path, {"filesystem": "/data", "database": parts})
    url = load_config(str(tmp_path / "c.toml")).database_url
    assert url == "postgresql://u%40x:p%3A%2F%40@[::1]:5433/jwql%20db"


PARTS = {"engine": "postgresql", "name": "d", "user": "u", "password": "p/s#s?", "host": "h"}
EMPTY = dict.fromkeys(PARTS, "") | {"port": ""}
DJANGO = {key.upper(): value for key, value in PARTS.items()} | {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": "newest",
    "PORT": "5433",
}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"databases": PARTS, "database": {**PARTS, "host": "old"}}, "h/d"),
        ({"databases": EMPTY, "database": {**PARTS, "host": "old"}}, "old/d"),
        ({"django_databases": {"default": EMPTY, "monitors": DJANGO}}, "newest:5433/d"),
        ({"django_databases": {"monitors": DJANGO}, "databases": PARTS}, "newest:5433/d"),
        ({"django_databases": {"default": DJANGO}, "databases": PARTS}, "h/d"),
        ({"connection_string": "", "databases": {**PARTS, "host": ""}}, "/d"),
        ({"databases": {**PARTS, "host": "/run/postgresql"}}, "%2Frun%2Fpostgresql/d"),
        ({"connection_string": "postgresql+psycopg2://u:p/s#s?@h:5432/d"}, "h:5432/d"),
        ({"connection_string": "postgresql://u:p%2Fs%23s%3F@h/d?sslmode=require"}, "h/d?sslmode=r"),
    ],
)
def test_a_database_is_read_from_every_key_that_jwql_had(tmp_path, keys, expected):
    done = from_jwql(tmp_path, {"filesystem": "/data", **keys})
    assert (done.returncode, unexpected(done)) == (0, [])
    url = load_config(str(tmp_path / "c.toml")).database_url
    assert url.startswith(f"postgresql://u:p%2Fs%23s%3F@{expected}")


def test_an_empty_configuration_of_jwql_names_no_database(tmp_path):
    django = {"default": EMPTY, "monitors": {key.upper(): "" for key in EMPTY}}
    keys = {"connection_string": "", "databases": EMPTY, "django_databases": django}
    done = from_jwql(tmp_path, {"filesystem": "/data", **keys})
    assert (done.returncode, unexpected(done)) == (0, [])
    url = load_config(str(tmp_path / "c.toml")).database_url
    assert url == f"sqlite:///{tmp_path}/.local/share/jwqlscan/jwqlscan.db"


HOSTILE = st.text(st.characters(codec="utf-8", exclude_characters="\0@"), max_size=12)


@given(user=HOSTILE, password=HOSTILE)
def test_a_login_of_any_characters_comes_back_out_of_the_url(user, password):
    url = _from_parts("f", "databases", {"user": user, "password": password, "name": "d"})
    assert redacted(url).startswith("postgresql://")
    parts = urlsplit(url)
    assert parts.path == "/d" and not parts.query and not parts.fragment
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (user, password)
    if ":" not in user and "%" not in user + password:  # which SQLAlchemy decodes
        login = f"{user}:{password}" if password else user
        text = f"postgresql+psycopg2://{login}@/d" if login else "postgresql+psycopg2:///d"
        assert _from_connection_string("f", text) == url


async def test_a_password_of_special_characters_reaches_the_server(tmp_path, pg_url):
    server = urlsplit(pg_url)
    async with connected(pg_url) as connection:
        await connection.execute("CREATE ROLE special LOGIN SUPERUSER PASSWORD 'p/s#s?'")
    try:
        where = f"{server.hostname}:{server.port}{server.path}"
        text = f"postgresql+psycopg2://special:p/s#s?@{where}"
        from_jwql(tmp_path, {"filesystem": "/data", "connection_string": text})
        url = load_config(str(tmp_path / "c.toml")).database_url
        async with connected(url) as connection:
            assert await connection.fetchval("SELECT current_user") == "special"
    finally:
        async with connected(pg_url) as connection:
            await connection.execute("DROP OWNED BY special; DROP ROLE special")


def test_options_come_before_what_jwql_says(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(JWQL))
    init(tmp_path, "--from-jwql", "config.json", "--archive", "/other", "-c", "c.toml")
    config = load_config(str(tmp_path / "c.toml"))
    assert (config.archive_path, config.central_path) == ("/other", "/data/central")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '"s3cr3t"',
        "[" * 100_000,
        '{"filesystem": 3}',
        '{"filesystem": "relative"}',
        '{"filesystem": "/a\\u0000b"}',
        '{"filesystem": "/\\udcff"}',
        '{"filesystem": "/a", "connection_string": "mysql://u:s3cr3t@h/d"}',
        '{"filesystem": "/a", "connection_string": ["s3cr3t"]}',
        '{"filesystem": "/a", "database": "s3cr3t"}',
        '{"filesystem": "/a", "database": {"host": 3}}',
        '{"filesystem": "/a", "databases": ["s3cr3t"]}',
        '{"filesystem": "/a", "django_databases": "s3cr3t"}',
        '{"filesystem": "/a", "django_databases": {"monitors": ["s3cr3t"]}}',
        '{"filesystem": "/a", "databases": {"engine": "mysql", "name": "d", "password": "s3cr3t"}}',
        '{"outputs": "/out"}',
    ],
)
def test_what_is_no_configuration_of_jwql_is_one_line(tmp_path, text):
    done = from_jwql(tmp_path, text)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "s3cr3t" not in done.stderr
    assert not (tmp_path / "c.toml").exists()


def at_a_terminal(tmp_path, answers, *arguments, stderr=subprocess.PIPE):
    """Run init with a terminal for its input, and answer its questions."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "jwqlscan", "init", "-c", "c.toml", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path,
        stdin=child,
        stdout=subprocess.PIPE,
        stderr=stderr or child,
        text=True,
        start_new_session=True,
    )
    os.close(child)
    os.write(parent, answers.encode())
    out, err = process.communicate(timeout=60)
    os.close(parent)
    return process.returncode, out, err


def test_questions_are_asked_at_a_terminal(tmp_path):
    (tmp_path / "archive").mkdir()
    code, out, err = at_a_terminal(tmp_path, f"{tmp_path}/archive\n\nout\n\n")
    assert code == 0, err
    written = tmp_path / "c.toml"
    assert out == f"written: {written}\nnext: jwqlscan doctor --config {written}\n"
    assert err.count(": ") == 4
    config = load_config(str(tmp_path / "c.toml"))
    assert config.archive_path == f"{tmp_path}/archive" and config.central_path is None
    assert config.outputs.directory == f"{tmp_path}/out"


@pytest.mark.parametrize("answers", ["\n\n", "/a\n\x04", "\x04"])
def test_without_answers_nothing_is_written(tmp_path, answers):
    code, out, err = at_a_terminal(tmp_path, answers)
    assert (code, out) == (2, "") and "nothing is written" in err.splitlines()[-1]
    assert not (tmp_path / "c.toml").exists()


@pytest.mark.parametrize(
    ("option", "name"), [("--archive", "none"), ("--central", "none"), ("--archive", "file")]
)
def test_a_directory_that_is_not_there_is_a_warning(tmp_path, option, name):
    (tmp_path / "file").write_text("")
    done = init(tmp_path, option, name, "-c", "c.toml")
    assert done.returncode == 0
    [warning] = done.stderr.splitlines()
    assert f"{option[2:]}.path: {tmp_path}/{name}: " in warning and "--force" in warning
    assert ("Not a directory" if name == "file" else "No such file or directory") in warning
    done = init(tmp_path, option, name, "-c", "d.toml", "--json")
    assert done.stderr == warning + "\n"
    assert json.loads(done.stdout)["warnings"] == [warning.removeprefix("jwqlscan: ")]


def test_outputs_below_a_directory_that_is_not_there_are_a_warning(tmp_path):
    done = init(tmp_path, "--archive", tmp_path, "--outputs", "no/where", "-c", "c.toml")
    [warning] = done.stderr.splitlines()
    assert f"outputs.path: {tmp_path}/no: No such file or directory" in warning


def test_every_directory_of_jwql_that_is_missing_is_a_warning_once(tmp_path):
    for name in ("archive", "central/preview", "web"):
        (tmp_path / name).mkdir(parents=True)
    said = {
        "filesystem": f"{tmp_path}/archive",
        "jwql_dir": f"{tmp_path}/central",
        "log_dir": f"{tmp_path}/central/logs",
        "outputs": f"{tmp_path}/web/outputs",
        "preview_image_filesystem": f"{tmp_path}/central/preview",
        "thumbnail_filesystem": f"{tmp_path}/elsewhere/thumbnails",
        "working": f"{tmp_path}/central/working",
    }
    (tmp_path / "config.json").write_text(json.dumps(said))
    done = init(tmp_path, "--from-jwql", "config.json", "-c", "c.toml")
    missing = {
        "logs": "central/logs",
        "outputs": "web/outputs",
        "thumbnails": "elsewhere/thumbnails",
        "working": "central/working",
    }
    expected = [
        f"jwqlscan: central.areas.{area}: {tmp_path}/{path}: No such file or directory; mount or"
        " make it before the first run, or correct the configuration: --force writes it again"
        for area, path in missing.items()
    ]
    warnings = [line for line in done.stderr.splitlines() if "outputs.mode" not in line]
    assert (done.returncode, warnings) == (0, expected)
    # What is within a directory that is missing is missing for that reason.
    (tmp_path / "central/preview").rmdir()
    (tmp_path / "central").rmdir()
    done = init(tmp_path, "--from-jwql", "config.json", "-c", "d.toml")
    keys = [line.split(": ")[1] for line in done.stderr.splitlines() if "No such" in line]
    assert keys == ["central.path", "central.areas.outputs", "central.areas.thumbnails"]


def test_force_replaces_a_file_that_is_there(tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "c.toml").write_text("mine")
    (tmp_path / "c.toml").chmod(0o666)
    done = init(tmp_path, "--archive", "archive", "-c", "c.toml", "--force")
    assert (done.returncode, done.stderr) == (0, "")
    assert load_config(str(tmp_path / "c.toml")).archive_path == str(tmp_path / "archive")
    assert stat.S_IMODE((tmp_path / "c.toml").stat().st_mode) == 0o600
    done = init(tmp_path, "--archive", "archive", "-c", "c.toml")
    assert done.returncode == 2 and "--force" in done.stderr


def test_what_force_can_not_replace_by_a_valid_file_stays(tmp_path):
    (tmp_path / "c.toml").write_text("mine")
    done = init(tmp_path, "--archive", "a", "--database", "mysql://x", "-c", "c.toml", "--force")
    assert done.returncode == 2
    assert (tmp_path / "c.toml").read_text() == "mine"


@pytest.mark.parametrize("outputs", ["/srv/report", "{home}/public_html/jwst", "/var/www/jwst"])
def test_a_report_that_no_web_server_could_read_is_a_warning(tmp_path, outputs):
    place = outputs.format(home=tmp_path)
    done = init(tmp_path, "--archive", tmp_path, "--outputs", place, "-c", "c.toml")
    assert done.returncode == 0
    warning = done.stderr.splitlines()[-1]
    assert f"outputs.path: {place}: only the user" in warning
    assert 'outputs.mode = "0644"' in warning
    assert load_config(str(tmp_path / "c.toml")).outputs.mode == 0o600


@pytest.mark.parametrize("outputs", ["out", ".local/share/jwqlscan/out"])
def test_a_report_in_the_home_of_the_user_is_no_warning(tmp_path, outputs):
    (tmp_path / ".local/share/jwqlscan").mkdir(parents=True)
    done = init(tmp_path, "--archive", tmp_path, "--outputs", outputs, "-c", "c.toml")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("answer", "mode"), [("y", 0o644), ("n", 0o600), ("", 0o600)])
def test_at_a_terminal_it_asks_who_may_read_the_report(tmp_path, answer, mode):
    options = ("--archive", tmp_path, "--outputs", "/srv")
    code, out, _ = at_a_terminal(tmp_path, f"{answer}\n", *options, stderr=None)
    assert code == 0 and out.startswith("written: ")
    assert load_config(str(tmp_path / "c.toml")).outputs.mode == mode
