"""The last run as Prometheus metrics, for the node exporter's textfile collector."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jwqlscan import __version__
from jwqlscan.check import Evidence, gather
from jwqlscan.errors import ConfigError
from jwqlscan.files import write_atomically
from jwqlscan.paths import shown
from jwqlscan.store.questions import AreaRow

METRICS_MODE = 0o644  # the node exporter is another user


class Metric(NamedTuple):
    """A gauge: its name without prefix, what it means, and its samples by labels."""

    name: str
    help: str
    samples: tuple[tuple[dict[str, str], float], ...]


_AREA_GAUGES = {
    "area_files": ("files", "Regular files, every name."),
    "area_apparent_bytes": ("apparent_bytes", "Sum of the sizes of regular files."),
    "area_allocated_bytes": ("allocated_bytes", "What files occupy on disk, each inode once."),
    "area_directories": ("directories", "Directories."),
    "area_fits_files": ("fits_files", "Files whose names end in .fits."),
    "area_fits_bytes": ("fits_bytes", "Sum of the sizes of FITS files."),
    "area_unrecognized_names": ("unrecognized", "FITS files whose names say no known product."),
    "filesystem_size_bytes": ("size_bytes", "Size of the filesystem under the area, as df has it."),
    "filesystem_used_bytes": ("used_bytes", "Used of the filesystem, as df has it."),
    "filesystem_available_bytes": ("available_bytes", "Left for users other than root."),
    "filesystem_inodes": ("inodes", "Inodes of the filesystem."),
    "filesystem_available_inodes": ("inodes_available", "Inodes left."),
}


def exposition(evidence: Evidence) -> str:
    """Return the metrics as text; with no run there is but the version."""
    lines = []
    for metric in _metrics(evidence):
        name = f"jwqlscan_{metric.name}"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} gauge"]
        for labels, value in metric.samples:
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{name}{{{pairs}}} {value!r}" if pairs else f"{name} {value!r}")
    return "\n".join(lines) + "\n"


async def write_metrics(database_url: str, path: str) -> None:
    """Write the metrics to a file, whole or not at all.

    Raises
    ------
    ConfigError
        If it can't be written, or its name is not one the node exporter reads.
    StoreError
    """
    check_name(path)
    text = exposition(await gather(database_url))
    try:
        await write_atomically(os.path.abspath(path), text, METRICS_MODE, None, among_others=True)
    except OSError as error:
        raise ConfigError(
            f"metrics: {shown(path)}: {error.strerror}; name a file in a directory you can write"
        ) from None


def check_name(path: str) -> None:
    """Refuse a name that the textfile collector would pass over."""
    if not path.endswith(".prom"):
        raise ConfigError(f"metrics: {shown(path)}: the node exporter reads only *.prom files")


async def metrics_text(database_url: str) -> str:
    """Return the metrics of the last run."""
    return exposition(await gather(database_url))


def _metrics(evidence: Evidence) -> Iterator[Metric]:
    yield Metric("build_info", "The version of jwqlscan.", (({"version": __version__}, 1),))
    ahead = len(evidence.future)
    yield _plain("future_runs", "Stored runs that are dated in the future.", ahead)
    if not evidence.runs:
        return
    run = evidence.runs[0]
    yield _plain("last_run_timestamp_seconds", "Start of the last run.", run.date.timestamp())
    yield _plain("last_run_duration_seconds", "Wall time of its scan.", run.seconds)
    yield _plain("last_run_complete", "1 if it read everything, else 0.", int(run.complete))
    if evidence.complete is not None:
        stamp = evidence.complete.date.timestamp()
        name = "last_complete_run_timestamp_seconds"
        yield _plain(name, "Start of the last run that read everything.", stamp)
    for name, (attribute, text) in _AREA_GAUGES.items():
        yield from _gauge(name, text, _values(run.areas, attribute))
    errors = (
        ({**_labels(area), "kind": kind}, float(count))
        for area in run.areas
        for kind, count in sorted(area.errors.items())
    )
    yield from _gauge("area_errors", "Entries that could not be read, by kind.", errors)
    days = (
        ({"group": group}, days * 86_400)
        for group in evidence.points
        if (days := evidence.days_until_full(group)) is not None
    )
    text = "From the last run until the filesystem is full, at the pace of 90 days."
    yield from _gauge("seconds_until_full", text, days)


def _plain(name: str, text: str, value: float) -> Metric:
    return Metric(name, text, (({}, value),))


def _gauge(name: str, text: str, samples: Iterable[tuple[dict[str, str], float]]) -> list[Metric]:
    found = tuple(samples)
    return [Metric(name, text, found)] if found else []


def _values(areas: Iterable[AreaRow], attribute: str) -> Iterator[tuple[dict[str, str], float]]:
    for area in areas:
        value = getattr(area, attribute)
        if value is not None:
            yield _labels(area), value


def _labels(area: AreaRow) -> dict[str, str]:
    return {"group": area.group, "area": area.name}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
