"""Where commands are started: among traps, in odd locales, where something is missing."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_json import CAL, COMMANDS
from tests.support import ROOT
from tests.support.trees import in_mount_namespace, required

JWQLSCAN = [sys.executable, "-m", "jwqlscan"]
SCRIPT = [str(Path(sys.executable).with_name("jwqlscan"))]
BARE = {"PATH": "/usr/bin:/bin"}
UNKNOWN_UID = 123_456
only_root = pytest.mark.usefixtures("as_root")


def jwqlscan(*arguments, cwd="/", program=JWQLSCAN, before=(), **environment):
    return subprocess.run(
        [*before, *program, *map(str, arguments)],
        env={**BARE, **environment},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=120,
    )


@pytest.fixture
def host(tmp_path):
    """A place with an archive and a configuration."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / CAL).write_text("x")
    (tmp_path / "c.toml").write_text(
        "archive.path = 'archive'\nstate.path = 'data/state'\noutputs.path = 'data/outputs'\n"
    )
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def stranger(host):
    """Give the host's data to a user who is not in the user database."""
    os.chown(host / "data", UNKNOWN_UID, UNKNOWN_UID)
    return becoming(UNKNOWN_UID)


def files_found(done):
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)["areas"][0]["files"]


# ---- modules are never taken from where a command is started ----

FOREIGN = "typer rich anyio bokeh asyncpg aiofiles numpy sniffio jinja2 yaml idna".split()


@pytest.fixture
def trapped(tmp_path):
    """Make a directory where every module of the standard library has a namesake that is a trap."""
    place = tmp_path / "trapped"
    place.mkdir()
    for name in (*sys.stdlib_module_names, *FOREIGN):
        trap = f"open({str(place / 'sprung')!r}, 'a').write({name!r})\n1 / 0\n"
        (place / f"{name}.py").write_text(trap)
    return place


def modules_before(tmp_path):
    """Return what Python imports for ``-m`` before any line of the program is run."""
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "__main__.py").write_text("import sys; print(*sys.modules)")
    return subprocess.check_output(
        [sys.executable, "-m", "probe"], cwd=tmp_path, text=True, env=BARE
    ).split()


@pytest.mark.case("S16")
def test_the_crontab_line_imports_nothing_from_the_home_directory(host, trapped):
    [line] = jwqlscan("schedule", "--cron", "-c", host / "c.toml").stdout.splitlines()
    command = line.split(None, 5)[5]
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace(r"\%", "%")],
        env={"HOME": str(trapped), "LOGNAME": "root", **BARE},
        cwd=trapped,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (trapped / "sprung").exists()
    assert list((host / "data/outputs").rglob("filesystem_monitor.html"))


@pytest.mark.case("S16")
def test_the_service_imports_nothing_from_its_directory(host, trapped):
    units = jwqlscan("schedule", "--systemd", "-c", host / "c.toml").stdout
    [command] = re.findall(r"(?m)^ExecStart=(.*)$", units)
    done = subprocess.run(
        [*shlex.split(command), "--no-report"],
        env={"HOME": str(trapped), **BARE},
        cwd=trapped,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (trapped / "sprung").exists()


@pytest.mark.case("S16")
@pytest.mark.parametrize("command", [["run", "--json"], ["scan", "--json"]], ids=" ".join)
def test_the_command_imports_nothing_from_the_current_directory(host, trapped, command):
    arguments = ["-c", host / "c.toml"] if command[0] == "run" else [host / "archive"]
    done = jwqlscan(
        *command, *arguments, program=SCRIPT, cwd=trapped, HOME=str(trapped), PYTHONPATH=""
    )
    assert files_found(done) == 1
    assert not (trapped / "sprung").exists()


@pytest.mark.case("S16")
def test_python_m_imports_from_the_current_directory_only_what_python_needs_for_m(
    host, trapped, tmp_path
):
    for name in modules_before(tmp_path):
        (trapped / f"{name}.py").unlink(missing_ok=True)
    done = jwqlscan("run", "--json", "-c", host / "c.toml", cwd=trapped, HOME=str(trapped))
    assert files_found(done) == 1
    assert not (trapped / "sprung").exists()


@pytest.mark.case("S16")
def test_a_source_tree_that_is_not_installed_can_be_run_from_its_directory(host, tmp_path):
    package = ROOT / "jwqlscan"
    shutil.copytree(package, tmp_path / "tree/jwqlscan")
    code = "import jwqlscan.__main__ as m; print(m.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "tree", capture_output=True, text=True
    )
    assert done.stdout.strip() == str(tmp_path / "tree/jwqlscan/__main__.py"), done.stderr
    assert files_found(jwqlscan("scan", "--json", host / "archive", cwd=tmp_path / "tree")) == 1


