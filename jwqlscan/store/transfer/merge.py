"""Values that hold for spans of dates, put together out of two sets of runs.

The store keeps a value of insight as a row for as long as it stays what it is. Runs that come in
between the runs of another store cut such rows in two, or make two of them one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jwqlscan.store.validity import FOREVER_US

Values = tuple[int, ...]


class Span(NamedTuple):
    """A value from one date to another, both included; microseconds since 1970."""

    first: int
    last: int
    values: Values


class Timeline:
    """New dates, with what lies between and the nearest known ones: where spans have to change.

    Parameters
    ----------
    new : iterable of int
        Dates that come in.
    known : iterable of int
        Dates that are there; one that is in both is no new one.
    """

    def __init__(self, new: Iterable[int], known: Iterable[int]) -> None:
        known = sorted(known)
        there = set(known)
        more = sorted(set(new) - there)
        before, after = bisect_left(known, more[0]), bisect_right(known, more[-1])
        self.open_ended = after == len(known)
        around = known[max(before - 1, 0) : after + 1]
        self.dates = sorted([*around, *more])
        # Blocks of neighbouring dates of one kind, as places in `dates`, both included.
        self.blocks: list[tuple[bool, int, int]] = []
        for place, date in enumerate(self.dates):
            if self.blocks and self.blocks[-1][0] == (date in there):
                self.blocks[-1] = (date in there, self.blocks[-1][1], place)
            else:
                self.blocks.append((date in there, place, place))

    def merged(self, new: Sequence[Span], known: Sequence[Span]) -> list[Span]:
        """Return what a series was at each date.

        Parameters
        ----------
        new, known : sequence of Span
            What it was at the new dates, and at the known ones: all spans that touch the dates
            from the first to the last of `dates`, in their order.

        Returns
        -------
        list of Span
            What takes the place of `known`, as few as there can be. The last is open if it holds
            at the last date of all.
        """
        chunks: list[Span] = []
        ends: list[int] = []  # of each chunk, as a place in `dates`
        newest = len(self.dates) - 1
        for is_known, start, end in self.blocks:
            spans = known if is_known else new
            for span in spans[_first_touching(spans, self.dates[start]) :]:
                if span.first > self.dates[end]:
                    break
                first = max(start, bisect_left(self.dates, span.first))
                last = min(end, bisect_right(self.dates, span.last) - 1)
                if first > last:  # it holds between two dates only: of runs that are gone
                    continue
                # What reaches beyond the dates that are looked at goes on there.
                since = span.first if is_known and first == 0 else self.dates[first]
                until = span.last if is_known and last == newest else self.dates[last]
                if last == newest and self.open_ended:
                    until = FOREVER_US
                if chunks and ends[-1] + 1 == first and chunks[-1].values == span.values:
                    since = chunks.pop().first
                    ends.pop()
                chunks.append(Span(since, until, span.values))
                ends.append(last)
        return chunks


def _first_touching(spans: Sequence[Span], date: int) -> int:
    """Return the place of the first span that does not end before a date."""
    return bisect_left(spans, date, key=lambda span: span.last)
