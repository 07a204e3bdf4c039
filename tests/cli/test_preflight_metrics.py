"""A path for metrics, right or wrong, never decides whether a snapshot is taken."""

import contextlib
import os
import re
import sqlite3

import anyio
import pytest

from jwqlscan.operations.run import run
from jwqlscan.system.ownership import open_directory
from tests.cli.test_doctor import doctor, failures
from tests.cli.test_preflight import jwqlscan
from tests.cli.test_run import CAL, make_config, write
from tests.support.trees import required

EXPORTER = 999  # a user and a group that are not root's


@pytest.fixture
def tree(tmp_path):
    write(tmp_path / "archive/public/jw01018" / CAL, 4096)
    write(tmp_path / "central/logs/loose.txt", 100)
    return tmp_path


def configured(tree, path, more=""):
    file = tree / "c.toml"
    file.write_text(
        f"archive.path = 'archive'\nstate.path = 'state'\nmetrics.path = '{path}'\n{more}"
    )
    file.chmod(0o600)
    return file


def snapshots(tree):
    with sqlite3.connect(tree / "state/jwqlscan.db") as store:
        return store.execute("SELECT count(*) FROM scan_run").fetchone()[0]


# As the packages make it: the owner, the group and the mode of its parent and of itself.
PACKAGES = {
    "debian": ((EXPORTER, EXPORTER, 0o755), (EXPORTER, EXPORTER, 0o755)),
    "rpm": ((0, 0, 0o755), (0, EXPORTER, 0o771)),
    "rpm, of its own user": ((0, 0, 0o755), (EXPORTER, EXPORTER, 0o775)),
}


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("package", PACKAGES)
def test_root_writes_metrics_where_a_package_of_the_node_exporter_has_its_directory(tree, package):
    directory = tree / "prometheus/node-exporter"
    directory.mkdir(parents=True)
    for place, (owner, group, mode) in zip(
        (directory.parent, directory), PACKAGES[package], strict=True
    ):
        os.chown(place, owner, group)
        place.chmod(mode)
    file = configured(tree, directory / "j.prom")
    done = jwqlscan("run", "-c", file, home=tree)
    assert (done.returncode, done.stderr) == (0, "")
    assert "jwqlscan_last_run_complete 1" in (directory / "j.prom").read_text()
    assert failures(doctor(file)) == []
    assert directory.stat().st_uid == PACKAGES[package][1][0]


