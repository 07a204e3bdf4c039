"""What can be set: one frozen record a section, each default in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace

DEFAULT_WORKERS = 32
MAX_WORKERS = 1024
DEFAULT_OUTPUT_MODE = 0o640
DEFAULT_SNAPSHOT_NAMES = (".snapshot", "~snapshot", ".snapshots", ".snapdir", ".zfs")
READERS = ("auto", "native", "scandir")


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How trees are walked; the keys of ``[scan]``.

    Attributes
    ----------
    workers : int
        Threads a filesystem.
    reader : str
        ``auto``, ``native`` or ``scandir``.
    exclude : tuple of str
        Shell patterns for names; one with a slash is for the path below an area's root.
    snapshot_names : tuple of str
        Directories of these names are skipped and counted.
    one_file_system, follow_file_symlinks : bool
    extra_filetypes : tuple of str
        Product suffixes known beside the built-in ones.
    """

    workers: int = DEFAULT_WORKERS
    reader: str = "auto"
    exclude: tuple[str, ...] = ()
    snapshot_names: tuple[str, ...] = DEFAULT_SNAPSHOT_NAMES
    one_file_system: bool = False
    follow_file_symlinks: bool = False
    extra_filetypes: tuple[str, ...] = ()

    def overridden(self, workers: int | None, reader: str | None) -> ScanSettings:
        """Return these settings with what the command line says; None leaves a value."""
        return replace(self, workers=workers or self.workers, reader=reader or self.reader)


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
    """

    directory: str
    mode: int = DEFAULT_OUTPUT_MODE
    group: str | None = None


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
