"""Units: bytes, TiB, counts and durations in words."""

import ast
import contextlib
import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jwqlscan
from jwqlscan.units import (
    TIB_BYTES,
    counted,
    format_bytes,
    format_count,
    format_seconds,
    parse_duration,
    tib,
)


@given(st.integers(0, 2**53 - 1))
def test_tib_are_exact_below_8_pib(size_bytes):
    assert tib(size_bytes) * TIB_BYTES == size_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1.5 * 2**40, "1.50 TiB"),
        (2**50, "1.00 PiB"),
        (5000 * 2**50, "5000.00 PiB"),
        (-2048, "-2.00 KiB"),
    ],
)
def test_sizes_are_in_binary_units(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, "error"), "0 errors"),
        ((1, "error"), "1 error"),
        ((1234, "error"), "1,234 errors"),
        ((1, "entry", "entries"), "1 entry"),
        ((2, "entry", "entries"), "2 entries"),
    ],
)
def test_a_noun_agrees_with_its_number(arguments, text):
    assert counted(*arguments) == text


@pytest.mark.parametrize(("count", "text"), [(1, "+1 file"), (-1, "-1 file"), (0, "+0 files")])
def test_a_signed_number_agrees_with_its_noun(count, text):
    assert counted(count, "file", signed=True) == text


# Where a number stands before one of these, it may be 1.
PLURALS = re.compile(
    r" (?:[a-zA-Z]+ )?(files|errors|runs|rows|entries|directories|names|days|dates|workers"
    r"|snapshots|rounds|programs|owners|patterns|warnings|samples)\b"
)


def numbers_with_plurals(text):
    """Yield the f-strings in which a number, formatted by hand, stands before a plural."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, after in pairwise(node.values):
            if not (isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant)):
                continue
            source = ast.unparse(value.value)
            spec = ast.unparse(value.format_spec) if value.format_spec else ""
            number = "format_count" in source or "," in spec or source.startswith(("len(", "sum("))
            if number and not source.isupper() and PLURALS.match(str(after.value)):
                yield ast.unparse(node)


def test_every_number_with_a_noun_is_formatted_by_the_one_function():
    package = Path(jwqlscan.__file__).parent
    found = {
        str(path.relative_to(package)): list(numbers_with_plurals(path.read_text()))
        for path in package.rglob("*.py")
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_number_formatted_by_hand_is_found():
    for text in ('f"{n:,} files"', 'f"{format_count(n)} FITS names"', 'f"{len(x)} runs left"'):
        assert len(list(numbers_with_plurals(text))) == 1, text


def test_counts_have_thousands_separators():
    assert format_count(1234567) == "1,234,567"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (59.9, "59.90 s"),
        (60, "1 min 00 s"),
        (119.6, "2 min 00 s"),
        (3599.6, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_durations_are_told_in_words(seconds, text):
    assert format_seconds(seconds) == text


def test_no_duration_is_told_as_sixty_of_a_smaller_unit():
    texts = [format_seconds(59 + hundredths / 1000) for hundredths in range(1000)]
    assert not [text for text in texts if text.startswith("60")]


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30s", timedelta(seconds=30)),
        ("10min", timedelta(minutes=10)),
        ("1.5h", timedelta(hours=1.5)),
        (" 7 d ", timedelta(days=7)),
        ("2w", timedelta(days=14)),
        ("6mo", timedelta(days=182.625)),
        ("2y", timedelta(days=730.5)),
    ],
)
def test_durations_are_read(text, duration):
    assert abs(parse_duration(text) - duration) < timedelta(milliseconds=1)


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1e3s", "2 years", "1h30min", "٣s", "1m"])
def test_anything_else_is_no_duration(text):
    with pytest.raises(ValueError, match="is not a duration such as 30s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 20 + "y", "9" * 400 + "s"])
def test_a_duration_too_long_to_count_is_refused(text):
    with pytest.raises(ValueError, match="longer than"):
        parse_duration(text)


@given(st.text(max_size=10))
def test_any_text_is_a_duration_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)
