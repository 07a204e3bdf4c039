"""The compiled reader; see readers/native.py."""

from array import array
from collections.abc import Callable
from typing import final

CONTRACT: int

@final
class Chunk:
    """Some pending work of a native reader; its length is in entries."""

    def __len__(self) -> int: ...

@final
class Place:
    """Where a worker is; others may ask while it reads."""

    def __new__(cls) -> Place: ...
    def path(self) -> str:
        """Return the directory that is being read, or nothing."""
        ...

class Reader:
    """Rules for reading; see ScanRules."""

    def __new__(
        cls,
        roots: tuple[tuple[int, int, int], ...],
        pseudo_devices: tuple[int, ...],
        unsure_devices: tuple[int, ...],
        snapshot_names: tuple[bytes, ...],
        skipped_paths: tuple[tuple[bytes, int], ...],
        excluded: Callable[[str, str, list[str]], bytes] | None,
        one_file_system: bool,
        follow_file_symlinks: bool,
        keep_below_fd: int,
        age_limits: tuple[int, ...],
        endings: tuple[bytes, ...],
        kept_from: int,
        kept_to: int,
        program_prefix: bytes,
        program_digits: int,
        directories: tuple[int, int, int],
        interval_ns: int,
        next_ns: array[int],
        /,
    ) -> Reader: ...
    def read(
        self,
        root_number: int,
        root_fd: int,
        root_path: bytes,
        root_device: int,
        chunks: list[Chunk | None],
        wanted: array[int],
        share: Callable[[list[Chunk]], None],
        classes: Callable[
            [list[tuple[bytes, int, int, bytes, int]], list[tuple[bytes, int, int, bytes, int]]],
            tuple[list[int], list[int]],
        ],
        progress_counts: array[int],
        place: Place,
        seconds: float,
        /,
    ) -> tuple[
        tuple[int, int, int, int, int, int, int, int, int, int, tuple[int, int, int, int, int]],
        list[tuple[bytes, int, int, bytes, int]],
        list[tuple[int, int, int, int, int, int, int, int]],
        list[tuple[int, int, int]],
        list[tuple[int, int, int, int]],
        list[tuple[str, str, int]],
        list[int],
        list[Chunk],
    ]: ...
    def directories(
        self, root_number: int, /
    ) -> tuple[list[str], bytes, int, tuple[int, int]] | None: ...
