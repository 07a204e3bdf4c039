"""Tabs: what a page is made of. A tab is a module with a function that makes one of these.

To add one, write that module, and call its function in `page.tabs_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from jwqlscan.reporting.plots.columns import Json
from jwqlscan.reporting.plots.series import PlotData

LINES = "Lines"
STACKED = "Stacked"
NEWEST = "Newest"


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes in a cell: shown in the unit that the reader chose."""

    bytes: float


Cell: TypeAlias = str | int | Size


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several plots in one place on the page.

    Attributes
    ----------
    options : tuple of str
        What is chosen to see it, one of each of the card's choices.
    plot : PlotData
    as_bars : bool
        Its newest values, as bars.
    """

    options: tuple[str, ...]
    plot: PlotData
    as_bars: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """A plot's place on the page; or several plots' of which the reader chooses one.

    Attributes
    ----------
    title : str
    plots : tuple of Choice
        The first is shown at first. There is one for every combination of options.
    asks : tuple of str
        What each option answers: ``Show``, ``Of``.
    remark : str
        A line below the title.
    wide : bool
        As wide as the page.
    lead : bool
        The time axis goes on beyond the newest run.
    """

    title: str
    plots: tuple[Choice, ...]
    asks: tuple[str, ...] = ()
    remark: str = ""
    wide: bool = False
    lead: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its header, and rows of text, counts and sizes.

    Attributes
    ----------
    title : str
    header : tuple of str
    rows : sequence of sequence of Cell
    marked : frozenset of int
        Rows to be noticed.
    remark : str
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    marked: frozenset[int] = frozenset()
    remark: str = ""

    @property
    def numeric(self) -> frozenset[int]:
        """The columns of counts and sizes, set to the right."""
        return frozenset(
            column
            for column in range(len(self.header))
            if any(not isinstance(row[column], str) for row in self.rows)
        )


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab of the page.

    Attributes
    ----------
    title : str
    cards : list of Card
    tables : list of Table
    record : dict, optional
        What a tab with a script of its own draws.
    """

    title: str
    cards: list[Card] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    record: Json | None = None


def card(plot: PlotData, title: str = "", *, remark: str = "", lead: bool = False) -> Card:
    """Return the card of one plot."""
    return Card(title or plot.title, (Choice((), plot),), remark=remark, lead=lead)
