"""The last run as Prometheus metrics, for the node exporter's textfile collector."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from anyio import to_thread

from jwqlscan._version import __version__
from jwqlscan.config.loader import Config
from jwqlscan.errors import ConfigError, ExitCode
from jwqlscan.monitoring.check import Evidence, gather
from jwqlscan.state.local_state import LocalState, read_state
from jwqlscan.store.queries import AreaRow
from jwqlscan.system.atomic_files import write_atomically
from jwqlscan.text import escape

METRICS_MODE = 0o644  # the node exporter is another user


_FAMILY = re.compile(r"# HELP (jwqlscan_\w+) ")
_MAX_CHARACTERS = 2**20


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
    "area_unrecognized_names": ("unrecognized", "FITS files whose names have no known product."),
    "filesystem_size_bytes": ("size_bytes", "Size of the filesystem under the area, as df has it."),
    "filesystem_used_bytes": ("used_bytes", "Used of the filesystem, as df has it."),
    "filesystem_available_bytes": ("available_bytes", "Left for users other than root."),
    "filesystem_inodes": ("inodes", "Inodes of the filesystem."),
    "filesystem_available_inodes": ("inodes_available", "Inodes left."),
}


def exposition(evidence: Evidence, local: LocalState | None = None) -> str:
    """Return the metrics as text.

    Parameters
    ----------
    evidence : Evidence
        What the store knows; without a run no metric of an area is written.
    local : LocalState, optional
        What the state directory knows.
    """
    lines = []
    for metric in _metrics(evidence, local or LocalState()):
        name = f"jwqlscan_{metric.name}"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} gauge"]
        for labels, value in metric.samples:
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{name}{{{pairs}}} {value!r}" if pairs else f"{name} {value!r}")
    return "\n".join(lines) + "\n"


async def write_metrics(path: str, text: str) -> None:
    """Write the metrics to a file, whole or not at all.

    Raises
    ------
    ConfigError
        If it can't be written, or its name is not one the node exporter reads.
    """
    check_name(path)
    try:
        await write_atomically(os.path.abspath(path), text, METRICS_MODE, None, among_others=True)
    except OSError as error:
        raise ConfigError(
            f"metrics: {escape(path)}: {error.strerror}; name a file in a directory you can write"
        ) from None


def with_known(text: str, path: str) -> str:
    """Return metrics, and those of an earlier file that a failed run does not know.

    Alerts, for example on available space, would be silent without them.
    """
    names = set(_FAMILY.findall(text))
    earlier = _earlier(path)
    starts = [match.start() for match in _FAMILY.finditer(earlier)]
    families = [earlier[a:b] for a, b in pairwise([*starts, len(earlier)])]
    return text + "".join(one for one in families if _FAMILY.findall(one)[0] not in names)


def _earlier(path: str) -> str:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
        with open(fd, encoding="utf-8") as file:
            return file.read(_MAX_CHARACTERS) if stat.S_ISREG(os.fstat(fd).st_mode) else ""
    except (OSError, ValueError):
        return ""


def check_name(path: str) -> None:
    """Refuse a name that the textfile collector would pass over."""
    if not path.endswith(".prom"):
        raise ConfigError(f"metrics: {escape(path)}: the node exporter reads only *.prom files")


async def metrics_text(config: Config) -> str:
    """Return the metrics of the last run and the last attempt.

    Raises
    ------
    StoreError
    """
    return exposition(await gather(config.database_url), await read_state(config))


async def local_metrics(config: Config, path: str = "") -> str:
    """Return what the state directory knows of the last run; "" if it knows of none.

    Parameters
    ----------
    config : Config
    path : str, optional
        Of a file whose other metrics are kept.
    """
    local = await read_state(config)
    if local.last is None:
        return ""
    text = exposition(Evidence((), None), local)
    return await to_thread.run_sync(with_known, text, path, abandon_on_cancel=True)


def _metrics(evidence: Evidence, local: LocalState) -> Iterator[Metric]:
    yield Metric("build_info", "The version of jwqlscan.", (({"version": __version__}, 1),))
    if evidence.runs or evidence.future:  # else nothing is known of the store, or nothing is in it
        ahead = len(evidence.future)
        yield _plain("future_runs", "Stored runs that are dated in the future.", ahead)
    yield from _attempt(evidence, local)
    complete = evidence.complete.date if evidence.complete is not None else None
    if not evidence.runs and local.last is not None:
        complete = local.last.complete  # the store can't be asked
    if complete is not None:
        name = "last_complete_run_timestamp_seconds"
        text = "Start of the last run that read everything."
        yield _plain(name, text, complete.timestamp())
    if not evidence.runs:
        return
    run = evidence.runs[0]
    yield _plain("last_run_timestamp_seconds", "Start of the last run.", run.date.timestamp())
    yield _plain("last_run_duration_seconds", "Wall time of its scan.", run.seconds)
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
    text = "From the last run until the filesystem is full, by the trend of 90 days."
    yield from _gauge("seconds_until_full", text, days)


def _attempt(evidence: Evidence, local: LocalState) -> Iterator[Metric]:
    """Yield the metrics of the last attempt, which may have failed before it stored anything."""
    newest = evidence.runs[0].date if evidence.runs else None
    last, failure = local.last, local.failure(evidence.failed, newest)
    report_failed = failure is not None and failure.exit_code == ExitCode.REPORT_FAILED
    run_failed = failure is not None and not report_failed
    if last is not None and last.exit_code is not None:
        text = "Start of the last run that has ended, whether it failed or not."
        yield _plain("last_attempt_timestamp_seconds", text, last.started.timestamp())
        text = "Exit code of that run; 128 + N if signal N ended it, 137 if it was killed."
        yield _plain("last_attempt_exit_code", text, last.exit_code)
        report_failed = bool(last.report_failure)
    text = "1 if the last report could not be written, else 0."
    yield _plain("last_report_failed", text, int(report_failed))
    text = "Snapshots that wait in the spool for a database."
    yield _plain("spooled_snapshots", text, local.waiting)
    text = "Those of them that were measured for another database than the configured one."
    yield _plain("spooled_snapshots_for_others", text, local.for_others)
    text = "Snapshots that the database refused, in spool/bad."
    yield _plain("quarantined_snapshots", text, local.quarantined)
    if evidence.runs or run_failed:
        complete = bool(evidence.runs) and evidence.runs[0].complete and not run_failed
        text = "1 if the last run read everything; 0 if it did not, or failed."
        yield _plain("last_run_complete", text, int(complete))


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
