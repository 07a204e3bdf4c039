"""PostgreSQL URLs without their secrets."""

from __future__ import annotations

import re

_HIDDEN = "postgresql://…"

# host, host:5432, [::1]:5432, and several of them with commas between. Anything else may be a
# piece of a password that was not percent-encoded.
_HOST = r"(?:[\w.-]*|%2[fF][\w.%-]*|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?"
_PLACE = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[\w.-]*)?", re.ASCII)
_SCHEMES = ("postgresql", "postgres")
_USER = re.compile(r"[\w.%-]*", re.ASCII)


def redacted(url: str) -> str:
    """Return a URL as user, hosts and database; only ``postgresql://…`` where that is in doubt.

    A password may stand behind the user's name or in the options; a malformed URL may have one
    anywhere. So only what can't be one is kept, and the rest is not shown at all.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        return _HIDDEN
    shown, options = re.fullmatch(r"([^?#]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    account, at, place = shown.rpartition("@")
    user = account.partition(":")[0]
    if "@" in options or "@" in account or not _PLACE.fullmatch(place) or not _USER.fullmatch(user):
        return _HIDDEN
    return f"postgresql://{user}{at}{place}"


def check_form(url: str) -> None:
    """Refuse what asyncpg would take for something else than was meant.

    Raises
    ------
    ValueError
        If it is no PostgreSQL URL, or a password with an ``@`` would be cut in two there and its
        rest be looked up as a host.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in _SCHEMES or not separator or re.split(r"[/?#]", rest)[0].count("@") > 1:
        raise ValueError
