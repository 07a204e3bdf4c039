"""What a run writes is private, goes where it may, and that is known before the scan."""

import os
import sqlite3
import stat
import subprocess
import sys

import anyio
import pytest

from jwqlscan.config.loader import load_config
from jwqlscan.errors import ConfigError, ExitCode
from jwqlscan.operations.preflight import check, check_outside
from jwqlscan.operations.run import run
from jwqlscan.scanning.supervisor import RootInfo
from jwqlscan.settings import Area
from tests.cli.test_run import CAL, make_config, write
from tests.support.trees import in_mount_namespace, required

JWQLSCAN = [sys.executable, "-m", "jwqlscan"]


@pytest.fixture
def tree(tmp_path):
    write(tmp_path / "archive/public/jw01018" / CAL, 4096)
    write(tmp_path / "central/loose.txt", 100)
    return tmp_path


def jwqlscan(*arguments, home, under=(), umask=0o077, **environment):
    return subprocess.run(
        [*under, *JWQLSCAN, *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), **environment},
        cwd="/",
        umask=umask,
        capture_output=True,
        text=True,
        timeout=120,
    )


def modes(top):
    """Return the modes of all below a directory: those of files, those of directories."""
    found: dict[str, int] = {}
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            found[os.path.relpath(path, top)] = os.lstat(path).st_mode
    files = {path: oct(m & 0o7777) for path, m in found.items() if not stat.S_ISDIR(m)}
    return files, {path: oct(m & 0o7777) for path, m in found.items() if stat.S_ISDIR(m)}


# ---- private ----


@pytest.mark.case("S03")
@pytest.mark.parametrize("umask", [0, 0o022], ids="umask-{:03o}".format)
def test_whatever_a_run_makes_is_for_its_user_alone(tree, umask):
    made = tree / "made"
    (made / "logs").mkdir(parents=True, mode=0o700)
    made.chmod(0o700)
    config = tree / "c.toml"
    config.write_text(
        '[archive]\npath = "archive"\n[outputs]\npath = "made/out"\n[state]\npath = "made/state"\n'
        '[log]\npath = "made/logs"\n[database]\nurl = "sqlite:///made/db/store.db"\n'
    )
    config.chmod(0o600)
    more = {"home": tree, "umask": umask}
    assert jwqlscan("run", "-c", config, **more).returncode == 0
    connection = sqlite3.connect(made / "db/store.db")  # while it is open -wal and -shm stay
    try:
        connection.execute("SELECT count(*) FROM scan_run").fetchone()
        assert jwqlscan("run", "-c", config, **more).returncode == 0
        down = {"JWQLSCAN_DATABASE": "postgresql://nobody@127.0.0.1:1/none"}
        assert jwqlscan("run", "-c", config, **more, **down).returncode == 4
        files, directories = modes(made)
    finally:
        connection.close()
    report = "out/monitor_filesystem"
    expected = {f"{report}/filesystem_monitor.html", f"{report}/manifest.json", "state/lock"}
    expected |= {f"db/store.db{end}" for end in ("", "-wal", "-shm")}
    assert expected <= files.keys()
    for part in ("logs/", "state/spool/", f"{report}/total_file_counts_component.js"):
        assert any(path.startswith(part) for path in files), part
    assert set(files.values()) == {"0o600"}, files
    assert set(directories.values()) == {"0o700"}, directories


@pytest.mark.case("S03")
def test_whatever_the_demonstration_and_the_report_make_is_for_their_user_alone(tmp_path):
    done = jwqlscan("demo", tmp_path / "demo", home=tmp_path, umask=0)
    assert done.returncode == 0, done.stderr
    config = tmp_path / "demo/config.toml"
    done = jwqlscan("report", "-c", config, "--outputs", tmp_path / "o", home=tmp_path, umask=0)
    assert done.returncode == 0, done.stderr
    files, directories = modes(tmp_path)
    assert set(files.values()) == {"0o600"}
    assert set(directories.values()) == {"0o700"}


