"""Paths as shown: safe anywhere, and nothing is lost."""

import base64
import io
import os
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from jwqlscan.text import escape, escape_controls, path_fields

ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")

any_path = st.binary(max_size=30).map(os.fsdecode) | st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\\\x1b\n\u202e\x85xu0"), max_size=30
)


def path_of(text: str) -> str:
    """Undo `shown`."""

    def character(match: re.Match[str]) -> str:
        if match[1]:
            code = int(match[1], 16)
            return chr(code if code < 0x80 else 0xDC00 + code)
        return chr(int(match[2], 16)) if match[2] else "\\"

    return ESCAPE.sub(character, text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/plain/jw_\u00fc.fits", "/plain/jw_\u00fc.fits"),
        ("bad\udcff\nname", r"bad\xff\x0aname"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("back\\slash", r"back\\slash"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\u2028\u2066", r"\u2028\u2066"),
        ("\u061c\x85", r"\u061c\u0085"),
        ("", ""),
    ],
)
def test_what_is_unsafe_is_escaped_and_nothing_else(path, text):
    assert escape(path) == text


@given(any_path)
def test_no_control_character_or_surrogate_is_left(path):
    text = escape(path)
    text.encode()
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]


@given(any_path)
def test_what_is_shown_leads_back_to_the_path(path):
    assert path_of(escape(path)) == path


def test_a_c1_character_is_not_shown_as_the_byte_of_its_number():
    assert escape("\x85") != escape("\udc85")


@given(any_path)
def test_json_fields_have_the_bytes_where_they_are_not_utf_8(path):
    fields = path_fields(path)
    assert fields["path"] == escape(path)
    if "path_b64" in fields:
        assert base64.b64decode(fields["path_b64"]) == os.fsencode(path)
    else:
        assert path.encode() == os.fsencode(path)


@given(any_path)
def test_a_console_prints_it_as_it_is(path):
    out = io.StringIO()
    Console(file=out, width=10_000).print(Text(escape(path)), soft_wrap=True)
    assert out.getvalue() == escape(path) + "\n"


def test_what_was_shown_once_is_not_escaped_again():
    name = "a\\b\x1b\udcff\u202e"
    assert escape_controls(escape(name)) == escape(name)
    assert escape_controls("\x1b[2J\u202e\udcff") == escape("\x1b[2J\u202e\udcff")
