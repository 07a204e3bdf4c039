"""Time jwqlscan against the floor and its peers, side by side, and print ratios.

    python bench/compare.py [--works NAME ...] [--scale quick|full] [--runs 5]
                            [--jwqlscan PATH] [--peers-bin DIR] [--json FILE] [--work DIR]

Totals are compared with the tree's manifest before any time counts. README.md tells how to read
what this prints.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import trees

HERE = Path(__file__).resolve().parent
LATENCY_US = 500
ORDER_SEED = 1
POLL_S = 0.002
MOUNT_WAIT_S = 5.0
LATENCY_FS_NEEDS = "a C compiler, pkg-config, libfuse3-dev and fuse3 (Debian names)"
HOW_TO_GET = {
    "du": "coreutils",
    "find": "findutils",
    "gdu": "apt-get install gdu",
    "ncdu": "apt-get install ncdu",
    "diskuse": "pip install diskuse",
    "dustr": "pip install dustr",
    "scandir-rs": "pip install scandir-rs",
    "jwqlscan": "pip install .  (or name it with --jwqlscan)",
}
PEERS = ("du", "find", "gdu", "ncdu", "diskuse", "scandir-rs", "dustr")
FIXED_WORKERS = (1, 2, 4, 8, 16, 32, 64)

Totals = dict[str, int]


# What is measured ---------------------------------------------------------------------------------


class Ratio(NamedTuple):
    """A ratio of times: `over` to `under`, or to the fastest of several.

    Of whole processes, or of what jwqlscan says its scan took: where workers or readers are
    compared with each other, start-up would only hide what is asked.
    """

    over: str
    under: tuple[str, ...]
    bar: float
    at_least: bool = False
    of_scan: bool = False


class Work(NamedTuple):
    """A tree, what runs on it, and what must be seen. The first variant is the floor."""

    profile: str
    files: int
    quick_files: int
    variants: tuple[str, ...]
    ratios: tuple[Ratio, ...] = ()
    memory_bar_mb: int | None = None
    slow: bool = False  # seen through latency_fs
    pick: bool = False  # only when named: it takes long


def at_most_all(over: str, others: tuple[str, ...]) -> tuple[Ratio, ...]:
    return tuple(Ratio(over, (other,), 1.0) for other in others)


def speedups() -> tuple[Ratio, ...]:
    """32 workers against 1, of each reader.

    The floor's own is the most there is to have here; that of threads that do nothing but os.stat
    is the most that Python threads can have.
    """
    return (
        Ratio("jwqlscan native 1", ("jwqlscan native 32",), 28, at_least=True, of_scan=True),
        Ratio("jwqlscan scandir 1", ("jwqlscan scandir 32",), 24, at_least=True, of_scan=True),
        Ratio("floor 1", ("floor 32",), 0, at_least=True),
        Ratio("os.stat 1", ("os.stat 32",), 0, at_least=True, of_scan=True),
    )


def workers_of(reader: str) -> tuple[str, ...]:
    return tuple(f"jwqlscan {reader} {n}" for n in FIXED_WORKERS)


SLOW_VARIANTS = (
    "floor 32",
    "floor 1",
    "jwqlscan",
    *(f"jwqlscan {reader} {n}" for reader in ("native", "scandir") for n in (1, 32)),
    "os.stat 32",
    "os.stat 1",
    "gdu",
    "diskuse",
)
# auto is the default: a reader without a number leaves it to jwqlscan
AUTO_VARIANTS = tuple(
    name for reader in ("native", "scandir") for name in (f"jwqlscan {reader}", *workers_of(reader))
)
AUTO_RATIOS = tuple(
    Ratio(f"jwqlscan {reader}", workers_of(reader), 1.1, of_scan=True)
    for reader in ("native", "scandir")
)
OURS = ("floor 2", "jwqlscan", "jwqlscan native 2")

WORKS = {
    "jwst": Work(
        "jwst",
        400_000,
        40_000,
        (*OURS, *PEERS, "os.scandir", "os.walk"),
        (
            Ratio("jwqlscan", ("floor 2",), 1.8),
            *at_most_all("jwqlscan", tuple(peer for peer in PEERS if peer != "diskuse")),
        ),
    ),
    "jwst-4m": Work(
        "jwst",
        4_000_000,
        200_000,
        (*OURS, *PEERS),
        (Ratio("jwqlscan", ("floor 2",), 1.2), *at_most_all("jwqlscan", PEERS)),
        memory_bar_mb=100,
        pick=True,
    ),
    "small": Work(
        "small",
        400_000,
        40_000,
        (*OURS, *PEERS),
        (Ratio("jwqlscan", ("floor 2",), 1.6),),
    ),
    "pure": Work(
        "jwst",
        400_000,
        40_000,
        (
            "floor 2",
            *("jwqlscan scandir 1", "jwqlscan scandir 32"),
            *("os.walk", "os.walk terse", "os.scandir"),
        ),
        (
            Ratio("jwqlscan scandir 32", ("jwqlscan scandir 1",), 1.1, of_scan=True),
            Ratio("jwqlscan scandir 1", ("os.walk",), 1.0),
            Ratio("jwqlscan scandir 1", ("os.walk terse",), 0),
        ),
    ),
    "latency-deep": Work("deep", 10_000, 1_000, SLOW_VARIANTS, speedups(), slow=True),
    "latency-flat": Work("flat", 20_000, 2_000, SLOW_VARIANTS, speedups(), slow=True),
    "memory-flat": Work(
        "flat",
        1_000_000,
        100_000,
        ("floor 2", "jwqlscan", "jwqlscan native 2", "jwqlscan scandir 2", "du", "gdu"),
        memory_bar_mb=100,
        pick=True,
    ),
    "auto-warm": Work("jwst", 400_000, 40_000, ("floor 2", *AUTO_VARIANTS), AUTO_RATIOS, pick=True),
    "auto-slow": Work(
        "deep", 10_000, 1_000, ("floor 32", *AUTO_VARIANTS), AUTO_RATIOS, slow=True, pick=True
    ),
}


# The tools ----------------------------------------------------------------------------------------


@dataclass
class Tool:
    """A command to time, and how its totals are had and compared.

    Attributes
    ----------
    check : list of str or None
        What to run for the totals, if the timed command tells none.
    read : callable or None
        Totals from the output; None if the tool tells nothing that can be compared.
    expect : callable
        The same totals from the manifest.
    """

    name: str
    command: list[str]
    check: list[str] | None = None
    read: Callable[[Path], Totals] | None = None
    expect: Callable[[dict], Totals] = field(default=lambda manifest: {})
    reader: str = ""
    workers: int | None = None
    says_seconds: bool = False


def plain_totals(manifest: dict) -> Totals:
    return {key: manifest[key] for key in ("files", "apparent_bytes", "directories")}


def read_json(path: Path) -> Totals:
    return json.loads(path.read_text())


def disk_usage(manifest: dict) -> Totals:
    """What du adds up: each inode once, symlinks, and directories at their own size."""
    names = ("unique_bytes", "symlink_bytes", "directory_bytes")
    return {"bytes": sum(manifest[name] for name in names)}


def gdu_usage(manifest: dict) -> Totals:
    """What gdu adds up: as du, but it takes every directory for 4096 bytes."""
    names = ("unique_bytes", "symlink_bytes")
    return {"bytes": sum(manifest[name] for name in names) + 4096 * manifest["directories"]}


def read_first_number(path: Path) -> Totals:
    match = re.search(r"\d+", path.read_text())
    return {"bytes": int(match[0])} if match else {}


def read_find(path: Path) -> Totals:
    sizes = [int(line) for line in path.read_bytes().split()]
    return {"files": len(sizes), "apparent_bytes": sum(sizes)}


def read_ncdu(path: Path) -> Totals:
    """Read an export: a line an entry; a directory's starts with a bracket."""
    files = size = directories = 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("[{"):
                directories += 1
            elif line.startswith("{") and '"notreg":true' not in line:
                files += 1
                found = re.search(r'"asize":(\d+)', line)
                size += int(found[1]) if found else 0
    return {"files": files, "apparent_bytes": size, "directories": directories}