def test_the_mode_opens_the_report_and_nothing_else(tree):
    config = tree / "c.toml"
    config.write_text(
        '[archive]\npath = "archive"\n[state]\npath = "state"\n'
        '[outputs]\npath = "out"\nmode = "0644"\n'
    )
    assert jwqlscan("run", "-c", config, home=tree).returncode == 0
    files, directories = modes(tree / "out")
    assert set(files.values()) == {"0o644"}
    assert directories == {"monitor_filesystem": "0o755"}
    assert stat.S_IMODE((tree / "out").stat().st_mode) == 0o755
    files, _ = modes(tree / "state")
    assert set(files.values()) == {"0o600"}


# ---- can it be written ----


@pytest.mark.case("P05")
@pytest.mark.parametrize("key", ["outputs", "state"])
@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        ("mount -t tmpfs -o ro none {place}", "Read-only file system"),
        (
            "mount -t tmpfs -o size=8k none {place}; "
            "head -c 100k /dev/zero >{place}/full 2>/dev/null || true",
            "No space left on device",
        ),
    ],
)
def test_a_place_that_can_not_be_written_is_told_before_the_scan(tree, key, mount, reason):
    place = tree / key
    place.mkdir()
    config = tree / "c.toml"
    config.write_text(
        '[archive]\npath = "archive"\n[outputs]\npath = "outputs"\n[state]\npath = "state"\n'
        '[database]\nurl = "sqlite:///store.db"\n'
    )
    config.chmod(0o600)
    under = in_mount_namespace(mount.format(place=place))
    done = jwqlscan("run", "-v", "-c", config, home=tree, under=under)
    assert done.returncode == ExitCode.USAGE
    [line] = done.stderr.splitlines()
    assert line.startswith(f"jwqlscan: {key}.path in {config}: {place}: {reason}; ")
    assert not (tree / "store.db").exists()


@pytest.mark.case("P05")
def test_a_quota_that_is_used_up_is_told_before_the_scan(tree):
    under = [required("strace"), "-f", "-qq", "-o", "/dev/null"]
    under += ["-e", "inject=fsync:error=EDQUOT:when=1"]
    done = jwqlscan("run", "--archive", tree / "archive", home=tree, under=under)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith(f"jwqlscan: state.path: {tree}/.local/share/jwqlscan: Disk quota")
    assert done.stderr.count("\n") == 1
    assert os.listdir(tree / ".local/share/jwqlscan") == ["last-attempt.json"]


