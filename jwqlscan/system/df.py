"""Capacity: the output of ``df`` for the filesystem of a path.

``df`` is a process of its own because the question can hang for ever on a dead mount: a process
can be left behind, a thread or the event loop can not.

Notes
-----
A ``df`` in uninterruptible sleep does not die of SIGKILL, so nothing here waits for its end without
a limit: neither `anyio.run_process` nor ``async with`` a process keeps that promise, as both wait,
shielded from cancellation, for the child they killed. For the same reason its output goes into
plain pipes: they are closed here, whatever becomes of the child.
"""

from __future__ import annotations

import os
import re
from subprocess import DEVNULL

import anyio
from anyio.abc import Process

from jwqlscan.model.snapshot import Capacity
from jwqlscan.resource_limits import shortage
from jwqlscan.text import escape

DF_PATHS = ("/usr/bin/df", "/bin/df")  # never looked up: cron and sudo bring a PATH of their own
ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}

# The target last and the source before it: only these two can hold spaces.
GNU_OPTIONS = ("-B1", "--output=size,used,avail,itotal,iused,iavail,fstype,source,target")
POSIX_OPTIONS = ("-P", "-k")

# Killed processes are gone within milliseconds; one that is not is stuck in the kernel.
KILL_WAIT_S = 0.5
# A header and a row: their texts are a mount point and a source, of at most PATH_MAX bytes each.
OUTPUT_LIMIT_BYTES = 16 * 1024
REASON_LIMIT = 300  # characters of the output of df in an error line
# Stores keep signed 64-bit integers; filesystems without a size sometimes claim 2**64 - 1.
MAX_NUMBER = 2**63 - 1

_GNU_HEADER = re.compile(
    rb" *1B-blocks +Used +Avail +Inodes +IUsed +IFree +Type +Filesystem +(?=Mounted on\Z)"
)
_GNU_ROW = re.compile(
    rb" *([0-9]+) +([0-9]+) +([0-9]+) +([0-9]+|-) +([0-9]+|-) +([0-9]+|-) +([^ ]+) +"
)
_POSIX_HEADER = re.compile(rb"Filesystem +1024-blocks +Used +Available +Capacity +Mounted on")
# Looked for everywhere, as a source may hold spaces: found twice, nobody knows which it is.
_POSIX_COLUMNS = re.compile(rb"(?= ([0-9]+) +([0-9]+) +([0-9]+) +(?:[0-9]+%|-) +(/.*))")
_OPTION_REFUSED = re.compile(
    rb"[^\n:]*: (?:unrecognized|unknown|illegal|invalid) option\b", re.IGNORECASE
)

# Programs that turned out to have no --output: asked the POSIX way from then on.
_posix_only: set[str] = set()
# Processes that SIGKILL could not end. Kept, as a collected one warns that it was never awaited.
_abandoned: list[Process] = []