def read_jwqlscan(path: Path) -> Totals:
    found = json.loads(path.read_text())
    [area] = found["areas"]
    return area | {"reader": found["reader"], "workers": found["workers"]}


def jwqlscan_totals(manifest: dict) -> Totals:
    names = ("files", "apparent_bytes", "directories", "symlinks", "fits_files", "fits_bytes")
    return {name: manifest[name] for name in names}


class Finder:
    """Makes tools by name, or says that one is missing."""

    def __init__(self, floor: Path, jwqlscan: str | None, peers_bin: Path | None) -> None:
        self.floor = floor
        self.path = os.pathsep.join(filter(None, [str(peers_bin or ""), os.environ.get("PATH")]))
        self.jwqlscan = jwqlscan or shutil.which("jwqlscan", path=self.path)
        self.scandir_rs = self._python_with("scandir_rs", peers_bin)

    def _python_with(self, module: str, peers_bin: Path | None) -> str | None:
        pythons = [str(peers_bin / "python")] if peers_bin else []
        for python in [*pythons, sys.executable]:
            command = [python, "-c", f"import {module}"]
            run = subprocess.run(command, capture_output=True) if shutil.which(python) else None
            if run and run.returncode == 0:
                return python
        return None

    def find(self, name: str, top: str) -> Tool | None:
        kind, *options = name.split()
        makers = {
            "floor": self._floor,
            "jwqlscan": self._jwqlscan,
            "os.walk": self._walk,
            "os.scandir": lambda name, top, _: self._plain(name, sys.executable, "scandir", top),
            "os.stat": self._bare_stat,
            "scandir-rs": self._scandir_rs,
        }
        if kind in makers:
            return makers[kind](name, top, options)
        program = shutil.which(kind, path=self.path)
        return self._peer(kind, program, top) if program else None

    def _floor(self, name: str, top: str, options: list[str]) -> Tool:
        command = [str(self.floor), "-t", options[0], top]
        return Tool(name, command, None, read_json, plain_totals, "floor", int(options[0]))

    def _jwqlscan(self, name: str, top: str, options: list[str]) -> Tool | None:
        if self.jwqlscan is None:
            return None
        command = [self.jwqlscan, "scan", top, "--json"]
        for option in options:
            command += ["--workers" if option.isdigit() else "--reader", option]
        return Tool(name, command, None, read_jwqlscan, jwqlscan_totals, says_seconds=True)

    def _plain(self, name: str, python: str, way: str, top: str) -> Tool:
        command = [python, str(HERE / "plain.py"), way, top]
        return Tool(name, command, None, read_json, plain_totals, way, 1)

    def _walk(self, name: str, top: str, options: list[str]) -> Tool:
        return self._plain(name, sys.executable, "_".join(["walk", *options]), top)

    def _bare_stat(self, name: str, top: str, options: list[str]) -> Tool:
        tool = self._plain(name, sys.executable, "stat", top)
        tool.command += options
        tool.expect = lambda manifest: {"files": manifest["files"]}
        tool.says_seconds = True
        return tool

    def _scandir_rs(self, name: str, top: str, options: list[str]) -> Tool | None:
        if self.scandir_rs is None:
            return None
        tool = self._plain(name, self.scandir_rs, "scandir_rs", top)
        tool.workers = None
        # It counts an inode once, the root not at all, and sums sizes by a rule of its own.
        tool.expect = lambda manifest: {
            "files": manifest["files"] - manifest["hard_links"],
            "directories": manifest["directories"] - 1,
        }
        return tool

    def _peer(self, name: str, program: str, top: str) -> Tool:
        if name == "du":
            command = [program, "-s", "--apparent-size", top]
            check = [program, "-s", "--apparent-size", "-B1", top]
            return Tool(name, command, check, read_first_number, disk_usage)
        if name == "find":
            command = [program, top, "-type", "f", "-printf", r"%s\n"]
            expect = {"files", "apparent_bytes"}
            return Tool(
                name, command, None, read_find, lambda manifest: {k: manifest[k] for k in expect}
            )
        if name == "gdu":
            check = [program, "-npcsa", "--no-prefix", top]
            return Tool(name, [program, "-npc", top], check, read_first_number, gdu_usage)
        if name == "ncdu":
            command = [program, "-0", "-o", "/dev/null", top]
            return Tool(name, command, [program, "-0", "-o", "-", top], read_ncdu, plain_totals)
        # The others print allocated sizes, rounded: of sparse files that tells nothing.
        return Tool(name, [program, *(["scan"] if name == "diskuse" else []), top])


