"""What is checked before a scan, as it would fail after hours: where a run writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import anyio
import anyio.to_thread

from jwqlscan.config.loader import Config
from jwqlscan.errors import ConfigError, JwqlscanError
from jwqlscan.reporting import report_path
from jwqlscan.resource_limits import shortage
from jwqlscan.scanning.readers import check_reader
from jwqlscan.scanning.supervisor import RootInfo
from jwqlscan.settings import Area
from jwqlscan.state.permissions import share_state
from jwqlscan.store.spool import BAD
from jwqlscan.system.atomic_files import make_directory_now, remove_litter, try_to_write
from jwqlscan.system.ownership import untrusted_ancestor
from jwqlscan.text import escape

# To make a directory and write a block takes a moment, on the slowest disk.
PLACES_TIMEOUT_S = 60.0


async def check(config: Config) -> None:
    """Refuse what would fail later, and make the directories that a run writes to.

    Raises
    ------
    ConfigError
        If there is nothing to measure, the reader is not installed, the output or the state
        directory can't be written or, when this is root, others decide on one of the directories.
    """
    check_reader(config.scan.reader)
    if not (config.archive_path or config.central_path):
        raise ConfigError(
            "nothing to measure: give --archive DIR, or archive.path or central.path"
            f"{config.source or ' in a configuration file, which `jwqlscan init` writes'}"
        )
    await in_time(partial(_check_places, config), _places(config))


async def check_outside(
    config: Config, areas: Sequence[Area], found: Mapping[str, RootInfo]
) -> None:
    """Refuse to write into what is measured, unless ``outputs.allow_inside`` is set.

    Parameters
    ----------
    config : Config
    areas : sequence of Area
    found : mapping of str to RootInfo
        The identities of the areas' directories: this process does not touch them.

    Raises
    ------
    ConfigError
    """
    await check_places_outside(config, areas, found, _places(config))


async def check_places_outside(
    config: Config,
    areas: Sequence[Area],
    found: Mapping[str, RootInfo],
    places: Iterable[tuple[str, str]],
) -> None:
    """Do what `check_outside` does for some directories, each with the key it comes from."""
    if config.outputs.allow_inside:
        return
    roots = {
        (one.device, one.inode): area
        for area, one in ((area, found[area.path]) for area in areas)
        if not one.errno
    }
    places = tuple(places)
    await in_time(partial(_check_outside, config, roots, places), places)


async def in_time(look: Callable[[], None], places: Iterable[tuple[str, str]]) -> None:
    """Look at directories that a run writes to; a disk that does not answer is left behind.

    Raises
    ------
    ConfigError
        If there is no answer within `PLACES_TIMEOUT_S`.
    """
    try:
        with anyio.fail_after(PLACES_TIMEOUT_S):
            await anyio.to_thread.run_sync(look, abandon_on_cancel=True)
    except TimeoutError:
        mounts = ", ".join(f"{key} {escape(path)}" for key, path in places)
        raise ConfigError(
            f"no answer within {PLACES_TIMEOUT_S:g} s from where a run writes: see the mounts of"
            f" {mounts}"
        ) from None


def _check_places(config: Config) -> None:
    outputs, report = config.outputs, os.path.dirname(report_path(config.outputs))
    spool = os.path.join(config.state_path, "spool")
    _check_trust(config)
    place = ("state.path", config.state_path)
    try:
        os.makedirs(config.state_path, mode=0o700, exist_ok=True)
        try_to_write(config.state_path)
        share_state(config)
        place = ("outputs.path", outputs.directory)
        if not os.path.isdir(os.path.dirname(outputs.directory)):  # a typing error, more likely
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        make_directory_now(outputs.directory, outputs.mode, outputs.group, follow_symlink=True)
        try_to_write(outputs.directory)
        place = ("outputs.path", report)
        if os.path.lexists(report):
            try_to_write(report)
        bad = os.path.join(spool, BAD)
        for directory in (config.state_path, spool, bad, outputs.directory, report):
            remove_litter(directory)
        _check_trust(config)  # again: what was not there is now, made by whom?
    except OSError as error:
        key, path = place
        if words := shortage(error):
            raise JwqlscanError(f"{config.where(key)}: {escape(path)}: {words}") from None
        raise ConfigError(
            f"{config.where(key)}: {escape(path)}: {error.strerror}; outputs.path and state.path"
            " must be directories that can be written"
        ) from None


def _check_trust(config: Config) -> None:
    report = ("outputs.path", os.path.dirname(report_path(config.outputs)))
    for key, path in (*_places(config), report):
        place, reason = untrusted_ancestor(path)
        if reason:
            way = "" if place == path else f", on the way to {escape(path)},"
            raise ConfigError(f"{config.where(key)}: {escape(place)}{way} {reason}")


def _places(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the directories without which there is no run, with the key each comes from."""
    yield "outputs.path", config.outputs.directory
    yield "state.path", config.state_path
    if config.database_url.startswith("sqlite:///"):
        yield "database.url", os.path.dirname(config.database_url.removeprefix("sqlite:///"))
    if config.log_path:
        yield "log.path", config.log_path


def _check_outside(
    config: Config,
    roots: Mapping[tuple[int, int], Area],
    places: Iterable[tuple[str, str]],
) -> None:
    for key, path in places:
        for device_inode in _identities(path):
            if area := roots.get(device_inode):
                raise ConfigError(
                    f"{config.where(key)}: {escape(path)} is inside {escape(area.path)}"
                    f" ({config.named(area.key)}), which is measured: name a directory elsewhere,"
                    " or set outputs.allow_inside = true"
                )


def _identities(path: str) -> Iterator[tuple[int, int]]:
    """Yield device and inode of a directory, if it is there, and of each one above it."""
    path = os.path.realpath(path)
    while True:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            pass
        else:
            yield status.st_dev, status.st_ino
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent
