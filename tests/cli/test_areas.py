"""Areas that are missing, emptied, or back: what a run refuses, and what an operator accepted."""

import errno
import os
import shutil
import subprocess
import sys

import pytest

from jwqlscan.config.loader import load_config
from jwqlscan.errors import ConfigError, ExitCode, LastingWarning, ScanFailedError
from jwqlscan.model.snapshot import STATES
from jwqlscan.operations.doctor import examine
from jwqlscan.operations.run import run
from jwqlscan.scanning.measure import Measurement
from jwqlscan.scanning.supervisor import RootInfo
from jwqlscan.settings import Area, ScanSettings
from tests.cli.test_run import make_config, rows, tree, write  # noqa: F401 - a fixture

EXPLICIT = "[archive.areas]\npublic = 'public'\nproprietary = 'proprietary'\n"


def empty(directory):
    """Leave a directory as an unmounted filesystem does."""
    shutil.rmtree(directory)
    directory.mkdir()


def command(place, name):
    """Run a command with the configuration that `make_config` wrote."""
    return subprocess.run(
        [sys.executable, "-m", "jwqlscan", name, "-c", str(place / "config.toml")],
        capture_output=True,
        text=True,
        timeout=120,
    )


async def diagnosed(config):
    """Return what `doctor` says of the areas: whether all is well, and its text."""
    [areas] = [one for one in await examine(config) if one.what == "areas"]
    return areas.well, areas.text


@pytest.mark.case("F38")
@pytest.mark.parametrize("explicit", ["", EXPLICIT])
@pytest.mark.parametrize("unmount", [shutil.rmtree, empty])
async def test_doctor_refuses_the_areas_that_the_next_run_refuses_and_both_name_all(
    tree,  # noqa: F811
    unmount,
    explicit,
):
    config = make_config(tree, explicit)
    assert (await diagnosed(config))[0]  # there is no store yet
    await run(config, with_report=False)
    well, text = await diagnosed(config)
    assert well and text.startswith("4 can be read: archive public, archive proprietary, central ")
    gone = [tree / "archive/public", tree / "archive/proprietary", tree / "central/logs"]
    for directory in gone:
        unmount(directory)
    with pytest.raises(ScanFailedError) as refused:
        await run(config, with_report=False)
    assert await diagnosed(config) == (False, str(refused.value))
    assert all(f"{directory} (" in str(refused.value) for directory in gone)
    assert str(refused.value).count("run once with `jwqlscan run --allow-empty`") == 1
    assert len(rows(tree, "SELECT run_id FROM scan_run")) == 1


async def test_a_missing_root_is_named_once_and_not_once_more_for_its_areas(tree):  # noqa: F811
    config = make_config(tree)
    await run(config, with_report=False)
    for name in ("archive", "central"):
        shutil.rmtree(tree / name)
    with pytest.raises(ConfigError) as refused:
        await run(config, with_report=False)
    reason = f"in {tree}/config.toml): {os.strerror(errno.ENOENT)}"
    assert str(refused.value) == (
        f"{tree}/archive (archive.path {reason}, {tree}/central (central.path {reason};"
        " mount it, or name another"
    )
    assert await diagnosed(config) == (False, str(refused.value))


async def test_doctor_reports_areas_where_the_store_can_not_be_read(tree):  # noqa: F811
    down = make_config(tree, database="postgresql://nobody@127.0.0.1:1/none")
    assert (await diagnosed(down))[0]
    shutil.rmtree(tree / "central/logs")
    well, text = await diagnosed(down)
    assert not well and f"{tree}/central/logs (central.areas.logs in " in text
    assert "the store can't be asked whether that was accepted" in text


