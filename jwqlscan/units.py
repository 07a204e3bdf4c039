"""Units: bytes inside, TiB in the JWQL tables and on the plots, words for people."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

TIB_BYTES = 2**40

# Databases have signed 64-bit integers: a sum beyond this is stored as this.
MAX_BYTES = 2**63 - 1

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|min|h|d|w|mo|y)")
_DURATION_DAYS = {
    "s": 1 / 86400,
    "min": 1 / 1440,
    "h": 1 / 24,
    "d": 1.0,
    "w": 7.0,
    "mo": 365.25 / 12,
    "y": 365.25,
}


def tib(size_bytes: int) -> float:
    """Return `size_bytes` in units of 2**40 bytes; exact below 8 PiB (2**53 bytes)."""
    return size_bytes / TIB_BYTES


def format_bytes(size_bytes: float) -> str:
    """Return a size as people read it, in binary units: ``1.46 TiB``.

    `MAX_BYTES` is the least that it can be: sums are stored up to that.
    """
    if size_bytes >= MAX_BYTES:
        return "8 EiB or more"
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} PiB"


def format_count(count: int) -> str:
    """Return a count with thousands separators."""
    return f"{count:,}"


def counted(count: int, noun: str, plural: str = "", *, signed: bool = False) -> str:
    """Return a number with its noun: ``1 run``, ``1,234 runs``.

    Parameters
    ----------
    count : int
    noun : str
    plural : str
        Where an s at the end does not make it.
    signed : bool
        ``+1 file``, ``-2 files``.
    """
    word = noun if abs(count) == 1 else plural or f"{noun}s"
    return f"{count:+,} {word}" if signed else f"{count:,} {word}"


def format_seconds(seconds: float) -> str:
    """Return a duration as ``0.42 s``, ``1 min 05 s`` or ``2 h 03 min``."""
    if round(seconds, 2) < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_age(seconds: float) -> str:
    """Return how long ago something was: ``42 s``, ``5 min``, ``3.2 h`` or ``12 d``."""
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86_400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.0f} d"


def parse_duration(text: str) -> timedelta:
    """Read a duration such as ``30s``, ``10min``, ``12h``, ``7d``, ``2w``, ``6mo`` or ``2y``.

    Raises
    ------
    ValueError
        If the text is anything else.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 10min, 12h, 7d, 2w, 6mo or 2y")
    try:
        return timedelta(days=float(match[1]) * _DURATION_DAYS[match[2]])
    except OverflowError:
        raise ValueError(f"{text!r} is longer than this program can count") from None


def format_time(date: datetime) -> str:
    """Return a moment for people: ``2026-12-01 03:17 UTC``."""
    return f"{format_minute(date)} UTC"


def format_minute(date: datetime) -> str:
    """Return a moment where the time zone is stated beside it: ``2026-12-01 03:17``."""
    return f"{date:%Y-%m-%d %H:%M}"


def format_day(date: datetime) -> str:
    """Return a day: ``2026-12-01``."""
    return f"{date:%Y-%m-%d}"
