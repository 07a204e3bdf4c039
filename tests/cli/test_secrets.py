"""A password shows nowhere, and a name from the archive can't forge a line or steer a terminal."""

import asyncio
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from urllib.parse import urlsplit

import asyncpg
import pytest

from jwqlscan.errors import ExitCode
from tests.cli.test_run import CAL, write
from tests.support.trees import required

JWQLSCAN = [sys.executable, "-m", "jwqlscan"]
CANARY = "s3cr3t-canary"


@pytest.fixture
def place(tmp_path):
    write(tmp_path / "archive/public" / CAL, 4096)
    (tmp_path / "logs").mkdir()
    return tmp_path


def environment(place, **more):
    return {"PATH": "/usr/bin:/bin", "HOME": str(place / "home"), **more}


def config_of(place, url="", more=""):
    file = place / "c.toml"
    file.write_text(
        '[archive]\npath = "archive"\n[outputs]\npath = "out"\n[state]\npath = "state"\n'
        f'[log]\npath = "logs"\n{more}\n' + (f'[database]\nurl = "{url}"\n' if url else "")
    )
    file.chmod(0o600)
    return file


def jwqlscan(*arguments, place, command=JWQLSCAN, **more):
    return subprocess.run(
        [*command, *map(os.fspath, arguments)],
        env=environment(place, **more),
        cwd="/",
        capture_output=True,
        timeout=120,
    )


def assert_no_canary(place, *outputs):
    for output in outputs:
        assert CANARY.encode() not in output, output.decode(errors="replace")
    read = []
    for directory, _, names in os.walk(place):
        for name in names:
            path = os.path.join(directory, name)
            if path != str(place / "c.toml") and "/archive/" not in path:
                with open(path, "rb") as file:
                    assert CANARY.encode() not in file.read(), path
                read.append(path)
    return read


def url_with(url, user=None, password=CANARY):
    parts = urlsplit(url)
    account = f"{user or parts.username}:{password}"
    return parts._replace(netloc=f"{account}@{parts.hostname}:{parts.port}").geturl()


# ---- among the arguments ----


@pytest.mark.case("S01")
@pytest.mark.parametrize("command", [["run"], ["report"], ["db", "flush"]])
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://someone:{CANARY}@127.0.0.1:1/db",
        f"postgres://127.0.0.1:1/db?user=someone&password={CANARY}",
        f"postgresql://someone:a@{CANARY}@127.0.0.1:1/db",
        f"someone:{CANARY}@127.0.0.1/db",
    ],
)
def test_a_password_on_the_command_line_is_refused_with_a_hint(place, command, url):
    for arguments in (["--database", url], [f"--database={url}"]):
        done = jwqlscan(*command, "-c", config_of(place), *arguments, place=place)
        assert done.returncode == ExitCode.USAGE
        told = " ".join(done.stderr.decode().replace("│", " ").split())
        for hint in ("~/.pgpass", "PGPASSWORD", "JWQLSCAN_DATABASE", "mode 0600"):
            assert hint in told
        assert_no_canary(place, done.stdout, done.stderr)
    assert not (place / "state").exists()


def test_a_url_without_a_password_is_taken_from_the_command_line(place):
    url = "postgresql://someone@127.0.0.1:1/db"
    done = jwqlscan("run", "-c", config_of(place), "--database", url, place=place)
    assert done.returncode == ExitCode.SPOOLED


# ---- wherever something fails ----

FAILING = {
    "refused": f"postgresql://someone:{CANARY}@127.0.0.1:1/db",
    "in the options": f"postgresql://127.0.0.1:1/db?user=someone&password={CANARY}",
    "no such host": f"postgresql://someone:{CANARY}@no-such-host.invalid/db",
    "not quoted": f"postgresql://someone:{CANARY}@more@127.0.0.1:1/db",
    "with a slash": f"postgresql://someone:{CANARY}/more@127.0.0.1:1/db",
    "bad port": f"postgresql://someone:{CANARY}@127.0.0.1:port/db",
    "bad option": f"postgresql://someone:{CANARY}@127.0.0.1:1/db?sslmode={CANARY}",
    "no certificate": f"postgresql://someone:{CANARY}@127.0.0.1:1/db?sslmode=verify-full",
    "other scheme": f"mysql://someone:{CANARY}@127.0.0.1/db",
}


