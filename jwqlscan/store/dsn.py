"""PostgreSQL URLs without their secrets."""

from __future__ import annotations

import re

_HIDDEN = "postgresql://…"

# host, host:5432, [::1]:5432, and several of them with commas between. Anything else may be a
# piece of a password that was not percent-encoded.
_HOST = r"(?:[\w.-]*|%2[fF][\w.%-]*|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?"
_PLACE = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[\w.-]*)?", re.ASCII)
_USER = re.compile(r"[\w.%-]*", re.ASCII)


def redacted(url: str) -> str:
    """Return a URL as user, hosts and database; only ``postgresql://…`` where that is in doubt.

    A password may stand behind the user's name or in the options; a malformed URL may have one
    anywhere. So only what can't be one is kept, and the rest is not shown at all.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgresql", "postgres"):
        return _HIDDEN
    shown, options = re.fullmatch(r"([^?#]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    account, at, place = shown.rpartition("@")
    user = account.partition(":")[0]
    if "@" in options or "@" in account or not _PLACE.fullmatch(place) or not _USER.fullmatch(user):
        return _HIDDEN
    return f"postgresql://{user}{at}{place}"