@pytest.mark.usefixtures("as_root")
def test_the_systemd_unit_keeps_the_capability_that_root_needs_there(tree):
    directory = tree / "node-exporter"
    directory.mkdir()
    os.chown(directory, EXPORTER, EXPORTER)
    file = configured(tree, directory / "j.prom")
    unit = jwqlscan("schedule", "--systemd", "-c", file, home=tree).stdout
    [kept] = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    bounding = ",".join(
        ["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in kept.split())]
    )
    under = [required("setpriv"), f"--bounding-set={bounding}", f"--inh-caps={bounding}"]
    done = jwqlscan("run", "-c", file, "--no-report", home=tree, under=under)
    assert (done.returncode, done.stderr) == (0, "")
    assert (directory / "j.prom").exists()
    os.chown(directory, 0, 0)
    assert "CAP_DAC_OVERRIDE" not in jwqlscan("schedule", "--systemd", "-c", file, home=tree).stdout


WRONG = ("missing", "no .prom", "a file", "read-only", "inside", "link of another", "a directory")


def wrong_path(tree, kind):
    place = tree / "place"
    place.mkdir()
    if kind == "missing":
        return place / "nowhere/j.prom"
    if kind == "no .prom":
        return place / "j.txt"
    if kind == "a file":
        (place / "file").write_text("")
        return place / "file/j.prom"
    if kind == "read-only":
        return "/proc/sys/j.prom"
    if kind == "inside":
        return tree / "archive/public/j.prom"
    if kind == "a directory":
        (place / "j.prom").mkdir()
        return place / "j.prom"
    os.chown(place, EXPORTER, EXPORTER)
    (tree / "target").mkdir()
    (place / "link").symlink_to(tree / "target")
    return place / "link/j.prom"


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_path_for_metrics_is_a_warning_and_the_snapshot_is_stored(tree, kind):
    path = wrong_path(tree, kind)
    file = configured(tree, path)
    done = jwqlscan("run", "-c", file, "-v", home=tree)
    assert done.returncode == 0, done.stderr
    assert snapshots(tree) == 1
    lines = done.stderr.splitlines()
    [warning] = [number for number, line in enumerate(lines) if "metrics" in line]
    assert warning < next(number for number, line in enumerate(lines) if "scanning" in line)
    assert "the run goes on without metrics" in lines[warning]
    assert "chown" not in done.stderr and "chmod" not in done.stderr
    assert not os.path.isfile(path) and not os.listdir(tree / "archive/public/jw01018")[1:]


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("kind", WRONG)
def test_doctor_reports_a_wrong_path_for_metrics(tree, kind):
    done = doctor(configured(tree, wrong_path(tree, kind)))
    [line] = failures(done)
    assert "metrics" in line and "chown" not in line


async def test_a_path_for_metrics_that_does_not_answer_is_a_warning(
    tree, frozen, monkeypatch, caplog
):
    place, freeze = frozen
    config = make_config(tree, f"[metrics]\npath = '{place}/j.prom'\n")
    monkeypatch.setattr("jwqlscan.operations.preflight.PLACES_TIMEOUT_S", 0.5)
    with freeze(), anyio.fail_after(25):
        outcome = await run(config, with_report=False)
    assert outcome.exit_code == 0
    [warning] = outcome.warnings
    assert warning.startswith("no answer within 0.5 s") and f"metrics.path {place}" in warning
    assert warning in caplog.text


# ---- how root opens a directory that others can change ----


def opened(path):
    """Return the directory that a descriptor leads to."""
    fd = open_directory(str(path))
    try:
        status = os.fstat(fd)
        return status.st_dev, status.st_ino
    finally:
        os.close(fd)


def identity(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino


@pytest.mark.case("S04")
@pytest.mark.parametrize("target", ["{tree}/target", "../target", "../target/../target/."])
def test_root_follows_a_link_that_only_root_can_replace(tree, target):
    (tree / "target").mkdir()
    (tree / "ours").mkdir()
    (tree / "ours/link").symlink_to(target.format(tree=tree))
    assert opened(tree / "ours/link") == identity(tree / "target")


@pytest.mark.case("S04")
@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("way", ["their directory", "their link", "world", "last", "in a link"])
def test_root_follows_no_link_that_others_can_replace(tree, way):
    (tree / "target/below").mkdir(parents=True)
    theirs = tree / "theirs"
    theirs.mkdir()
    (theirs / "link").symlink_to(tree / "target")
    if way == "their link":
        os.chown(theirs / "link", EXPORTER, -1, follow_symlinks=False)
    elif way == "world":
        theirs.chmod(0o777)
    else:
        os.chown(theirs, EXPORTER, -1)
    (tree / "ours").symlink_to("theirs/link")
    place = {"last": theirs / "link", "in a link": tree / "ours"}.get(way, theirs / "link/below")
    with pytest.raises(OSError, match="is a symbolic link that others than root can replace"):
        opened(place)


def test_a_loop_of_links_and_what_is_no_directory_are_errors(tree):
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        opened(tree / "a")
    (tree / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        opened(tree / "file/below")
    with pytest.raises(FileNotFoundError):
        opened(tree / "nowhere")


def test_no_descriptor_stays_open(tree):
    before = len(os.listdir("/proc/self/fd"))
    for place in (tree, tree / "nowhere"):
        with contextlib.suppress(FileNotFoundError):
            opened(place)
    assert len(os.listdir("/proc/self/fd")) == before
