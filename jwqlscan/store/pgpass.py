"""The password file ``~/.pgpass``, read as libpq reads it.

asyncpg keeps the backslashes that escape a colon or a backslash, and warns of the file's mode in a
form of its own. https://www.postgresql.org/docs/current/libpq-pgpass.html
"""

from __future__ import annotations

import functools
import getpass
import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from jwqlscan.text import escape

log = logging.getLogger(__name__)

_DEFAULT_PORT = "5432"
_LOCAL = "localhost"  # what a server behind a socket is called in the file
_FIELD = re.compile(r"((?:\\.|[^\\:])*\\?)(?::|$)", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def password_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the password that the file has for a database.

    Parameters
    ----------
    url : str
        Well formed: see `jwqlscan.store.dsn.check_form`.
    environ : mapping of str to str

    Returns
    -------
    str or None
        None if the file has none, or does not have to be read: the password is in the URL or in the
        environment, or the URL names a service.
    """
    parts = urlsplit(url)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if uses_service(url, environ) or "PGPASSWORD" in environ:
        return None
    account, _, place = parts.netloc.rpartition("@")
    user, colon, _ = account.partition(":")
    if colon or "password" in options:
        return None
    path = options.get("passfile") or environ.get("PGPASSFILE") or os.path.expanduser("~/.pgpass")
    entries = list(_entries(path))
    if not entries:
        return None
    name = unquote(user) or options.get("user") or environ.get("PGUSER") or getpass.getuser()
    database = unquote(parts.path.lstrip("/")) or options.get("dbname") or options.get("database")
    wanted = (database or environ.get("PGDATABASE") or name, name)
    for server in _servers(place, options, environ):
        for *fields, password in entries:
            pairs = zip(fields, (*server, *wanted), strict=True)
            if all(field in (None, value) for field, value in pairs):
                return password
    return None


def uses_service(url: str, environ: Mapping[str, str]) -> bool:
    """Return whether a service file has the host and the user of the database."""
    return "service" in parse_qs(urlsplit(url).query) or "PGSERVICE" in environ


def _servers(
    place: str, options: Mapping[str, str], environ: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield host and port of each server that a URL names."""
    hosts = place or options.get("host") or environ.get("PGHOST") or _LOCAL
    ports = (options.get("port") or environ.get("PGPORT") or _DEFAULT_PORT).split(",")
    for number, text in enumerate(hosts.split(",")):
        bracketed = re.fullmatch(r"\[(.*)\](?::(.*))?", text)
        host, port = bracketed.groups() if bracketed else text.partition(":")[::2]
        host = unquote(host) or options.get("host") or environ.get("PGHOST") or _LOCAL
        yield (
            _LOCAL if host.startswith("/") else host,
            port or ports[min(number, len(ports) - 1)],
        )


def _entries(path: str) -> Iterator[list[str | None]]:
    """Yield host, port, database, user and password of each line; None is any."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            _warn(f"{escape(path)}: is no plain file, so no password is taken from it")
            return
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            _warn(
                f"{escape(path)}: other users have access to this password file, so it is not used:"
                f" chmod 600 {escape(path)}"
            )
            return
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        return
    except OSError as error:
        _warn(f"{escape(path)}: {error.strerror}, so no password is taken from it")
        return
    for line in lines:
        if line.startswith("#"):
            continue
        fields = _fields(line.removesuffix("\r"))
        if len(fields) >= 5:  # what is behind an unescaped colon after the password is ignored
            yield [
                None if text == "*" and number < 4 else _ESCAPE.sub(r"\1", text)
                for number, text in enumerate(fields[:5])
            ]


def _fields(line: str) -> list[str]:
    fields = []
    for found in _FIELD.finditer(line):
        fields.append(found[1])
        if found[0] == found[1]:  # no colon follows: the line ends here
            break
    return fields


@functools.cache
def _warn(line: str) -> None:
    # Once a process, which connects many times.
    log.warning("%s", line)