class DfError(Exception):
    """``df`` gave no capacity; the message is one line: which path, and why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"no capacity of {escape(path)}: {reason}")


async def capacity(
    path: str, timeout_s: float, *, df_paths: tuple[str, ...] = DF_PATHS
) -> Capacity:
    """Ask ``df`` for the capacity of the filesystem under `path`.

    Parameters
    ----------
    path : str
        Any bytes, as `os.fsdecode` gives them.
    timeout_s : float
        How long df may take; the answer, or the error, is there at most `KILL_WAIT_S` later.
    df_paths : tuple of str, optional
        Where the program may be, absolute; the first that exists is run.

    Raises
    ------
    DfError
        If df can't be run, fails, does not answer in time or prints something unexpected.
    """
    try:
        with anyio.fail_after(timeout_s):
            return await _ask(path, df_paths)
    except TimeoutError:
        raise DfError(path, f"no answer within {timeout_s:g} s") from None
    except ValueError as error:
        raise DfError(path, str(error)) from None
    except RuntimeError as error:  # the event loop waits for the process in a thread (Python 3.11)
        if words := shortage(error):
            raise DfError(path, words) from None
        raise


async def _ask(path: str, df_paths: tuple[str, ...]) -> Capacity:
    for program in df_paths:
        try:
            if program not in _posix_only:
                status, out, err = await _run([program, *GNU_OPTIONS, "--", path])
                if status == 0:
                    return parse_gnu(out)
                if not _OPTION_REFUSED.match(err):
                    raise ValueError(_reason(status, err))
                _posix_only.add(program)
            status, out, err = await _run([program, *POSIX_OPTIONS, "--", path])
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ValueError(f"{program} can't be run: {error.strerror}") from None
        if status != 0:
            raise ValueError(_reason(status, err))
        return parse_posix(out)
    raise ValueError(f"there is no {' and no '.join(df_paths)}")


async def _run(command: list[str]) -> tuple[int, bytes, bytes]:
    """Run a command and return its exit status, output and error output, never waiting for long.

    Notes
    -----
    What it prints has to fit the pipes, which are not read before it ends. They do not block: a
    child that prints more fails to write and ends, and no flood gets into our memory.
    """
    ends: list[int] = []
    try:
        for _ in range(2):
            ends += os.pipe()
        out_read, out_write, err_read, err_write = ends
        for end in ends:
            os.set_blocking(end, False)
        with anyio.CancelScope(shield=True):  # asyncio, cancelled while it starts one, waits for it
            process = await anyio.open_process(
                command,
                stdin=DEVNULL,
                stdout=out_write,
                stderr=err_write,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        try:
            status = await process.wait()
        finally:
            await _leave(process)
        return status, _content(out_read), _content(err_read)
    finally:
        for end in ends:
            os.close(end)


async def _leave(process: Process) -> None:
    """Kill a process that still runs, and wait for it, but not for long."""
    if process.returncode is not None:
        return
    process.kill()
    with anyio.move_on_after(KILL_WAIT_S, shield=True):
        await process.wait()
    if process.returncode is None:
        _abandoned.append(process)


def _content(pipe: int) -> bytes:
    try:
        return os.read(pipe, OUTPUT_LIMIT_BYTES)
    except BlockingIOError:  # empty, and a child of the child still holds its other end
        return b""


def _reason(status: int, err: bytes) -> str:
    text = escape(os.fsdecode(b"; ".join(err.strip().splitlines())))
    if len(text) > REASON_LIMIT:
        text = text[:REASON_LIMIT] + "…"
    return text or f"df ended with status {status} and printed nothing"


def parse_gnu(out: bytes) -> Capacity:
    """Read what ``df`` prints for `GNU_OPTIONS`.

    Raises
    ------
    ValueError
        If it is anything but a header and one row of numbers and texts.

    Notes
    -----
    Source and target may both hold spaces. df pads the source to the width of its column, so the
    target begins where its heading does. Where nothing that can be a target begins there, both are
    "": the numbers, which come first, are certain all the same.
    """
    header, row = _two_lines(out)
    head = _GNU_HEADER.match(header)
    match = _GNU_ROW.match(row)
    if head is None or match is None:
        raise _unexpected(out)
    size, used, available, *inodes = match.groups()[:6]
    source = target = b""
    at = head.end()
    if match.end() < at and row[at - 1 : at + 1] in (b" /", b" -"):
        source, target = row[match.end() : at].rstrip(b" "), row[at:]
    return Capacity(
        _number(size, out),
        _number(used, out),
        _number(available, out),
        *_inodes(inodes, out),
        source=_text(source),
        fstype=_text(match[7]),
        target=_text(target),
    )


def parse_posix(out: bytes) -> Capacity:
    """Read what ``df`` prints for `POSIX_OPTIONS`: sizes rounded to 1024 bytes, and no inodes.

    Raises
    ------
    ValueError
        If it is anything but a header and one row, or the row can be read in two ways.
    """
    header, row = _two_lines(out)
    matches = list(_POSIX_COLUMNS.finditer(row))
    if _POSIX_HEADER.fullmatch(header) is None or len(matches) != 1 or not row[:1].strip():
        raise _unexpected(out)
    size, used, available, target = matches[0].groups()
    return Capacity(
        _number(size, out, 1024),
        _number(used, out, 1024),
        _number(available, out, 1024),
        source=_text(row[: matches[0].start()].rstrip(b" ")),
        target=_text(target),
    )


def _two_lines(out: bytes) -> tuple[bytes, bytes]:
    if len(out) >= OUTPUT_LIMIT_BYTES or out.count(b"\n") != 2 or out[-1:] != b"\n":
        raise _unexpected(out)
    header, row, _ = out.split(b"\n")
    return header, row


def _number(digits: bytes, out: bytes, unit: int = 1) -> int:
    # The first test spares int() its limit on the number of digits.
    if len(digits) > len(str(MAX_NUMBER)) or int(digits) * unit > MAX_NUMBER:
        raise _unexpected(out)
    return int(digits) * unit


def _inodes(fields: list[bytes], out: bytes) -> tuple[int | None, int | None, int | None]:
    # df prints "-" where it can't know, and 0 of 0 for a filesystem without inodes, such as btrfs.
    total, used, available = (None if text == b"-" else _number(text, out) for text in fields)
    return (total, used, available) if total else (None, None, None)


def _text(field: bytes) -> str:
    # Safe to store and show; df has mangled control characters to "?" already.
    return escape(os.fsdecode(field))


def _unexpected(out: bytes) -> ValueError:
    text = os.fsdecode(out)
    if len(text) > REASON_LIMIT:
        text = text[:REASON_LIMIT] + "…"
    return ValueError(
        f'unexpected output of df: "{escape(text)}"' if text else "df printed nothing"
    )
