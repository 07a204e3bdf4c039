"""Tables for people, on a terminal of any width: narrow ones show fewer columns, none is cut."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Console, JustifyMethod, RenderableType
from rich.measure import Measurement
from rich.table import Table

# Where nobody looks (a pipe, a file) a table takes what it needs, up to here.
PIPE_WIDTH = 200

# Names and paths are folded to as little as this before a number is left out.
MIN_FOLDED = 20

WIDE = 110
BAR_WIDTH = 30
NARROW_BAR_WIDTH = 10


class Terminal(Console):
    """A console for standard output; its own width, which rich cuts numbers at, is never small.

    Attributes
    ----------
    room : int
        Columns that can be seen at once.
    """

    def __init__(self, width: int | None = None) -> None:
        super().__init__(width=width)
        self.room = self.width if self.is_terminal or width else PIPE_WIDTH
        self.width = max(self.room, PIPE_WIDTH)

    @property
    def bar_width(self) -> int:
        """How long the longest bar of a table is."""
        return BAR_WIDTH if self.room >= WIDE else NARROW_BAR_WIDTH

    def on_broken_pipe(self) -> None:
        """Raise what is being handled, where rich would exit as if the command had failed."""
        raise

    def show(self, listing: Listing, expendable: Sequence[int] = ()) -> None:
        """Print a table; where it does not fit, without some columns, and with names folded.

        Parameters
        ----------
        listing : Listing
        expendable : sequence of int
            Columns that can be left out, first the one that is missed least.
        """
        for number in range(len(expendable) + 1):
            without = expendable[:number]
            narrowest = listing.table(without, MIN_FOLDED)
            fits = Measurement.get(self, self.options, narrowest).maximum <= self.room
            if fits:
                break
        self.print(listing.table(without), width=self.room if fits else None)


class Listing:
    """A table without lines: columns of text, and of numbers, which are never cut.

    Parameters
    ----------
    *headings : str
        Those of numbers, on the right, begin with ``>``.
    folded : bool
        Whether the first column, of names or paths, may take several lines.
    """

    def __init__(self, *headings: str, folded: bool = False) -> None:
        self.headings = headings
        self._folded = folded
        self._rows: list[tuple[tuple[RenderableType, ...], str]] = []

    def add_row(self, *cells: RenderableType, style: str = "") -> None:
        """Add a row of one cell a column."""
        self._rows.append((cells, style))

    def table(self, without: Collection[int] = (), fold_at: int | None = None) -> Table:
        """Return it without some columns, and with its first folded at a width."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        kept = [number for number in range(len(self.headings)) if number not in without]
        for number in kept:
            heading = self.headings[number]
            if self._folded and number == 0:
                table.add_column(heading, overflow="fold", max_width=fold_at)
            else:
                side: JustifyMethod = "right" if heading.startswith(">") else "left"
                table.add_column(heading.lstrip(">"), justify=side, no_wrap=True)
        for cells, style in self._rows:
            table.add_row(*(cells[number] for number in kept), style=style)
        return table
