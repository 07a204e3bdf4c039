"""Standard output and error that can't be written: a full disk, a closed pipe, a full pipe."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.cli.test_json import CAL, COMMANDS
from tests.support.trees import in_mount_namespace, required

JWQLSCAN = [sys.executable, "-m", "jwqlscan"]
FULL = "jwqlscan: can't write standard output: No space left on device\n"
CODES = {("check",): 3}  # UNKNOWN

pytestmark = pytest.mark.case("P28")


def environment(home):
    return {"PATH": "/usr/bin:/bin", "HOME": str(home)}


def jwqlscan(home, *arguments, out="/dev/full", err=subprocess.PIPE, **env):
    with open(out, "wb") as file:
        return subprocess.run(
            [*JWQLSCAN, *map(str, arguments)],
            env={**environment(home), **env},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=err,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a configuration, two runs, and a configuration and a database of JWQL."""
    home = tmp_path_factory.mktemp("home")
    (home / "archive").mkdir()
    (home / "archive" / CAL).write_text("x")
    place = home / ".config/jwqlscan"
    place.mkdir(parents=True)
    (place / "config.toml").write_text(f"archive.path = '{home}/archive'\n")
    for name in ("a.fits", "b.fits"):
        (home / "archive" / name).write_text("x")
        done = jwqlscan(home, "run", "--no-report", out=os.devnull)
        assert (done.returncode, done.stderr) == (0, "")
    return home


# What each command prints something with. A new command needs a line here.
ARGUMENTS = {
    ("init",): ["--archive", "archive", "-c", "new/{name}.toml"],
    ("doctor",): [],
    ("schedule",): ["--cron"],
    ("run",): ["--no-report", "--json"],
    ("scan",): ["archive"],
    ("report",): [],
    ("help",): ["failures"],
    ("status",): [],
    ("history",): [],
    ("growth",): [],
    ("check",): [],
    ("metrics",): [],
    ("bench",): ["archive", "--rounds", "1", "--workers", "1", "-q"],
    ("demo",): ["demo-{name}"],
    ("db", "flush"): ["--json"],
    ("db", "migrate"): [],
    ("db", "copy"): ["{old}", "{new}"],
    ("db", "import-jwql"): ["--help"],
    ("db", "prune"): ["--keep", "10y", "--dry-run"],
}


def test_every_command_is_tried():
    assert set(ARGUMENTS) == set(COMMANDS)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("words", ARGUMENTS, ids=" ".join)
def test_a_full_disk_is_one_line_and_an_exit_code_of_its_own(home, words, form):
    stores = {"old": f"{home}/.local/share/jwqlscan/jwqlscan.db", "new": f"{home}/{form}.db"}
    filled = {"name": form, **{key: f"sqlite:///{path}" for key, path in stores.items()}}
    arguments = [word.format(**filled) for word in ARGUMENTS[words]]
    if form == "json" and "json" in {option.name for option in COMMANDS[words].params}:
        arguments = [*arguments, *([] if "--json" in arguments else ["--json"])]
    done = jwqlscan(home, *words, *arguments)
    assert (done.returncode, done.stderr) == (CODES.get(words, 1), FULL)


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_help_on_a_full_disk_is_one_line(home, words):
    done = jwqlscan(home, *words, "--help")
    assert (done.returncode, done.stderr) == (CODES.get(words, 1), FULL)


def test_versions_on_a_full_disk_are_one_line(home):
    done = jwqlscan(home, "--version")
    assert (done.returncode, done.stderr) == (1, FULL)


def test_the_line_is_json_where_messages_are(home):
    done = jwqlscan(home, "status", "--log-format", "json")
    assert json.loads(done.stderr)["message"] == FULL.removeprefix("jwqlscan: ").strip()


