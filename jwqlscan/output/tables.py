"""What commands print for people, as rich tables."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from rich.text import Text

from jwqlscan.history.rollups import ACCOUNTS, ORDERED, projection
from jwqlscan.model.cube import OTHER, Cube, Sum
from jwqlscan.model.directory_totals import BY_DIRECTORY
from jwqlscan.model.directory_tree import branches
from jwqlscan.model.snapshot import ALL, area_label
from jwqlscan.output.console import Listing, Terminal
from jwqlscan.settings import AUTO
from jwqlscan.system.clock import future_warning
from jwqlscan.text import escape
from jwqlscan.units import (
    counted,
    format_age,
    format_bytes,
    format_count,
    format_minute,
    format_seconds,
    format_time,
)

if TYPE_CHECKING:
    from jwqlscan.history.insight import Growth
    from jwqlscan.model.tally import Tally
    from jwqlscan.operations.bench import Benchmark
    from jwqlscan.operations.views import Series, Status
    from jwqlscan.scanning.measure import Measurement
    from jwqlscan.state.local_state import LocalState
    from jwqlscan.store.failures import Failure

UNRECOGNIZED_SHOWN = 5
ERRORS_SHOWN = 5
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 15


def print_scan(
    measurement: Measurement, console: Terminal, questions: Sequence[str] = (), top: int = 20
) -> None:
    """Print a scan: a row an area, then products, then what could not be read or recognized.

    With `questions` also these projections of the cube, of the long ones the `top` largest rows.
    """
    states = [] if measurement.complete else ["state"]
    table = Listing(
        *("area", ">files", ">size", ">allocated", ">directories", ">FITS", ">FITS size", ">links"),
        *states,
        folded=True,
    )
    for one in measurement.areas:
        tally = one.tally
        state = Text(one.state, style="" if one.state == "complete" else "bold red")
        table.add_row(
            Text(escape(one.area.path)),
            format_count(tally.files),
            format_bytes(tally.apparent_bytes),
            format_bytes(tally.allocated_bytes),
            format_count(tally.directories),
            format_count(tally.fits_files),
            format_bytes(tally.fits_bytes),
            format_count(tally.symlinks),
            *([state] if states else []),
        )
    console.show(table, expendable=(7, 4, 3, 6, 5))  # files, sizes and FITS are what most ask for
    union = measurement.union(measurement.areas)
    if union.products:
        console.print()
        console.show(_products(union))
    for by in questions:
        console.print()
        if by == BY_DIRECTORY:
            for one in measurement.areas:
                console.show(
                    _directories(one.tally, one.area.path, top, console.bar_width),
                    expendable=(3, 2),
                )
        else:
            console.show(_projection(union.cube, by, top, console.bar_width))
    for line in (*_incomplete(measurement), *_remarks(union)):
        console.print(Text(line), soft_wrap=True)  # as it is: no markup, no emoji, no wrapping
    console.print(
        f"\n{counted(union.entries, 'entry', 'entries')} in {format_seconds(measurement.seconds)}: "
        f"{format_count(round(measurement.entries_per_second))} a second, "
        f"{measurement.reader} reader, {counted(measurement.workers, 'worker')}",
        style="dim",
        highlight=False,
    )


def print_bench(result: Benchmark, console: Terminal) -> None:
    """Print rates as a table with a bar each, then what to set."""
    from jwqlscan.operations.bench import MIN_ENTRIES  # it is imported once there is a result

    table = Listing("reader", ">workers", ">entries/s", ">slowest", ">fastest", "")
    fastest = max(rate.entries_per_second for rate in result.rates)
    for rate in result.rates:
        table.add_row(
            rate.reader,
            str(rate.workers or AUTO),
            format_count(round(rate.entries_per_second)),
            format_count(round(rate.slowest)),
            format_count(round(rate.fastest)),
            Text("█" * max(1, round(console.bar_width * rate.entries_per_second / fastest))),
            style="green" if rate is result.recommended else "",
        )
    console.show(table, expendable=(5, 3, 4))
    best = result.recommended
    advice = (
        f"Too few to recommend a setting: name a directory with {format_count(MIN_ENTRIES)} or"
        " more."
        if best is None
        else f"Recommended: --reader {best.reader} --workers {best.workers or AUTO}"
    )
    console.print(
        f"\n{counted(result.entries, 'entry', 'entries')}, median of"
        f" {counted(result.rounds, 'round')}. {advice}",
        highlight=False,
    )


def print_status(status: Status, console: Terminal) -> None:
    """Print the newest runs, a row a run and group, and why the newest is incomplete."""
    if warning := future_warning(status.future):
        console.print(Text(f"warning: {warning}", "bold red"), soft_wrap=True)
    if not status.runs and not status.future:
        console.print(
            Text(f"no runs in {escape(status.store)} yet: `jwqlscan run` makes one"), soft_wrap=True
        )
    if not status.runs:
        print_attempts(status.local, status.failure, console)
        return
    table = Listing(
        *("run (UTC)", "status", ">age", ">took"),
        *("area", ">files", ">change", ">size", ">change", ">available"),
    )
    for one in status.runs:
        head: list[str | Text] = [
            format_minute(one.run.date),
            Text(one.run.status, style="" if one.run.complete else "bold red"),
            format_age(one.age.total_seconds()),
            format_seconds(one.run.seconds),
        ]
        for total in one.totals:
            area, files, size = total.area, total.files_change, total.bytes_change
            available = area.available_bytes
            table.add_row(
                *head,
                area.label,
                format_count(area.files),
                "" if files is None else f"{files:+,}",
                format_bytes(area.apparent_bytes),
                "" if size is None else ("+" if size >= 0 else "") + format_bytes(size),
                "unknown" if available is None else format_bytes(available),
            )
            head = ["", "", "", ""]
    console.show(table, expendable=(3, 6, 2, 9, 8))
    print_attempts(status.local, status.failure, console)
    newest = status.runs[0].run
    for reason in newest.incomplete_reasons:
        label = "warning" if newest.complete else newest.status
        console.print(Text(f"{label}: {reason}"), soft_wrap=True)


def print_attempts(local: LocalState, failure: Failure | None, console: Terminal) -> None:
    """Print the run in progress, the one that failed, and what waits for somebody to look."""
    if local.running is not None:
        console.print(Text(local.running.line), soft_wrap=True)
    for line in (*([failure.line] if failure else []), *local.lines):
        console.print(Text(line, "bold red"), soft_wrap=True)


def print_series(series: Series, console: Terminal) -> None:
    """Print a series, a row a date; columns without any number are left out."""
    if not series.points:
        console.print("nothing is stored of that, so far back")
        return
    sizes = ("bytes", "fits_bytes", "size_bytes", "used_bytes", "available_bytes")
    headings = {"bytes": "size", "fits_files": "FITS files", "fits_bytes": "FITS size"}
    headings |= {"size_bytes": "capacity", "used_bytes": "used", "available_bytes": "available"}
    names = [
        name
        for name in series.points[0]._fields[2:]
        if any(getattr(point, name) is not None for point in series.points)
    ]
    table = Listing("date (UTC)", "status", *(f">{headings.get(name, name)}" for name in names))
    for point in series.points:
        cells = []
        for name in names:
            value = getattr(point, name)
            known = format_bytes if name in sizes else format_count
            cells.append("" if value is None else known(value))
        status = f"{point.status or 'JWQL'}{', in the future' if series.is_future(point) else ''}"
        table.add_row(format_minute(point.date), status, *cells)
    console.show(table, expendable=range(len(table.headings) - 1, 3, -1))


def print_growth(found: Growth, console: Terminal) -> None:
    """Print what changed most between two runs, and what a reader of that must know."""
    console.print(
        f"{escape(area_label(found.group, found.name))} from {format_minute(found.since)} to"
        f" {format_time(found.until)}: {_change(found.before, found.after, found.exact)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for other in found.others:  # the parts of an area are in its total
        if other.name == ALL and other.before != other.after:
            change = _change(other.before, other.after, other.exact)
            console.print(Text(f"{other.group} in the same time: {change}"), soft_wrap=True)
    if found.rows:
        console.print()
        table = _growth_table(found, console.bar_width // 2)
        # The bar, the trend if there is one, whether it is new, the files' change.
        console.show(table, expendable=[*range(len(table.headings) - 1, 5, -1), 1, 3])
    else:
        console.print(f"no {found.by} changed")
    if found.by == "directory" and found.changed > len(found.rows):
        number = found.changed - len(found.rows)
        more = counted(number, "more directory changed", "more directories changed")
        console.print(Text(more, style="dim"))
    lines = [*found.notes]
    shown_rows = (*found.rows, *([found.rest] if found.rest else []))
    if not all(row.bytes_exact for row in shown_rows):
        lines.append("~ not exact: --json has the bounds of a change, where they are known")
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _change(before: Sum, after: Sum, exact: bool) -> str:
    files, size = (after[n] - before[n] for n in (0, 1))
    count = counted(files, "file", signed=True)
    return f"{count}, {_signed_bytes(size)}" + ("" if exact else ", not exact")


def _growth_table(found: Growth, bar_width: int) -> Listing:
    trends = ["trend"] if len(found.dates) > 2 else []
    headings = (found.by, "", ">files", ">change", ">size", ">change", *trends, "")
    table = Listing(*headings, folded=True)
    most = max((abs(row.bytes_change) for row in found.rows), default=0) or 1
    for row in (*found.rows, *([found.rest] if found.rest else [])):
        style = "green" if row.bytes_change < 0 else "red" if row.bytes_change > 0 else ""
        is_rest = row is found.rest
        bar = "" if is_rest else "█" * round(bar_width * abs(row.bytes_change) / most)
        cells: list[str | Text] = [
            Text(row.label or "(all of it)"),
            Text("" if row.kind == "changed" or is_rest else row.kind, style="dim"),
            format_count(row.after.files),
            f"{row.files_change:+,}" if row.files_change else "",
            format_bytes(row.after.apparent_bytes),
            ("" if row.bytes_exact else "~ ")
            + (_signed_bytes(row.bytes_change) if row.bytes_change else ""),
        ]
        if trends:
            cells.append(_spark(row.series))
        table.add_row(*cells, Text(bar, style=style), style="dim" if is_rest else "")
    return table


def _signed_bytes(size: int) -> str:
    return ("+" if size >= 0 else "") + format_bytes(size)


def _spark(series: Sequence[int | None]) -> str:
    """Return a line of small bars, from the least of the series to the most."""
    if len(series) > SPARK_WIDTH:
        step = (len(series) - 1) / (SPARK_WIDTH - 1)
        series = [series[round(number * step)] for number in range(SPARK_WIDTH)]
    known = [point for point in series if point is not None]
    least, most = min(known, default=0), max(known, default=0)
    span = (most - least) or 1
    return "".join(
        " " if point is None else SPARKS[(len(SPARKS) - 1) * (point - least) // span]
        for point in series
    )


def _products(tally: Tally) -> Listing:
    table = Listing("instrument", "filetype", ">files", ">size")
    previous = ""
    for product, amount in sorted(tally.products.items(), key=itemgetter(0)):
        table.add_row(
            product.instrument if product.instrument != previous else "",
            product.filetype,
            format_count(amount.count),
            format_bytes(amount.bytes),
        )
        previous = product.instrument
    return table


def _projection(cube: Cube, by: str, top: int, bar_width: int) -> Listing:
    rows = projection(cube, by)
    top = len(rows) if by in ORDERED else top
    most = max((row.sum.apparent_bytes for row in rows), default=0) or 1
    table = Listing(by, ">files", ">size", "", folded=True)
    for label, total in rows[:top]:
        bar = "█" * round(bar_width * total.apparent_bytes / most)
        size = format_bytes(total.apparent_bytes)
        text = label if by in ACCOUNTS else escape(label)  # the names of accounts are escaped
        table.add_row(Text(text), format_count(total.files), size, Text(bar))
    if len(rows) > top:
        rest = sum((row.sum for row in rows[top:]), Sum())
        label = f"{format_count(len(rows) - top)} more"
        size = format_bytes(rest.apparent_bytes)
        table.add_row(Text(label), format_count(rest.files), size, "", style="dim")
    return table


def _directories(tally: Tally, path: str, top: int, bar_width: int) -> Listing:
    """Return the largest directories as a tree: what people know from du, ncdu and dust."""
    headings = [">size", ">share", ">files"] + ([">FITS"] if tally.fits_bytes else [])
    table = Listing("directory", *headings, "", folded=True)
    lines = branches(tally.tree, top, path)
    whole = max((line.sum.apparent_bytes for line in lines), default=0) or 1
    for line in lines:
        size, fits = line.sum.apparent_bytes, line.sum.fits_bytes
        bar = round(bar_width * size / whole)
        kind = round(bar * fits / size) if size else 0
        numbers = [format_bytes(size), f"{100 * size / whole:.1f} %", format_count(line.sum.files)]
        if tally.fits_bytes:
            numbers.append(f"{100 * fits / size:.0f} %" if size else "")
        table.add_row(
            Text.assemble((line.guide, "dim"), escape(line.name)),
            *numbers,
            Text.assemble(("█" * kind, "cyan"), "█" * (bar - kind)),
        )
    return table


def _incomplete(measurement: Measurement) -> list[str]:
    reasons = [one.incomplete_reason for one in measurement.areas if one.incomplete_reason]
    if not reasons:
        return []
    return ["\nincomplete, so these numbers are too small:", *(f"  {line}" for line in reasons)]


def _remarks(tally: Tally) -> list[str]:
    lines = []
    if tally.unrecognized:
        count = counted(tally.unrecognized, "FITS name", "FITS names")
        lines.append(f"\n{count} not recognized, such as")
        paths = [path for _, path in sorted(tally.unrecognized_samples.items())]
        lines += [f"  {escape(path)}" for path in paths[:UNRECOGNIZED_SHOWN]]
    if tally.errors:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.errors.items()))
        lines.append(f"\nnot read: {kinds}, such as")
        samples = sorted(tally.error_samples)[:ERRORS_SHOWN]
        lines += [f"  {escape(e.path)} ({e.operation}: {e.kind})" for e in samples]
    for what, number in sorted(tally.cube.folded.items()):
        lines.append(f"\nput together as {OTHER}: the {format_count(number)} smallest {what}")
    if tally.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.skipped.items()))
        lines.append(f"\nskipped: {kinds}")
    if tally.vanished:
        lines.append(f"\nvanished while reading: {format_count(tally.vanished)}")
    return lines
