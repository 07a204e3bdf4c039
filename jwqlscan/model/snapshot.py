"""The snapshot: everything one run measured, under one timestamp."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from jwqlscan.model.record_fields import NewerRecordError, check_fields
from jwqlscan.model.tally import Tally
from jwqlscan.text import escape
from jwqlscan.units import counted

# The state of an area, best first: everything was read; something in it could not be read; the
# time allowed was over; its storage no longer answered; its scanning process died, or its root
# directory could not be read; its root directory does not exist.
STATES = ("complete", "partial", "stopped", "stalled", "failed", "missing")

# A run with such an area is stored only where the operator accepted that there is none
# (`--allow-empty`): then there is nothing to read, and the run is complete without it.
MISSING = "missing"

# Why df gave no answer for an area, too: the state explains it.
_WITHOUT_ANSWER = frozenset({"stalled", "failed", MISSING})

ALL = "all"  # the name of the area that a whole group makes
RECORD_VERSION = 1


def area_label(group: str, name: str) -> str:
    """Return ``archive``, ``archive/public``, ``central/logs``: as ``--area`` takes it."""
    return group if name == ALL else f"{group}/{name}"


def worst_state(states: Iterable[str]) -> str:
    """Return the worst of some states; ``complete`` if there are none."""
    return max(states, key=STATES.index, default="complete")


def incomplete_reason(label: str, state: str, note: str, tally: Tally) -> str:
    """Return in one line why an area is not complete: its state, why, and errors if it has some."""
    parts = [f"{label}: {state}" + (f" ({note})" if note else "")]
    if errors := sum(tally.errors.values()):
        parts.append(counted(errors, "error"))
    if tally.error_samples:
        such = min(tally.error_samples)
        parts.append(f"such as {escape(such.path)} ({such.kind})")
    return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The output of ``df`` for a filesystem.

    Attributes
    ----------
    size_bytes, used_bytes, available_bytes : int
        As df has them: available is what users other than root can still write. A size of 0 is
        none: some filesystems do not report any (tmpfs without a limit, object gateways).
    inodes, inodes_used, inodes_available : int or None
        None where the filesystem does not count them.
    source, fstype, target : str
        Device or server, type, mount point; "" where df did not print it.
    """

    size_bytes: int
    used_bytes: int
    available_bytes: int
    inodes: int | None = None
    inodes_used: int | None = None
    inodes_available: int | None = None
    source: str = ""
    fstype: str = ""
    target: str = ""

    @property
    def has_size(self) -> bool:
        """Whether the filesystem reports a size; if not, nothing is known of its room."""
        return self.size_bytes > 0


@dataclass(frozen=True, slots=True)
class AreaSnapshot:
    """One area's numbers.

    Attributes
    ----------
    group : str
        ``archive`` or ``central``.
    name : str
        The area's name; ``all`` is the whole group.
    path : str
        Its root directory, absolute.
    tally : Tally
    capacity : Capacity or None
        None if df gave no answer. That of the archive's ``all`` is the sum over its filesystems,
        each once.
    state : str
        One of `STATES`.
    note : str
        The reason of that state, if the errors do not show it; else "".
    """

    group: str
    name: str
    path: str
    tally: Tally
    capacity: Capacity | None
    state: str = "complete"
    note: str = ""


def _lacks_capacity(area: AreaSnapshot) -> bool:
    return area.capacity is None and area.state != MISSING


