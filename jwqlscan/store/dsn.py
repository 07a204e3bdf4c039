"""PostgreSQL URLs: without their secrets, which are one place, and whether they ask for TLS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit

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


def same_place(location: str, other: str) -> bool:
    """Tell whether two locations (`Store.location`) can be one store: whoever opens it.

    Where one of them shows nothing, it can.
    """
    return bool({"", _HIDDEN} & {location, other}) or _anybody(location) == _anybody(other)


def _anybody(location: str) -> str:
    return re.sub("(?<=://)[^/]*@", "", location)


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


def default_sslmode(url: str, environ: Mapping[str, str]) -> str | None:
    """Return ``require`` if a password would cross a network and the URL does not set `sslmode`.

    None leaves it to the URL, to PGSSLMODE or to the service file that it names; and to asyncpg's
    default (TLS if the server has it) for a server on this host.
    """
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    if {"sslmode", "service"} & options.keys() or {"PGSSLMODE", "PGSERVICE"} & environ.keys():
        return None
    hosts = parts.netloc.rpartition("@")[2]
    hosts = hosts or options.get("host", [""])[-1] or environ.get("PGHOST", "")
    return None if all(_is_here(host) for host in hosts.split(",")) else "require"


def _is_here(host: str) -> bool:
    name = unquote(host)
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name in ("", "localhost") or name.startswith("/"):  # a path is that of a socket
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
