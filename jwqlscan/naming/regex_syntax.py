"""Regular expressions as trees, read from their text: what the analysis of a pattern stands on.

Python's own parser is private to it. This one reads what `re.compile` has accepted, in its grammar
(https://docs.python.org/3/library/re.html#regular-expression-syntax), except for look-around,
back-references and conditions. A tree is simplified as Python does it before matching, since that
determines in how many ways a text can be matched.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

# One bit for each of ASCII's characters and, as one more, for all others.
OTHERS = 1 << 128
ALL = (OTHERS << 1) - 1
UNLIMITED = 2**32

_ASSERTIONS = frozenset("AZbB")
_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


class Characters(NamedTuple):
    """One character out of a set.

    Attributes
    ----------
    taken : int
        The set, as bits.
    literal : str
        The character, in lower case if case is ignored; "" if there may be several.
    is_open : bool
        Written as a dot or a complement: Python does not unite it with other sets.
    """

    taken: int
    literal: str = ""
    is_open: bool = False


class Group(NamedTuple):
    """A capturing group; "" is the name of one without."""

    name: str
    items: Items


class Alternatives(NamedTuple):
    """The branches of ``a|b``."""

    branches: tuple[Items, ...]


class Repetition(NamedTuple):
    """Items from `least` to `most` times, greedy or not; `most` may be `UNLIMITED`."""

    least: int
    most: int
    items: Items


Item: TypeAlias = Characters | Group | Alternatives | Repetition
Items: TypeAlias = tuple[Item, ...]


def _bits(characters: Iterable[str]) -> int:
    return sum(1 << ord(character) for character in set(characters))


DIGITS = _bits("0123456789")
_SETS = {
    "d": DIGITS,
    "s": _bits(" \t\n\r\f\v"),
    "w": _bits(chr(code) for code in range(128) if chr(code).isalnum() or chr(code) == "_"),
}


def parse(text: str) -> Items:
    """Return the tree of a regular expression that `re.compile` accepts, with the flag ``ASCII``.

    Raises
    ------
    ValueError
        For what can't be analysed: look-around, back-references, conditions.
    """
    return _Parser(text).expression()


def width(items: Sequence[Item]) -> tuple[int, int]:
    """Return the least and the largest number of characters that items match."""
    least = most = 0
    for item in items:
        if isinstance(item, Characters):
            low, high = 1, 1
        elif isinstance(item, Group):
            low, high = width(item.items)
        elif isinstance(item, Repetition):
            low, high = width(item.items)
            low, high = low * item.least, high * item.most
        else:
            widths = [width(branch) for branch in item.branches]
            low, high = min(low for low, _ in widths), max(high for _, high in widths)
        least, most = least + low, most + high
    return min(least, UNLIMITED), min(most, UNLIMITED)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._flags = ""

    def expression(self) -> Items:
        """Read alternatives, up to a closing parenthesis or the end."""
        branches = [self._sequence()]
        while self._skip("|"):
            branches.append(self._sequence())
        return _simplified(branches)

    def _sequence(self) -> Items:
        items: list[Item] = []
        self._skip_comments()
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            start = len(items)
            items += self._atom()
            self._skip_comments()
            if (count := self._count()) is not None:
                items[start:] = [Repetition(*count, tuple(items[start:]))]
                self._skip_comments()
        return tuple(items)

    def _skip_comments(self) -> None:
        while self._at < len(self._text):
            if self._skip("(?#"):
                self._until(")")
            elif "x" not in self._flags:
                return
            elif self._text[self._at].isspace():
                self._at += 1
            elif self._skip("#"):
                self._until("\n")
            else:
                return

    def _atom(self) -> Items:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return (self._set(),)
        if character == ".":
            return (Characters(ALL, is_open=True),)
        if character in "^$":
            return ()
        if character != "\\":
            return (self._literal(character),)
        if self._text[self._at] in _ASSERTIONS:
            self._at += 1
            return ()
        return (self._escape(in_set=False),)

    def _group(self) -> Items:
        if not self._skip("?"):
            return (Group("", self._closed()),)
        if self._skip("P<"):
            return (Group(self._until(">"), self._closed()),)
        if self._skip(":") or self._skip(">"):
            return self._closed()
        if self._text[self._at] in "P=!<(":
            raise ValueError("look-around, back-references and conditions can't be used")
        flags = self._flags
        self._read_flags()
        if self._next() == ")":  # for the whole expression
            return ()
        items = self._closed()
        self._flags = flags
        return items

    def _read_flags(self) -> None:
        added = True
        while self._text[self._at] not in ":)":
            flag = self._next()
            if flag == "-":
                added = False
            else:
                self._flags = self._flags.replace(flag, "") + (flag if added else "")

    def _closed(self) -> Items:
        flags = self._flags
        items = self.expression()
        self._flags = flags
        self._at += 1  # the parenthesis
        return items

    def _count(self) -> tuple[int, int] | None:
        """Return how often what was just read is repeated; None without a count."""
        counts = {"*": (0, UNLIMITED), "+": (1, UNLIMITED), "?": (0, 1)}
        sign = self._text[self._at : self._at + 1]
        if sign in counts:
            self._at += 1
            found = counts[sign]
        elif sign == "{" and (braces := self._braces()) is not None:
            found = braces
        else:
            return None
        if self._text[self._at : self._at + 1] in ("?", "+"):
            self._at += 1
        return found

    def _braces(self) -> tuple[int, int] | None:
        inside, closing, _ = self._text[self._at + 1 :].partition("}")
        least, comma, most = inside.partition(",")
        if not closing or not inside or (not (least + most).isdecimal() and (least or most)):
            return None
        if not comma and not least:
            return None
        self._at += len(inside) + 2
        low = int(least or 0)
        return low, (int(most) if most else UNLIMITED) if comma else low

    def _set(self) -> Characters:
        negated = self._skip("^")
        found: list[Characters] = []
        while self._text[self._at] != "]" or not found:
            one = self._in_set()
            if one.literal and self._text[self._at] == "-" and self._text[self._at + 1] != "]":
                self._at += 1
                last = self._in_set()
                one = Characters(self._cased(_range(ord(one.literal), ord(last.literal))))
            found.append(one)
        self._at += 1
        taken = 0
        for one in found:
            taken |= self._cased(one.taken)
        if negated:
            return Characters(ALL & ~taken | OTHERS, is_open=True)
        if len(found) == 1 and found[0].literal:
            return self._literal(found[0].literal)
        return Characters(taken)

    def _in_set(self) -> Characters:
        character = self._next()
        if character == "\\":
            return self._escape(in_set=True)
        return Characters(_range(ord(character), ord(character)), character)

    def _escape(self, *, in_set: bool) -> Characters:
        character = self._next()
        if (taken := _SETS.get(character.lower())) is not None and character.isascii():
            return Characters(ALL & ~taken if character.isupper() else taken)
        if character in _HEX_DIGITS:
            length = _HEX_DIGITS[character]
            code = int(self._text[self._at : self._at + length], 16)
            self._at += length
            character = chr(code)
        elif character == "N":
            self._at += 1  # the brace
            character = unicodedata.lookup(self._until("}"))
        elif character.isdecimal():
            character = self._octal(character, in_set=in_set)
        elif character in _CONTROLS:
            character = _CONTROLS[character]
        code = ord(character)
        return Characters(_range(code, code), character) if in_set else self._literal(character)

    def _octal(self, first: str, *, in_set: bool) -> str:
        digits = first
        while len(digits) < 3 and self._text[self._at : self._at + 1] in tuple("01234567"):
            digits += self._next()
        if first != "0" and len(digits) < 3 and not in_set:
            raise ValueError("look-around, back-references and conditions can't be used")
        return chr(int(digits, 8))

    def _literal(self, character: str) -> Characters:
        taken = self._cased(_range(ord(character), ord(character)))
        return Characters(taken, character.lower() if "i" in self._flags else character)

    def _cased(self, taken: int) -> int:
        return both_cases(taken) if "i" in self._flags else taken

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _skip(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _until(self, end: str) -> str:
        inside, _, _ = self._text[self._at :].partition(end)
        self._at += len(inside) + len(end)
        return inside


def _simplified(branches: list[Items]) -> Items:
    """Return alternatives without their common beginning; of single characters as one set."""
    if len(branches) == 1:
        return branches[0]
    common = 0
    while all(len(branch) > common for branch in branches) and (
        len({branch[common] for branch in branches}) == 1
    ):
        common += 1
    start, rest = branches[0][:common], tuple(branch[common:] for branch in branches)
    taken = 0
    for branch in rest:
        if len(branch) != 1 or not isinstance(branch[0], Characters) or branch[0].is_open:
            return (*start, Alternatives(rest))
        taken |= branch[0].taken
    return (*start, Characters(taken))


def _range(low: int, high: int) -> int:
    taken = OTHERS if high > 127 else 0
    if low <= 127:
        taken |= (1 << min(high, 127) + 1) - (1 << low)
    return taken


def both_cases(taken: int) -> int:
    """Return characters with the letters among them in both cases."""
    letters = (1 << ord("z") + 1) - (1 << ord("a"))
    distance = ord("a") - ord("A")
    return taken | (taken & letters) >> distance | (taken & letters >> distance) << distance