@pytest.mark.case("S02")
@pytest.mark.parametrize("flags", [["-v"], ["--debug", "-v", "--json"]], ids=" ".join)
@pytest.mark.parametrize("case", FAILING)
def test_a_failure_does_not_tell_the_password(place, case, flags):
    config = config_of(place, FAILING[case])
    done = jwqlscan("run", "-c", config, *flags, place=place)
    assert done.returncode in (1, 2, 4)
    assert done.stderr
    read = assert_no_canary(place, done.stdout, done.stderr)
    if case in ("refused", "no such host"):
        assert done.returncode == ExitCode.SPOOLED
        assert any("/spool/" in path for path in read) and any("/logs/" in path for path in read)


COMMANDS = "report, status, history, check, metrics, doctor, db flush, db migrate, schedule --cron"


@pytest.mark.case("S02")
@pytest.mark.parametrize("command", COMMANDS.split(", "))
def test_no_other_command_tells_the_password_either(place, command):
    waiting = place / "state/spool"
    waiting.mkdir(parents=True)
    for number, case in enumerate(FAILING):
        (waiting / f"{number}.json").write_text("{}")  # or a flush has nothing to connect for
        config = config_of(place, FAILING[case])
        done = jwqlscan(*command.split(), "-c", config, "--debug", place=place)
        assert done.returncode in (1, 2, 3, 4) or command.startswith("schedule"), (case, done)
        assert_no_canary(place, done.stdout, done.stderr)


@pytest.mark.case("S02")
def test_a_snapshot_that_is_set_aside_does_not_tell_the_password(place, pg_url):
    async def make_role() -> None:
        connection = await asyncpg.connect(pg_url)
        await connection.execute(
            f"DROP ROLE IF EXISTS weak_canary; CREATE ROLE weak_canary LOGIN PASSWORD '{CANARY}'"
        )
        await connection.execute("GRANT CREATE ON SCHEMA public TO weak_canary")
        await connection.close()

    asyncio.run(make_role())
    config = config_of(place, url_with(pg_url, user="weak_canary"))
    assert jwqlscan("run", "-c", config, "--no-report", place=place).returncode == 0
    (place / "state/spool/0.json").write_text("{}")
    done = jwqlscan("run", "-c", config, "--debug", "-v", "--json", place=place)
    assert done.returncode == 0 and b"set aside" in done.stderr
    read = assert_no_canary(place, done.stdout, done.stderr)
    assert any(path.endswith(".reason") for path in read)


@pytest.mark.case("S02")
@pytest.mark.parametrize("wrong", ["password", "TLS", "database"])
def test_a_server_that_refuses_does_not_get_the_password_told(place, pg_url, wrong):
    url = pg_url if wrong == "TLS" else url_with(pg_url)
    secret = urlsplit(url).password
    if wrong == "TLS":
        url += "?sslmode=require"
    elif wrong == "database":
        url = url_with(pg_url, password=urlsplit(pg_url).password).rpartition("/")[0] + "/none"
        secret = urlsplit(pg_url).password
    for flags in (["-v"], ["--debug"]):
        done = jwqlscan("run", "-c", config_of(place, url), *flags, place=place)
        assert done.returncode == ExitCode.SPOOLED
        assert b"127.0.0.1" in done.stderr
        assert secret.encode() not in done.stdout + done.stderr
    assert_no_canary(place)
    for path in (place / "state/spool").iterdir():
        assert secret not in path.read_text()


CRASH = """
import asyncpg, sys
from jwqlscan.store.postgresql import PostgresqlStore
async def boom(*args, **kwargs):
    secret = args, kwargs
    raise RuntimeError("boom")
if sys.argv.pop(1) == "connect":
    asyncpg.connect = boom
else:
    PostgresqlStore._migrate = boom
from jwqlscan.__main__ import main
main()
"""


@pytest.mark.case("S02")
@pytest.mark.parametrize("where", ["connect", "migrate"])
def test_a_crash_shows_a_traceback_without_the_password(place, pg_url, where):
    async def make_role() -> None:
        connection = await asyncpg.connect(pg_url)
        await connection.execute(
            f"DROP ROLE IF EXISTS crash; CREATE ROLE crash LOGIN PASSWORD '{CANARY}'"
        )
        await connection.close()

    asyncio.run(make_role())
    config = config_of(place, url_with(pg_url, user="crash"))
    command = [sys.executable, "-c", CRASH, where]
    done = jwqlscan("run", "-c", config, "--debug", "-v", place=place, command=command)
    assert b"RuntimeError: boom" in done.stderr and b"Traceback" in done.stderr
    assert_no_canary(place, done.stdout, done.stderr)
    done = jwqlscan("run", "-c", config, place=place, command=command)
    assert done.returncode == ExitCode.FAILED and b"Traceback" not in done.stderr
    assert_no_canary(place, done.stdout, done.stderr)


@pytest.mark.case("S01", "S02")
@pytest.mark.parametrize("source", ["file", "environment", "PGPASSWORD"])
def test_all_is_well_and_no_process_nor_file_has_the_password(place, pg_url, source):
    async def make_role() -> None:
        connection = await asyncpg.connect(pg_url)
        await connection.execute(
            f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{CANARY}'"
        )
        await connection.close()

    async def stored() -> str:
        connection = await asyncpg.connect(pg_url)
        names = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        rows = [await connection.fetch(f"SELECT * FROM {name[0]}") for name in names]
        await connection.close()
        return repr(rows)

    role = f"canary_{os.getpid()}_{source.lower()}"
    asyncio.run(make_role())
    url = url_with(pg_url, user=role)
    more = {}
    if source == "environment":
        more["JWQLSCAN_DATABASE"] = url
    elif source == "PGPASSWORD":
        more["PGPASSWORD"], url = CANARY, url.replace(f":{CANARY}@", "@")
    config = config_of(place, "" if source == "environment" else url)
    executed = place / "executed"
    strace = [required("strace"), "-f", "-qq", "-v", "-s", "100000", "-e", "trace=execve"]
    under = [*strace, "-o", str(executed), *JWQLSCAN]
    done = jwqlscan("run", "-c", config, "-v", "--json", place=place, command=under, **more)
    assert done.returncode == 0, done.stderr
    own, *children = executed.read_text().splitlines()
    assert (CANARY in own) == (source != "file")  # what it was given
    assert any("scanning.child" in line for line in children)
    assert any("/df" in line for line in children)
    assert not [line for line in children if CANARY in line or role in line]
    executed.unlink()
    read = assert_no_canary(place, done.stdout, done.stderr)
    assert any(path.endswith(".html") for path in read)
    assert any(path.endswith(".log") for path in read)
    rows = asyncio.run(stored())
    assert "SUCCESS" in rows and CANARY not in rows


# ---- names ----

# What a name can do: begin a line of its own, set a title, ask for an answer, recolour (ESC and C1,
# as a character and as a byte), ring, go back, reorder, hide, be no text at all.
EVIL = [
    b"jw_a\n<3>forged line",
    b"jw_a\r\n2026-01-01T00:00:00.000Z ERROR forged",
    b"jw_\x1b]0;pwned\x07",
    b"jw_\x1b]52;c;cHduZWQ=\x07",
    b"jw_\x1b[6n",
    b"jw_\x1b[31337m",
    "jw_\x9b31337m".encode(),
    b"jw_\x9b31337m",
    b"jw_\x07\x08\x7f",
    "jw_\u202egnp\u2066x".encode(),
    "jw_\u200b\u2028\ufeff".encode(),
    b"jw_\xff\xfe",
    b"jw_[red]x[bold :warning:",
]
_OURS = re.compile(rb"\x1b\[(\?25[lh]|[0-9]{1,2}(;[0-9]{1,3})*m|m|2K|[0-9]*A)")
_HARM = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def assert_harmless(output, terminal=False):
    if terminal:
        output = _OURS.sub(b"", output.replace(b"\r", b""))
    text = output.decode("utf-8")  # raises where a byte of a name came through
    assert not _HARM.search(text), text
    for line in text.splitlines():
        assert not line.startswith(("<3>", "2026-01-01T00:00:00.000Z ERROR forged")), text


def at_a_terminal(*arguments, place):
    """Run at a terminal of 100 columns, and return the exit status and what it was sent."""
    main, other = pty.openpty()
    more = {"TERM": "xterm-256color", "COLUMNS": "200"}
    with subprocess.Popen(
        [*JWQLSCAN, *map(os.fspath, arguments)],
        stdin=other,
        stdout=other,
        stderr=other,
        env=environment(place, **more),
        cwd="/",
    ) as process:
        os.close(other)
        output, give_up = b"", time.monotonic() + 60
        while time.monotonic() < give_up and select.select([main], [], [], 60)[0]:
            try:
                output += os.read(main, 65536)
            except OSError:  # the other end is closed
                break
    os.close(main)
    return process.returncode, output


