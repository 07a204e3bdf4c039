"""How the report looks: colours, dashes, sizes and number formats; no Bokeh in here.

One thing has one colour in every plot: a filetype keeps its colour from the archive's plots to an
instrument's, and from one day to the next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from jwqlscan.text import escape_controls

PLOT_HEIGHT = 330  # px of a plot without its legend
LEGEND_ROW_PX = 18
LEGEND_COLUMN_PX = 112
LEGEND_COLUMNS = 4  # in a plot half as wide as a page of 1280 px
LEGEND_ROWS_SHOWN = 7  # a longer legend scrolls: 47 filetypes are 12 rows and more
LINE_WIDTH = 2
MARK_SIZE = 6
MUTED_ALPHA = 0.12

TEXT = "#1f2933"
QUIET_TEXT = "#52606d"  # 6.4:1 on white
GRID = "#e4e7eb"
PAPER = "#ffffff"
SAMPLE = "#b7791f"
SAMPLE_ALPHA = 0.13
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"

# After the Okabe-Ito and Tol palettes, which stay apart under the three common kinds of colour
# blindness; their yellows and light blues are darkened to 3:1 on white (WCAG 2.2, 1.4.11).
COLOURS = (
    "#0072b2",  # blue
    "#d55e00",  # vermilion
    "#00875f",  # green
    "#aa3377",  # purple
    "#2a94cf",  # sky
    "#a87900",  # ochre
    "#882255",  # wine
    "#5b5fc7",  # violet
    "#4a5560",  # slate
)
# A colour comes back only with another dash: 54 styles for the 47 filetypes that are known.
DASHES: tuple[tuple[int, ...], ...] = (
    (),
    (7, 3),
    (2, 3),
    (9, 3, 2, 3),
    (14, 4),
    (9, 3, 2, 3, 2, 3),
)
# An area has no dash: it is hatched instead.
_HATCHES = ("", "/", ".", "+", "-", "|")
_MARKS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "star")

# The commonest products come first, so that the thickest curves are solid and far apart in colour.
_COMMON_FILETYPES = ("uncal", "rate", "rateints", "cal", "calints", "i2d", "crf", "x1d", "s2d")


@dataclass(frozen=True, slots=True)
class Style:
    """How a series is drawn."""

    colour: str
    dash: tuple[int, ...] = ()

    @property
    def mark(self) -> str:
        """Bokeh's name of the marker that goes with the dash."""
        return _MARKS[DASHES.index(self.dash)]

    @property
    def hatch(self) -> str:
        """Bokeh's hatch pattern that goes with the dash."""
        return _HATCHES[DASHES.index(self.dash)]


SIZE = Style("#4a5560")
USED = Style("#0072b2")
FREE = Style("#00875f")
ALL_FILES = Style("#4a5560")
FITS_FILES = Style("#d55e00")
OTHERS = Style("#8a94a0")
TOTAL = Style(TEXT)
FORECAST = Style("#aa3377")

# What stands for each of these colours on a dark page: as far apart, and 3:1 or more on its paper.
DARK_PAPER = "#161f2b"
DARK = {
    TEXT: "#e6ebf1",
    QUIET_TEXT: "#a3b1c2",
    GRID: "#2a3644",
    PAPER: DARK_PAPER,
    SAMPLE: "#d9a441",
    "#0072b2": "#3d9be0",
    "#d55e00": "#f07f2e",
    "#00875f": "#23b286",
    "#aa3377": "#dd74b0",
    "#2a94cf": "#7cc8f0",
    "#a87900": "#d8ab2d",
    "#882255": "#c4628f",
    "#5b5fc7": "#9296f0",
    "#4a5560": "#aab6c3",
    "#8a94a0": "#77828f",
}


class Unit(NamedTuple):
    """What a plot's numbers are.

    Attributes
    ----------
    axis_label, noun : str
        On the y axis, and before a number in the hover box.
    whole : bool
        Whether there is nothing between 0 and 1.
    """

    axis_label: str
    noun: str
    whole: bool

    def format_for(self, largest: float) -> str:
        """Return the numbro format in which the hover box shows a value exactly enough.

        A count is exact. A size has 7 digits at the top of its plot, and never fewer than 4
        decimals (100 MiB): 12 decimals of a TiB are one byte.
        """
        if self.whole:
            return "0,0"
        digits = 6 - math.floor(math.log10(largest)) if largest > 0 else 6
        return "0,0." + "0" * min(max(digits, 4), 12)


FILES = Unit("Files", "files", whole=True)
TIB = Unit("Size (TiB)", "TiB", whole=False)
TIMES = Unit("Occurrences", "times", whole=True)
SECONDS = Unit("Seconds", "seconds", whole=False)
RATE = Unit("Files per second", "files/s", whole=False)


def style(number: int) -> Style:
    """Return one of the 54 styles; after that they come again."""
    dash = DASHES[number // len(COLOURS) % len(DASHES)]
    return Style(COLOURS[number % len(COLOURS)], dash)


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """Give each label a style of its own, the common filetypes first, the others as they come.

    Labels in the order of their first appearance keep their styles when new ones turn up.
    """
    present = list(dict.fromkeys(labels))
    common = [label for label in _COMMON_FILETYPES if label in present]
    rest = [label for label in present if label not in _COMMON_FILETYPES]
    # The places of the common ones are kept free for them even before they appear.
    first = {label: style(_COMMON_FILETYPES.index(label)) for label in common}
    return first | {
        label: style(number) for number, label in enumerate(rest, len(_COMMON_FILETYPES))
    }


# BokehJS takes text between these for TeX, and would fetch MathJax for it. Its three openings are
# broken with a word joiner, which has no width.
_TEX = re.compile(r"(?<=\$)(?=\$)|(?<=\\)(?=[\[\](){}])")


def label_text(text: str) -> str:
    """Return a label from the data as text that can do nothing but be read."""
    return _TEX.sub("\u2060", escape_controls(text)) or "(unnamed)"
