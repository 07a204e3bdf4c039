"""Sets of characters as bits, made from the parse tree of a pattern."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# One bit for each of ASCII's characters and, as one more, for all others.
OTHERS = 1 << 128
ALL = (OTHERS << 1) - 1


def _bits(characters: Iterable[str]) -> int:
    return sum(1 << ord(character) for character in set(characters))


DIGITS = _bits("0123456789")
_SPACES = _bits(" \t\n\r\f\v")
_WORD = _bits(chr(code) for code in range(128) if chr(code).isalnum() or chr(code) == "_")
_CATEGORIES = {"DIGIT": DIGITS, "SPACE": _SPACES, "WORD": _WORD}


def characters(operation: str, argument: Any) -> int:  # noqa: ANN401 - re's own parse tree
    """Return the characters that a literal, a dot or a set takes."""
    if operation == "ANY":
        return ALL
    if operation == "LITERAL":
        return _range(argument, argument)
    if operation == "NOT_LITERAL":
        return ALL & ~_range(argument, argument) | OTHERS
    if operation == "RANGE":
        return _range(*argument)
    if operation == "CATEGORY":
        name = argument.name.removeprefix("CATEGORY_")
        taken = _CATEGORIES[name.removeprefix("NOT_")]
        return ALL & ~taken if name.startswith("NOT_") else taken
    taken = 0
    negated = False
    for kind, value in argument:  # a set
        if kind.name == "NEGATE":
            negated = True
        else:
            taken |= characters(kind.name, value)
    return ALL & ~taken | OTHERS if negated else taken


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