@pytest.mark.case("F38")
@pytest.mark.parametrize(
    ("gone", "explicit", "label"),
    [
        ("archive/public", "", "archive/public"),
        ("archive/public", EXPLICIT, "archive/public"),
        ("archive", EXPLICIT, "archive"),
        ("central/logs", "", "central/logs"),
    ],
)
async def test_an_area_accepted_as_missing_stops_no_later_run_and_stays_reported(
    tree,  # noqa: F811
    gone,
    explicit,
    label,
):
    config = make_config(tree, explicit)
    await run(config, with_report=False)
    (tree / gone).rename(tree / "away")
    with pytest.raises((ScanFailedError, ConfigError)):
        await run(config, with_report=False)
    for accepting in (True, False, False):
        outcome = await run(config, with_report=not accepting, allow_empty=accepting)
        assert (outcome.exit_code, outcome.snapshot.status) == (ExitCode.COMPLETE, "complete")
        [warning] = outcome.warnings  # one line, given once a night at most
        assert isinstance(warning, LastingWarning)
        assert f": missing ({os.strerror(errno.ENOENT)}), accepted by --allow-empty" in warning
        missing = {f"{a.group}/{a.name}" for a in outcome.snapshot.areas if a.state == "missing"}
        total = outcome.snapshot.area("archive", "all")
        if gone != "archive":
            assert missing == {label} and total.capacity is not None
            assert total.state == "complete"
    line = warning.partition(";")[0]
    checked = command(tree, "check")
    assert checked.returncode == 1 and f"{label} is missing: {tree / gone}" in checked.stdout
    assert "incomplete" not in checked.stdout
    assert f"warning: {line}\n" in command(tree, "status").stdout
    assert line in (tree / "outputs/monitor_filesystem/filesystem_monitor.html").read_text()
    well, text = await diagnosed(config)
    assert well and f"({tree / gone}" in text.partition("missing, as accepted")[2]
    # Another condition was not accepted.
    (tree / gone).write_text("")
    with pytest.raises((ScanFailedError, ConfigError), match=os.strerror(errno.ENOTDIR)):
        await run(config, with_report=False)
    (tree / gone).unlink()
    (tree / "away").rename(tree / gone)
    back = await run(config, with_report=False)
    assert (back.exit_code, back.warnings) == (ExitCode.COMPLETE, ())
    assert back.snapshot.area("archive", "all").tally.files == 4
    shutil.rmtree(tree / gone)
    with pytest.raises((ScanFailedError, ConfigError)):
        await run(config, with_report=False)


async def test_a_missing_area_of_another_path_was_not_accepted(tree):  # noqa: F811
    config = make_config(tree)
    shutil.rmtree(tree / "central/logs")
    await run(config, with_report=False, allow_empty=True)
    text = (tree / "config.toml").read_text().replace('logs = "logs"', 'logs = "moved"')
    (tree / "config.toml").write_text(text)
    with pytest.raises(ScanFailedError, match="central/moved"):
        await run(load_config(str(tree / "config.toml")), with_report=False)


@pytest.mark.parametrize("state", ["complete", "incomplete"])
async def test_an_area_left_out_for_a_while_is_compared_with_the_last_run_that_had_it(
    tree,  # noqa: F811
    state,
):
    config = make_config(tree)
    await run(config, with_report=False)
    without = (tree / "config.toml").read_text().replace('logs = "logs"', "")
    if state == "incomplete":
        without += "\n[df]\ntimeout = '0.000001s'\n"
    (tree / "other.toml").write_text(without)
    (tree / "other.toml").chmod(0o600)
    for _ in range(2):
        await run(load_config(str(tree / "other.toml")), with_report=False)
    assert rows(tree, "SELECT status FROM scan_run ORDER BY date DESC")[0] == (state,)
    empty(tree / "central/logs")
    with pytest.raises(ScanFailedError, match=r"central/logs .*, and the run of .* found 1"):
        await run(config, with_report=False)
    write(tree / "central/logs/a.log", 1000)
    assert (await run(config, with_report=False)).exit_code == ExitCode.COMPLETE
    empty(tree / "central/logs")
    accepted = await run(config, with_report=False, allow_empty=True)
    assert accepted.exit_code == ExitCode.COMPLETE
    assert (await run(config, with_report=False)).exit_code == ExitCode.COMPLETE


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (errno.ENOENT, "missing"),
        (errno.ENOTDIR, "missing"),
        (errno.ETIMEDOUT, "stalled"),
        (errno.EACCES, "failed"),
        (errno.EIO, "failed"),
        (errno.ESTALE, "failed"),
    ],
)
def test_only_a_directory_that_does_not_exist_is_missing(number, state):
    area = Area("archive", "public", "/archive/public", "archive.path")
    found = {area.path: RootInfo(errno=number)}
    [measured] = Measurement([area], found, {}, [], ScanSettings()).areas
    assert measured.state == state in STATES and measured.note


async def test_files_and_bytes_that_fell_are_one_suspicion(tree):  # noqa: F811
    config = make_config(tree)
    for number in range(16):
        write(tree / f"archive/public/{number}", 2**30)
    await run(config, with_report=False)
    for number in range(16):
        (tree / f"archive/public/{number}").unlink()
    outcome = await run(config, with_report=False)
    assert outcome.snapshot.suspicions == (
        "archive all: 4 files and 4.00 GiB where the last complete run found 20 and 20.00 GiB,"
        " down by 80 % and 79 %",
    )
    assert [text.partition(":")[0] for text in outcome.warnings] == ["suspect"]
