"""Patterns of file names that a user gives: checked before one is used.

Three things are found out by walking the pattern's parse tree, without trying it on any name: that
it yields an instrument and a filetype; that no name makes it slow; and which digits
of a name matter to it.

`jwqlscan.naming.regex_safety` describes the method.
"""

from __future__ import annotations

import re
import warnings
from typing import NamedTuple

from jwqlscan.naming.regex_safety import NAME_LENGTH, Automaton
from jwqlscan.naming.regex_syntax import Group, Items, parse, width

GROUPS = ("instrument", "filetype", "program")
NEEDED_GROUPS = GROUPS[:2]

NO_DIGITS = (0, 0)
ALL_DIGITS = (0, NAME_LENGTH + 1)


class Pattern(NamedTuple):
    """A pattern that may be used.

    Attributes
    ----------
    regex : re.Pattern
        For whole names without their ending.
    kept : tuple of int
        From which character up to which the digits matter, where they stand in runs of 3 or more:
        two names that differ only in other such digits are read alike.
    kept_with_program : tuple of int
        The same if the program is needed too.
    """

    regex: re.Pattern[str]
    kept: tuple[int, int]
    kept_with_program: tuple[int, int]


def read_pattern(text: str) -> Pattern:
    """Check a pattern and return it compiled.

    Raises
    ------
    ValueError
        In one line, why it can't be used.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            regex = re.compile(text, re.ASCII)
    except (re.error, RecursionError, OverflowError, ValueError, Warning) as error:
        raise ValueError(f"no regular expression: {error}") from None
    for group in regex.groupindex:
        if group not in GROUPS:
            raise ValueError(f"unknown group {group!r}; known are {', '.join(GROUPS)}")
    for group in NEEDED_GROUPS:
        if group not in regex.groupindex:
            raise ValueError(f"has no group (?P<{group}>...)")
    try:
        tree = parse(text)
        automaton = Automaton(tree)
    except RecursionError:
        raise ValueError("is nested too deep") from None
    automaton.check_ways()
    kept = ALL_DIGITS if automaton.depends_on_digits(NEEDED_GROUPS) else NO_DIGITS
    with_program = kept
    if kept == NO_DIGITS and automaton.depends_on_digits(GROUPS):
        with_program = _place(tree, "program")
    return Pattern(regex, kept, with_program)


def _place(tree: Items, group: str) -> tuple[int, int]:
    """Return where a group always is; anywhere if it is not always at the same place."""
    for index, item in enumerate(tree):
        if isinstance(item, Group) and item.name == group:
            (least, most), (shortest, longest) = width(tree[:index]), width(item.items)
            if least == most and shortest == longest:
                return least, least + longest
    return ALL_DIGITS