# Running ------------------------------------------------------------------------------------------


class Measurement(NamedTuple):
    wall_s: float
    cpu_s: float
    scan_s: float  # as the tool itself says; the wall time if it says nothing


def environment(scratch: Path) -> dict[str, str]:
    """What tools run with: their caches (diskuse saves each scan) go to the scratch directory."""
    return os.environ | {"LC_ALL": "C", "XDG_CACHE_HOME": str(scratch)}


@contextmanager
def started(command: list[str], scratch: Path, output: Any) -> Iterator[subprocess.Popen]:
    """Start a command; it does not outlive this."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.DEVNULL,
        env=environment(scratch),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()


def measure(tool: Tool, scratch: Path) -> Measurement:
    """Run once. CPU is that of the process and of all its children that it waited for."""
    output = scratch / "output" if tool.says_seconds else Path(os.devnull)
    before = time.perf_counter()
    with output.open("wb") as file, started(tool.command, scratch, file) as process:
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - before
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise OSError(f"{tool.name} failed with exit code {process.returncode}")
    scan_s = json.loads(output.read_text())["seconds"] if tool.says_seconds else wall_s
    return Measurement(wall_s, usage.ru_utime + usage.ru_stime, scan_s)


def peak_kib(pid: int) -> int:
    """Return a process's resident high-water mark since its exec; 0 if it is gone.

    Not ru_maxrss: that one starts from the size of the process that forked it.
    """
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def children(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            yield from map(int, listing.read_text().split())
        except OSError:
            continue


def watch_memory(pid: int, peaks: dict[int, int], stop: threading.Event) -> None:
    """Keep the peaks of a process and its descendants; a mark only grows, so polling will do."""
    while not stop.wait(POLL_S):
        waiting = [pid]
        while waiting:
            one = waiting.pop()
            peaks[one] = peak_kib(one) or peaks.get(one, 0)
            waiting.extend(children(one))


def watched_run(command: list[str], scratch: Path, output: Path) -> tuple[int, float]:
    """Run once, output to a file; return the exit code and the sum of the processes' peaks in MB.

    Pages that processes share count in each: the sum is at most too high.
    """
    peaks: dict[int, int] = {}
    stop = threading.Event()
    with output.open("wb") as file, started(command, scratch, file) as process:
        watcher = threading.Thread(target=watch_memory, args=(process.pid, peaks, stop))
        watcher.start()
        try:
            process.wait()
        finally:
            stop.set()
            watcher.join()
    return process.returncode, sum(peaks.values()) / 1024


def verdict(tool: Tool, manifest: dict, output: Path) -> str:
    """Say whether the tool's totals are right: "right", "not comparable" or what is wrong."""
    if tool.read is None:
        return "not comparable"
    try:
        found = tool.read(output)
    except (ValueError, KeyError) as error:
        return f"wrong: output not understood ({error!r})"
    if "reader" in found:
        tool.reader, tool.workers = found["reader"], found["workers"]
    expected = tool.expect(manifest)
    wrong = [f"{k} {found.get(k)}, not {v}" for k, v in expected.items() if found.get(k) != v]
    return "wrong: " + "; ".join(wrong) if wrong else "right"


