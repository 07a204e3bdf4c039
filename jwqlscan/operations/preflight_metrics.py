"""Whether a run can write its metrics. Whatever is wrong there, the snapshot is taken.

The directory of the node exporter's textfile collector belongs to another user where a package made
it: ``/var/lib/prometheus/node-exporter`` to prometheus on Debian, and to the group node_exporter,
with mode 0771, where the RPM packages make it. It must stay so, and root may write there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from functools import partial

from jwqlscan.config.loader import Config
from jwqlscan.errors import ConfigError
from jwqlscan.monitoring.metrics import check_name
from jwqlscan.operations.preflight import check_places_outside, in_time
from jwqlscan.scanning.supervisor import RootInfo
from jwqlscan.settings import Area
from jwqlscan.system.atomic_files import remove_litter, try_to_write
from jwqlscan.text import escape

KEY = "metrics.path"


async def check_metrics(config: Config) -> None:
    """Refuse a path that the metrics can't be written to, or that nobody would read.

    Raises
    ------
    ConfigError
    """
    if config.metrics_path:
        check_name(config.metrics_path)
        await in_time(partial(_check_writable, config), _places(config))


async def check_metrics_outside(
    config: Config, areas: Sequence[Area], found: Mapping[str, RootInfo]
) -> None:
    """Refuse to write the metrics into what is measured, as `preflight.check_outside` does.

    Raises
    ------
    ConfigError
    """
    if config.metrics_path:
        await check_places_outside(config, areas, found, _places(config))


async def metrics_problem(
    config: Config, areas: Sequence[Area], found: Mapping[str, RootInfo]
) -> str:
    """Return why a run can't write its metrics, in one line; "" if it can, or shall not."""
    try:
        await check_metrics(config)
        await check_metrics_outside(config, areas, found)
    except ConfigError as error:
        return f"{error}; the run goes on without metrics"
    return ""


def _check_writable(config: Config) -> None:
    for _, directory in _places(config):
        try:
            try_to_write(directory, among_others=True)
            if os.path.isdir(config.metrics_path or ""):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            remove_litter(directory, among_others=True)
        except OSError as error:
            raise ConfigError(
                f"{config.where(KEY)}: {escape(config.metrics_path or directory)}:"
                f" {error.strerror}; name a file in a directory that the user of the run can"
                " write to"
            ) from None


def _places(config: Config) -> tuple[tuple[str, str], ...]:
    if config.metrics_path is None:
        return ()
    return ((KEY, os.path.dirname(os.path.abspath(config.metrics_path))),)
