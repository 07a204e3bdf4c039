"""Who is told of a run: a real server, one that hangs, one that refuses; commands of all kinds."""

import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from jwqlscan.errors import ConfigError, ExitCode, LockedError
from jwqlscan.monitoring.notify import Ending, notified
from jwqlscan.settings import Notifications

RUN_ID = "6f1b2f0e-9d53-4a3c-8a26-0c8d3c3a5b11"
WELL = Ending("complete", ExitCode.COMPLETE, "complete in 0.10 s; archive 1 file, 1 B")


class Listener:
    """An HTTP server that keeps what it got, and answers with the next of some statuses."""

    def __init__(self, *statuses):
        self.got = []
        self._left = list(statuses)
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                listener.got.append((self.path, body, dict(self.headers)))
                self.send_response(listener._left.pop(0) if listener._left else 200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/secret-uuid"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def paths(self):
        return [urlsplit(path).path for path, _, _ in self.got]


@pytest.fixture
def hanging():
    """A server that accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/secret-uuid"


@pytest.fixture
def refusing():
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/secret-uuid"


async def tell(notifications, ending=WELL, error=None):
    async with notified(notifications, RUN_ID) as notifier:
        notifier.begin()
        if error is not None:
            raise error
        notifier.ending = ending


async def test_a_run_that_is_well_pings_its_start_then_its_success():
    with Listener() as listener:
        await tell(Notifications(listener.url))
    assert listener.paths == ["/secret-uuid/start", "/secret-uuid"]
    assert {parse_qs(urlsplit(path).query)["rid"][0] for path, _, _ in listener.got} == {RUN_ID}
    assert listener.got[1][1] == WELL.summary


async def test_a_query_of_the_url_stays():
    with Listener() as listener:
        await tell(Notifications(listener.url + "/?token=1"))
    assert [path for path, _, _ in listener.got] == [
        f"/secret-uuid/start?token=1&rid={RUN_ID}",
        f"/secret-uuid?token=1&rid={RUN_ID}",
    ]


@pytest.mark.parametrize(
    ("code", "strict", "last"),
    [(0, False, ""), (3, False, ""), (3, True, "/fail"), (4, False, "/fail"), (5, False, "/fail")],
)
async def test_what_a_failure_is_to_the_switch(code, strict, last):
    with Listener() as listener:
        notifications = Notifications(listener.url, incomplete_is_failure=strict)
        await tell(notifications, Ending("x", ExitCode(code), "x"))
    assert listener.paths[-1] == f"/secret-uuid{last}"


async def test_an_exception_is_a_failure_and_says_no_word_of_what_it_was():
    with Listener() as listener, pytest.raises(ConfigError):
        await tell(Notifications(listener.url), error=ConfigError("/secret/path: password"))
    assert listener.paths[-1] == "/secret-uuid/fail"
    assert "secret" not in listener.got[-1][1] and "2" in listener.got[-1][1]


async def test_a_run_that_another_keeps_out_is_none():
    with Listener() as listener, pytest.raises(LockedError):
        async with notified(Notifications(listener.url), RUN_ID):
            raise LockedError("held")
    assert listener.got == []


async def test_a_server_that_stumbles_is_asked_again():
    with Listener(200, 503, 500, 200) as listener:
        await tell(Notifications(listener.url))
    assert listener.paths == ["/secret-uuid/start", *["/secret-uuid"] * 3]


async def test_a_server_that_refuses_for_good_is_not(caplog):
    with Listener(200, 404) as listener:
        await tell(Notifications(listener.url))
    assert len(listener.got) == 2
    [record] = caplog.records
    assert "HTTP status 404" in record.getMessage() and "secret" not in record.getMessage()


async def test_a_server_that_hangs_holds_up_neither_the_start_nor_the_end_for_long(hanging, caplog):
    began = time.monotonic()
    async with notified(Notifications(hanging, timeout_s=2), RUN_ID) as notifier:
        notifier.begin()
        assert time.monotonic() - began < 1.5
        notifier.ending = WELL
    assert time.monotonic() - began < 10
    assert "no answer" in caplog.text and "secret" not in caplog.text


async def test_a_port_where_nobody_listens_is_told_without_the_url(refusing, caplog):
    await tell(Notifications(refusing, timeout_s=1.0))
    assert "Connection refused" in caplog.text and "secret" not in caplog.text


def script(tmp_path, text):
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return (str(path), "an argument")


async def test_the_command_gets_the_facts_and_nothing_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "s3cr3t")
    monkeypatch.setenv("JWQLSCAN_DATABASE", "postgresql://u:s3cr3t@h/d")
    command = script(tmp_path, f'env > {shlex.quote(str(tmp_path))}/env; echo "$1" "$#" >> $0.args')
    await tell(Notifications(command=command))
    environment = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    ours = {key: value for key, value in environment.items() if key.startswith("JWQLSCAN")}
    assert ours == {
        "JWQLSCAN_RUN_ID": RUN_ID,
        "JWQLSCAN_STATUS": "complete",
        "JWQLSCAN_EXIT_CODE": "0",
        "JWQLSCAN_SUMMARY": WELL.summary,
    }
    assert "s3cr3t" not in str(environment)
    assert (tmp_path / "hook.args").read_text() == "an argument 1\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [("exit 3", "exit code 3"), ("kill -9 $$", "signal 9"), ("exit 0", None)],
)
async def test_a_command_that_fails_is_a_warning(tmp_path, caplog, text, problem):
    await tell(Notifications(command=script(tmp_path, text)))
    assert (problem in caplog.text) if problem else not caplog.records


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path, caplog):
    command = script(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    began = time.monotonic()
    await tell(Notifications(command=command, timeout_s=0.5))
    assert time.monotonic() - began < 50
    assert "killed" in caplog.text
    pid = int((tmp_path / "pid").read_text())
    with anyio.fail_after(50):
        while alive(pid):
            await anyio.sleep(0.01)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["missing", "no program", "no #! line"])
async def test_a_command_that_can_not_be_called_is_a_warning(tmp_path, caplog, kind):
    path = tmp_path / "hook"
    if kind != "missing":
        path.write_text("echo")
        path.chmod(0o700 if kind == "no #! line" else 0o600)
    await tell(Notifications(command=(str(path),)))
    assert len(caplog.records) == 1


async def test_root_calls_no_command_that_others_can_write(tmp_path, caplog, as_root):
    command = script(tmp_path, f"touch {tmp_path}/called")
    os.chmod(command[0], 0o777)
    await tell(Notifications(command=command))
    assert "can be written by others" in caplog.text and not (tmp_path / "called").exists()


def run(tmp_path, more, *arguments):
    (tmp_path / "archive").mkdir(exist_ok=True)
    (tmp_path / "archive/private-name.fits").write_text("x")
    (tmp_path / "c.toml").write_text(
        f"[archive]\npath = 'archive'\n[state]\npath = 'state'\n[notify]\n{more}\n"
    )
    command = [sys.executable, "-m", "jwqlscan", "run", "--no-report", "-c", tmp_path / "c.toml"]
    return subprocess.run(
        [*map(str, command), *arguments],
        env={"PATH": "/usr/bin:/bin", "PGPASSWORD": "s3cr3t"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_run_pings_and_calls_and_stays_silent(tmp_path):
    hook = script(tmp_path, f'echo s3cr3t; echo "$JWQLSCAN_STATUS" > {tmp_path}/told; echo x >&2')
    with Listener() as listener:
        done = run(tmp_path, f"ping_url = '{listener.url}'\ncommand = ['{hook[0]}']")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert listener.paths == ["/secret-uuid/start", "/secret-uuid"]
    assert (tmp_path / "told").read_text() == "complete\n"
    said = str(listener.got)
    assert "archive 1 file, 1 B" in said
    assert not [word for word in ("private-name", str(tmp_path), "s3cr3t") if word in said]


def test_a_run_that_fails_before_it_scans_pings_its_failure(tmp_path):
    with Listener() as listener:
        done = run(tmp_path, f"ping_url = '{listener.url}'", "--outputs", "/no/such/place")
    assert done.returncode == 2
    assert listener.paths == ["/secret-uuid/fail"]


def test_nobody_to_be_told_changes_no_exit_code(tmp_path, hanging):
    more = f"ping_url = '{hanging}'\ncommand = ['/no/such/hook']\ntimeout = '0.3s'"
    done = run(tmp_path, more)
    assert (done.returncode, done.stdout) == (0, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("jwqlscan: notify.") for line in lines)
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "ping_url = 'ftp://h/secret-uuid'",
        "ping_url = 'https://u:secret@h/'",
        "ping_url = 'https:///secret'",
        "ping_url = 'http://h:x/secret'",
        "ping_url = 'http://h/a secret'",
        "command = ['tell']",
        "command = ['']",
        "command = 'tell'",
        "timeout = '0s'",
        "incomplete_is_failure = 'yes'",
        "ping = 'x'",
    ],
)
def test_a_wrong_value_is_told_by_its_key_and_not_repeated(tmp_path, line):
    done = run(tmp_path, line)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"notify.{line.split()[0]}" in done.stderr and "secret" not in done.stderr