@dataclass
class Result:
    """What was seen of one tool in one work."""

    tool: Tool
    totals: str = ""
    peak_mb: float = 0.0
    runs: list[Measurement] = field(default_factory=list)

    @property
    def counts(self) -> bool:
        return self.totals in ("right", "not comparable")

    @property
    def walls(self) -> list[float]:
        return self.times(of_scan=False)

    def times(self, of_scan: bool) -> list[float]:
        return [run.scan_s if of_scan else run.wall_s for run in self.runs]


def warm_up(tool: Tool, manifest: dict, scratch: Path) -> Result:
    """Run the tool once untimed, for its totals and its memory."""
    output = scratch / "output"
    code, peak_mb = watched_run(tool.command, scratch, output)
    if code == 0 and tool.check:
        code, _ = watched_run(tool.check, scratch, output)
    totals = f"failed: exit code {code}" if code else verdict(tool, manifest, output)
    output.unlink()
    return Result(tool, totals, peak_mb)


def run_rounds(tools: list[Tool], manifest: dict, runs: int) -> list[Result]:
    """Warm up, then time round by round, each in an order of its own; not a tool that is wrong.

    What a tool leaves behind (the latency view is told to forget what the last one saw) falls on
    the next: always on the same one, if the order were the same.
    """
    order = random.Random(ORDER_SEED)
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        scratch = Path(name)
        results = []
        for tool in tools:
            say(f"  {tool.name}: warm-up and totals")
            results.append(warm_up(tool, manifest, scratch))
        for number in range(runs):
            say(f"  round {number + 1} of {runs}")
            for result in order.sample(results, len(results)):
                if result.counts:
                    result.runs.append(measure(result.tool, scratch))
    return results


