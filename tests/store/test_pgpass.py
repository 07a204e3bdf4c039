"""`~/.pgpass` as libpq reads it, and its warnings as lines of our own."""

import json
import os
import shutil
import subprocess
import sys
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from jwqlscan.store import Tables, open_store, pgpass
from jwqlscan.store.postgresql import PostgresqlStore


@pytest.fixture
def passfile(tmp_path, monkeypatch):
    """Write a password file, and make it the one that is read."""

    def write(content, mode=0o600):
        path = tmp_path / "pgpass"
        path.write_bytes(content.encode())
        path.chmod(mode)
        monkeypatch.setenv("PGPASSFILE", str(path))
        monkeypatch.delenv("PGPASSWORD", raising=False)
        return path

    pgpass._warn.cache_clear()
    return write


URL = "postgresql://jwql@db.example:5433/jwqldb"


@pytest.mark.parametrize(
    ("content", "password"),
    [
        ("db.example:5433:jwqldb:jwql:plain", "plain"),
        (r"db.example:5433:jwqldb:jwql:a\:b\\c", r"a:b\c"),
        (r"db.example:5433:jwqldb:jwql:end\\", "end\\"),
        ("db.example:5433:jwqldb:jwql: with spaces ", " with spaces "),
        ("db.example:5433:jwqldb:jwql:cut:here", "cut"),
        ("# a comment\n\n*:*:*:*:any\r\n", "any"),
        (r"db.example:5433:jwqldb:\*:no" "\n*:*:*:jwql:second", "second"),
        ("other:*:*:*:no\ndb.example:*:*:*:yes", "yes"),
        ("db.example:5432:*:*:no", None),
        ("db.example:5433:jwqldb:jwql", None),
        ("", None),
    ],
)
def test_a_line_is_read_as_libpq_reads_it(passfile, content, password):
    passfile(content)
    assert pgpass.password_for(URL, os.environ) == password


@pytest.mark.parametrize(
    ("url", "environ", "line"),
    [
        ("postgresql://", {"PGUSER": "u"}, "localhost:5432:u:u"),
        ("postgresql:///d?host=/run/pg", {"PGUSER": "u"}, "localhost:5432:d:u"),
        ("postgresql://u@[::1]:6000/d", {}, r"\:\:1:6000:d:u"),
        ("postgresql://u@one,two:7000/d", {}, "two:7000:d:u"),
        ("postgresql://u@%2Frun%2Fpg/d", {"PGPORT": "1"}, "localhost:1:d:u"),
        ("postgresql://a%40b@h/d%2F", {"PGDATABASE": "no"}, "h:5432:d/:a@b"),
        ("postgresql://h/?user=u&dbname=d&port=9", {}, "h:9:d:u"),
    ],
)
def test_the_server_is_the_one_that_the_url_and_the_environment_name(passfile, url, environ, line):
    path = passfile(f"{line}:found\n")
    assert pgpass.password_for(url, {"PGPASSFILE": str(path), **environ}) == "found"


@pytest.mark.parametrize(
    ("url", "environ"),
    [
        ("postgresql://u:given@h/d", {}),
        ("postgresql://u@h/d?password=given", {}),
        ("postgresql://u@h/d", {"PGPASSWORD": "given"}),
        ("postgresql://u@h/d?service=s", {}),
    ],
)
def test_a_password_that_is_given_is_not_looked_up(passfile, url, environ):
    path = passfile("*:*:*:*:file")
    assert pgpass.password_for(url, {"PGPASSFILE": str(path), **environ}) is None


def escaped(text):
    return text.replace("\\", "\\\\").replace(":", "\\:")


@pytest.mark.parametrize("password", ["plain", "a:b", r"back\slash", r"\:\\", "*", "é ü", "ends\\"])
async def test_a_server_takes_the_password_that_psql_takes(passfile, pg_url, password):
    parts = urlsplit(pg_url)
    user = f"p:{os.getpid()}"
    connection = await asyncpg.connect(pg_url)
    try:
        literal = password.replace("'", "''")
        await connection.execute("SET standard_conforming_strings = on")
        await connection.execute(f"CREATE ROLE \"{user}\" LOGIN PASSWORD '{literal}'")
        place = f"{quote(user)}@{parts.hostname}:{parts.port}"
        url = urlunsplit(parts._replace(netloc=place))
        path = passfile(f"*:*:*:{escaped(user)}:{escaped(password)}\n")
        async with PostgresqlStore(url, tables=Tables.FOREIGN) as store:
            assert tuple(*await store.select("SELECT current_user::text")) == (user,)
        if psql := shutil.which("psql"):
            done = subprocess.run(
                [psql, "-w", "-At", "-c", "SELECT current_user", url],
                env={"PATH": "/usr/bin:/bin", "PGPASSFILE": str(path)},
                capture_output=True,
                text=True,
            )
            assert done.stdout.strip() == user, done.stderr
    finally:
        await connection.execute(f'DROP OWNED BY "{user}"')
        await connection.execute(f'DROP ROLE "{user}"')
        await connection.close()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_that_others_can_read_is_one_line_of_ours(tmp_path, passfile, pg_url, form):
    path = passfile("*:*:*:*:secret", 0o640)
    parts = urlsplit(pg_url)
    place = f"{parts.username}@{parts.hostname}:{parts.port}"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "jwqlscan", "status", "--log-format", form, "--database"),
            urlunsplit(parts._replace(netloc=place)),
        ],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PGPASSFILE": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    warning, error = done.stderr.splitlines()
    assert done.returncode == 4 and "secret" not in done.stderr
    if form == "json":
        warning, error = json.loads(warning)["message"], json.loads(error)["message"]
    assert f"chmod 600 {path}" in warning and ".pgpass" in error


async def test_what_is_no_file_is_reported_and_not_read(passfile, tmp_path, caplog):
    assert pgpass.password_for(URL, {"PGPASSFILE": str(tmp_path)}) is None
    assert pgpass.password_for(URL, {"PGPASSFILE": str(tmp_path)}) is None
    [record] = caplog.records
    assert "is no plain file" in record.getMessage()


def test_a_store_is_opened_with_no_password_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    assert pgpass.password_for(URL, os.environ) is None
    assert open_store(URL).location == URL
