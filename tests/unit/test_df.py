"""df: the real one, ones that misbehave, and what its output may look like."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwqlscan.model.snapshot import Capacity
from jwqlscan.system import df
from jwqlscan.system.df import DfError, capacity, parse_gnu, parse_posix
from jwqlscan.text import escape_controls
from tests.support.trees import in_mount_namespace

GNU_HEADER = (
    b"   1B-blocks        Used       Avail"
    b"   Inodes  IUsed    IFree Type     Filesystem     Mounted on"
)
GNU_ROW = b"270553174016 24378175488 84566118400 16777216 422808 16354408 ext4     /dev/vda       /"
POSIX_HEADER = b"Filesystem     1024-blocks     Used Available Capacity Mounted on"
POSIX_ROW = b"/dev/vda         264212084 23806812  82584100      23% /"

# What other processes write and delete meanwhile; sizes are compared exactly.
DRIFT_BYTES = 2**30


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(df, "_posix_only", set())
    monkeypatch.setattr(df, "_abandoned", [])


@pytest.fixture
def script(tmp_path):
    """Return what makes a program of a shell script."""

    def make(body, name="df"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return (str(path),)

    return make


def assert_as_statvfs(measured, path, unit=1):
    said = os.statvfs(path)
    assert measured.size_bytes == -(-said.f_blocks * said.f_frsize // unit) * unit
    used = (said.f_blocks - said.f_bfree) * said.f_frsize
    assert measured.used_bytes == pytest.approx(used, abs=DRIFT_BYTES)
    available = said.f_bavail * said.f_frsize
    assert measured.available_bytes == pytest.approx(available, abs=DRIFT_BYTES)


async def test_df_of_the_root_is_what_the_system_says():
    measured = await capacity("/", 30)
    assert_as_statvfs(measured, "/")
    assert measured.target == "/"
    assert measured.source
    assert measured.fstype
    files = os.statvfs("/").f_files
    assert measured.inodes == (files or None)
    if files:
        assert measured.inodes_used == pytest.approx(files - os.statvfs("/").f_ffree, abs=10**5)
        assert measured.inodes_used + measured.inodes_available == files


@pytest.mark.case("F36")
@pytest.mark.parametrize(
    "name",
    ["a b  c", "q'\"u`o$t(e", "-h", "--output=x", "new\nline", "a\\b", "\udcff\udcfe", "é*"],
)
async def test_no_name_of_a_directory_is_a_problem(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    assert_as_statvfs(await capacity(str(tmp_path / name), 30), tmp_path)
    monkeypatch.chdir(tmp_path)
    assert_as_statvfs(await capacity(name, 30), tmp_path)


@pytest.mark.case("F36")
async def test_the_same_is_asked_the_posix_way_of_a_df_that_knows_no_other(tmp_path, script):
    log = tmp_path / "calls"
    posix = script(
        f'echo called >> "{log}"\n'
        'case "$*" in *--output*) echo "df: unrecognized option: output=size" >&2; exit 1;; esac\n'
        'exec /bin/df "$@"'
    )
    first = await capacity("/", 30, df_paths=posix)
    assert_as_statvfs(first, "/", 1024)
    assert first.target == "/"
    assert (first.inodes, first.inodes_used, first.inodes_available) == (None, None, None)
    assert_as_statvfs(await capacity(str(tmp_path), 30, df_paths=posix), tmp_path, 1024)
    assert log.read_text().count("called") == 3  # it learned the first time


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        (b"df: unrecognized option '--output=size'\nTry 'df --help'", True),  # GNU before 8.21
        (b"df: unrecognized option: output=size\nBusyBox v1.36", True),
        (b"/usr/bin/df: illegal option -- -\nusage: df", True),
        (b"df: invalid option -- '-'", True),
        (b"df: Unknown option 'output=size'", True),
        (b"df: /unknown option: No such file or directory", False),
        (b"df: 'unknown option': No such file or directory", False),
        (b"df: /data: Stale file handle\ndf: unknown option", False),
        (b"", False),
    ],
)
def test_only_a_refused_option_means_that_df_is_posix(message, refused):
    assert bool(df._OPTION_REFUSED.match(message)) == refused


async def test_a_path_that_is_not_there_is_told_in_one_line(tmp_path):
    with pytest.raises(DfError) as caught:
        await capacity(str(tmp_path / "no\nwhere"), 30)
    message = str(caught.value)
    assert "no\\x0awhere" in message
    assert message.endswith("No such file or directory")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exit 0", "df printed nothing"),
        ("exit 3", "status 3"),
        ("kill -9 $$", "status -9"),
        ("echo hello", 'unexpected output of df: "hello\\x0a"'),
        ("echo 'df: /x: Stale file handle' >&2; exit 1", "df: /x: Stale file handle"),
        ("printf 'one\\n\\033[31mtwo\\n' >&2; exit 1", "one; \\x1b[31mtwo"),
    ],
)
async def test_a_df_that_fails_gives_the_reason(script, body, reason):
    with pytest.raises(DfError) as caught:
        await capacity("/some where", 30, df_paths=script(body))
    assert str(caught.value).startswith("no capacity of /some where: ")
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("stream", [1, 2])
async def test_a_df_that_floods_us_is_an_error(script, stream):
    began = time.monotonic()
    with pytest.raises(DfError) as caught:
        await capacity("/", 30, df_paths=script(f"exec head -c 100000000 /dev/zero >&{stream}"))
    assert len(str(caught.value)) < 2000
    assert time.monotonic() - began < 60


async def test_a_program_that_is_missing_gives_way_to_the_next(script):
    assert_as_statvfs(await capacity("/", 30, df_paths=("/no/df", "/usr/bin/df", "/bin/df")), "/")
    with pytest.raises(DfError, match="there is no /no/df and no /nor/df"):
        await capacity("/", 30, df_paths=("/no/df", "/nor/df"))


async def test_a_program_that_cannot_be_run_is_an_error(script, tmp_path):
    with pytest.raises(DfError, match="can't be run: Permission denied"):
        await capacity("/", 30, df_paths=(str(tmp_path),))
    with pytest.raises(DfError, match="null byte"):
        await capacity("/a\0b", 30)


_CAPACITY_OF = """
import anyio, json, sys
from jwqlscan.system.df import capacity
found = anyio.run(capacity, sys.argv[1], 30)
print(json.dumps([found.size_bytes, found.inodes, found.source, found.fstype, found.target]))
"""


@pytest.mark.case("F36")
@pytest.mark.parametrize("source", ["none", "host:/export one", "a  1 2 3 4% /x", "-"])
@pytest.mark.parametrize("name", ["plain", "a b", "new\nline", "\udcff", "1 2 3 / /"])
def test_no_name_of_a_mount_point_or_of_what_is_mounted_is_a_problem(tmp_path, source, name):
    point = tmp_path / name
    point.mkdir(parents=True)
    under = in_mount_namespace(f"mount -t tmpfs -o size=1m,nr_inodes=0 '{source}' '{point}'")
    environment = {**os.environ, "POSIXLY_CORRECT": "1", "BLOCK_SIZE": "human-readable"}
    done = subprocess.run(
        [*under, sys.executable, "-c", _CAPACITY_OF, point],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    size_bytes, inodes, *texts = json.loads(done.stdout)
    assert size_bytes == 2**20
    assert inodes is None  # nr_inodes=0: no limit
    # Texts that can't be told apart are left out: wrong ones there are never.
    assert texts[1] == "tmpfs"
    assert texts[0] in (source, "")
    assert not texts[2] or texts[2].startswith(str(tmp_path))


@pytest.mark.case("S13")
async def test_df_is_not_looked_up_in_the_path(script, tmp_path, monkeypatch):
    script("echo intruder")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert_as_statvfs(await capacity("/", 30), "/")


@pytest.mark.case("F36", "S01", "S13")
async def test_df_gets_no_secret_and_no_setting_of_ours(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    monkeypatch.setenv("BLOCK_SIZE", "human-readable")
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    seen = tmp_path / "environment"
    with pytest.raises(DfError):
        await capacity("/", 30, df_paths=script(f'cat /proc/self/environ > "{seen}"'))
    variables = set(seen.read_bytes().strip(b"\0").split(b"\0"))
    assert variables - {b"PWD=" + os.fsencode(os.getcwd()), b"OLDPWD", b"_=/usr/bin/cat"} == {
        b"LC_ALL=C",
        b"PATH=/usr/bin:/bin",
    }
    assert_as_statvfs(await capacity("/", 30), "/")


async def test_df_is_called_with_separate_arguments_in_a_session_of_its_own(script, tmp_path):
    seen = tmp_path / "seen"
    body = f'{{ printf "%s\\n" "$@"; cut -d" " -f6 /proc/$$/stat; echo $$; cat; }} > "{seen}"'
    with pytest.raises(DfError):
        await capacity("-a b", 30, df_paths=script(body))
    *arguments, session, process = seen.read_text().splitlines()
    assert arguments == [*df.GNU_OPTIONS, "--", "-a b"]
    assert session == process


@pytest.mark.case("F10")
@pytest.mark.parametrize("body", ["exec sleep 300", "trap '' TERM INT HUP; exec sleep 300"])
async def test_a_df_that_never_answers_is_left_in_time(script, tmp_path, body):
    pid = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(DfError, match=r"no capacity of /data: no answer within 0\.5 s"):
        await capacity("/data", 0.5, df_paths=script(f'echo $$ > "{pid}"; {body}'))
    assert time.monotonic() - began < 60
    with pytest.raises(ProcessLookupError):  # killed and reaped
        os.kill(int(pid.read_text()), 0)


async def test_a_df_whose_child_keeps_the_pipes_open_does_not_keep_us(script):
    began = time.monotonic()
    with pytest.raises(DfError, match="printed nothing"):
        await capacity("/", 30, df_paths=script("sleep 120 & exit 0"))
    assert time.monotonic() - began < 60


@pytest.mark.case("F10")
async def test_a_df_that_cannot_be_killed_is_left_in_time(script, monkeypatch):
    """What a process in uninterruptible sleep does, as far as its parent can see."""
    started = []
    open_process = anyio.open_process

    async def open_unkillable(*args, **kwargs):
        started.append(await open_process(*args, **kwargs))
        monkeypatch.setattr(started[-1], "kill", lambda: None)
        return started[-1]

    monkeypatch.setattr(df.anyio, "open_process", open_unkillable)
    descriptors = len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    with pytest.raises(DfError, match=r"no answer within 0\.3 s"):
        await capacity("/data", 0.3, df_paths=script("exec sleep 120"))
    assert time.monotonic() - began < 60
    assert started[0].returncode is None
    gc.collect()  # and nothing warns of a process left behind
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 2  # the loop's own, no pipe of ours
    os.kill(started[0].pid, signal.SIGKILL)
    await started[0].wait()


async def test_a_cancelled_question_kills_its_df(script, tmp_path):
    pid = tmp_path / "pid"
    paths = script(f'echo $$ > "{pid}.new"; mv "{pid}.new" "{pid}"; exec sleep 60')
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: capacity("/", 30, df_paths=paths))
        while not pid.exists():
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_a_silent_df_does_not_hold_up_the_others(script):
    answers = []

    async def ask(path, timeout_s, paths):
        try:
            answers.append(await capacity(path, timeout_s, df_paths=paths))
        except DfError as error:
            answers.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "/dead", 1, script("exec sleep 120"))
        for _ in range(5):
            tasks.start_soon(ask, "/", 30, df.DF_PATHS)
    assert [type(answer) for answer in answers] == [Capacity] * 5 + [DfError]


def gnu(row, header=GNU_HEADER):
    return header + b"\n" + row + b"\n"


def posix(row, header=POSIX_HEADER):
    return header + b"\n" + row + b"\n"


def test_gnu_numbers_and_texts_are_read():
    assert parse_gnu(gnu(GNU_ROW)) == Capacity(
        270553174016,
        24378175488,
        84566118400,
        16777216,
        422808,
        16354408,
        source="/dev/vda",
        fstype="ext4",
        target="/",
    )


def gnu_texts(source, target, fstype=b"nfs4"):
    """Return output as df pads it: every text column as wide as its widest cell, but the last."""
    cells = [
        (b"1B-blocks", b"100"),
        (b"Used", b"60"),
        (b"Avail", b"40"),
        (b"Inodes", b"10"),
        (b"IUsed", b"7"),
        (b"IFree", b"3"),
        (b"Type", fstype),
        (b"Filesystem", source),
        (b"Mounted on", target),
    ]
    lines = []
    for row in range(2):
        padded = []
        for column, cell in enumerate(cells):
            width = max(map(len, cell))
            padded.append(cell[row].rjust(width) if column < 6 else cell[row].ljust(width))
        padded[-1] = cells[-1][row]
        lines.append(b" ".join(padded) + b"\n")
    return b"".join(lines)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (b"/dev/sda1", b"/data"),
        (b"host:/export one", b"/data"),
        (b"host:/a /b  /c", b"/mnt/x y  z"),
        (b"host:/a 1 2 3 4% /b", b"/mnt 1 2 3 4% /c"),
        (b"//server/share name that is rather long", b"/m?n"),
        (b"s", b"/ends in a space "),
        (b"tmpfs", b"-"),
    ],
)
def test_gnu_texts_may_hold_spaces(source, target):
    read = parse_gnu(gnu_texts(source, target))
    assert (read.source, read.target) == (source.decode(), target.decode())
    assert (read.size_bytes, read.used_bytes, read.available_bytes) == (100, 60, 40)


words = st.lists(st.sampled_from([b"a", b"/b", b" ", b"  ", b"1", b"2%", b"\xc3\xa9"]), max_size=8)


@given(words, words)
def test_gnu_texts_are_read_whatever_they_are(source, target):
    source, target = b"s" + b"".join(source).rstrip(), b"/" + b"".join(target)
    read = parse_gnu(gnu_texts(source, target))
    assert (read.source, read.target) == (source.decode(), target.decode())


def test_gnu_texts_that_are_not_where_their_headings_are_are_left_out():
    read = parse_gnu(gnu(GNU_ROW.replace(b"/dev/vda ", b"/dev/vda-and-more")))
    assert (read.source, read.fstype, read.target) == ("", "ext4", "")
    assert read.size_bytes == 270553174016


@pytest.mark.parametrize(
    "inodes", [b"0 0 0", b"- - -", b"0 - 0", b"- 5 5"], ids=lambda value: value.decode()
)
def test_a_filesystem_without_inodes_has_none(inodes):
    read = parse_gnu(gnu(GNU_ROW.replace(b"16777216 422808 16354408", inodes)))
    assert (read.inodes, read.inodes_used, read.inodes_available) == (None, None, None)


def test_texts_are_safe_to_store_and_to_show():
    read = parse_gnu(gnu_texts(b"\xff\x1b[31m", b"/x\ny".replace(b"\n", b"?")))
    assert (read.source, read.target) == ("\\xff\\x1b[31m", "/x?y")


@pytest.mark.parametrize(
    "out",
    [
        b"",
        b"\n",
        b"\n\n",
        GNU_HEADER,
        GNU_HEADER + b"\n",
        GNU_ROW + b"\n",
        gnu(GNU_ROW)[:-1],
        gnu(GNU_ROW) + GNU_ROW + b"\n",
        gnu(GNU_ROW) + b"\n",
        gnu(GNU_HEADER),
        gnu(GNU_ROW, GNU_ROW),
        gnu(GNU_ROW, GNU_HEADER.replace(b"1B-blocks", b"1K-blocks")),
        gnu(GNU_ROW, GNU_HEADER.replace(b"IUsed", b"IFree")),
        gnu(GNU_ROW, GNU_HEADER + b" x"),
        gnu(GNU_ROW.replace(b"270553174016", b"-270553174016")),
        gnu(GNU_ROW.replace(b"270553174016", b"-")),
        gnu(GNU_ROW.replace(b"84566118400", b"-1")),
        gnu(GNU_ROW.replace(b"84566118400", b"84.5G")),
        gnu(GNU_ROW.replace(b"84566118400", b"")),
        gnu(GNU_ROW.replace(b"422808", b"?")),
        gnu(GNU_ROW.replace(b"270553174016", "٣٣٣".encode())),
        gnu(GNU_ROW.replace(b"270553174016", str(2**63).encode())),
        gnu(GNU_ROW.replace(b"270553174016", b"9" * 10000)),
        gnu(GNU_ROW.replace(b"16777216", b"18446744073709551615")),
        gnu(GNU_ROW.replace(b" ", b"\t")),
        posix(POSIX_ROW),
        gnu(GNU_ROW + b"x" * 20000),
    ],
)
def test_anything_else_of_gnu_df_is_unexpected(out):
    with pytest.raises(ValueError, match=r"unexpected output of df|df printed nothing") as caught:
        parse_gnu(out)
    assert len(str(caught.value)) < 2000


def test_the_largest_number_a_store_can_keep_is_read():
    read = parse_gnu(gnu(GNU_ROW.replace(b"270553174016", str(2**63 - 1).encode())))
    assert read.size_bytes == 2**63 - 1
    with pytest.raises(ValueError, match="unexpected"):
        parse_posix(posix(POSIX_ROW.replace(b"264212084", str(2**53).encode())))


def test_posix_numbers_and_texts_are_read():
    assert parse_posix(posix(POSIX_ROW)) == Capacity(
        264212084 * 1024, 23806812 * 1024, 82584100 * 1024, source="/dev/vda", target="/"
    )


@pytest.mark.parametrize(
    ("row", "source", "target"),
    [
        (b"host:/export one 100 60 40 60% /data", "host:/export one", "/data"),
        (b"host:/e 1 2 100 60 40 60% /data", "host:/e 1 2", "/data"),
        (b"host:/e   100 60 40   60% /da ta 1 2", "host:/e", "/da ta 1 2"),
        (b"proc 100 60 40 - /proc", "proc", "/proc"),
        (b"/dev/a 100 60 40 60% /m?n", "/dev/a", "/m?n"),
    ],
)
def test_posix_texts_may_hold_spaces(row, source, target):
    read = parse_posix(posix(row))
    assert (read.source, read.target) == (source, target)
    assert (read.size_bytes, read.used_bytes, read.available_bytes) == (102400, 61440, 40960)


@pytest.mark.parametrize(
    "out",
    [
        b"",
        POSIX_HEADER + b"\n",
        POSIX_ROW + b"\n",
        posix(POSIX_ROW)[:-1],
        posix(POSIX_ROW) + POSIX_ROW + b"\n",
        posix(b"a-server-with-a-long-name:/export\n   264212084 23806812  82584100  23% /"),
        posix(b"   264212084 23806812  82584100  23% /"),
        posix(POSIX_ROW, POSIX_HEADER.replace(b"1024-blocks", b"512-blocks")),
        posix(POSIX_ROW, POSIX_HEADER.replace(b"Capacity", b"Use%")),
        posix(b"host:/e 1 2 3 4% /x 100 60 40 60% /data"),
        posix(b"host:/e 100 60 40 60% /data 1 2 3 4% /x"),
        posix(b"/dev/a 100 60 40 60% data"),
        posix(b"/dev/a 100 60 40 60%"),
        posix(b"/dev/a 100 60 -40 60% /"),
        posix(b"/dev/a 100 60 40K 60% /"),
        posix(b"/dev/a - - - - /"),
        posix(b"/dev/a 100 60 40 60 /"),
        posix(b"/dev/a 1" + b"0" * 5000 + b" 60 40 60% /"),
        gnu(GNU_ROW),
    ],
)
def test_anything_else_of_posix_df_is_unexpected(out):
    with pytest.raises(ValueError, match=r"unexpected output of df|df printed nothing"):
        parse_posix(out)


PIECES = st.lists(
    st.sampled_from([b"\n", b" ", b"-", b"/", b"%", b"1", b"23%", b"ext4", b" 1 2 3 ", GNU_HEADER])
    | st.sampled_from([GNU_HEADER + b"\n", POSIX_HEADER + b"\n", GNU_ROW, POSIX_ROW])
    | st.binary(max_size=5)
).map(b"".join)


@given(PIECES, st.sampled_from([parse_gnu, parse_posix]))
def test_no_output_is_read_as_anything_but_a_capacity_or_an_error(out, parse):
    try:
        read = parse(out)
    except ValueError as error:
        text = str(error)
        assert escape_controls(text) == text  # nothing is left to be escaped
    else:
        assert min(read.size_bytes, read.used_bytes, read.available_bytes) >= 0


def test_no_output_keeps_the_parser_long():
    began = time.thread_time()
    for row in (b"1 " * 8000, b" " * 15000, b"1" * 15000, b" 1 2 3 4%" * 1700, b"a" * 15000):
        for out, parse in ((gnu(row), parse_gnu), (posix(row), parse_posix)):
            with suppress(ValueError):
                parse(out)
    assert time.thread_time() - began < 5