# Building and trees -------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def build(name: str, binaries: Path, packages: tuple[str, ...] = ()) -> Path:
    """Compile a C source of this directory unless that was done."""
    source, target = HERE / f"{name}.c", binaries / name
    if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
        return target
    binaries.mkdir(parents=True, exist_ok=True)
    flags: list[str] = []
    if packages:
        config = ["pkg-config", "--cflags", "--libs", *packages]
        flags = subprocess.run(config, check=True, capture_output=True, text=True).stdout.split()
    options = ["-O2", "-std=c11", "-Wall", "-Wextra", "-pthread"]
    subprocess.run(["cc", *options, "-o", str(target), str(source), *flags], check=True)
    return target


def build_latency_fs(binaries: Path) -> Path | None:
    try:
        target = build("latency_fs", binaries, ("fuse3",))
    except (OSError, subprocess.CalledProcessError):
        return None
    return target if shutil.which("fusermount3") else None


@contextmanager
def seen_slowly(latency_fs: Path, source: Path) -> Iterator[str]:
    """Mount a view of the source in which every metadata call takes a while."""
    with tempfile.TemporaryDirectory(prefix="latency-") as mount:
        # In a session of its own: ^C must end the scanner first, which waits for its answers.
        command = [latency_fs, source, mount, str(LATENCY_US)]
        server = subprocess.Popen(command, start_new_session=True)
        try:
            until = time.monotonic() + MOUNT_WAIT_S
            while not os.path.ismount(mount):
                if server.poll() is not None or time.monotonic() > until:
                    raise OSError(f"{latency_fs} could not be mounted")
                time.sleep(0.05)
            yield mount
        finally:
            server.kill()  # fails what still waits; the mount point is then free
            server.wait()
            subprocess.run(["fusermount3", "-u", "-z", mount], check=False)


def directory_bytes(root: Path) -> int:
    """Return the directories' own sizes: no description knows what the filesystem makes of them."""
    return sum(os.lstat(path).st_size for path, _, _ in os.walk(root))


def prepare_tree(work: Work, scale: str, place: Path) -> tuple[Path, dict]:
    files = work.files if scale == "full" else work.quick_files
    root = place / f"{work.profile}-{files}"
    room = os.statvfs(place).f_favail
    if not root.exists() and 0 < room < files * 1.2:
        raise OSError(f"{place} has room for {room} more files, {files} are needed")
    say(f"  tree {root.name}")
    manifest = trees.make_tree(work.profile, root, files)
    return root, manifest | {"directory_bytes": directory_bytes(root)}


# Showing ------------------------------------------------------------------------------------------


def paired(over: list[float], under: list[float]) -> float:
    """The median of the ratios within each round: what slows a whole round cancels out."""
    return median(a / b for a, b in zip(over, under, strict=True))


def spread(walls: list[float]) -> float:
    return (max(walls) - min(walls)) / median(walls)


def print_table(name: str, results: list[Result]) -> None:
    floor = results[0]
    print(f"\n{name}: median of {len(floor.runs)} runs, whole process")
    heads = f"{'wall s':>9}{'scan s':>9}{'x floor':>9}{'spread':>8}{'CPU s':>8}{'MB':>8}"
    print(f"{'name':<22}{heads}  totals")
    for result in results:
        if not result.runs:
            print(f"{result.tool.name:<22}{'':>51}  {result.totals}")
            continue
        ratio = f"{paired(result.walls, floor.walls):.2f}" if floor.runs else "-"
        scan = f"{median(result.times(of_scan=True)):.3f}" if result.tool.says_seconds else ""
        print(
            f"{result.tool.name:<22}{median(result.walls):>9.3f}{scan:>9}{ratio:>9}"
            f"{spread(result.walls):>8.0%}{median(run.cpu_s for run in result.runs):>8.2f}"
            f"{result.peak_mb:>8.1f}  {result.totals}"
        )