def test_a_place_of_another_user_is_told_before_the_scan(tree):
    config = make_config(tree)
    (tree / "outputs").mkdir()
    (tree / "outputs").chmod(0o500)
    # without capabilities root, too, is bound by the mode of what it owns
    under = [required("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]
    under = under if os.geteuid() == 0 else []
    done = jwqlscan("run", "-c", config.file, home=tree, under=under)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith(
        f"jwqlscan: outputs.path in {config.file}: {tree}/outputs: Permission denied; "
    )


@pytest.mark.parametrize("key", ["outputs", "state"])
async def test_a_file_in_a_directorys_place_is_told(tree, key):
    (tree / key).write_text("in the way")
    with pytest.raises(ConfigError, match=rf"^{key}\.path in .*/{key}: (Not a dir|File exists)"):
        await check(make_config(tree))


async def test_a_file_in_the_reports_place_is_told(tree):
    (tree / "outputs").mkdir()
    (tree / "outputs/monitor_filesystem").write_text("in the way")
    with pytest.raises(ConfigError, match=r"^outputs\.path in .*/monitor_filesystem: Not a dir"):
        await check(make_config(tree))


async def test_directories_that_are_missing_are_made_and_left_empty(tree):
    await check(make_config(tree))
    assert os.listdir(tree / "outputs") == os.listdir(tree / "state") == []


async def test_what_killed_runs_left_is_removed_at_the_next(tree):
    token = ".0123456789abcdef.tmp"
    places = ["outputs", "outputs/monitor_filesystem", "state", "state/spool"]
    for place in places:
        (tree / place).mkdir()
        (tree / place / f".some.{token}").touch()
        (tree / place / f".x{token}").touch()
        os.utime(tree / place / f".x{token}", (0, 0))
    await check(make_config(tree))
    for place in places:
        assert f".x{token}" not in os.listdir(tree / place)
        assert f".some.{token}" in os.listdir(tree / place)


# ---- whose it is ----


@pytest.mark.case("S04")
@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("outputs.path", "outputs"),
        ("outputs.path", "outputs/monitor_filesystem"),
        ("state.path", "state"),
        ("database.url", "db"),
        ("log.path", "logs"),
    ],
)
@pytest.mark.parametrize(
    ("owner", "mode", "problem"),
    [
        (65534, 0o755, "belongs to nobody, and this is root: chown root"),
        (0, 0o775, "can be written by others, and this is root: chmod go-w"),
        (0, 0o757, "can be written by others, and this is root: chmod go-w"),
        (0, 0o1777, ""),
        (0, 0o755, ""),
    ],
)
async def test_root_writes_where_only_root_decides(tree, as_root, key, place, owner, mode, problem):
    config = make_config(tree, '[log]\npath = "logs"\n', database=f"sqlite:///{tree}/db/s.db")
    os.makedirs(tree / place)
    os.chown(tree / place, owner, -1)
    (tree / place).chmod(mode)
    if not problem:
        await check(config)
        return
    with pytest.raises(ConfigError) as caught:
        await check(config)
    assert str(caught.value) == (f"{key} in {config.file}: {tree / place} {problem} {tree / place}")


@pytest.mark.case("S04")
@pytest.mark.parametrize("key", ["outputs.path", "state.path", "log.path", "database.url"])
@pytest.mark.parametrize("way", ["directory", "world", "link", "link in a link", "sticky"])
async def test_root_writes_nowhere_where_others_decide_on_the_way(tree, as_root, key, way):
    trusted, theirs = tree / "trusted", tree / "theirs"
    trusted.mkdir()
    theirs.mkdir()
    if way == "directory":  # its owner can replace what is in it
        os.chown(theirs, 65534, -1)
        place, culprit = theirs / "ours/deep", theirs
    elif way == "world":
        theirs.chmod(0o777)
        place, culprit = theirs / "ours/deep", theirs
    else:  # a directory like /tmp
        theirs.chmod(0o1777)
        (theirs / "link").symlink_to(trusted)
        place, culprit = theirs / "link/deep", theirs / "link"
        if way == "sticky":  # with a link of root's
            culprit = None
        else:
            os.chown(theirs / "link", 65534, -1, follow_symlinks=False)
        if way == "link in a link":  # neither the path nor its end shows it
            (tree / "ours").symlink_to("theirs/link")
            place = tree / "ours/deep"
    place.mkdir(parents=True)
    value = f"sqlite:///{place}/s.db" if key == "database.url" else place
    (tree / "c.toml").write_text(
        f"archive.path = 'archive'\n{key} = '{value}'\n"
        + ("" if key == "state.path" else f"state.path = '{tree}/state'\n")
    )
    config = load_config(str(tree / "c.toml"))
    if culprit is None:
        await check(config)
        return
    with pytest.raises(ConfigError) as caught:
        await check(config)
    assert f"{config.file}: {culprit}, on the way to {place}" in str(caught.value)


async def test_what_was_put_there_while_it_was_looked_at_is_not_trusted(tree, as_root, monkeypatch):
    def as_an_attacker(path, *args, **kwargs):
        os.makedirs(path)
        os.chown(path, 65534, -1)

    monkeypatch.setattr("jwqlscan.operations.preflight.make_directory_now", as_an_attacker)
    with pytest.raises(ConfigError, match="belongs to nobody"):
        await check(make_config(tree))


