"""How paths are kept and shown.

A path is a ``str`` as :func:`os.fsdecode` gives it, end to end: bytes that are not UTF-8 are kept
as lone surrogates and come back exactly with :func:`os.fsencode`. Such a string must never reach
a terminal, a log, a page or a database as it is; :func:`escape` makes it safe there.
"""

from __future__ import annotations

import base64
import os
import re

# C0 and C1 control characters, the backslash (so that the escape is unambiguous), lone surrogates,
# and the characters that hide or reorder text on a screen (zero-width, line separators, bidi).
_UNSAFE = re.compile(
    r"[\x00-\x1f\\\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] == "\\":
        return "\\\\"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, see PEP 383
        return f"\\x{code - 0xDC00:02x}"
    # From U+0080 on \u, so that a C1 character differs from the byte of its number.
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def escape(path: str) -> str:
    r"""Return a path as text that is safe to print: ``bad\xff\x0aname``; reversible."""
    return _UNSAFE.sub(_escaped, path)


def escape_controls(text: str) -> str:
    r"""Return text that was to be safe already, such as a stored name, as safe to print.

    Unlike :func:`escape` it leaves a backslash as it is: what was shown once is not escaped again.
    """
    if text.isascii() and text.isprintable():  # most are, and a report has 100,000 of them
        return text
    return _UNSAFE.sub(lambda match: "\\" if match[0] == "\\" else _escaped(match), text)


def path_fields(path: str, key: str = "path") -> dict[str, str]:
    """Return the JSON fields for a path: as shown and, where not UTF-8, as base64 too."""
    fields = {key: escape(path)}
    try:
        path.encode()
    except UnicodeEncodeError:
        fields[f"{key}_b64"] = base64.b64encode(os.fsencode(path)).decode("ascii")
    return fields
