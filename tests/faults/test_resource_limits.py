"""Few descriptors, threads and little memory: named, and what was measured is kept."""

import errno
import json
import os
import re
import subprocess
import sys

import pytest

from jwqlscan.resource_limits import FILES, MEMORY, THREADS, shortage
from tests.support.trees import required

FILE = "jw00001001001_02101_00001_nrca1_cal.fits"
SPEAKS_OF = re.compile(re.escape(FILES) + "|" + re.escape(THREADS) + "|" + re.escape(MEMORY))


@pytest.fixture
def config(tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / FILE).write_text("x")
    path = tmp_path / "c.toml"
    path.write_text("archive.path = 'archive'\nstate.path = 'state'\nlog.path = 'logs'\n")
    return path


def run(config, *under):
    command = [*under, sys.executable, "-m", "jwqlscan", "run", "-c", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def is_kept(config):
    """Tell whether a snapshot is stored or waits."""
    state = config.parent / "state"
    if list((state / "spool").glob("*.json")):
        return True
    command = [sys.executable, "-m", "jwqlscan", "history", "--json", "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode == 0 and bool(json.loads(done.stdout)["points"])


@pytest.mark.case("P27")
@pytest.mark.parametrize(
    "limit",
    [
        *(f"--nofile={number}" for number in (12, 16, 64, 90)),
        *(f"--as={number * 1000 * 1024}" for number in (150, 200, 300, 400, 600)),
    ],
)
def test_a_limit_is_named_and_what_was_measured_is_kept(config, limit):
    done = run(config, required("prlimit"), limit)
    assert "a bug" not in done.stderr and "Traceback" not in done.stderr
    for line in done.stderr.splitlines():
        assert line.startswith("jwqlscan: ")
    if done.returncode == 1:  # nothing could be measured
        assert SPEAKS_OF.search(done.stderr)
        return
    assert done.returncode in (0, 3, 4, 5)
    assert is_kept(config)
    if done.returncode in (4, 5):
        assert SPEAKS_OF.search(done.stderr)


@pytest.mark.case("P27")
@pytest.mark.parametrize("files", [64, 90])
def test_a_report_needs_few_descriptors(config, files):
    done = run(config, required("prlimit"), f"--nofile={files}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.case("P27")
@pytest.mark.parametrize("threads", [1, 2, 5, 40])
def test_a_limit_of_threads_is_named(config, threads, as_root):
    user = 54321  # of no other process: all of a user's threads count
    for path in (config.parent, *config.parent.rglob("*")):
        os.chown(path, user, user)
    config.parent.chmod(0o755)
    powers = "dac_read_search"  # to read the interpreter, wherever it is
    under = [
        *(required("setpriv"), f"--reuid={user}", f"--regid={user}", "--clear-groups"),
        *(f"--inh-caps=-all,+{powers}", f"--ambient-caps=-all,+{powers}"),
        *(required("prlimit"), f"--nproc={threads}"),
        *("env", f"HOME={config.parent}"),
    ]
    done = run(config, *under)
    assert "a bug" not in done.stderr and "Traceback" not in done.stderr
    if threads == 40:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert THREADS in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "x"), FILES),
        (OSError(errno.ENOMEM, "x"), MEMORY),
        (BlockingIOError(errno.EAGAIN, "x"), THREADS),
        (MemoryError(), MEMORY),
        (RuntimeError("can't start new thread"), THREADS),
        (ImportError("libx.so: failed to map segment from shared object"), MEMORY),
        (ExceptionGroup("x", [ValueError(), MemoryError()]), MEMORY),
        (RuntimeError("something else"), ""),
        (OSError(errno.ENOSPC, "x"), ""),
        (ValueError("can't start new thread"), ""),
    ],
)
def test_an_error_shows_which_limit_was_met(error, words):
    assert shortage(error) == words


def test_an_error_that_another_one_led_to_shows_it_too():
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise ImportError("numpy") from error
    except ImportError as error:
        assert shortage(error) == MEMORY