@pytest.mark.case("P05")
async def test_a_place_that_does_not_answer_is_told_before_the_scan(tree, frozen, monkeypatch):
    place, freeze = frozen
    config = make_config(tree, outputs=str(place))
    monkeypatch.setattr("jwqlscan.operations.preflight.PLACES_TIMEOUT_S", 0.5)
    with freeze(), anyio.fail_after(25), pytest.raises(ConfigError) as caught:
        await check(config)
    assert str(caught.value).startswith("no answer within 0.5 s from where a run writes: ")
    assert f"outputs.path {place}" in str(caught.value)
    await check(config)


# ---- not into what is measured ----


def identities(*areas):
    return {area.path: RootInfo(*(os.stat(area.path)[i] for i in (2, 1))) for area in areas}


def area_of(path, key="archive.path"):
    return Area("archive", "all", str(path), key)


@pytest.mark.case("S05")
@pytest.mark.parametrize(
    ("key", "inside"),
    [
        ("outputs.path", "outputs"),
        ("state.path", "state"),
        ("database.url", "db"),
        ("log.path", "logs"),
    ],
)
@pytest.mark.parametrize("deep", ["", "a/b", "missing/as/yet"])
async def test_what_a_run_writes_may_not_lie_in_an_area(tree, key, inside, deep):
    archive = tree / "archive"
    (archive / "a/b").mkdir(parents=True)
    places = {name: str(tree / name) for name in ("outputs", "state", "logs", "db")}
    places[inside] = str(archive / deep)
    file = tree / "c.toml"
    file.write_text(
        f"outputs.path = '{places['outputs']}'\nstate.path = '{places['state']}'\n"
        f"log.path = '{places['logs']}'\ndatabase.url = 'sqlite:///{places['db']}/s.db'\n"
    )
    config, area = load_config(str(file)), area_of(archive)
    with pytest.raises(ConfigError) as caught:
        await check_outside(config, [area], identities(area))
    message = str(caught.value)
    assert message.startswith(f"{key} in {file}: {os.path.normpath(archive / deep)} is inside ")
    assert f"{archive} (archive.path)" in message and "outputs.allow_inside" in message
    file.write_text(file.read_text() + "outputs.allow_inside = true\n")
    await check_outside(load_config(str(file)), [area], identities(area))


async def test_names_do_not_decide_what_is_inside(tree):
    (tree / "archive/within").mkdir()
    (tree / "outputs").symlink_to(tree / "archive/within")
    area = area_of(tree / "archive")
    with pytest.raises(ConfigError, match=r"^outputs\.path"):
        await check_outside(make_config(tree), [area], identities(area))
    (tree / "outputs").unlink()
    (tree / "link").symlink_to(tree / "archive")  # the area by another name
    (tree / "archive/outputs").mkdir()
    config = make_config(tree, outputs=str(tree / "archive/outputs"))
    area = area_of(tree / "link")
    with pytest.raises(ConfigError, match=r"is inside .*/link"):
        await check_outside(config, [area], identities(area))


async def test_a_neighbour_whose_name_begins_alike_is_outside(tree):
    (tree / "archive-reports").mkdir()
    area = area_of(tree / "archive")
    config = make_config(tree, outputs=str(tree / "archive-reports"))
    await check_outside(config, [area], identities(area))


async def test_an_area_inside_the_outputs_is_measured(tree):
    area = area_of(tree / "archive")
    config = make_config(tree, outputs=str(tree))
    await check_outside(config, [area], identities(area))


async def test_an_area_that_is_not_there_contains_nothing(tree):
    area = area_of("/none")
    await check_outside(make_config(tree), [area], {"/none": RootInfo(errno=2)})


async def test_a_run_stores_nothing_when_its_report_would_lie_in_an_area(tree):
    (tree / "central/reports").mkdir()
    (tree / "central/logs").mkdir()
    with pytest.raises(ConfigError, match=r"reports is inside .*central \(central\.path\)"):
        await run(make_config(tree, outputs=str(tree / "central/reports")))
    assert not (tree / "central/reports/monitor_filesystem").exists()
