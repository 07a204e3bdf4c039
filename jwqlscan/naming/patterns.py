"""Patterns of file names that a user gives: checked before one is used.

Three things are found out by walking the pattern's parse tree, without trying it on any name: that
it yields an instrument and a filetype; that no name makes it slow; and which digits
of a name matter to it.

`jwqlscan.naming.regex_safety` describes the method.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from jwqlscan.naming.regex_safety import NAME_LENGTH, Automaton

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
    # The parse tree of the standard library's compiler, which is private to it: looked for only
    # here, so that whoever has no patterns of his own does not depend on it.
    parse: Callable[[str, int], Any] = importlib.import_module("re._parser").parse
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            regex = re.compile(text, re.ASCII)
            tree = parse(text, re.ASCII)
    except (re.error, RecursionError, OverflowError, ValueError, Warning) as error:
        raise ValueError(f"no regular expression: {error}") from None
    for group in regex.groupindex:
        if group not in GROUPS:
            raise ValueError(f"unknown group {group!r}; known are {', '.join(GROUPS)}")
    for group in NEEDED_GROUPS:
        if group not in regex.groupindex:
            raise ValueError(f"has no group (?P<{group}>...)")
    try:
        automaton = Automaton(tree, regex)
    except RecursionError:
        raise ValueError("is nested too deep") from None
    automaton.check_ways()
    kept = ALL_DIGITS if automaton.depends_on_digits(NEEDED_GROUPS) else NO_DIGITS
    with_program = kept
    if kept == NO_DIGITS and automaton.depends_on_digits(GROUPS):
        with_program = _place(tree, regex.groupindex["program"])
    return Pattern(regex, kept, with_program)


def _place(tree: Any, group: int) -> tuple[int, int]:  # noqa: ANN401 - re's own parse tree
    """Return where a group always is; anywhere if it is not always at the same place."""
    for index, (operation, argument) in enumerate(tree):
        if operation.name == "SUBPATTERN" and argument[0] == group:
            (least, most), (shortest, longest) = tree[:index].getwidth(), argument[-1].getwidth()
            if least == most and shortest == longest:
                return int(least), int(least + longest)
    return ALL_DIGITS
