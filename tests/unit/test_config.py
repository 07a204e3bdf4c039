"""Configuration: every key, every wrong key, and who overrides whom."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jwqlscan.config.loader import DEFAULT_MAX_DROP_PERCENT, Config, Overrides, load_config
from jwqlscan.errors import ConfigError, ExitCode
from jwqlscan.model.directory_totals import NO_DIRECTORIES
from jwqlscan.settings import Area, Outputs, ScanOverrides, ScanSettings, Scheme
from jwqlscan.units import parse_duration
from tests.support import ROOT

EXAMPLE = ROOT / "config.example.toml"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for variable in [name for name in os.environ if name.startswith(("JWQLSCAN_", "XDG_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def load(tmp_path):
    def load(text: str, overrides: Overrides | None = None) -> Config:
        (tmp_path / "c.toml").write_text(text)
        (tmp_path / "c.toml").chmod(0o600)
        return load_config(str(tmp_path / "c.toml"), overrides)

    return load


def test_without_any_file_there_are_defaults(home):
    config = load_config()
    state = f"{home}/.local/share/jwqlscan"
    assert config == Config(
        file="",
        archive_path=None,
        archive_areas=None,
        central_path=None,
        central_areas=(),
        scan=ScanSettings(),
        database_url=f"sqlite:///{state}/jwqlscan.db",
        outputs=Outputs(f"{state}/outputs"),
        df_timeout_s=30.0,
        log_path=None,
        state_path=state,
    )
    assert config.source == ""


def test_every_key_is_taken(load, tmp_path):
    config = load("""
        [archive]
        path = "/a"
        areas = {public = "p", else = "/x/y"}
        [central]
        path = "/c"
        areas = {logs = "logs"}
        [scan]
        workers = 7
        reader = "scandir"
        exclude = ["*.tmp", "a/b"]
        snapshot_names = [".old"]
        one_file_system = true
        follow_file_symlinks = true
        extra_filetypes = ["new"]
        max_rate = 100
        background = true
        max_drop = 20
        [database]
        url = "postgresql://u@h/d"
        [outputs]
        path = "/o"
        mode = "0604"
        group = "g"
        allow_inside = true
        [df]
        timeout = "2min"
        [log]
        path = "/l"
        [state]
        path = "/s"
        """)
    assert config == Config(
        file=f"{tmp_path}/c.toml",
        archive_path="/a",
        archive_areas=(
            Area("archive", "public", "/a/p", "archive.areas.public"),
            Area("archive", "else", "/x/y", "archive.areas.else"),
        ),
        central_path="/c",
        central_areas=(
            Area("central", "all", "/c", "central.path"),
            Area("central", "logs", "/c/logs", "central.areas.logs"),
        ),
        scan=ScanSettings(
            workers=7,
            reader="scandir",
            exclude=("*.tmp", "a/b"),
            snapshot_names=(".old",),
            one_file_system=True,
            follow_file_symlinks=True,
            extra_filetypes=("new",),
            max_rate=100,
            background=True,
        ),
        database_url="postgresql://u@h/d",
        outputs=Outputs("/o", 0o604, "g", allow_inside=True),
        df_timeout_s=120.0,
        log_path="/l",
        state_path="/s",
        max_drop_percent=20,
    )
    assert config.source == f" in {tmp_path}/c.toml"


@pytest.mark.parametrize(
    ("text", "label", "problem"),
    [
        ("[scan]\nworker = 1", "scan.worker", "unknown key; did you mean 'workers'?"),
        ("[scna]\nworkers = 1", "scna", "unknown key; did you mean 'scan'?"),
        ("[log]\nqqq = 1", "log.qqq", "unknown key; known here: keep, path"),
        ("[scan]\nworkers = 1.5", "scan.workers", "expected auto or a number, not a float"),
        ("[scan]\nworkers = true", "scan.workers", "expected auto or a number, not a boolean"),
        ("[scan]\nworkers = 0", "scan.workers", "expected auto or 1 to 1024, not '0'"),
        ("[scan]\nworkers = 1025", "scan.workers", "expected auto or 1 to 1024, not '1025'"),
        ("[scan]\nworkers = '0000000019999999'", "scan.workers", "expected auto or 1 to 1024"),
        ("[scan]\nreader = 'fast'", "scan.reader", "one of auto, native, scandir, not fast"),
        ("[scan]\nexclude = '*.tmp'", "scan.exclude", "a list of strings, not a string"),
        ("[scan]\nexclude = [1]", "scan.exclude", "a list of strings that are not empty"),
        ("[scan]\nexclude = ['']", "scan.exclude", "a list of strings that are not empty"),
        ("[scan]\none_file_system = 1", "scan.one_file_system", "true or false, not an integer"),
        ("[scan]\nextra_filetypes = ['A b']", "scan.extra_filetypes", "lower case"),
        ("[scan]\nmax_rate = -1", "scan.max_rate", "expected 0"),
        ("[scan]\nscheme = 'x'", "scan.scheme", "no scheme x; there are jwst, hst, roman"),
        ("[scan]\nscheme = ''", "scan.scheme", "not empty"),
        (
            "[scan]\nscheme = 'hst'\nextra_filetypes = ['a']",
            "scan.extra_filetypes",
            "only for the scheme jwst",
        ),
        ("[schemes]\nx = 1", "schemes.x", "expected a table"),
        ("[schemes.jwst]", "schemes.jwst", "is built in: pick another name"),
        ("[schemes.x]", "schemes.x.patterns", "missing"),
        ("[schemes.x]\npattern = 'a'", "schemes.x.pattern", "did you mean 'patterns'?"),
        ("[schemes.x]\npatterns = []", "schemes.x.patterns", "missing"),
        ("[schemes.x]\npatterns = 'a'", "schemes.x.patterns", "a list of strings"),
        ("[schemes.x]\npatterns = ['a']", "schemes.x.patterns", "pattern 1: has no group"),
        (
            "[schemes.x]\npatterns = ['(?P<instrument>a)(?P<filetype>b)', '(']",
            "schemes.x.patterns",
            "pattern 2: no regular expression: missing )",
        ),
        (
            "[schemes.x]\npatterns = ['(?P<instrument>a)(?P<filetype>b)(?P<kind>c)']",
            "schemes.x.patterns",
            "pattern 1: unknown group 'kind'; known are instrument, filetype, program",
        ),
        (
            "[schemes.x]\npatterns = ['(?P<instrument>(a+)+)(?P<filetype>b)']",
            "schemes.x.patterns",
            "pattern 1: can run away",
        ),
        ("[schemes.x]\nendings = []", "schemes.x.endings", "such as '.fits'"),
        ("[schemes.x]\nendings = ['fits']", "schemes.x.endings", "such as '.fits'"),
        ("[schemes.x]\nendings = ['.a/b']", "schemes.x.endings", "such as '.fits'"),
        ("[schemes.x]\ninstruments = {A = 'b'}", "schemes.x.instruments", "lower case"),
        ("[schemes.x]\ninstruments = {a = 'B c'}", "schemes.x.instruments", "lower case"),
        ("[schemes.x]\ninstruments = {a = 1}", "schemes.x.instruments.a", "expected a string"),
        ("[scan]\nmax_drop = 0", "scan.max_drop", "expected 1 to 100 (percent), not 0"),
        ("[scan]\nmax_drop = 101", "scan.max_drop", "expected 1 to 100 (percent), not 101"),
        ("scan = 3", "scan", "expected a table, not an integer"),
        ("[archive]\npath = 3", "archive.path", "expected a string, not an integer"),
        ("[archive]\npath = ''", "archive.path", "not empty"),
        ('[archive]\npath = "a\\u0000"', "archive.path", "not empty"),
        ("[archive.areas]\np = 'x'", "archive.path", "missing"),
        ("[central.areas]\np = 'x'", "central.path", "missing"),
        ("[central]\npath = '/c'\nareas = {all = 'x'}", "central.areas.all", "another name"),
        ("[central]\npath = '/c'\nareas = {'' = 'x'}", 'central.areas.""', "a name"),
        ("[central]\npath = '/c'\nareas = {x = 1}", "central.areas.x", "a string, not an integer"),
        ("[outputs]\nmode = 640", "outputs.mode", "a string, not an integer"),
        ("[outputs]\nmode = '0999'", "outputs.mode", "octal"),
        ("[outputs]\nmode = '0000'", "outputs.mode", "octal"),
        ("[outputs]\nmode = '7777'", "outputs.mode", "octal"),
        ("[outputs]\nallow_inside = 1", "outputs.allow_inside", "true or false, not an integer"),
        ("[df]\ntimeout = 'soon'", "df.timeout", "not a duration"),
        ("[df]\ntimeout = '0s'", "df.timeout", "more than nothing"),
        ("[df]\ntimeout = '99999999999y'", "df.timeout", "longer than"),
        ("[df]\ntimeout = 1979-05-27", "df.timeout", "not a date or time"),
        (
            "[database]\nurl = 'mysql://h/d'",
            "database.url",
            "the URL scheme mysql is not supported",
        ),
        ("[database]\nurl = 'sqlite:///'", "database.url", "expected sqlite:///FILE"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_key_and_file(load, tmp_path, text, label, problem):
    with pytest.raises(ConfigError) as caught:
        load(text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/c.toml: {label}: ")
    assert problem in message
    assert "\n" not in message
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    "content",
    [b"[scan", b"a = 1\na = 2", b"\xff", b"a = " + b"[" * 10_000, b"a = " + b"9" * 10_000],
)
def test_a_file_that_is_no_toml_is_one_line(tmp_path, content):
    (tmp_path / "c.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.toml: not valid TOML: ") as caught:
        load_config(str(tmp_path / "c.toml"))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml: No such file"):
        load_config(str(tmp_path / "no.toml"))


def test_relative_paths_are_below_the_files_directory_wherever_one_is(load, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    config = load("""
        archive = {path = "a", areas = {p = "p"}}
        central.path = "../c"
        outputs.path = "o"
        log.path = "l"
        state.path = "s"
        database.url = "sqlite:///d.db"
        """)
    assert config.archive_path == f"{tmp_path}/a"
    assert config.archive_areas is not None
    assert config.archive_areas[0].path == f"{tmp_path}/a/p"
    assert config.central_path == f"{tmp_path.parent}/c"
    assert config.outputs.directory == f"{tmp_path}/o"
    assert config.log_path == f"{tmp_path}/l"
    assert config.state_path == f"{tmp_path}/s"
    assert config.database_url == f"sqlite:///{tmp_path}/d.db"


def test_a_tilde_is_the_home_directory(load, home):
    config = load("archive.path = '~/a'\nstate.path = '~'\ndatabase.url = 'sqlite:///~/d.db'")
    assert config.archive_path == f"{home}/a"
    assert config.state_path == str(home)
    assert config.database_url == f"sqlite:///{home}/d.db"


def test_the_users_file_is_found(home):
    file = home / ".config" / "jwqlscan" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("archive.path = '/a'")
    assert load_config().file == str(file)


def test_a_relative_xdg_directory_is_ignored(home, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    assert load_config().state_path == f"{home}/.local/share/jwqlscan"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert load_config().state_path == "/data/jwqlscan"


def test_a_user_without_a_home_is_told_to_set_it(as_root):
    code = "import os; from jwqlscan.config.loader import load_config, ConfigError\n"
    code += "os.setuid(123456)\n"
    code += "try:\n load_config()\nexcept ConfigError as error:\n print(error)"
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True)
    assert done.stdout == "user 123456 has no home directory: set HOME\n", done.stderr


def test_overrides_win_over_the_file(load):
    config = load(
        "archive.path = '/a'\ncentral.path = '/c'\noutputs.path = '/o'\n"
        "database.url = 'sqlite:////d'\nscan.workers = 1",
        Overrides("/A", "/C", "/O", "sqlite:////D", ScanOverrides(workers=2, reader="scandir")),
    )
    assert (config.archive_path, config.central_path) == ("/A", "/C")
    assert config.central_areas[0].path == "/C"
    assert config.outputs.directory == "/O"
    assert config.database_url == "sqlite:////D"
    assert (config.scan.workers, config.scan.reader) == (2, "scandir")


# From the file's directory in the file, from the current one in an option or a variable.
RELATIVE = {
    "archive.path": ("--archive", "a", lambda config: config.archive_path),
    "central.path": ("--central", "c", lambda config: config.central_path),
    "outputs.path": ("--outputs", "o", lambda config: config.outputs.directory),
    "database.url": (
        "--database",
        "sqlite:///d/s.db",
        lambda config: config.database_url.removeprefix("sqlite:///"),
    ),
    "state.path": ("", "s", lambda config: config.state_path),
    "log.path": ("", "l", lambda config: config.log_path),
    "metrics.path": ("", "m.prom", lambda config: config.metrics_path),
}


@pytest.mark.parametrize("key", RELATIVE)
def test_a_relative_path_in_the_file_is_below_its_directory(tmp_path, monkeypatch, key):
    _, value, read = RELATIVE[key]
    (tmp_path / "etc").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "etc/c.toml").write_text(f"{key} = '{value}'\n")
    monkeypatch.chdir(tmp_path / "here")
    for file in (str(tmp_path / "etc/c.toml"), "../etc/c.toml"):
        path = value.removeprefix("sqlite:///")
        assert read(load_config(file)) == f"{tmp_path}/etc/{path}"


OPTIONS = {key: option for key, (option, _, _) in RELATIVE.items() if option}


@pytest.mark.parametrize("key", OPTIONS)
@pytest.mark.parametrize("way", ["option", "variable", "home in a variable"])
def test_a_relative_path_of_an_option_is_below_the_current_directory(tmp_path, key, way):
    option, value, _ = RELATIVE[key]
    for place in ("etc", "here/a", "here/o", "here/d"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "etc/c.toml").write_text(f"archive.path = '{tmp_path}/here'\nstate.path = 's'\n")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "here")}
    if way == "home in a variable":
        value = value.replace("sqlite:///", "sqlite:///~/") if "://" in value else f"~/{value}"
    arguments = (option, value) if way == "option" else ()
    if not arguments:
        environment["JWQLSCAN_" + option[2:].upper()] = value
    code = (
        "import sys; from jwqlscan.config import loader as config; from jwqlscan.operations"
        " import run as job\n"
        "async def show(settings, **_): sys.exit(repr((settings.archive_path,"
        " settings.central_path, settings.outputs.directory, settings.database_url)))\n"
        "job.run = show; from jwqlscan.cli.app import app; app(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "-c", "../etc/c.toml", *arguments],
        env=environment,
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        timeout=60,
    )
    below = RELATIVE[key][1].removeprefix("sqlite:///")
    assert f"{tmp_path}/here/{below}'" in done.stderr


def test_a_wrong_url_of_an_option_is_not_blamed_on_the_file(load):
    with pytest.raises(ConfigError) as caught:
        load("", Overrides(database="oracle://x"))
    assert str(caught.value).startswith("--database: ")


VARIABLES = {
    "JWQLSCAN_ARCHIVE": ("/nowhere", "run"),
    "JWQLSCAN_CENTRAL": ("/nowhere", "run"),
    "JWQLSCAN_OUTPUTS": ("/proc/nowhere", "run"),
    "JWQLSCAN_DATABASE": ("mysql://host/jwql", "status"),
}


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("by", ["variable", "option"])
def test_a_wrong_value_is_reported_with_what_set_it(tmp_path, variable, by):
    value, command = VARIABLES[variable]
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/f").write_text("x")
    (tmp_path / "c.toml").write_text("archive.path = 'archive'\nstate.path = 'state'\n")
    option = f"--{variable.removeprefix('JWQLSCAN_').lower()}"
    set_by = {"variable": ({variable: value}, []), "option": ({}, [option, value])}
    environment, arguments = set_by[by]
    done = subprocess.run(
        [sys.executable, "-m", "jwqlscan", command, "-c", tmp_path / "c.toml", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    right, wrong = (variable, option) if by == "variable" else (option, variable)
    assert done.returncode == 2
    assert right in done.stderr and wrong not in done.stderr, done.stderr


@pytest.mark.parametrize("text", ["1s", "23h"])
def test_what_thins_out_by_age_keeps_a_day_at_least(load, text):
    with pytest.raises(ConfigError, match=r"insight\.thin_after: expected 1d or more"):
        load(f"insight.thin_after = '{text}'")
    assert load("insight.thin_after = '1d'").insight.thin_after_s == 86_400


# ---- flag, environment, file, default: through the command line ----


def run_cli(*arguments: str, **environment: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "jwqlscan", "run", "--no-report", "--json", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("file", "variable", "flag", "expected"),
    [
        (None, None, "one", "one"),
        ("one", None, None, "one"),
        ("one", "two", None, "two"),
        ("one", "two", "three", "three"),
    ],
)
def test_flags_win_over_the_environment_and_that_over_the_file(
    tmp_path, file, variable, flag, expected
):
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    text = f"archive.path = '{file}'\n" if file else ""
    (tmp_path / "c.toml").write_text(text + "state.path = 'state'")
    arguments = ["--archive", str(tmp_path / flag)] if flag else []
    environment = {"JWQLSCAN_CONFIG": str(tmp_path / "c.toml")}
    if variable:
        environment["JWQLSCAN_ARCHIVE"] = str(tmp_path / variable)
    result = run_cli(*arguments, **environment)
    assert [area["path"] for area in result["areas"]] == [str(tmp_path / expected)]


# ---- passwords ----

SECRET = "s3cr3t"
URL = f"postgresql://jwql:{SECRET}@db/jwql"


def test_a_password_is_not_in_the_repr(load):
    config = load(f"database.url = '{URL}'")
    assert SECRET in config.database_url
    assert SECRET not in repr(config)
    assert SECRET not in repr(Overrides(database=URL))


@pytest.mark.parametrize(
    "text",
    [
        f"database.url = ['{URL}']",
        f"database = '{URL}'",
        f"database.url = {{address = '{URL}'}}",
        f"database.url = '{URL.replace('postgresql', 'mysql')}'",
        f"database.url = 'sqlite://{SECRET}'",
        f"database.ulr = '{URL}'",
        f"database.url = {URL}",
        f"database.url = '{URL}",
    ],
)
def test_a_password_is_not_in_a_message(load, text):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "url", "refused"),
    [
        (0o600, URL, False),
        (0o644, URL, True),
        (0o604, URL, True),
        (0o644, "postgresql://jwql@db/jwql", False),
        (0o644, "postgresql://jwql@db:5432/jwql?sslmode=require", False),
        (0o644, f"postgresql://db/jwql?user=jwql&password={SECRET}", True),
        (0o644, f"postgresql://jwql:{SECRET}@word@db/jwql", True),
        (0o644, f"postgresql://jwql:{SECRET}/word@db/jwql", True),
        (0o644, "sqlite:////a:b@c.db", False),
    ],
)
def test_a_password_that_others_can_read_is_refused(tmp_path, mode, url, refused):
    file = tmp_path / "c.toml"
    file.write_text(f"database.url = '{url}'")
    file.chmod(mode)
    if not refused:
        assert load_config(str(file)).database_url == url
        return
    with pytest.raises(ConfigError, match=r"holds a password .*chmod 600 .*c\.toml") as caught:
        load_config(str(file))
    assert SECRET not in str(caught.value)


def test_the_group_may_read_the_password_in_a_file_of_roots_only(tmp_path, monkeypatch):
    file = tmp_path / "c.toml"
    file.write_text(f"database.url = '{URL}'")
    file.chmod(0o640)
    stat = os.fstat
    for owner, refused in ((0, False), (12345, True)):

        def owned(fd: int, owner: int = owner) -> os.stat_result:
            return os.stat_result((*stat(fd)[:4], owner, *stat(fd)[5:]))

        monkeypatch.setattr("jwqlscan.config.loader.os.fstat", owned)
        monkeypatch.setattr("jwqlscan.system.atomic_files.os.geteuid", lambda: 12345)
        if refused:
            with pytest.raises(ConfigError, match="holds a password"):
                load_config(str(file))
        else:
            assert load_config(str(file)).database_url == URL


# ---- whom root believes ----


@pytest.mark.case("S12")
@pytest.mark.parametrize(
    ("what", "owner", "mode", "problem"),
    [
        ("file", 0, 0o644, ""),
        ("file", 65534, 0o644, "belongs to nobody, and this is root: chown root "),
        ("file", 54321, 0o600, "belongs to 54321, and this is root: chown root "),
        ("file", 0, 0o664, "can be written by others, and this is root: chmod go-w "),
        ("file", 0, 0o646, "can be written by others"),
        ("directory", 0, 0o755, ""),
        ("directory", 0, 0o1777, ""),
        ("directory", 65534, 0o755, "belongs to nobody"),
        ("directory", 0, 0o777, "can be written by others"),
        ("directory", 0, 0o775, "can be written by others"),
    ],
)
def test_root_takes_no_configuration_that_others_decide_on(
    tmp_path, as_root, what, owner, mode, problem
):
    (tmp_path / "d").mkdir(mode=0o700)
    file = tmp_path / "d" / "c.toml"
    file.write_text("scan.workers = 3")
    file.chmod(0o600)
    target = file if what == "file" else file.parent
    os.chown(target, owner, -1)
    target.chmod(mode)
    if not problem:
        assert load_config(str(file)).scan.workers == 3
        return
    with pytest.raises(ConfigError) as caught:
        load_config(str(file))
    assert problem in str(caught.value)
    assert str(caught.value).startswith(str(target))
    assert str(caught.value).endswith(str(target))


@pytest.mark.case("S12")
def test_root_looks_at_the_file_that_a_link_leads_to(tmp_path, as_root):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "real.toml").write_text("scan.workers = 3")
    (tmp_path / "open" / "real.toml").chmod(0o600)
    (tmp_path / "c.toml").symlink_to("open/real.toml")
    assert load_config(str(tmp_path / "c.toml")).scan.workers == 3
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(
        ConfigError, match=r"/open, on the way to .*/c\.toml, can be written by others"
    ):
        load_config(str(tmp_path / "c.toml"))


@pytest.mark.case("S12")
def test_root_takes_no_configuration_that_others_can_replace_from_above(tmp_path, as_root):
    (tmp_path / "theirs/ours").mkdir(parents=True)
    file = tmp_path / "theirs/ours/c.toml"
    file.write_text("scan.workers = 3")
    file.chmod(0o600)
    assert load_config(str(file)).scan.workers == 3
    os.chown(tmp_path / "theirs", 65534, -1)
    with pytest.raises(ConfigError, match=r"/theirs, on the way to .*/c\.toml, belongs to nobody"):
        load_config(str(file))


def test_another_user_is_free_to_share_a_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr("jwqlscan.system.atomic_files.os.geteuid", lambda: 12345)
    (tmp_path / "c.toml").write_text("scan.workers = 3")
    (tmp_path / "c.toml").chmod(0o666)
    assert load_config(str(tmp_path / "c.toml")).scan.workers == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("insight.enabled = 1", "insight.enabled: expected true or false"),
        ("insight.depth = 0", "insight.depth: expected 1 to 16, not 0"),
        ("insight.max_owners = 1001", "insight.max_owners: expected 1 to 1000, not 1001"),
        ("insight.max_extensions = '9'", "insight.max_extensions: expected a number"),
        ("insight.thin_after = '0d'", "insight.thin_after: expected more than nothing"),
        ("insight.depht = 2", "did you mean 'depth'?"),
    ],
)
def test_insight_is_bounded(load, text, problem):
    with pytest.raises(ConfigError, match=re.escape(problem)):
        load(text)


def test_insight_is_as_configured(load):
    config = load("[insight]\ndepth = 3\nmax_directories = 5\nthin_after = '30d'")
    assert config.insight.directories == (3, 5, 1000)
    assert config.insight.thin_after_s == 30 * 86400


def test_a_scheme_of_the_configuration_is_taken_whole(load):
    config = load("""
        [scan]
        scheme = "mine"
        [schemes.mine]
        endings = [".asdf", ".fits.fz"]
        patterns = ['(?P<instrument>[a-z])_(?P<filetype>[a-z]+)', '(?P<instrument>x)(?P<filetype>)']
        instruments = {c = "camera", "" = "none"}
        """)
    assert config.scan.scheme == Scheme(
        "mine",
        (".asdf", ".fits.fz"),
        ("(?P<instrument>[a-z])_(?P<filetype>[a-z]+)", "(?P<instrument>x)(?P<filetype>)"),
        (("c", "camera"), ("", "none")),
    )
    assert [scheme.name for scheme in config.schemes] == ["jwst", "hst", "roman", "mine"]
    assert load("scan.scheme = 'roman'").scan.scheme.endings == (".asdf",)


# ---- the example ----


def uncommented(text: str) -> str:
    return re.sub(r"^# (?=[a-z_]+ = |\[)", "", text, flags=re.M)


def test_the_example_loads_as_it_is_and_changes_no_default(load):
    config = load(EXAMPLE.read_text())  # a copy: root may not trust the checkout's owner
    assert dataclasses.replace(config, file="") == load_config()


def test_the_example_loads_with_every_key_uncommented(load):
    config = load(uncommented(EXAMPLE.read_text()))
    assert config.archive_path == "/archive/jwst"
    assert config.archive_areas is not None
    assert [area.name for area in config.archive_areas] == ["public", "proprietary"]
    assert len(config.central_areas) == 6


def test_the_example_has_every_key(load):
    keys = tomllib.loads(uncommented(EXAMPLE.read_text()))
    keys["schemes.mine"] = keys.pop("schemes")["mine"]
    sections = {name.partition(".")[0] for name in keys}
    for section in (*keys, "none"):
        label = f"[{section}]\n" if section in keys else ""
        with pytest.raises(ConfigError) as caught:
            load(f"{label}zzzzzzzzzzzz = 1")
        known = str(caught.value).split("known here: ")[1].split(", ")
        assert known == sorted(keys.get(section, sections))


def test_the_example_tells_every_default_of_a_scan():
    table = tomllib.loads(EXAMPLE.read_text())["scan"]
    table["stall_timeout_s"] = parse_duration(table.pop("stall_timeout")).total_seconds()
    table["max_runtime_s"] = 0.0  # no limit, so there is no value to write
    assert table.pop("max_drop") == DEFAULT_MAX_DROP_PERCENT
    table["ages_from_s"] = 0  # no key: it is the time of the run
    table["directories"] = NO_DIRECTORIES  # no key there: those of [insight]
    defaults = dataclasses.asdict(ScanSettings()) | {"workers": "auto", "scheme": "jwst"}
    assert {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()} == defaults


# Keys without a default: the example has them commented out.
NO_DEFAULT = {
    *("archive.path", "central.path", "scan.max_runtime", "database.url", "outputs.path"),
    *(
        "outputs.group",
        "log.path",
        "state.path",
        "state.mode",
        "state.group",
        "insight.thin_after",
        "metrics.path",
    ),
    *("notify.ping_url", "notify.command"),
}


def test_the_example_has_only_keys_without_a_default_commented_out():
    section, commented = "", set()
    for line in EXAMPLE.read_text().splitlines():
        if header := re.fullmatch(r"(# )?\[([a-z._]+)\]", line):
            section = "" if header[1] else header[2]  # a table that is itself an example
        elif section and (key := re.fullmatch(r"# ([a-z_]+) = .*", line)):
            commented.add(f"{section}.{key[1]}")
    assert commented == NO_DEFAULT


# ---- anything ----

SECTIONS = ["archive", "central", "scan", "database", "outputs", "df", "log", "state"]
KEYS = ["path", "areas", "workers", "reader", "exclude", "mode", "group", "timeout", "url", "zz"]
simple = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "/a", "auto", "30s", "0640", "sqlite:///x", "~"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
values = st.recursive(
    simple,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab\n\x1b", max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def as_toml(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(k)} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    return repr(value)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    table=st.dictionaries(
        st.sampled_from([*SECTIONS, "zz"]),
        st.dictionaries(st.sampled_from(KEYS), values, max_size=4) | values,
        max_size=5,
    )
)
def test_any_toml_is_a_configuration_or_one_line(load, table):
    text = "\n".join(f"{key} = {as_toml(value)}" for key, value in table.items())
    try:
        config = load(text.encode(errors="replace").decode())
    except ConfigError as error:
        assert re.search(r"[\x00-\x1f\x7f-\x9f]", str(error)) is None
    else:
        for path in (config.archive_path, config.central_path, config.state_path):
            assert path is None or os.path.isabs(path)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=st.binary(max_size=60) | st.text("[]{}=\"'.,-_ab1\n#", max_size=60).map(str.encode))
def test_any_bytes_are_a_configuration_or_one_line(tmp_path, content):
    (tmp_path / "c.toml").write_bytes(content)
    try:
        load_config(str(tmp_path / "c.toml"))
    except ConfigError as error:
        assert re.search(r"[\x00-\x1f\x7f-\x9f]", str(error)) is None
