"""The values of JWQL's configuration, ``config.json``, that ours needs.

Notes
-----
JWQL's monitor_filesystem reads `filesystem` and `jwql_dir`, and finds the areas of central storage
in directories of fixed names; here each area has a key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from jwqlscan.config.template import Values
from jwqlscan.errors import ConfigError
from jwqlscan.text import escape

AREAS = {
    "logs": "log_dir",
    "outputs": "outputs",
    "preview_images": "preview_image_filesystem",
    "thumbnails": "thumbnail_filesystem",
    "working": "working",
}

# Where a database is given in parts, beside `connection_string`, the newest key first: what JWQL's
# monitors use since they became Django models, and what its session used before.
DATABASES = ("django_databases.monitors", "databases", "database")


def read_jwql_config(path: str) -> Values:
    """Return our values for those of JWQL's configuration; empty keys are left out.

    Raises
    ------
    ConfigError
        If it can't be read, or names nothing that can be measured.
    """
    try:
        with open(path, "rb") as file:
            config = json.loads(
                file.read().decode("utf-8-sig")
            )  # with a byte order mark or without
    except OSError as error:
        raise ConfigError(
            f"{escape(path)}: {error.strerror}; name JWQL's config.json with --from-jwql"
        ) from None
    except (ValueError, RecursionError):  # the text, which may hold a password, is not repeated
        raise ConfigError(f"{escape(path)}: not JSON; name JWQL's config.json") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{escape(path)}: not the configuration of JWQL, which is a JSON object")
    paths = {
        key: _path(path, config, key) for key in ("filesystem", "jwql_dir", *sorted(AREAS.values()))
    }
    return _values(path, paths, _database_url(path, config))


def _values(file: str, paths: Mapping[str, str], url: str) -> Values:
    archive, central, outputs = paths["filesystem"], paths["jwql_dir"], paths["outputs"]
    if not (archive or central):
        raise ConfigError(f"{escape(file)}: names neither a filesystem nor a jwql_dir to measure")
    areas = {area: paths[key] for area, key in AREAS.items() if paths[key]}
    values: dict[str, str | bool | Mapping[str, str]] = {
        "archive.path": archive,
        "central.path": central,
        "central.areas": areas if central else {},
        "outputs.path": outputs,
        "log.path": paths["log_dir"],
        "database.url": url,
        "scan.follow_file_symlinks": True,  # JWQL does
    }
    if any(
        _within(one, root)
        for one in (outputs, paths["log_dir"])
        for root in (archive, central, *(areas.values() if central else ()))
    ):  # JWQL writes below what it measures
        values["outputs.allow_inside"] = True
    return {name: value for name, value in values.items() if value}


def _path(file: str, config: Mapping[str, Any], key: str) -> str:
    value = _text(file, config, key)
    if value and not os.path.isabs(value):
        raise ConfigError(f"{escape(file)}: {key}: expected an absolute path, not {escape(value)}")
    return os.path.normpath(value) if value else ""


def _text(file: str, config: Mapping[str, Any], key: str, label: str = "") -> str:
    value = config.get(key)
    if value is None or value == "":
        return ""
    if isinstance(value, int) and key.lower() == "port" and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or "\0" in value:
        raise ConfigError(f"{escape(file)}: {label or key}: expected a string")
    return value


def _database_url(file: str, config: Mapping[str, Any]) -> str:
    """Return the URL of the first of `DATABASES` that is filled in; "" if none is."""
    if connection_string := _text(file, config, "connection_string"):
        return _from_connection_string(file, connection_string)
    for label in DATABASES:
        parts: Any = config
        for key in label.split("."):
            parts = parts.get(key) or {}
            if not isinstance(parts, dict):
                raise ConfigError(f"{escape(file)}: {label}: expected an object")
        if url := _from_parts(file, label, parts):
            return url
    return ""


def _from_connection_string(file: str, text: str) -> str:
    """Return SQLAlchemy's URL as a URL: user and password may hold any character but @ there.

    SQLAlchemy takes everything up to the first "@" as ``user:password``, and decodes percent
    escapes in both.
    """
    scheme, separator, rest = text.partition("://")
    scheme = scheme.partition("+")[0]  # SQLAlchemy names its driver there: postgresql+psycopg2
    if scheme not in ("postgresql", "postgres", "sqlite") or not separator:
        raise ConfigError(
            f"{escape(file)}: connection_string: expected postgresql://... or sqlite:///...;"
            " empty it, and give the database with --database"
        )
    account, at, where = rest.partition("@")
    if scheme == "sqlite" or not at:
        return f"{scheme}://{rest}"
    user, _, password = account.partition(":")
    return f"{scheme}://{_login(unquote(user), unquote(password))}{where}"


def _from_parts(file: str, label: str, parts: Mapping[str, Any]) -> str:
    """Return the URL of a database given in parts, as Django has them; "" without a name."""
    lowered = {key.lower(): value for key, value in parts.items()}
    engine, user, password, host, port, name = (
        _text(file, lowered, key, f"{label}.{key}")
        for key in ("engine", "user", "password", "host", "port", "name")
    )
    if not name:
        return ""
    engine = engine.rpartition(".")[2]  # django.db.backends.postgresql
    if engine.startswith("sqlite"):
        return f"sqlite:///{name}"
    if engine and not engine.startswith("postgres"):
        raise ConfigError(
            f"{escape(file)}: {label}.engine: expected postgresql or sqlite, not {escape(engine)};"
            " empty it, and give the database with --database"
        )
    where = f"[{host}]" if ":" in host else quote(host, safe="")  # a path is a socket's directory
    return (
        f"postgresql://{_login(user, password)}{where}{f':{port}' if port else ''}"
        f"/{quote(name, safe='')}"
    )


def _login(user: str, password: str) -> str:
    if not (user or password):
        return ""
    return quote(user, safe="") + (f":{quote(password, safe='')}" if password else "") + "@"


def _within(path: str, root: str) -> bool:
    return bool(path and root) and (path == root or path.startswith(root.rstrip("/") + "/"))
