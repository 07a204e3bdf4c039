"""Patterns: what is refused and why, that none runs away, and which digits matter to one."""

import re
import time

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from jwqlscan.naming.jwst import shape
from jwqlscan.naming.patterns import ALL_DIGITS, NO_DIGITS, read_pattern

SAID = "(?P<instrument>x)(?P<filetype>y)"


def shape_of(name: str, kept: tuple[int, int]) -> str:
    """Return what the compiled reader knows of a name."""
    start, stop = kept
    return shape(name)[:start] + name[start:stop] + shape(name)[stop:]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("(", "no regular expression: missing"),
        ("a{2,1}", "no regular expression"),
        ("a{99999999999}", "no regular expression"),
        ("[[a]", "no regular expression"),  # Python warns of a set that may be a nested one
        ("(?u)a", "no regular expression"),
        ("(" * 5000 + ")" * 5000, "no regular expression|nested too deep"),
        ("a", r"has no group \(\?P<instrument>"),
        ("(?P<instrument>a)", r"has no group \(\?P<filetype>"),
        (SAID + "(?P<kind>z)", "unknown group 'kind'; known are instrument, filetype, program"),
        (SAID + r"(a)\2", "back-references"),
        (SAID + "(?=a)", "look-around"),
        (SAID + "(?<!a)", "look-around"),
        (SAID + "(a)?(?(2)b|c)", "conditions"),
        (SAID + "(?:a{100}){100}", "too long"),
    ],
)
def test_what_can_not_be_used_is_refused_in_one_line(text, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        read_pattern(text)
    assert "\n" not in str(caught.value)


# Each with a name on which Python's matcher takes ages.
EVIL = {
    "(a*)*b": "a",
    "(a+)+b": "a",
    "(?:a|a|c+)*b": "a",
    "(?:a|aa)+b": "a",
    "(?:a?)*b": "a",
    "(?:a?){30}b": "a",
    "(?:a|aa){20}b": "a",
    "(?:[a-z]+[0-9]?)+b": "a",
    "(?:[a-z0-9]+_?)+b!": "a",
    "(?:x+x+)+y": "x",
    "(?:a{1,50}){1,50}b": "a",
    "(?:.*,)*x": ",",
    "(?:.*?,)*x": ",",
    "(?:ab|a|b)*c": "ab",
    "(?:(?:ab|cd)*|abc?d?)+x": "ab",
    "((a+)?)+b": "a",
    r"(?:\d|[^b])+b": "1",
    "(?:[a-z]+(?:_[a-z]*)*_?)+b!": "_a",
    "(?i)(?:a|A|aA)+b": "a",
    ".*.*.*.*.*b": "a",
    "[a-z]+[a-z]+[a-z]+[a-z]+[a-z]+[a-z]+!": "a",
    "[a-z]{1,90}[a-z]{1,90}[a-z]{1,90}[a-z]{1,90}!": "a",
    "a?" * 25 + "a" * 25 + "b": "a",
    "(?:a|aa)" * 24 + "b": "a",
    ".*_.*_.*_.*_.*_x": "_",
    "a*[a0]{9}0*[a0]{9}" * 8 + "b": "a" * 12 + "0" * 12,
}


@pytest.mark.parametrize("text", EVIL)
def test_a_pattern_that_can_run_away_is_refused(text):
    flags, text = ("(?i)", text[4:]) if text.startswith("(?i)") else ("", text)
    with pytest.raises(ValueError, match=r"can run away|can take too long"):
        read_pattern(f"{flags}(?P<instrument>)(?P<filetype>){text}")


GOOD = [
    "(?P<instrument>[a-z]+)_(?P<filetype>[a-z0-9]+)",
    "(?P<instrument>.+)_(?P<filetype>.+)",
    ".*_(?P<instrument>[a-z]+)_.*_(?P<filetype>[a-z]+)",
    ".*?_(?P<instrument>[a-z]+)(?:[-_][a-z0-9]+)*_(?P<filetype>cal|calints|crf|crfints)",
    "x(?:-seg[0-9]{3})?(?:_(?:o[0-9]{3}|c[0-9]{4}))?_(?P<instrument>[a-z]+)_(?P<filetype>[a-z]+)",
    "(?P<instrument>a++)(?P<filetype>(?>b*)c)",
    "(?i:(?P<instrument>[A-Z]{3,8}))^(?P<filetype>\\w+)\\b$",
    "(?:[a-z0-9]+-)*(?P<instrument>[0-9])_(?P<filetype>[^_]*)",
    "(?P<instrument>)(?P<filetype>)" + "(?:[a-z0-9]+_)" * 20,
]


@pytest.mark.parametrize("text", GOOD)
def test_a_pattern_that_people_write_is_taken_and_is_quick(text):
    regex = read_pattern(text).regex
    for piece in ("a", "_", "a_", "0", "-a", "_a_b", "seg000", "a0-", "cal"):
        for end in ("", "!", "_", "\n"):
            began = time.thread_time()
            regex.fullmatch((piece * 255)[: 255 - len(end)] + end)
            assert time.thread_time() - began < 0.5


# ---- any pattern ----

ATOMS = st.sampled_from(
    r"a b 1 12 7 0 _ - x1d 123 . \d \w \D [0-9] [0-4] [5-9] [a-z0-9] [a-z] [^0] [^_] [ab] 9".split()
)
COUNTS = st.sampled_from(["", "", "", "?", "+", "*", "{2}", "{3}", "{1,2}", "{3,}", "+?", "*+"])


def grown(parts):
    group = parts.map(lambda text: f"(?:{text})")
    return (
        st.lists(parts, min_size=2, max_size=4).map("".join)
        | st.lists(parts, min_size=2, max_size=3).map(lambda words: f"(?:{'|'.join(words)})")
        | st.tuples(group, COUNTS).map("".join)
    )


EXPRESSIONS = st.recursive(st.tuples(ATOMS, COUNTS).map("".join), grown, max_leaves=8)
OF_SHAPES = st.sampled_from(["[a-z]+", "x1d", "cal|calints", "[a-z]", "nrc[ab]", "[a-z]{3}", "b"])


@st.composite
def patterns(draw, labels=OF_SHAPES | EXPRESSIONS):
    """Return patterns that were not refused."""
    parts = [
        draw(EXPRESSIONS),
        f"(?P<instrument>{draw(labels)})",
        draw(st.just("_") | EXPRESSIONS),
        f"(?P<filetype>{draw(labels)})",
    ]
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, 4)), f"(?P<program>{draw(EXPRESSIONS)})")
    text = "".join(parts)
    try:
        return read_pattern(text)
    except ValueError as error:
        assume("can" in str(error))  # run away, or take too long
        assume(False)


