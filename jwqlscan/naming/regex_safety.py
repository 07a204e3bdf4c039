"""The position automaton of a pattern: how many ways it has with a name, and which digits matter.

Notes
-----
The tree is made into the position automaton of Glushkov, whose states are the places of the pattern
that take a character. What it can do is at least what the pattern can: bounded repetitions count as
unbounded ones, and optional parts and alternatives as if each could always be taken.

Python's matcher tries, at worst, every way in which the automaton can read the start of a name.
Those ways are exponential in number if inside one repetition two of them begin and end at the same
place: that is refused. Else they are no more than the product of the ways to choose alternatives,
to be at places in a repetition, and to leave it: that must be below `MAX_WAYS`. See Weber and
Seidl, "On the degree of ambiguity of finite automata" (1991), which calls the two EDA and IDA.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import NamedTuple

from jwqlscan.naming.regex_syntax import (
    ALL,
    DIGITS,
    Alternatives,
    Characters,
    Group,
    Item,
    Items,
    Repetition,
)

NAME_LENGTH = 255

# In how many ways a name may be read, at most: of patterns near it none that was tried took a name
# longer than 2.5 ms. What people write has up to a hundred; stars that overlap, `.*_.*`, have 255.
MAX_WAYS = 10_000
MAX_POSITIONS = 1000
MAX_REPEATED = 100  # positions in one repetition: they are looked at in pairs

# The compiled reader leaves the digits of longer runs out of the shape of a name.
_LONG_RUN = 3


class _Part(NamedTuple):
    """Of a part of the pattern: where it can begin and end, and in how many ways it is empty."""

    first: Counter[int]
    last: Counter[int]
    empty: int


_NOTHING = _Part(Counter(), Counter(), 1)


class Automaton:
    """The positions of a pattern, and which can follow which."""

    def __init__(self, tree: Items) -> None:
        self._within: list[str] = []
        self._taken: list[int] = []  # by position: the characters that it takes
        self._groups: list[frozenset[str]] = []  # by position: the groups that it is in
        self._follow: list[Counter[int]] = []  # by position: in how many ways which others follow
        self._loops: list[range] = []  # positions of the outermost repetitions
        self._depth = 0
        self._ways = 1  # by alternatives and optional parts
        self._first = self._sequence(tree).first
        self._in_loops = {position for loop in self._loops for position in loop}

    # ---- made from the tree ----

    def _sequence(self, items: Items) -> _Part:
        part = _NOTHING
        for item in items:
            part = self._then(part, self._item(item))
        return part

    def _item(self, item: Item) -> _Part:
        if isinstance(item, Characters):
            return self._position(item.taken)
        if isinstance(item, Group):
            self._within.append(item.name)
            part = self._sequence(item.items)
            self._within.pop()
            return part
        if isinstance(item, Alternatives):
            return self._alternatives(item.branches)
        return self._repetition(item)

    def _position(self, taken: int) -> _Part:
        if len(self._taken) == MAX_POSITIONS:
            raise ValueError(f"is too long: it has more than {MAX_POSITIONS} characters to match")
        self._taken.append(taken)
        self._groups.append(frozenset(self._within))
        self._follow.append(Counter())
        only = Counter({len(self._taken) - 1: 1})
        return _Part(only, only, 0)

    def _then(self, one: _Part, other: _Part) -> _Part:
        self._connect(one.last, other.first)
        return _Part(
            one.first + _times(other.first, one.empty),
            other.last + _times(one.last, other.empty),
            one.empty * other.empty,
        )

    def _connect(self, last: Counter[int], first: Counter[int]) -> None:
        for position, ways in last.items():
            for next_position, more_ways in first.items():
                self._follow[position][next_position] += ways * more_ways

    def _alternatives(self, branches: Sequence[Items]) -> _Part:
        parts = [self._sequence(branch) for branch in branches]
        words = [_word(branch) for branch in branches]
        if None in words:
            # So many alternatives may be begun at one place.
            self._ways *= max(
                sum(
                    part.empty > 0 or any(self._taken[at] & 1 << bit for at in part.first)
                    for part in parts
                )
                for bit in range(129)
            )
        else:  # that many of the words may begin at one place
            self._ways *= max(
                sum(word.startswith(other) for other in words if other is not None)
                for word in words
                if word is not None
            )
        first: Counter[int] = Counter()
        last: Counter[int] = Counter()
        for part in parts:
            first += part.first
            last += part.last
        return _Part(first, last, sum(part.empty for part in parts))

    def _repetition(self, repetition: Repetition) -> _Part:
        least, most, items = repetition
        if most == 0:
            return _NOTHING
        if most == 1:
            part = self._sequence(items)
            if least == 0:
                self._ways *= 2
                part = part._replace(empty=part.empty + 1)
            return part
        if least == most and _is_plain(items):
            part = _NOTHING
            for _ in range(most):
                part = self._then(part, self._sequence(items))
            return part
        start = len(self._taken)
        self._depth += 1
        part = self._sequence(items)
        self._depth -= 1
        if part.empty:
            raise ValueError("can run away: it repeats what may be empty")
        self._connect(part.last, part.first)
        if self._depth == 0:
            self._loops.append(range(start, len(self._taken)))
        return part._replace(empty=int(least == 0))

    # ---- asked ----

    def check_ways(self) -> None:
        """Refuse a pattern that can run away."""
        # By repetition: in how many ways a name may have been read by its end, which is by those of
        # the repetitions that come right before it, or by none.
        ways: list[int] = []
        for number, loop in enumerate(self._loops):
            before = int(self._is_next(self._first, loop)) + sum(
                ways[other]
                for other in range(number)
                if self._is_next(self._after(self._loops[other]), loop)
            )
            ways.append(before * self._ways_in(loop) * self._ways_out(number))
        if self._ways * max(1, sum(ways)) > MAX_WAYS:
            raise ValueError(
                "can take too long on a hostile name: state what each repeated or optional part "
                "may hold so that it can't hold what comes after it, as in [a-z0-9]+_[a-z]+"
            )

    def _ways_out(self, number: int) -> int:
        """Return at how many places of a name a repetition may end, so that the rest can go on."""
        loop = self._loops[number]
        if not any(
            self._taken[inside] & self._taken[outside]
            for position in loop
            for inside, outside in product(self._follow[position], repeat=2)
            if inside in loop and outside not in loop
        ):
            return 1  # the next character decides whether it goes on
        for other in self._loops[number + 1 :]:
            both = self._taken_in(loop) & self._taken_in(other)
            if self._leads(loop, other, both):
                return NAME_LENGTH
        between = self._reached(self._after(loop), lambda at: at not in self._in_loops)
        lengths: dict[int, int] = {}  # of what can stand behind each position, before a repetition
        for position in sorted(between, reverse=True):  # what follows has a higher number
            after = (lengths[other] for other in self._follow[position] if other in between)
            lengths[position] = 1 + max(after, default=0)
        ends = 1 + max(lengths.values(), default=0)
        if not any(self._leads(loop, other, ALL) for other in self._loops[number + 1 :]):
            return min(NAME_LENGTH, ends)
        # Of three ends that are each farther apart than what stands between the two repetitions is
        # long, the middle one reads that while the last is in the first repetition and the first in
        # the second one: then it leads over. So there are but two bunches of ends.
        return min(NAME_LENGTH, 2 * ends)

    def _ways_in(self, loop: range) -> int:
        """Return how many ways through a repetition may be open at a time; refuse if no end."""
        runs_away = ValueError(
            "can run away: a repeated part can match the same text in more than one way"
        )
        if len(loop) > MAX_REPEATED:
            raise ValueError(f"repeats too much: more than {MAX_REPEATED} characters to match")
        if any(self._follow[one][other] > 1 for one, other in product(loop, loop)):
            raise runs_away
        before: dict[tuple[int, int], list[tuple[int, int]]] = {}
        apart = deque((position, position) for position in loop)
        seen = set(apart)
        while apart:
            pair = apart.popleft()
            for following in product(*(self._follow[position] for position in pair)):
                one, other = following
                if one in loop and other in loop and self._taken[one] & self._taken[other]:
                    before.setdefault((one, other), []).append(pair)
                    if (one, other) not in seen:
                        seen.add((one, other))
                        apart.append((one, other))
        if all(one == other for one, other in seen):
            return 1
        back = deque((position, position) for position in loop)
        joining = set(back)
        while back:
            for pair in before.get(back.popleft(), ()):
                if pair not in joining:
                    if pair[0] != pair[1]:
                        raise runs_away
                    joining.add(pair)
                    back.append(pair)
        return len(loop)

    def _taken_in(self, loop: range) -> int:
        taken = 0
        for position in loop:
            taken |= self._taken[position]
        return taken

    def _leads(self, one: range, other: range, taken: int) -> bool:
        """Tell whether a repetition can go over into another by these characters alone."""
        reached = self._reached(self._after(one), lambda at: bool(self._taken[at] & taken))
        return not reached.isdisjoint(other)

    def _is_next(self, start: Iterable[int], loop: range) -> bool:
        """Tell whether some positions lead to a repetition without another one between."""
        reached = self._reached(start, lambda at: at in loop or at not in self._in_loops)
        return not reached.isdisjoint(loop)

    def _after(self, loop: range) -> set[int]:
        """Return the positions outside a repetition that can follow it."""
        return {other for at in loop for other in self._follow[at] if other not in loop}

    def _reached(self, start: Iterable[int], passes: Callable[[int], bool]) -> set[int]:
        """Return what positions can be come to from some, these among them, by such ones alone."""
        reached = {position for position in start if passes(position)}
        waiting = list(reached)
        while waiting:
            for position in self._follow[waiting.pop()]:
                if position not in reached and passes(position):
                    reached.add(position)
                    waiting.append(position)
        return reached

    def depends_on_digits(self, groups: Iterable[str]) -> bool:
        """Tell whether it matters which digits stand in runs of 3 or more.

        They do at a position that takes some digits but not others, and inside these groups.
        """
        wanted = frozenset(groups)
        before = self._digits_before(self._follow)
        precede: list[Counter[int]] = [Counter() for _ in self._follow]
        for position, following in enumerate(self._follow):
            for other in following:
                precede[other][position] = 1
        after = self._digits_before(precede)
        return any(
            before[position] + 1 + after[position] >= _LONG_RUN
            for position, taken in enumerate(self._taken)
            if taken & DIGITS and (taken & DIGITS != DIGITS or wanted & self._groups[position])
        )

    def _digits_before(self, follow: list[Counter[int]]) -> list[int]:
        """Return how many digits can stand right before each position; 2 is 2 or more."""
        before = [0] * len(follow)
        changed = True
        while changed:
            changed = False
            for position, following in enumerate(follow):
                if self._taken[position] & DIGITS:
                    digits = min(_LONG_RUN - 1, before[position] + 1)
                    for other in following:
                        if before[other] < digits:
                            before[other] = digits
                            changed = True
        return before


def _times(counts: Counter[int], factor: int) -> Counter[int]:
    return Counter({key: count * factor for key, count in counts.items()} if factor else {})


def _word(items: Items) -> str | None:
    """Return the characters of items that are all literals; else None."""
    literals = [item.literal for item in items if isinstance(item, Characters)]
    return "".join(literals) if all(literals) and len(literals) == len(items) else None


def _is_plain(items: Items) -> bool:
    """Tell whether items are characters one after the other, without any choice."""
    return all(
        isinstance(item, Characters)
        or (isinstance(item, Group) and _is_plain(item.items))
        or (isinstance(item, Repetition) and item.least == item.most and _is_plain(item.items))
        for item in items
    )