def _explained(whole: AreaSnapshot, parts: Iterable[AreaSnapshot]) -> bool:
    """Tell whether nothing is wrong with a group but what its areas report.

    Those of the archive lie side by side; areas of central storage may lie within each other, so
    that their errors can't be added up.
    """
    wrong = [part for part in parts if part.state not in ("complete", MISSING)]
    if not wrong or worst_state(part.state for part in wrong) != whole.state:
        return False
    errors = [sum(part.tally.errors.values()) for part in wrong]
    together = sum(errors) if whole.group == "archive" else max(errors)
    return sum(whole.tally.errors.values()) <= together


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one run measured, and how.

    Attributes
    ----------
    run_id : str
        A UUID made by the run: storing it twice changes nothing.
    timestamp, ended : datetime
        UTC, aware. `timestamp` is the run's start and the date of every row.
    host, version, reader : str
        Where, by which jwqlscan, with which reader.
    workers : int
    seconds : float
        Wall time of the scan.
    areas : tuple of AreaSnapshot
        Archive first; each group's ``all`` is its first.
    log_file : str
        "" if there is none.
    sample : bool
        Made up for a demonstration; the report marks it.
    suspicions : tuple of str
        Why totals are not to be believed though they are complete, one line a reason.
    accepted : bool
        The operator accepted the totals as they are (--allow-drop, --allow-empty).
    """

    run_id: str
    timestamp: datetime
    ended: datetime
    host: str
    version: str
    reader: str
    workers: int
    seconds: float
    areas: tuple[AreaSnapshot, ...]
    log_file: str = ""
    sample: bool = False
    suspicions: tuple[str, ...] = ()
    accepted: bool = False

    def area(self, group: str, name: str) -> AreaSnapshot | None:
        """Return one area, or None if the run did not measure it."""
        return next((a for a in self.areas if a.group == group and a.name == name), None)

    @property
    def incomplete_reasons(self) -> list[str]:
        """Why the snapshot is not complete, one line a cause; empty if it is.

        The whole of a group is left out where its areas already explain it, and areas that meet the
        same errors share a line.
        """
        labels: dict[str, list[str]] = {}
        for area in self.areas:
            label = f"{area.group} {escape(area.name)}"
            parts = [one for one in self.areas if one.group == area.group and one is not area]
            whole = area.name == ALL
            is_wrong = area.state not in ("complete", MISSING)
            if is_wrong and not (whole and _explained(area, parts)):
                reason = incomplete_reason("", area.state, area.note, area.tally)
                labels.setdefault(reason, []).append(label)
            is_unknown = area.capacity is None and area.state not in _WITHOUT_ANSWER
            if is_unknown and not (whole and any(_lacks_capacity(part) for part in parts)):
                reason = ": capacity unknown, df gave no answer"
                labels.setdefault(reason, []).append(label)
        return [", ".join(names) + reason for reason, names in labels.items()]

    @property
    def missing_areas(self) -> list[str]:
        """The areas whose directory does not exist, one line a reason; empty if all exist."""
        labels: dict[str, list[str]] = {}
        for area in self.areas:
            parts = [one for one in self.areas if one.group == area.group and one is not area]
            whole = area.name == ALL and any(part.state == MISSING for part in parts)
            if area.state == MISSING and not whole:
                reason = f": {MISSING} ({area.note}), accepted by --allow-empty"
                labels.setdefault(reason, []).append(f"{area.group} {escape(area.name)}")
        return [", ".join(names) + reason for reason, names in labels.items()]

    @property
    def status(self) -> str:
        """``complete``, ``incomplete`` or, where totals fell too far, ``suspect``."""
        if self.suspicions:
            return "suspect"
        return "incomplete" if self.incomplete_reasons else "complete"

    def to_record(self) -> dict[str, Any]:
        """Return the snapshot as plain JSON data; :meth:`from_record` is its inverse."""
        return {
            "record_version": RECORD_VERSION,
            "run_id": self.run_id,
            "timestamp": self.timestamp.isoformat(),
            "ended": self.ended.isoformat(),
            "host": self.host,
            "version": self.version,
            "reader": self.reader,
            "workers": self.workers,
            "seconds": self.seconds,
            "log_file": self.log_file,
            "sample": self.sample,
            "suspicions": list(self.suspicions),
            "accepted": self.accepted,
            "areas": [
                {
                    "group": area.group,
                    "name": area.name,
                    "path": area.path,
                    "state": area.state,
                    "note": area.note,
                    "capacity": None if area.capacity is None else asdict(area.capacity),
                    "tally": area.tally.to_record(),
                }
                for area in self.areas
            ],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Snapshot:
        """Return the snapshot that :meth:`to_record` wrote.

        Raises
        ------
        NewerRecordError
            If a newer version wrote it: of a greater record version, or with unknown fields.
        KeyError, TypeError, ValueError
            If the record is not one.
        """
        version = record["record_version"]
        if type(version) is not int or version < RECORD_VERSION:
            raise ValueError(f"{version!r} is no record version")
        if version > RECORD_VERSION:
            raise NewerRecordError(f"record version {version} is newer than {RECORD_VERSION}")
        check_fields(record, _FIELDS, "snapshot")
        for area in record["areas"]:
            check_fields(area, _AREA_FIELDS, "area")
            if area["capacity"] is not None:
                check_fields(area["capacity"], _CAPACITY_FIELDS, "capacity")
        return cls(
            run_id=record["run_id"],
            timestamp=datetime.fromisoformat(record["timestamp"]),
            ended=datetime.fromisoformat(record["ended"]),
            host=record["host"],
            version=record["version"],
            reader=record["reader"],
            workers=record["workers"],
            seconds=record["seconds"],
            log_file=record["log_file"],
            sample=record["sample"],
            suspicions=tuple(record.get("suspicions", ())),  # older records have none
            accepted=record.get("accepted", False),  # as above
            areas=tuple(
                AreaSnapshot(
                    group=area["group"],
                    name=area["name"],
                    path=area["path"],
                    tally=Tally.from_record(area["tally"], area["path"]),
                    capacity=None if area["capacity"] is None else Capacity(**area["capacity"]),
                    state=area["state"],
                    note=area["note"],
                )
                for area in record["areas"]
            ),
        )


_FIELDS = frozenset(("record_version", *(field.name for field in fields(Snapshot))))
_AREA_FIELDS = frozenset(field.name for field in fields(AreaSnapshot))
_CAPACITY_FIELDS = frozenset(field.name for field in fields(Capacity))
