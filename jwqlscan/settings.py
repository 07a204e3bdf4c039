"""What can be set: one frozen record a section, each default in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace

from jwqlscan.model.cube import MAX_CLASSES, MAX_OWNERS, MAX_PROGRAMS
from jwqlscan.model.directory_totals import DEFAULT_DIRECTORIES, NO_DIRECTORIES
from jwqlscan.model.directory_totals import Limits as DirectoryLimits

AUTO = "auto"
JWST = "jwst"
MAX_WORKERS = 1024

# With workers = auto as many as the storage can use, up to this: at 0.5 ms an answer 64 threads of
# the compiled reader ask 100,000 times a second, which is more than one metadata server answers.
AUTO_WORKERS = 64

# A server that reboots is back in less; one operation on a disk that is dying may take two minutes.
DEFAULT_STALL_TIMEOUT_S = 600.0

# What removes stored values by age keeps those of this last time: less is a slip of the keyboard,
# and would remove almost everything.
MIN_KEPT = "1d"
MIN_KEPT_S = 86_400.0

DEFAULT_OUTPUT_MODE = 0o600
DEFAULT_SNAPSHOT_NAMES = (".snapshot", "~snapshot", ".snapshots", ".snapdir", ".zfs")
READERS = ("auto", "native", "scandir")


@dataclass(frozen=True, slots=True)
class ScanOverrides:
    """Values of the command line for `ScanSettings`; None leaves a value as it is."""

    workers: int | None = None
    reader: str | None = None
    max_rate: int | None = None
    background: bool | None = None
    max_runtime_s: float | None = None


def parse_workers(text: str) -> int:
    """Read a number of workers; ``auto`` is 0.

    Raises
    ------
    ValueError
        If it is neither ``auto`` nor a number from 1 to `MAX_WORKERS`.
    """
    if text == AUTO:
        return 0
    if re.fullmatch("[0-9]{1,4}", text) and 1 <= int(text) <= MAX_WORKERS:
        return int(text)
    raise ValueError(f"expected auto or 1 to {MAX_WORKERS}, not {text!r}")


@dataclass(frozen=True, slots=True)
class Scheme:
    """How an archive names its files; the keys of ``[schemes.NAME]``.

    Attributes
    ----------
    name : str
    endings : tuple of str
        Endings of the names of products: files that count as FITS files.
    patterns : tuple of str
        Regular expressions for whole names without their ending, with the groups ``instrument``,
        ``filetype`` and, if names contain it, ``program``. None for JWST, which has a grammar.
    instruments : tuple of (str, str)
        Maps the instrument token in a name (lower case) to the stored instrument; if empty, the
        token is stored unchanged.
    """

    name: str = JWST
    endings: tuple[str, ...] = (".fits",)
    patterns: tuple[str, ...] = ()
    instruments: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How trees are walked; the keys of ``[scan]``.

    Attributes
    ----------
    workers : int
        Threads a filesystem, at most: fewer are active while the processor is busy or the storage
        answers at once. 0 is ``auto``: as many as are of use, up to `AUTO_WORKERS`.
    reader : str
        ``auto``, ``native`` or ``scandir``.
    exclude : tuple of str
        Shell patterns for names; one with a slash is for the path below an area's root.
    snapshot_names : tuple of str
        Directories of these names are skipped and counted.
    one_file_system, follow_file_symlinks : bool
    extra_filetypes : tuple of str
        Product suffixes known beside the built-in ones of JWST.
    scheme : Scheme
        How the archive names its files.
    max_rate : int
        Metadata operations a second on a filesystem, at most; 0 is no limit.
    background : bool
        Give way to everything else on the host: lowest priority for processor and disk.
    stall_timeout_s : float
        Without an answer from a filesystem for this long, what is known of it is taken, and the
        rest is given up.
    max_runtime_s : float
        After this time the walk ends in the same way everywhere; 0 is no limit.
    ages_from_s : int
        The time that ages of files are counted from, in seconds since 1970, for a cube of classes,
        owners, ages and sizes; 0: none is made.
    directories : jwqlscan.model.directory_totals.Limits
        Limits of the table of directories.
    """

    workers: int = 0
    reader: str = "auto"
    exclude: tuple[str, ...] = ()
    snapshot_names: tuple[str, ...] = DEFAULT_SNAPSHOT_NAMES
    one_file_system: bool = False
    follow_file_symlinks: bool = False
    extra_filetypes: tuple[str, ...] = ()
    scheme: Scheme = field(default_factory=Scheme)
    max_rate: int = 0
    background: bool = False
    stall_timeout_s: float = DEFAULT_STALL_TIMEOUT_S
    max_runtime_s: float = 0.0
    ages_from_s: int = 0
    directories: DirectoryLimits = NO_DIRECTORIES

    def overridden(self, over: ScanOverrides) -> ScanSettings:
        """Return these settings with the values of the command line."""
        given = {f.name: getattr(over, f.name) for f in fields(over)}
        return replace(self, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the report goes, and who may read it; the keys of ``[outputs]``.

    Attributes
    ----------
    directory : str
        Absolute; the report is in ``monitor_filesystem`` below it.
    mode : int
        Permission bits of the files.
    group : str or None
        Group name of the files; None leaves the process's own.
    allow_inside : bool
        What a run writes may lie inside an area, and is then measured too.
    """

    directory: str
    mode: int = DEFAULT_OUTPUT_MODE
    group: str | None = None
    allow_inside: bool = False


@dataclass(frozen=True, slots=True)
class Area:
    """A named root directory that gets its own numbers.

    Attributes
    ----------
    group : str
        ``archive`` or ``central``.
    name : str
    path : str
        Absolute.
    key : str
        The configuration key it comes from, for messages.
    """

    group: str
    name: str
    path: str
    key: str


@dataclass(frozen=True, slots=True)
class InsightSettings:
    """What a run finds out of files beside their totals; the keys of ``[insight]``.

    Attributes
    ----------
    enabled : bool
    directories : jwqlscan.model.directory_totals.Limits
    max_classes, max_owners, max_programs : int
        Maximum numbers; the smallest beyond are collapsed into ``(other)``. A class is an
        extension, or an instrument and filetype.
    thin_after_s : float
        What is older is kept of one run a week; 0: of all.
    """

    enabled: bool = True
    directories: DirectoryLimits = DEFAULT_DIRECTORIES
    max_classes: int = MAX_CLASSES
    max_owners: int = MAX_OWNERS
    max_programs: int = MAX_PROGRAMS
    thin_after_s: float = 0.0


Limits = tuple[float, float]  # warning, critical


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When `jwqlscan check` warns, and when it is critical; None is never.

    Attributes
    ----------
    max_age_s : Limits or None
        Of the last complete run.
    min_free_percent, min_free_inodes_percent : Limits or None
        Of the filesystems under the archive and central storage.
    min_days_until_full : Limits or None
    max_change_percent : Limits or None
        Of the number of files, up or down, since the run before.
    max_errors, max_unrecognized : Limits or None
        Of the last run.
    """

    max_age_s: Limits | None = (36 * 3600.0, 72 * 3600.0)
    min_free_percent: Limits | None = (10.0, 5.0)
    min_free_inodes_percent: Limits | None = (10.0, 5.0)
    min_days_until_full: Limits | None = (90.0, 30.0)
    max_change_percent: Limits | None = (10.0, 50.0)
    max_errors: Limits | None = (0.0, 1000.0)
    max_unrecognized: Limits | None = None


@dataclass(frozen=True, slots=True)
class Notifications:
    """Who is notified of a run; the keys of ``[notify]``.

    Attributes
    ----------
    ping_url : str or None
        Of a dead-man's switch. Who has it can ping: kept out of `repr`.
    command : tuple of str
        Called when a run ends; the program by its absolute path. Empty: none.
    timeout_s : float
        How long a run waits for each at its end.
    incomplete_is_failure : bool
        Whether the switch hears of an incomplete run as a failure.
    """

    ping_url: str | None = field(default=None, repr=False)
    command: tuple[str, ...] = ()
    timeout_s: float = 10.0
    incomplete_is_failure: bool = False
