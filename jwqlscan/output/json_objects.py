"""The JSON objects that commands print: stable names, described by the files in `schemas`."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from jwqlscan.history.rollups import projection
from jwqlscan.model.capped_sums import is_capped
from jwqlscan.model.directory_totals import BY_DIRECTORY, full_path, largest
from jwqlscan.model.snapshot import area_label
from jwqlscan.model.tally import error_text
from jwqlscan.settings import AUTO
from jwqlscan.text import escape, escape_controls, path_fields

if TYPE_CHECKING:
    from jwqlscan.history.insight import Bounds, Growth, GrowthRow
    from jwqlscan.model.cube import Cube
    from jwqlscan.model.snapshot import AreaSnapshot, Capacity
    from jwqlscan.model.tally import Tally
    from jwqlscan.monitoring.check import Verdict
    from jwqlscan.operations.bench import Benchmark, Rate
    from jwqlscan.operations.demo import Demonstration
    from jwqlscan.operations.doctor import Diagnosis
    from jwqlscan.operations.run import Outcome
    from jwqlscan.operations.views import RunStatus, Series, Status
    from jwqlscan.scanning.measure import Measurement
    from jwqlscan.state.run_in_progress import RunInProgress
    from jwqlscan.store.failures import Failure
    from jwqlscan.store.spool import Flushed
    from jwqlscan.store.transfer.copy import Copied
    from jwqlscan.store.transfer.prune import Pruned


def tally_object(path: str, tally: Tally) -> dict[str, Any]:
    """Return one area's counts."""
    return {
        **path_fields(path),
        "files": tally.files,
        "apparent_bytes": tally.apparent_bytes,
        "allocated_bytes": tally.allocated_bytes,
        "directories": tally.directories,
        "fits_files": tally.fits_files,
        "fits_bytes": tally.fits_bytes,
        "symlinks": tally.symlinks,
        "other": tally.other,
        "vanished": tally.vanished,
        "skipped": dict(sorted(tally.skipped.items())),
        "mounts": {escape(point): fstype for point, fstype in sorted(tally.mounts.items())},
        "errors": dict(sorted(tally.errors.items())),
        "error_samples": [
            {
                **path_fields(error.path),
                "kind": error.kind,
                "operation": error.operation,
                "message": error_text(error.errno),
            }
            for error in sorted(tally.error_samples)
        ],
        "unrecognized": {
            "count": tally.unrecognized,
            "samples": [escape(p) for _, p in sorted(tally.unrecognized_samples.items())],
        },
        "by_product": [
            {
                "instrument": product.instrument,
                "filetype": product.filetype,
                "count": amount.count,
                "bytes": amount.bytes,
            }
            for product, amount in sorted(tally.products.items(), key=itemgetter(0))
        ],
    }


def scan_object(
    measurement: Measurement, questions: Sequence[str] = (), top: int = 20
) -> dict[str, Any]:
    """Return what `jwqlscan scan --json` prints.

    `questions` are projections of the cube, and directories: of these the `top` largest.
    """
    cubes = [by for by in questions if by != BY_DIRECTORY]
    return {
        "complete": measurement.complete,
        "areas": [
            {"state": one.state, "note": escape_controls(one.note)}
            | tally_object(one.area.path, one.tally)
            | {f"by_{by}": _projection_object(one.tally.cube, by) for by in cubes}
            | ({"put_together": one.tally.cube.folded} if cubes else {})
            | (
                {"by_directory": _largest(one.tally, one.area.path, top)}
                if BY_DIRECTORY in questions
                else {}
            )
            for one in measurement.areas
        ],
        "seconds": round(measurement.seconds, 6),
        "entries_per_second": round(measurement.entries_per_second, 1),
        "reader": measurement.reader,
        "workers": measurement.workers,
    }


def growth_object(found: Growth) -> dict[str, Any]:
    """Return what `jwqlscan growth --json` prints."""
    return {
        "area": area_label(found.group, found.name),
        "by": found.by,
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "exact": found.exact,
        "notes": list(found.notes),
        "before": found.before._asdict(),
        "after": found.after._asdict(),
        "changed": found.changed,
        "rows": [_growth_row(found.by, row) for row in found.rows],
        "rest": None if found.rest is None else _growth_row(found.by, found.rest),
        "others": [
            {
                "area": area_label(other.group, other.name),
                "exact": other.exact,
                "files_change": other.after.files - other.before.files,
                "apparent_bytes_change": other.after.apparent_bytes - other.before.apparent_bytes,
            }
            for other in found.others
        ],
    }