@pytest.fixture
def evil(place):
    """An archive with such names of files and directories, some unreadable, and such a path."""
    top = os.fsencode(place) + b"/arch\x1b[31337m\n<3>ive\xff"
    for name in EVIL:
        os.makedirs(top + b"/public/" + name)
        for inner in (name + b".fits", b"closed " + name):
            with open(top + b"/public/" + name + b"/" + inner, "wb"):
                pass
        os.makedirs(top + b"/public/closed " + name)
        os.chmod(top + b"/public/closed " + name, 0)
    yield os.fsdecode(top)
    for name in EVIL:
        os.chmod(top + b"/public/closed " + name, 0o700)


@pytest.fixture
def unprivileged(monkeypatch):
    # without capabilities root, too, is bound by the mode of what it owns
    if os.geteuid() == 0:
        drop = [required("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]
        monkeypatch.setattr(f"{__name__}.JWQLSCAN", [*drop, *JWQLSCAN])


@pytest.mark.case("F27")
def test_names_are_harmless_at_a_terminal(place, evil, unprivileged):
    status, output = at_a_terminal("scan", evil, place=place)
    assert status == ExitCode.INCOMPLETE
    assert b"permission" in output and b"not recognized" in output
    assert rb"\x1b" in output  # escaped
    assert_harmless(output, terminal=True)


@pytest.mark.case("F27")
def test_names_are_harmless_in_what_scan_prints(place, evil, unprivileged):
    table = jwqlscan("scan", evil, place=place, command=JWQLSCAN)
    record = jwqlscan("scan", "--json", evil, place=place, command=JWQLSCAN)
    for done in (table, record):
        assert done.returncode == ExitCode.INCOMPLETE
        assert_harmless(done.stdout)
        assert_harmless(done.stderr)
    [area] = json.loads(record.stdout)["areas"]
    assert area["errors"] == {"permission": len(EVIL)}
    assert len(area["unrecognized"]["samples"]) == len(EVIL)
    for text in (area["path"], *area["unrecognized"]["samples"]):
        assert not _HARM.search(text) and "\n" not in text
    for sample in area["error_samples"]:
        assert not _HARM.search(sample["path"]) and "\n" not in sample["path"]


@pytest.mark.case("S11")
@pytest.mark.parametrize("terminal", [False, True])
def test_names_are_harmless_in_what_a_run_says_and_writes(place, evil, unprivileged, terminal):
    config = config_of(place, more='[df]\ntimeout = "0.000001s"')  # so that a path is warned of
    arguments = ["run", "-c", config, "--archive", evil, "-v"]
    if terminal:
        status, output = at_a_terminal(*arguments, place=place)
        assert_harmless(output, terminal=True)
    else:
        done = jwqlscan(*arguments, "--json", place=place, command=JWQLSCAN)
        status, output = done.returncode, done.stderr
        assert_harmless(done.stdout)
        assert_harmless(output)
        json.loads(done.stdout)
    assert status == ExitCode.INCOMPLETE
    assert rb"\x1b[31337m\x0a<3>ive\xff" in output
    [log] = (place / "logs").iterdir()
    assert_harmless(log.read_bytes())
    for line in log.read_text().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING) \S", line), line
    assert r"\x1b[31337m\x0a<3>ive\xff" in log.read_text()
    for component in (place / "out/monitor_filesystem").glob("*_component.html"):
        assert_harmless(component.read_bytes())
    page = (place / "out/monitor_filesystem/filesystem_monitor.html").read_bytes()
    escaped = re.compile(rb"\\x1b\[31337m|\\x9b31337m|\\u009b31337m")
    assert b"31337m" not in escaped.sub(b"", page)
    assert not {*page} & {0x1B, 0x7F} and b"\xc2\x9b" not in page


@pytest.mark.case("S11")
@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "{name}"],
        ["run", "--archive", "{name}"],
        ["run", "-c", "{name}"],
        ["run", "--archive", "{place}", "--outputs", "{name}/out"],
        ["report", "--outputs", "/dev/null/{name}"],
        ["demo", "/dev/null/{name}"],
    ],
    ids=" ".join,
)
def test_an_error_that_names_such_a_path_is_one_harmless_line(place, arguments):
    name = os.fsdecode(os.fsencode(place) + b"/none\n<3>\x1b[31337m\xc2\x9b\xff")
    arguments = [word.format(name=name, place=place) for word in arguments]
    assert jwqlscan("db", "migrate", place=place).returncode == 0  # else there is nothing to report
    done = jwqlscan(*arguments, place=place)
    assert done.returncode in (1, 2, 5)
    assert_harmless(done.stdout + done.stderr)
    assert done.stderr.startswith(b"jwqlscan: ") and done.stderr.count(b"\n") == 1
    assert rb"none\x0a<3>\x1b[31337m\u009b\xff" in done.stderr
