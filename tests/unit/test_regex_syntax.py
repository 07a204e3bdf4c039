"""The reader of regular expressions: a tree matches what `re` matches."""

import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from jwqlscan.naming.regex_syntax import (
    OTHERS,
    Alternatives,
    Characters,
    Group,
    parse,
    width,
)


def matches(text, name):
    """Tell whether a tree matches a whole name; by sets of places, so that nothing runs away."""
    return len(name) in ends(parse(text), name, {0})


def ends(items, name, starts):
    for item in items:
        if isinstance(item, Characters):
            starts = {at + 1 for at in starts if at < len(name) and item.taken & bit_of(name[at])}
        elif isinstance(item, Group):
            starts = ends(item.items, name, starts)
        elif isinstance(item, Alternatives):
            starts = {end for branch in item.branches for end in ends(branch, name, starts)}
        else:
            found = set(starts) if item.least == 0 else set()
            for count in range(1, min(item.most, len(name) + item.least) + 1):
                starts = ends(item.items, name, starts)
                found |= starts if count >= item.least else set()
            starts = found
    return starts


def bit_of(character):
    return 1 << ord(character) if ord(character) < 128 else OTHERS


ATOMS = st.sampled_from(
    [
        *r"a b A 0 7 _ - \- \. \x41 \u0041 \060 \101 \n \t".split(),
        *r"\\ \[ { } ] , { {a , }".split(),
        *r"\d \D \w \W \s \S [ab] [^ab] [a-c] [^a-c0] [-a] [a-] []a] [^]a] [\d_] [^\d_]".split(),
        *r"[\]a] [\x41-\x43] [\b] [\n] [a\-z] [A-Za-z] [0-9]".split(),
        *r"(?#[x) (?i:a) (?i:[a-b]) (?-i:B)".split(),
        r"\N{DIGIT SEVEN}",
        "é",
        " ",
    ]
)
COUNTS = st.sampled_from(
    [*["", "", ""], *"? + * {2} {1,2} {,2} {1,} {,} {2}? +? ?? *? {a} {1,a}".split()]
)


def grown(parts):
    return (
        st.lists(parts, min_size=2, max_size=4).map("".join)
        | st.lists(parts, min_size=2, max_size=3).map("|".join).map("(?:{})".format)
        | st.lists(parts, min_size=1, max_size=3).map("|".join).map("({})".format)
        | st.tuples(parts.map("(?:{})".format), COUNTS).map("".join)
    )


EXPRESSIONS = st.recursive(st.tuples(ATOMS, COUNTS).map("".join), grown, max_leaves=8)
NAMES = st.text("aAbBcC07_-.x {}[],\n\t\b\\é", max_size=6)


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(["", "(?i)", "(?x)", "(?s)"]), EXPRESSIONS, st.lists(NAMES, min_size=1))
@example("", "(?:ab|ac|a)", ["a", "ab", "ac", "b"])
@example("", "(?P<kind>a|b)c", ["ac", "bc", "c"])
@example("", "a(?#b)*c", ["c", "aac", "abc"])
@example("(?x)", "a b # c\n *", ["a", "abb", "ab c"])
@example("(?x)", r"a\ b[ c]", ["a b ", "a bc", "ab"])
def test_a_tree_matches_what_the_pattern_matches(flags, text, names):
    text = flags + text
    try:
        regex = re.compile(text, re.ASCII)
    except (re.error, FutureWarning):
        assume(False)
    for name in names:
        if "\n" in name and "." in text:  # a dot takes more here: the analysis errs on this side
            continue
        assert matches(text, name) == (regex.fullmatch(name) is not None), (text, name)
    least, most = width(parse(text))
    assert all(least <= len(name) <= most for name in names if matches(text, name))


@pytest.mark.parametrize(
    "text", [r"(a)\1", "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?P<n>a)(?P=n)", "(a)?(?(1)b|c)"]
)
def test_what_is_not_regular_is_refused(text):
    assert re.compile(text)
    with pytest.raises(ValueError, match="look-around, back-references and conditions"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "like"),
    [
        ("a|b", "[ab]"),
        (r"(?:a|[0-9]|\d)", "[a0-9]"),
        ("cal|calints", "cal(?:|ints)"),
        ("(?:(?:ab))", "ab"),
        ("[a]", "a"),
        ("(?i)A", "(?i)a"),
    ],
)
def test_trees_are_simplified_as_python_does(text, like):
    assert parse(text) == parse(like)
