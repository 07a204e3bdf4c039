"""The compiled reader; see native_reader.py."""

from array import array
from collections.abc import Callable
from typing import final

@final
class Chunk:
    """Some pending work of a native reader; its length is in entries."""

    def __len__(self) -> int: ...

class Reader:
    """Rules for reading; see ScanRules."""

    def __new__(
        cls,
        roots: tuple[tuple[int, int, int], ...],
        pseudo_devices: tuple[int, ...],
        snapshot_names: tuple[bytes, ...],
        autofs_points: tuple[bytes, ...],
        excluded: Callable[[str, str, list[str]], bytes] | None,
        one_file_system: bool,
        follow_file_symlinks: bool,
        keep_below_fd: int,
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
        seconds: float,
        /,
    ) -> tuple[
        tuple[int, int, int, int, int, int, int, int, int, int, tuple[int, int, int, int, int]],
        list[tuple[bytes, int, int, bytes]],
        list[tuple[int, int, int, int]],
        list[tuple[str, str, int]],
        list[int],
        list[Chunk],
    ]: ...
