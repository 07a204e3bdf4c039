"""The lock: one run at a time, whatever happens to the one that holds it."""

import json
import os
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import anyio
import pytest

from jwqlscan.errors import ConfigError, ExitCode, LockedError
from jwqlscan.system.lock import run_lock, waited_lock

_HOLD = """
import sys
from jwqlscan.system.lock import run_lock
with run_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "state" / "lock")


@pytest.fixture
def holder(path):
    """Yield another process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def can_be_taken(path: str) -> bool:
    try:
        with run_lock(path):
            return True
    except LockedError:
        return False


@pytest.mark.case("P14")
def test_a_second_run_is_told_who_holds_it_and_since_when(path, holder):
    with pytest.raises(LockedError) as caught, run_lock(path):
        pass
    assert f"process {holder.pid} since 20" in str(caught.value)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == ExitCode.LOCKED == 11


def test_a_second_run_leaves_the_holders_name_there(path, holder):
    for _ in range(2):
        with pytest.raises(LockedError, match=f"process {holder.pid} "), run_lock(path):
            pass


@pytest.mark.case("P14")
async def test_a_run_that_waits_gets_it_when_it_is_free(path, holder):
    began = time.monotonic()
    with pytest.raises(LockedError, match=f"process {holder.pid} since"):
        async with waited_lock(path, 0.5):
            pass
    assert 0.5 <= time.monotonic() - began < 20
    async with anyio.create_task_group() as tasks:

        async def release():
            await anyio.sleep(0.3)
            holder.kill()

        tasks.start_soon(release)
        async with waited_lock(path, 20):
            assert not can_be_taken(path)
    assert can_be_taken(path)


@pytest.mark.case("P14")
def test_a_command_waits_as_long_as_it_is_told(tmp_path, path, holder):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/a.fits").write_text("x")
    command = [sys.executable, "-m", "jwqlscan", "run", "--no-report"]
    command += ["--archive", str(tmp_path / "archive"), "--max-runtime", "6s"]
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path)}
    os.rename(tmp_path / "state", tmp_path / "jwqlscan")
    kwargs = {"env": environment, "capture_output": True, "text": True, "timeout": 60}
    for options in ([], ["--wait", "1s"]):
        began = time.monotonic()
        done = subprocess.run([*command, *options], **kwargs)
        assert (done.returncode, done.stderr.count("\n")) == (11, 1)
        assert f"process {holder.pid} since 20" in done.stderr
        assert (time.monotonic() - began > 1) or not options
    began = datetime.now(UTC)
    # It waits for longer than it may run: that counts from when it has the lock.
    threading.Timer(8, holder.kill).start()
    done = subprocess.run([*command, "--wait", "1min", "--json"], **kwargs)
    assert done.returncode == 0, done.stderr
    measured = datetime.fromisoformat(json.loads(done.stdout)["timestamp"])
    assert (measured - began).total_seconds() > 7


def test_it_is_free_when_the_run_has_ended(path, holder):
    holder.communicate()
    assert can_be_taken(path)


@pytest.mark.case("P15")
def test_it_is_free_when_the_run_was_killed(path, holder):
    holder.kill()
    holder.wait()
    assert can_be_taken(path)


def test_it_is_free_after_an_exception(path):
    with pytest.raises(ZeroDivisionError), run_lock(path):
        raise ZeroDivisionError
    assert can_be_taken(path)


def test_within_a_process_it_is_taken_once(path):
    with run_lock(path):
        assert not can_be_taken(path)
    assert can_be_taken(path)


def test_a_child_does_not_inherit_it(path):
    with run_lock(path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert can_be_taken(path)
    finally:
        child.kill()
        child.wait()


@pytest.mark.case("P15")
def test_a_forked_process_that_lives_on_does_not_keep_it(path):
    ready, go = os.pipe(), os.pipe()
    with run_lock(path):
        pid = os.fork()
        if pid == 0:  # as a thread stuck in the kernel keeps the descriptors of its process
            os.write(ready[1], b".")
            os.close(go[1])
            os.read(go[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
    free = can_be_taken(path)
    for fd in (go[1], go[0], *ready):
        os.close(fd)
    os.waitpid(pid, 0)
    assert free


def test_only_its_owner_can_read_it(path):
    with run_lock(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


@pytest.mark.case("S04")
def test_a_symlink_in_its_place_is_refused(path, tmp_path):
    os.mkdir(os.path.dirname(path))
    (tmp_path / "victim").write_text("kept")
    os.symlink(tmp_path / "victim", path)
    with pytest.raises(ConfigError, match=r"state\.path must be"), run_lock(path):
        pass
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_state_directory_that_can_not_be_made_is_a_configuration_error(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match=r"state\.path must be"),
        run_lock(f"{tmp_path}/file/lock"),
    ):
        pass