def _growth_row(by: str, row: GrowthRow) -> dict[str, Any]:
    return {
        by: row.label,
        "kind": row.kind,
        "exact": row.exact,
        "files_change": row.files_change,
        "apparent_bytes_change": row.bytes_change,
        "before": row.before._asdict(),
        "after": row.after._asdict(),
        "bounds": None if row.bounds is None else _bounds(row.bounds),
    }


def _bounds(bounds: Bounds) -> dict[str, list[int]]:
    return {
        "files_change": list(bounds.files),
        "apparent_bytes_change": list(bounds.apparent_bytes),
    }


def _largest(tally: Tally, area_path: str, top: int) -> list[dict[str, Any]]:
    table = tally.tree.upper | tally.tree.lower
    return [
        path_fields(full_path(path, area_path)) | total._asdict()
        for path, total in largest(table, top)
    ]


def _projection_object(cube: Cube, by: str) -> list[dict[str, Any]]:
    return [
        {
            by: label,
            "files": total.files,
            "apparent_bytes": total.apparent_bytes,
            **({} if by == "program" else {"allocated_bytes": total.allocated_bytes}),
        }
        for label, total in projection(cube, by)
    ]


def bench_object(result: Benchmark) -> dict[str, Any]:
    """Return what `jwqlscan bench --json` prints."""
    return {
        "entries": result.entries,
        "rounds": result.rounds,
        "rates": [_rate_object(rate) for rate in result.rates],
        "recommended": result.recommended and _rate_object(result.recommended),
    }


def _rate_object(rate: Rate) -> dict[str, Any]:
    return {
        "reader": rate.reader,
        "workers": rate.workers or AUTO,
        "entries_per_second": round(rate.entries_per_second, 1),
        "slowest": round(rate.slowest, 1),
        "fastest": round(rate.fastest, 1),
    }


def run_object(outcome: Outcome) -> dict[str, Any]:
    """Return what `jwqlscan run --json` prints: the stored snapshot and what was written."""
    snapshot = outcome.snapshot
    return {
        "status": snapshot.status,
        "exit_code": int(outcome.exit_code),
        "run_id": snapshot.run_id,
        "timestamp": snapshot.timestamp.isoformat(),
        "ended": snapshot.ended.isoformat(),
        "host": snapshot.host,
        "version": snapshot.version,
        "reader": snapshot.reader,
        "workers": snapshot.workers,
        "seconds": round(snapshot.seconds, 6),
        "areas": [_area_object(area) for area in snapshot.areas],
        "incomplete": [escape_controls(reason) for reason in snapshot.incomplete_reasons],
        "suspicions": [escape_controls(doubt) for doubt in snapshot.suspicions],
        "warnings": [escape_controls(warning) for warning in outcome.warnings],
        "store": escape(outcome.store),
        "written": [escape(path) for path in outcome.written],
    }


def _area_object(area: AreaSnapshot) -> dict[str, Any]:
    return {
        "group": area.group,
        "name": escape(area.name),
        "state": area.state,
        "note": escape_controls(area.note),
        **tally_object(area.path, area.tally),
        "capacity": None if area.capacity is None else _capacity_object(area.capacity),
    }


def _capacity_object(capacity: Capacity) -> dict[str, Any]:
    known = capacity.has_size
    return {
        "size_bytes": capacity.size_bytes if known else None,
        "used_bytes": capacity.used_bytes if known else None,
        "available_bytes": capacity.available_bytes if known else None,
        "inodes": capacity.inodes,
        "inodes_used": capacity.inodes_used,
        "inodes_available": capacity.inodes_available,
        "fstype": escape(capacity.fstype),
        "target": escape(capacity.target),
    }


def status_object(status: Status) -> dict[str, Any]:
    """Return what `jwqlscan status --json` prints."""
    failure, running = status.failure, status.local.running
    return {
        "store": status.store,
        "runs": [_run_status_object(one) for one in status.runs],
        "failed": None if failure is None else failure.started.isoformat(),
        "failure": None if failure is None else _failure_object(failure),
        "running": None if running is None else _running_object(running),
        "spooled": status.local.waiting,
        "spooled_for_others": status.local.for_others,
        "quarantined": status.local.quarantined,
        "future": [date.isoformat() for date in status.future],
    }


