"""The hostile conditions that jwqlscan is made for, and which test provokes each.

Tests say it themselves: ``@pytest.mark.case("F01")``. Run as a program this writes README.md from
that; a test keeps it up to date.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
README = TESTS / "README.md"

TOPICS = {
    "F": "What filesystems do",
    "P": "What happens to processes, databases and disks",
    "S": "Who wants in, or wants to know",
    "W": "What the page meets in pairs",
}

# What jwqlscan does in each case.
CASES = {
    "F01": "a file vanishes between listing and stat: counted as vanished, no error",
    "F02": "a directory vanishes before or after it is opened: vanished, or an empty one",
    "F03": "a directory is moved while it is read: nothing is lost, nothing fails",
    "F04": "no permission for a directory or what is in it: an error, the rest goes on",
    "F05": "a listing fails in the middle: what was listed is kept",
    "F06": "EIO or ESTALE: tried again twice, then an error of its kind",
    "F07": "storage that never answers: its area is given up, the run ends in time with the rest",
    "F08": "several filesystems that hang: a healthy one is read all the same",
    "F09": "slow storage is waited for as long as it answers",
    "F10": "df that hangs is left behind: the capacity is unknown",
    "F11": "symlinks, dangling ones too, are counted and not followed",
    "F12": "a root behind too many symlinks is told in one line",
    "F13": "a symlink swapped in for a directory never leads outside the root",
    "F14": "mount points are crossed, and recorded; with one_file_system they are not",
    "F15": "what is bound a second time, also where another process reads it, is read once",
    "F16": "an automount point is not opened",
    "F17": "proc, sysfs and the like are not entered",
    "F18": "snapshot directories are skipped and counted as skipped",
    "F19": "btrfs subvolumes are filesystems of their own",
    "F20": "hard links: every name counts as a file, the bytes on disk count once",
    "F21": "sparse files have both their sizes",
    "F22": "sizes and sums beyond 64 bits add up; a database that can't hold them gets its largest",
    "F23": "times before 1970, after 9999 or beyond all calendars are nothing special",
    "F24": "FIFOs, sockets and devices are counted apart and never opened",
    "F25": "entries whose type the listing does not tell are stat'ed",
    "F26": "names of any bytes are counted, shown escaped and kept exactly",
    "F27": "control characters and escape sequences in names reach no terminal, log or page",
    "F28": "markup in names is printed as it is",
    "F29": "names of 255 bytes, and a depth of 20,000 (JWQLSCAN_SOAK=1: 100,000)",
    "F30": "a million entries in a directory (JWQLSCAN_SOAK=1; else 100,000) take little memory",
    "F31": "a million directories (JWQLSCAN_SOAK=1; else 27,000) take little memory",
    "F32": "out of descriptors: waited for, and nothing is lost",
    "F33": "out of memory: an error, or a failed area; the others are measured",
    "F34": "files that grow meanwhile are counted with a size that they had",
    "F35": "clocks that jump, the hour that comes twice, leap days",
    "F36": "df: names with spaces and newlines, no inodes, settings of the caller",
    "F37": "errors name the path, never a descriptor's number",
    "F38": "roots that are missing, no directory, symlinks, repeated or nested",
    "F39": "areas that are btrfs subvolumes of one filesystem: its capacity counts once",
    "F40": "directory quotas that differ on one filesystem: each is reported, totals add them",
    "F41": "a filesystem of size 0: its capacity is unknown, never full",
    "F42": (
        "a directory entry type that contradicts stat: same numbers from both readers, an error"
    ),
    "P01": "killed at any moment: the old report or the new one, a sound database, a next run",
    "P02": "power lost: the old file or the new one, never half of it",
    "P03": "a file is on disk before its name is, and the name before anything relies on it",
    "P04": "a full disk: what was there stays, nothing half-done is left, it goes on later",
    "P05": "places that can't be written, or have no quota left, are told before the scan",
    "P06": "SIGINT, SIGTERM, SIGHUP end a command in a second in every phase; a second one at once",
    "P07": "a reader that goes away, or closed standard streams: a quiet end",
    "P08": "a scanning process that is killed is a failed area",
    "P09": "a database that is down: measured all the same, kept in the spool",
    "P10": "a database that goes away in the middle: all of a run or nothing",
    "P11": "a database that stalls is left in time",
    "P12": "a commit whose answer was lost is stored once",
    "P13": "the spool: oldest first, removed after the commit, what is broken is set aside",
    "P14": "two runs do not overlap: the second says who holds the lock",
    "P15": "the lock of a run that was killed is free",
    "P16": "a run that takes too long ends with what is known",
    "P17": "a schema that is newer is refused; making one is all or nothing, and done once",
    "P18": "an SQLite file that others hold is waited for, then the snapshot is kept in the spool",
    "P19": "an SQLite file on a network filesystem gets no write-ahead log",
    "P20": "a damaged SQLite file is told, kept aside, and not made anew; snapshots wait",
    "P21": "storing the same snapshot again changes nothing",
    "P22": "a bug in one of many workers ends the scan, and is told",
    "P23": "processes are started as programs, never forked from threads",
    "P24": (
        "clocks that are wrong: reported; ages and comparisons use the newest run not in the future"
    ),
    "P25": "a name service that blocks: one time limit for all names, then numbers",
    "P26": "our own files on a mount that hangs: reported within a limit, SIGTERM works",
    "P27": (
        "few descriptors, threads or little memory: the lack is named, what was measured is kept"
    ),
    "P28": "standard output on a full disk: one line, and an exit code of its own",
    "P29": (
        "no /proc, no current directory, no passwd entry, no HOME, odd locales: works, or one line"
    ),
    "P30": "sequences behind the rows, ENUMs that lack a label, NaN and infinity in rows of others",
    "P31": (
        "damage that shows as a constraint or a wrong answer: quick_check decides what is at fault"
    ),
    "P32": "PgBouncer with session and transaction pooling",
    "P33": "readers without write permission: another user, a read-only mount",
    "P34": "records of an older version are read, those of a newer one kept and reported",
    "P35": "other processes create, rename and remove files in our directories: skipped",
    "P36": "rows of two origins in one table: no trend or comparison across the step",
    "P37": "one baseline for every command and the page, whatever the newest runs were",
    "P38": "whatever fails in a run, its cause is in `status`, `check`, metrics and the page",
    "S01": "no password in a process list, or in what df is given",
    "S02": "no password in messages, tracebacks, logs, reports or the spool",
    "S03": "what is written is its user's alone, whatever the umask",
    "S04": "links, FIFOs and directories planted where a run writes",
    "S05": "a scan opens directories and stats entries, nothing else, and needs one capability",
    "S06": "names are text in the report, wherever they are shown",
    "S07": "the report loads nothing from the network, whatever names say",
    "S08": "names are parameters of SQL, never part of it",
    "S09": "TLS to databases other_roots, or no connection",
    "S10": "names in Prometheus and Nagios output can't break it; CSV output has none",
    "S11": "one event is one line in the log, whatever names say",
    "S12": "root takes no configuration that others can change",
    "S13": "no program is looked up in the caller's PATH",
    "S14": "nothing that is read can run: the spool is JSON",
    "S15": "the compiled reader is hardened, and fuzzed under sanitizers",
    "S16": ("files named as modules of the standard library never come from the current directory"),
    "W01": "conditions of the page in pairs: each works as alone",
}

# What could be expected of a case, is not done, and why.
LEFT_OUT = {
    "F03, F34": (
        "a mark on areas that changed while they were read",
        "a live archive always does; what vanished is counted, and a scan is no snapshot in time",
    ),
    "F06": (
        "after ESTALE the parent is not opened anew by its path",
        "what is there by then may be another directory; the next run reads it",
    ),
    "F14": (
        "mounts are crossed where others stop",
        "central storage has areas on filesystems of their own; `one_file_system` stops there",
    ),
    "P01": (
        "a run that was killed leaves no row of its own",
        "what it had spooled is stored by the next; before that there is nothing to tell",
    ),
    "P06": (
        "what was read until a signal is not stored",
        "whoever sends one wants an end, within a second; `--max-runtime` stores what is known",
    ),
    "P10": (
        "a database that went away is not tried again in the same run",
        "it is in the spool, exit code 4 says so, and `jwqlscan db flush` is there",
    ),
}


def tests_of_cases() -> dict[str, list[str]]:
    """Return the tests by the cases that they or their modules name, as FILE::TEST, in order."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        of_all = [case for node in module.body if _is_mark(node) for case in _named(node.value)]
        for node in ast.walk(module):
            is_test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_test and node.name.startswith("test_"):
                for case in (*of_all, *_cases(node)):
                    found.setdefault(case, []).append(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def _cases(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        yield from _named(decorator)


def _is_mark(node: ast.stmt) -> bool:
    """Return whether this marks all tests of a module."""
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"


def _named(mark: ast.expr) -> Iterator[str]:
    """Yield the cases that a mark names, if it is one of cases."""
    if isinstance(mark, ast.Call) and ast.unparse(mark.func) in ("case", "pytest.mark.case"):
        yield from (ast.literal_eval(argument) for argument in mark.args)


def readme() -> str:
    """Return what README.md is to be."""
    found = tests_of_cases()
    lines = [
        "# What is tested",
        "",
        "Written by `python tests/support/cases.py` from the marks of the tests",
        "(`@pytest.mark.case`): change those, then run it.",
        "",
        "`pytest` runs everything; `-n auto --dist worksteal` runs a test per core at a time.",
        "Marks select: `slow` (listed in `slow.txt` by measured times; `--record-slow` writes",
        "it, and `-m 'not slow'` takes about a minute); `postgres`, `browser` and `root` (set from",
        "the fixtures that a test uses).",
        "",
        "| directory | tests of |",
        "|---|---|",
        "| `unit` | names, records, configuration, files, df, locks: modules alone |",
        "| `scanning` | readers, pool, the scanning process |",
        "| `store` | SQLite, PostgreSQL, the spool, copying between stores |",
        "| `reporting` | the page, in Python and in a browser |",
        "| `cli` | commands and what they do together |",
        "| `faults` | kills, signals, full disks, storage that hangs |",
        "| `project` | imports, documentation, distribution |",
        "| `support` | trees, stores, servers and failures that tests share |",
        "",
        "What takes longer is run by one command, about an hour:",
        "a million entries where else 100,000 do, a depth of 100,000 where else 20,000 does, a run",
        "killed at every point there is, signals at 40 moments, and 500 histories of a store where",
        "else 15 do. `JWQLSCAN_SOAK_PART=1/3`, 2/3 and 3/3 share the points between three runs.",
        "",
        "    JWQLSCAN_SOAK=1 pytest -s -o faulthandler_timeout=0 tests/scanning/test_extremes.py"
        " tests/faults/test_crash.py tests/faults/test_signals.py"
        " tests/faults/test_store_faults.py",
    ]
    for letter, topic in TOPICS.items():
        lines += ["", f"## {topic}", "", "| case | behaviour | tests |", "|---|---|---|"]
        for case, behaviour in CASES.items():
            if case[0] == letter and case in found:
                lines.append(f"| {case} | {behaviour} | {'<br>'.join(found[case])} |")
    lines += ["", "## What is left out", "", "| case | what | why |", "|---|---|---|"]
    for case, (what, why) in LEFT_OUT.items():
        lines.append(f"| {case} | {what} | {why} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    README.write_text(readme(), encoding="utf-8")