@pytest.mark.parametrize("arguments", [["check"], ["check", "--nonsense"], ["check", "-c", "none"]])
def test_check_is_unknown_whatever_else_is_wrong(home, arguments):
    done = jwqlscan(home, *arguments)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] + "\n" == FULL


def test_check_that_gives_up_is_unknown_on_a_full_disk(home):
    import socket

    with socket.socket() as server:  # a database that hangs
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/d?sslmode=disable"
        done = jwqlscan(home, "check", "--database", url, "--timeout", "1s")
    assert done.returncode == 3 and "bug" not in done.stderr


def test_a_disk_that_fills_up_in_the_middle_is_one_line(home):
    script = f"exec {sys.executable} -m jwqlscan scan --json archive > '{home}/small/out'"
    (home / "small").mkdir(exist_ok=True)
    for number in range(200):  # more than a page of samples
        (home / f"archive/{'long' * 40}{number}.fits").touch()
    before = in_mount_namespace(f"mount -t tmpfs -o size=4k,mode=0777 none '{home}/small'")
    done = subprocess.run(
        [*before, "sh", "-c", f"head -c 3000 /dev/zero > '{home}/small/fill'; {script}"],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, FULL)


@pytest.mark.parametrize("arguments", [["run", "--no-report", "-v"], ["scan", "archive"]])
def test_standard_error_that_can_not_be_written_changes_nothing(home, arguments):
    with open("/dev/full", "wb") as full:
        assert jwqlscan(home, *arguments, out=os.devnull, err=full).returncode == 0


def test_an_error_that_can_not_be_reported_keeps_its_exit_code(home):
    with open("/dev/full", "wb") as full:
        assert jwqlscan(home, "status", "-c", "none.toml", err=full).returncode == 2
        assert jwqlscan(home, "status", err=full).returncode == 1


@pytest.mark.parametrize("arguments", [["status"], ["check"], ["scan", "--json", "archive"]])
def test_a_closed_pipe_ends_a_command_in_silence(home, arguments):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "wb") as pipe:
        done = subprocess.run(
            [*JWQLSCAN, *arguments],
            env=environment(home),
            cwd=home,
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_pipe_that_does_not_block_gets_everything(home):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    while True:  # a full pipe
        try:
            os.write(write_end, b" " * 4096)
        except BlockingIOError:
            break
    process = subprocess.Popen(
        [*JWQLSCAN, "scan", "--json", "archive"],
        env=environment(home),
        cwd=home,
        stdout=write_end,
        stderr=subprocess.PIPE,
    )
    os.close(write_end)
    parts = []

    def drain():
        while part := os.read(read_end, 1024):
            parts.append(part)

    reader = threading.Thread(target=drain)
    reader.start()
    _, err = process.communicate(timeout=60)
    reader.join(60)
    os.close(read_end)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(b"".join(parts))["areas"][0]["files"] > 0


# ---- the command line, before it is parsed ----


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["scan", "--nonsense", "--log-format", "json"], {}),
        (["scan", "--log-format=json", "--nonsense"], {}),
        (["nonsense"], {"JWQLSCAN_LOG_FORMAT": "json"}),
        (["scan", "--log-format", "text", "--log-format", "json"], {}),
        (["run", "--workers", "many", "--log-format", "json"], {}),
    ],
)
def test_a_wrong_command_line_is_json_where_messages_are(home, arguments, env):
    done = jwqlscan(home, *arguments, out=os.devnull, **env)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    event = json.loads(line)
    assert event["level"] == "error" and event["message"].endswith("--help`")


@pytest.mark.parametrize("command", ["run", "scan"])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_starts_no_scanning_process(home, tmp_path, command, option):
    trace = [required("strace"), "-f", "-qq", "-e", "trace=execve", "-o", tmp_path / "log"]
    done = subprocess.run(
        [*trace, *JWQLSCAN, command, "--quiet", option],
        env=environment(home),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.startswith("Usage: ")
    assert len((tmp_path / "log").read_text().splitlines()) == 1