# ---- locales ----


@pytest.fixture(scope="module")
def latin1(tmp_path_factory):
    """Return the environment of a locale of ISO 8859-1."""
    if not Path("/usr/share/i18n/charmaps/ISO-8859-1.gz").exists():
        if os.environ.get("CI"):
            pytest.fail("this test needs charmaps: install the package locales")
        pytest.skip("the package locales is not installed; with CI set this fails")
    place = tmp_path_factory.mktemp("locales")
    define = [required("localedef"), "-i", "en_US", "-f", "ISO-8859-1", place / "en_US"]
    subprocess.run(define, capture_output=True)  # it warns, and its exit code says so
    return {"LOCPATH": str(place), "LANG": "en_US"}


def environments():
    yield pytest.param({"LANG": "C.UTF-8"}, id="UTF-8")
    yield pytest.param(None, id="ISO-8859-1")
    posix = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    yield pytest.param(posix, id="POSIX without UTF-8 mode")
    yield pytest.param({"LC_ALL": "POSIX"}, id="POSIX")


@pytest.fixture(params=environments())
def locale(request):
    return request.param or request.getfixturevalue("latin1")


@pytest.fixture
def foreign(host):
    """Give the archive a name that is not ASCII, and file names in UTF-8, Latin-1 and neither."""
    (host / "archive").rename(host / "é")
    for name in ("ü.fits".encode(), "ü.fits".encode("latin-1"), b"\xff\xfe.fits"):
        (host / "é" / os.fsdecode(name)).write_text("x")
    text = (host / "c.toml").read_text().replace("'archive'", "'é'")
    (host / "c.toml").write_text(text)
    return host


@pytest.mark.case("P29")
@pytest.mark.parametrize("program", [SCRIPT, JWQLSCAN], ids=["script", "-m"])
def test_a_directory_is_found_in_every_locale(foreign, locale, program):
    done = jwqlscan("scan", "--json", foreign / "é", program=program, **locale)
    assert files_found(done) == 4
    assert json.loads(done.stdout)["areas"][0]["path"] == f"{foreign}/é"


@pytest.mark.case("P29")
def test_a_run_stores_the_same_in_every_locale(foreign, locale):
    done = jwqlscan("run", "--json", "-c", foreign / "c.toml", **locale)
    assert files_found(done) == 4
    [area] = json.loads(done.stdout)["areas"]
    assert area["path"] == f"{foreign}/é"
    assert area["capacity"]["size_bytes"] > 0
    assert not list((foreign / "data/state/spool").rglob("*.json"))
    samples = area["unrecognized"]["samples"]
    assert f"{foreign}/é/\\xff\\xfe.fits" in samples or len(samples) < 3


