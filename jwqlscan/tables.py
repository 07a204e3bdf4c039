"""What commands print for people, as rich tables."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jwqlscan.cube import OTHER, Cube, Sum
from jwqlscan.directories import BY_DIRECTORY, branches
from jwqlscan.paths import shown
from jwqlscan.projections import ORDERED, projection
from jwqlscan.settings import AUTO
from jwqlscan.snapshot import ALL
from jwqlscan.units import format_age, format_bytes, format_count, format_seconds

if TYPE_CHECKING:
    from jwqlscan.benchmark import Benchmark
    from jwqlscan.insight import Growth
    from jwqlscan.looking import Series, Status
    from jwqlscan.scanning.measure import Measurement
    from jwqlscan.tally import Tally

UNRECOGNIZED_SHOWN = 5
ERRORS_SHOWN = 5
PIPE_WIDTH = 200
BAR_WIDTH = 30
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 15


def print_scan(
    measurement: Measurement, console: Console, questions: Sequence[str] = (), top: int = 20
) -> None:
    """Print a scan: a row an area, then products, then what could not be read or recognized.

    With `questions` also these projections of the cube, of the long ones the `top` largest rows.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("area", overflow="fold")
    for heading in ("files", "size", "allocated", "directories", "FITS", "FITS size", "links"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in measurement.areas:
        tally = one.tally
        table.add_row(
            Text(shown(one.area.path)),
            format_count(tally.files),
            format_bytes(tally.apparent_bytes),
            format_bytes(tally.allocated_bytes),
            format_count(tally.directories),
            format_count(tally.fits_files),
            format_bytes(tally.fits_bytes),
            format_count(tally.symlinks),
        )
    console.print(table)
    union = measurement.union(measurement.areas)
    if union.products:
        console.print()
        console.print(_products(union))
    for by in questions:
        console.print()
        if by == BY_DIRECTORY:
            for one in measurement.areas:
                console.print(_directories(one.tally, top))
        else:
            console.print(_projection(union.cube, by, top))
    for line in _remarks(union):
        console.print(Text(line), soft_wrap=True)  # as it is: no markup, no emoji, no wrapping
    console.print(
        f"\n{format_count(union.entries)} entries in {format_seconds(measurement.seconds)}: "
        f"{format_count(round(measurement.entries_per_second))} a second, "
        f"{measurement.reader} reader, {measurement.workers} workers",
        style="dim",
        highlight=False,
    )


def print_bench(result: Benchmark, console: Console) -> None:
    """Print rates as a table with a bar each, then what to set."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("reader")
    for heading in ("workers", "entries/s", "slowest", "fastest"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    fastest = max(rate.entries_per_second for rate in result.rates)
    for rate in result.rates:
        table.add_row(
            rate.reader,
            str(rate.workers or AUTO),
            format_count(round(rate.entries_per_second)),
            format_count(round(rate.slowest)),
            format_count(round(rate.fastest)),
            Text("█" * max(1, round(BAR_WIDTH * rate.entries_per_second / fastest))),
            style="green" if rate is result.recommended else "",
        )
    console.print(table)
    best = result.recommended
    console.print(
        f"\n{format_count(result.entries)} entries, median of {result.rounds} rounds. Recommended: "
        f"--reader {best.reader} --workers {best.workers or AUTO}",
        highlight=False,
    )


def print_status(status: Status, console: Console) -> None:
    """Print the newest runs, a row a run and group, and why the newest is incomplete."""
    if not status.runs:
        console.print(
            Text(f"no runs in {shown(status.store)} yet: `jwqlscan run` makes one"), soft_wrap=True
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for heading in ("run (UTC)", "status"):
        table.add_column(heading, no_wrap=True)
    for heading in ("age", "took"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("area", no_wrap=True)
    for heading in ("files", "change", "size", "change", "available"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in status.runs:
        head: list[str | Text] = [
            f"{one.run.date:%Y-%m-%d %H:%M}",
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
    console.print(table)
    if status.failed:
        at = f"{status.failed:%Y-%m-%d %H:%M}"
        failed = Text(f"a run failed since, at {at} UTC: nothing is stored of it", "bold red")
        console.print(failed, soft_wrap=True)
    for reason in status.runs[0].run.incomplete_reasons:
        console.print(Text(f"incomplete: {reason}"), soft_wrap=True)


def print_series(series: Series, console: Console) -> None:
    """Print a series, a row a date; columns without any number are left out."""
    if not series.points:
        console.print("nothing is stored of that, so far back")
        return
    sizes = ("bytes", "fits_bytes", "size_bytes", "used_bytes", "available_bytes")
    headings = {"bytes": "size", "fits_files": "FITS files", "fits_bytes": "FITS size"}
    headings |= {"size_bytes": "capacity", "used_bytes": "used", "available_bytes": "available"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("date (UTC)", no_wrap=True)
    table.add_column("status", no_wrap=True)
    names = [
        name
        for name in series.points[0]._fields[2:]
        if any(getattr(point, name) is not None for point in series.points)
    ]
    for name in names:
        table.add_column(headings.get(name, name), justify="right", no_wrap=True)
    for point in series.points:
        cells = []
        for name in names:
            value = getattr(point, name)
            known = format_bytes if name in sizes else format_count
            cells.append("" if value is None else known(value))
        table.add_row(f"{point.date:%Y-%m-%d %H:%M}", point.status or "JWQL", *cells)
    console.print(table)


def print_growth(found: Growth, console: Console) -> None:
    """Print what changed most between two runs, and what a reader of that must know."""
    area = found.group if found.name == ALL else f"{found.group}/{found.name}"
    files = found.after.files - found.before.files
    size = found.after.apparent_bytes - found.before.apparent_bytes
    console.print(
        f"{shown(area)} from {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC:"
        f" {files:+,} files, {_signed_bytes(size)}" + ("" if found.exact else ", not exact"),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if found.rows:
        console.print()
        console.print(_growth_table(found))
    else:
        console.print(f"no {found.by} changed")
    if found.by == "directory" and found.changed > len(found.rows):
        more = f"{format_count(found.changed - len(found.rows))} more directories changed"
        console.print(Text(more, style="dim"))
    lines = [*found.notes]
    if any(not row.exact for row in (*found.rows, *([found.rest] if found.rest else []))):
        lines.append(
            "~ it may have been there, too small to be told: it changed by so much at most"
        )
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _growth_table(found: Growth) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(found.by, overflow="fold")
    table.add_column("")
    for heading in ("files", "change", "size", "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    most = max((abs(row.bytes_change) for row in found.rows), default=0) or 1
    if len(found.dates) > 2:
        table.add_column("trend", no_wrap=True)
    table.add_column("")
    for row in (*found.rows, *([found.rest] if found.rest else [])):
        style = "green" if row.bytes_change < 0 else "red" if row.bytes_change > 0 else ""
        is_rest = row is found.rest
        bar = "" if is_rest else "█" * round(BAR_WIDTH / 2 * abs(row.bytes_change) / most)
        cells: list[str | Text] = [
            Text(row.label or "(all of it)"),
            Text("" if row.kind == "changed" or is_rest else row.kind, style="dim"),
            format_count(row.after.files),
            f"{row.files_change:+,}" if row.files_change else "",
            format_bytes(row.after.apparent_bytes),
            ("" if row.exact else "~ ")
            + (_signed_bytes(row.bytes_change) if row.bytes_change else ""),
        ]
        if len(found.dates) > 2:
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


def _products(tally: Tally) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("instrument")
    table.add_column("filetype")
    table.add_column("files", justify="right")
    table.add_column("size", justify="right")
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


def _projection(cube: Cube, by: str, top: int) -> Table:
    rows = projection(cube, by)
    top = len(rows) if by in ORDERED else top
    most = max((row.sum.apparent_bytes for row in rows), default=0) or 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(by, overflow="fold")
    for heading in ("files", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for label, total in rows[:top]:
        bar = "█" * round(BAR_WIDTH * total.apparent_bytes / most)
        size = format_bytes(total.apparent_bytes)
        table.add_row(Text(shown(label)), format_count(total.files), size, Text(bar))
    if len(rows) > top:
        rest = sum((row.sum for row in rows[top:]), Sum())
        label = f"{format_count(len(rows) - top)} more"
        size = format_bytes(rest.apparent_bytes)
        table.add_row(Text(label), format_count(rest.files), size, "", style="dim")
    return table


def _directories(tally: Tally, top: int) -> Table:
    """Return the largest directories as a tree: what people know from du, ncdu and dust."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("directory", overflow="fold")
    headings = ["size", "share", "files"] + (["FITS"] if tally.fits_bytes else [])
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    lines = branches(tally.tree, top)
    whole = max((line.sum.apparent_bytes for line in lines), default=0) or 1
    for line in lines:
        size, fits = line.sum.apparent_bytes, line.sum.fits_bytes
        bar = round(BAR_WIDTH * size / whole)
        kind = round(bar * fits / size) if size else 0
        numbers = [format_bytes(size), f"{100 * size / whole:.1f} %", format_count(line.sum.files)]
        if tally.fits_bytes:
            numbers.append(f"{100 * fits / size:.0f} %" if size else "")
        table.add_row(
            Text.assemble((line.guide, "dim"), shown(line.name)),
            *numbers,
            Text.assemble(("█" * kind, "cyan"), "█" * (bar - kind)),
        )
    return table


def _remarks(tally: Tally) -> list[str]:
    lines = []
    if tally.unrecognized:
        lines.append(f"\n{format_count(tally.unrecognized)} FITS names not recognized, such as")
        paths = [path for _, path in sorted(tally.unrecognized_samples.items())]
        lines += [f"  {shown(path)}" for path in paths[:UNRECOGNIZED_SHOWN]]
    if tally.errors:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.errors.items()))
        lines.append(f"\nnot read: {kinds}, such as")
        samples = sorted(tally.error_samples)[:ERRORS_SHOWN]
        lines += [f"  {shown(e.path)} ({e.operation}: {e.kind})" for e in samples]
    for what, number in sorted(tally.cube.folded.items()):
        lines.append(f"\nput together as {OTHER}: the {format_count(number)} smallest {what}")
    if tally.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.skipped.items()))
        lines.append(f"\nskipped: {kinds}")
    if tally.vanished:
        lines.append(f"\nvanished while reading: {format_count(tally.vanished)}")
    return lines


class _StdoutConsole(Console):
    def on_broken_pipe(self) -> None:
        """Raise what is being handled, where rich would exit as if the command had failed."""
        raise


def stdout_console() -> Console:
    """Return a console for standard output.

    It is never narrower than a table needs: rich would cut numbers off, a terminal wraps the line.
    """
    console = _StdoutConsole()
    return console if console.width >= PIPE_WIDTH else _StdoutConsole(width=PIPE_WIDTH)