def _running_object(running: RunInProgress) -> dict[str, Any]:
    return {
        "process": running.process,
        "since": None if running.since is None else running.since.isoformat(),
        "phase": running.phase,
        "entries": running.entries,
        "expected_entries": running.expected,
        "updated": None if running.updated is None else running.updated.isoformat(),
    }


def _failure_object(failure: Failure) -> dict[str, Any]:
    return {
        "run_id": failure.run_id,
        "started": failure.started.isoformat(),
        "ended": None if failure.ended is None else failure.ended.isoformat(),
        "host": failure.host,
        "exit_code": failure.exit_code,
        "cause": failure.cause,
    }


def _run_status_object(one: RunStatus) -> dict[str, Any]:
    run = one.run
    return {
        "run_id": run.run_id,
        "timestamp": run.date.isoformat(),
        "ended": run.ended.isoformat(),
        "age_seconds": round(one.age.total_seconds(), 3),
        "seconds": round(run.seconds, 6),
        "status": run.status,
        "host": run.host,
        "version": run.version,
        "incomplete": [] if run.complete else list(run.incomplete_reasons),
        "totals": [
            {
                "area": total.area.label,
                "files": total.area.files,
                "bytes": total.area.apparent_bytes,
                "capped": is_capped(total.area.apparent_bytes),
                "files_change": total.files_change,
                "bytes_change": total.bytes_change,
                "used_bytes": total.area.used_bytes,
                "available_bytes": total.area.available_bytes,
            }
            for total in one.totals
        ],
    }


def history_object(series: Series) -> dict[str, Any]:
    """Return what `jwqlscan history --json` prints: one object a point, None for no number."""
    return {
        "area": escape(series.area),
        "instrument": escape(series.instrument) or None,
        "filetype": escape(series.filetype) or None,
        "points": [
            {
                **point._asdict(),
                "date": point.date.isoformat(),
                "capped": is_capped(point.bytes),
                "future": series.is_future(point),
            }
            for point in series.points
        ],
    }


def doctor_object(found: list[Diagnosis]) -> dict[str, Any]:
    """Return what `jwqlscan doctor --json` prints."""
    return {
        "well": all(one.well for one in found),
        "checks": [{"what": one.what, "well": one.well, "text": one.text} for one in found],
    }


def check_object(verdict: Verdict) -> dict[str, Any]:
    """Return what `jwqlscan check --json` prints."""
    return {
        "level": verdict.level.name,
        "exit_code": int(verdict.level),
        "line": verdict.line,
        "findings": [
            {"level": one.level.name, "text": one.text, "perfdata": one.perfdata}
            for one in verdict.findings
        ],
    }


def report_object(written: Sequence[str]) -> dict[str, Any]:
    """Return what `jwqlscan report --json` prints: the page is the first file."""
    return {"written": [escape(path) for path in written]}


def flush_object(flushed: Flushed) -> dict[str, Any]:
    """Return what `jwqlscan db flush --json` prints."""
    return {
        "stored": flushed.stored,
        "set_aside": [
            {"path": escape(path), "reason": reason} for path, reason in flushed.set_aside.items()
        ],
        "warnings": [escape_controls(warning) for warning in flushed.warnings],
    }


def demo_object(made: Demonstration) -> dict[str, Any]:
    """Return what `jwqlscan demo --json` prints."""
    return {
        "configuration": escape(made.configuration),
        "report": escape(made.report),
        "exit_code": int(made.exit_code),
    }


def copied_object(copied: Copied) -> dict[str, Any]:
    """Return what `jwqlscan db copy --json` and `db import-jwql --json` print."""
    return {
        "source": copied.source,
        "target": copied.target,
        "runs": copied.runs,
        "present": copied.present,
        "rows": copied.rows,
        "warnings": list(copied.warnings),
        "notes": list(copied.notes),
    }


def pruned_object(pruned: Pruned, dry_run: bool) -> dict[str, Any]:
    """Return what `jwqlscan db prune --json` prints."""
    return {
        "store": pruned.store,
        "dry_run": dry_run,
        "runs": pruned.runs,
        "kept": pruned.kept,
        "jwql_dates": pruned.jwql_dates,
        "future": pruned.future,
    }