@pytest.mark.case("P29")
def test_bars_are_drawn_in_characters_that_the_terminal_has(foreign, latin1):
    for place in ({**latin1}, {"PYTHONIOENCODING": "ascii"}):
        done = subprocess.run(
            [*JWQLSCAN, "scan", "--by", "extension", "--top", "3", foreign / "é"],
            env={**BARE, **place},
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0
        assert b"####" in done.stdout and rb"\u25" not in done.stdout
        name = "é".encode("latin-1") if place == latin1 else rb"\xe9"
        assert bytes(foreign) + b"/" + name in done.stdout


@pytest.mark.case("P29")
def test_names_that_an_encoding_lacks_stay_different(tmp_path):
    for name in ("x…y_", "x█z_"):
        (tmp_path / f"{name}.fits").write_text("x")
    done = jwqlscan("scan", tmp_path, PYTHONIOENCODING="ascii")
    assert r"x\u2026y_.fits" in done.stdout


@pytest.mark.case("P29")
def test_a_program_that_decodes_names_otherwise_is_refused(host, latin1):
    code = (
        "import anyio, jwqlscan; from jwqlscan.errors import ConfigError\n"
        f"try: anyio.run(jwqlscan.scan, ['{host}/archive'])\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**BARE, **latin1}, capture_output=True, text=True
    )
    assert "UTF-8 mode (PYTHONUTF8=1)" in done.stdout, done.stderr


# ---- what is missing ----


@pytest.mark.case("P29")
def test_without_proc_a_scan_and_a_run_work_and_say_what_is_missing(host):
    before = in_mount_namespace("mount -t tmpfs none /proc")
    for arguments in (["scan", host / "archive"], ["run", "-c", host / "c.toml"]):
        done = jwqlscan(*arguments, "--json", before=before)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["areas"][0]["files"] == 1
        [line] = done.stderr.splitlines()
        assert line.startswith("jwqlscan: /proc/self/mountinfo: ")
        assert line.endswith("mount /proc")


@pytest.mark.case("P29")
def test_without_proc_doctor_says_so(host):
    before = in_mount_namespace("mount -t tmpfs none /proc")
    done = jwqlscan("doctor", "-q", "-c", host / "c.toml", before=before)
    assert done.returncode == 1
    assert "FAIL  mount table: /proc/self/mountinfo: " in done.stdout
    assert "stalled" not in done.stdout


def in_removed_directory(tmp_path, *arguments, program=JWQLSCAN):
    (tmp_path / "removed").mkdir()
    words = ["cd removed && rmdir ../removed && exec", *map(shlex.quote, map(str, program))]
    return subprocess.run(
        ["sh", "-c", " ".join([*words, *map(shlex.quote, map(str, arguments))])],
        cwd=tmp_path,
        env=BARE,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.case("P29")
@pytest.mark.parametrize("program", [SCRIPT, JWQLSCAN], ids=["script", "-m"])
@pytest.mark.parametrize("command", ["scan", "run", "run with a report", "status"])
def test_in_a_removed_directory_absolute_paths_work(host, tmp_path, program, command):
    config = ("-c", host / "c.toml")
    jwqlscan("run", "--no-report", *config)
    arguments = {
        "scan": ("scan", "--json", host / "archive"),
        "run": ("run", "--no-report", "--json", "--archive", host / "archive", *config),
        "run with a report": ("run", "--json", *config),
        "status": ("status", "--json", *config),
    }[command]
    done = in_removed_directory(tmp_path, *arguments, program=program)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.case("P29")
@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "archive"],
        ["run", "-c", "c.toml"],
        ["run", "--archive", "archive"],
        ["run", "--outputs", "archive"],
        ["status", "--database", "sqlite:///x.db"],
        ["init", "--archive", "archive"],
        ["init", "-c", "c.toml", "--archive", "/"],
        ["demo", "here"],
        ["growth", "-c", "c.toml"],
    ],
    ids=" ".join,
)
def test_in_a_removed_directory_a_relative_path_is_one_line(tmp_path, arguments):
    done = in_removed_directory(tmp_path, *arguments)
    assert done.returncode in (1, 2)
    [line] = done.stderr.splitlines()
    assert line.startswith("jwqlscan: the current directory was removed: ")