SLOW = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def said(match: re.Match[str] | None, *groups: str) -> list[str | None] | None:
    return None if match is None else [match.groupdict().get(group) for group in groups]


@SLOW
@given(patterns(), st.data())
def test_a_name_and_its_shape_say_the_same_to_every_pattern_that_is_taken(pattern, data):
    names = st.from_regex(pattern.regex, fullmatch=True) | st.text("ab019_-x", max_size=30)
    name = data.draw(names)[:255]
    assume(name.isascii())
    other = re.sub(
        "[0-9]{3,}",
        lambda run: data.draw(st.text("0123456789", min_size=len(run[0]), max_size=len(run[0]))),
        name,
    )
    for one in (name, other):
        match = pattern.regex.fullmatch(one)
        like = pattern.regex.fullmatch(shape_of(one, pattern.kept))
        assert said(match, "instrument", "filetype") == said(like, "instrument", "filetype")
        like = pattern.regex.fullmatch(shape_of(one, pattern.kept_with_program))
        groups = ("instrument", "filetype", "program")
        assert said(match, *groups) == said(like, *groups)


@SLOW
@given(patterns(EXPRESSIONS), st.lists(st.sampled_from("a b 0 1 7 _ - x d".split()), min_size=1))
def test_no_pattern_that_is_taken_is_kept_long_by_any_name(pattern, pieces):
    for end in ("", "!"):
        name = ("".join(pieces) * 255)[: 255 - len(end)] + end
        began = time.thread_time()
        pattern.regex.fullmatch(name)
        assert time.thread_time() - began < 0.2


@pytest.mark.parametrize(
    ("text", "kept", "with_program"),
    [
        ("x[0-9]{9}_(?P<instrument>[a-z]+)_(?P<filetype>[a-z]+)", NO_DIGITS, NO_DIGITS),
        (r"x\d+_(?P<instrument>[a-z]+)_(?P<filetype>x1d|s2d)", NO_DIGITS, NO_DIGITS),
        (".+_(?P<instrument>nrc[ab][1-5])_(?P<filetype>[a-z]+)", NO_DIGITS, NO_DIGITS),
        # the program's place is known: its digits alone are kept
        ("x(?P<program>[0-9]{5})[0-9]*_(?P<instrument>a)(?P<filetype>b)", NO_DIGITS, (1, 6)),
        ("(?P<program>[0-9]{2})_(?P<instrument>a)(?P<filetype>b)", NO_DIGITS, NO_DIGITS),
        ("x*(?P<program>[0-9]{5})_(?P<instrument>a)(?P<filetype>b)", NO_DIGITS, ALL_DIGITS),
        ("(x(?P<program>[0-9]{5}))(?P<instrument>a)(?P<filetype>b)", NO_DIGITS, ALL_DIGITS),
        # digits that are told apart, or said, in runs that may be long
        ("x1[0-9]{2}_(?P<instrument>a)(?P<filetype>b)", ALL_DIGITS, ALL_DIGITS),
        ("x[0-4]+_(?P<instrument>a)(?P<filetype>b)", ALL_DIGITS, ALL_DIGITS),
        ("x[^7]+_(?P<instrument>a)(?P<filetype>b)", ALL_DIGITS, ALL_DIGITS),
        ("x(?:12|[0-9])3_(?P<instrument>a)(?P<filetype>b)", ALL_DIGITS, ALL_DIGITS),
        ("x(?P<instrument>[a-z0-9]+)_(?P<filetype>b)", ALL_DIGITS, ALL_DIGITS),
        ("[0-9]{2}(?P<instrument>[0-9])(?P<filetype>b)", ALL_DIGITS, ALL_DIGITS),
    ],
)
def test_which_digits_matter_is_found_out(text, kept, with_program):
    pattern = read_pattern(text)
    assert (pattern.kept, pattern.kept_with_program) == (kept, with_program)