def print_ratios(work: Work, results: list[Result]) -> None:
    """Print what must be seen. The bars are meant for full scale, at least 5 runs, 2 CPUs."""
    timed = {result.tool.name: result for result in results if result.runs}
    for ratio in work.ratios:
        under = [timed[name] for name in ratio.under if name in timed]
        if ratio.over not in timed or not under:
            continue
        best = min(under, key=lambda result: median(result.times(ratio.of_scan)))
        value = paired(timed[ratio.over].times(ratio.of_scan), best.times(ratio.of_scan))
        good = value >= ratio.bar if ratio.at_least else value <= ratio.bar
        label = f"{ratio.over} / {best.tool.name}" + " (scan)" * ratio.of_scan
        sign = ">=" if ratio.at_least else "<="
        bar = f"{sign} {ratio.bar:g}: {'yes' if good else 'NO'}" if ratio.bar else "(no bar)"
        print(f"  {label:<48}{value:>8.2f}   {bar}")
    for result in results if work.memory_bar_mb else []:
        if result.tool.name.startswith("jwqlscan") and result.runs:
            good = "yes" if result.peak_mb < work.memory_bar_mb else "NO"
            label = f"{result.tool.name}, peak MB"
            print(f"  {label:<48}{result.peak_mb:>8.1f}   < {work.memory_bar_mb}: {good}")


def filesystem_of(path: str) -> str:
    command = ["df", "--output=fstype", path]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()[-1]


def write_lines(file: Path, name: str, manifest: dict, fstype: str, results: list[Result]) -> None:
    """Append one JSON object a measurement."""
    common = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "work": name,
        "files": manifest["files"],
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "filesystem": fstype,
    }
    with file.open("a") as lines:
        for result in results:
            tool = result.tool
            about = common | {
                "name": tool.name,
                "command": tool.command,
                "reader": tool.reader,
                "workers": tool.workers,
                "totals": result.totals,
                "peak_rss_mb": round(result.peak_mb, 1),
            }
            for number, run in enumerate(result.runs, 1):
                line = about | {"round": number} | run._asdict()
                lines.write(json.dumps(line) + "\n")


# The command --------------------------------------------------------------------------------------


def do_work(name: str, options: argparse.Namespace, finder: Finder, latency: Path | None) -> None:
    work = WORKS[name]
    say(f"{name}:")
    if work.slow and latency is None:
        print(f"\n{name}: left out, it needs {LATENCY_FS_NEEDS}")
        return
    root, manifest = prepare_tree(work, options.scale, options.work)
    if work.slow:
        with seen_slowly(latency, root) as mount:
            run_work(name, work, mount, manifest, finder, options)
    else:
        run_work(name, work, str(root), manifest, finder, options)


def run_work(
    name: str,
    work: Work,
    top: str,
    manifest: dict,
    finder: Finder,
    options: argparse.Namespace,
) -> None:
    found = {variant: finder.find(variant, top) for variant in work.variants}
    tools = [tool for tool in found.values() if tool]
    results = run_rounds(tools, manifest, options.runs)
    print_table(f"{name} ({manifest['files']} files)", results)
    print_ratios(work, results)
    if options.scale != "full":
        print("  quick scale: start-up weighs too much, the bars do not apply")
    for kind in sorted({variant.split()[0] for variant, tool in found.items() if not tool}):
        print(f"  not there: {kind}; {HOW_TO_GET[kind]}")
    sys.stdout.flush()
    if options.json:
        write_lines(options.json, name, manifest, filesystem_of(top), results)


def parse_options() -> argparse.Namespace:
    usual = [name for name, work in WORKS.items() if not work.pick]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--works",
        nargs="+",
        default=usual,
        choices=WORKS,
        metavar="NAME",
        help=f"of {', '.join(WORKS)}; default: {', '.join(usual)}",
    )
    parser.add_argument("--scale", choices=["quick", "full"], default="full")
    parser.add_argument("--runs", type=int, default=5, help="counted rounds, after a warm-up one")
    parser.add_argument("--jwqlscan", help="the command; default: the one on PATH")
    parser.add_argument("--peers-bin", type=Path, help="where to look for peers before PATH")
    parser.add_argument("--json", type=Path, help="append one JSON line a measurement")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="where trees are made")
    return parser.parse_args()


def main() -> int:
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is mounted is unmounted
    options.work.mkdir(parents=True, exist_ok=True)
    binaries = options.work / "bin"
    slow = any(WORKS[name].slow for name in options.works)
    try:
        floor = build("floor", binaries)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"compare.py: the floor needs a C compiler named cc: {error}", file=sys.stderr)
        return 1
    latency_fs = build_latency_fs(binaries) if slow else None
    finder = Finder(floor, options.jwqlscan, options.peers_bin)
    print(f"{os.cpu_count()} CPUs, kernel {platform.release()}, {filesystem_of(options.work)}")
    failed = False
    for name in options.works:
        try:
            do_work(name, options, finder, latency_fs)
        except OSError as error:
            print(f"\n{name}: left out: {error}")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