@pytest.mark.case("P29")
def test_check_in_a_removed_directory_is_unknown(tmp_path):
    done = in_removed_directory(tmp_path, "check", "-c", "c.toml")
    assert done.returncode == 3
    assert "UNKNOWN" in done.stdout and "current directory was removed" in done.stdout


@pytest.mark.case("P29")
@only_root
@pytest.mark.parametrize("home", [{}, {"HOME": "/nowhere"}, {"HOME": ""}], ids=str)
def test_a_user_without_an_entry_and_a_home_can_run(host, stranger, home):
    done = jwqlscan("run", "-c", host / "c.toml", before=stranger, **home)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((host / "data/outputs").rglob("filesystem_monitor.html"))


@pytest.mark.case("P29")
@only_root
def test_a_user_without_an_entry_gets_a_crontab_line_but_no_service(host, stranger):
    done = jwqlscan("schedule", "--cron", "-c", host / "c.toml", before=stranger)
    assert (done.returncode, done.stderr) == (0, "")
    done = jwqlscan("schedule", "--systemd", "-c", host / "c.toml", before=stranger)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert f"user {UNKNOWN_UID} is not in the user database" in line


@pytest.mark.case("P29")
@only_root
def test_a_service_is_of_the_user_who_asks_whatever_the_environment_claims(host):
    before = becoming("65534")
    environment = {"LOGNAME": "root", "USER": "root"}
    done = jwqlscan("schedule", "--systemd", "-c", host / "c.toml", before=before, **environment)
    assert "\nUser=nobody\n" in done.stdout, done.stderr


def becoming(uid):
    """Return what runs a command as a user who may read everything: the interpreter is root's."""
    capability = "+dac_read_search"
    return [
        *(required("setpriv"), f"--reuid={uid}", f"--regid={uid}", "--clear-groups"),
        *(f"--inh-caps={capability}", f"--ambient-caps={capability}"),
    ]


@pytest.mark.case("P29")
@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_help_is_the_same_without_docstrings(words):
    plain = jwqlscan(*words, "--help", COLUMNS="80")
    optimized = jwqlscan(*words, "--help", COLUMNS="80", PYTHONOPTIMIZE="2")
    assert (optimized.returncode, optimized.stderr) == (0, "")
    assert optimized.stdout == plain.stdout


@pytest.mark.case("P29")
def test_a_run_needs_no_docstrings(host):
    assert files_found(jwqlscan("run", "--json", "-c", host / "c.toml", PYTHONOPTIMIZE="2")) == 1


@pytest.mark.case("P29")
def test_a_configuration_may_begin_with_a_byte_order_mark(host):
    text = (host / "c.toml").read_text()
    (host / "c.toml").write_text("\ufeff" + text, encoding="utf-8")
    assert files_found(jwqlscan("run", "--json", "-c", host / "c.toml")) == 1


@pytest.mark.case("P29")
def test_jwqls_configuration_may_begin_with_a_byte_order_mark(host):
    text = json.dumps({"filesystem": f"{host}/archive"})
    (host / "config.json").write_text("\ufeff" + text, encoding="utf-8")
    done = jwqlscan("init", "--from-jwql", host / "config.json", "-c", host / "new.toml")
    assert (done.returncode, done.stderr) == (0, "")


@only_root
def test_a_configuration_that_may_not_be_read_is_not_to_be_written_anew(host):
    (host / "c.toml").chmod(0o600)
    done = subprocess.run(
        [*JWQLSCAN, "status", "-c", host / "none.toml"], capture_output=True, text=True, env=BARE
    )
    assert done.returncode == 2 and "`jwqlscan init` writes one" in done.stderr
    os.chown(host / "c.toml", 65534, 65534)
    command = [required("setpriv"), "--bounding-set=-all", "--inh-caps=-all", *JWQLSCAN]
    done = subprocess.run(
        [*command, "status", "-c", host / "c.toml"], capture_output=True, text=True, env=BARE
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "Permission denied" in line and "let user root read it" in line
    assert "init" not in line
