"""A TOML table, taken key by key: errors name the key and the file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any

from jwqlscan.errors import ConfigError
from jwqlscan.model.snapshot import ALL
from jwqlscan.settings import Area
from jwqlscan.system.accounts import NO_HOME, own_entry
from jwqlscan.text import escape


def _kind(value: object) -> str:
    """Return what TOML calls a value of that type."""
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string"}
    names |= {list: "an array", dict: "a table"}
    return names.get(type(value), "a date or time")


class Table:
    """A TOML table that is taken from key by key; what is left at the end is unknown."""

    def __init__(self, values: Mapping[str, Any], name: str, file: str) -> None:
        self._values = dict(values)
        self._name = name
        self._file = file
        self._known: list[str] = []

    def error(self, key: str, problem: str) -> ConfigError:
        """Return the error to be raised for a key."""
        label = f"{self._name}.{key}" if self._name else key
        return ConfigError(f"{escape(self._file)}: {escape(label)}: {problem}")

    def take(self, key: str, kind: type | tuple[type, ...], what: str, default: object) -> Any:  # noqa: ANN401 - what TOML has
        """Take a value of a type, or the default where there is none."""
        self._known.append(key)
        if key not in self._values:
            return default
        value = self._values.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            # The value itself may be, or hold, a password: it is not repeated.
            raise self.error(key, f"expected {what}, not {_kind(value)}")
        return value

    def table(self, key: str) -> Table:
        """Take a table; an empty one where there is none."""
        label = f"{self._name}.{key}" if self._name else key
        return Table(self.take(key, dict, "a table", {}), label, self._file)

    def tables(self) -> list[tuple[str, Table]]:
        """Take all keys, each a table."""
        return [(key, self.table(key)) for key in list(self._values)]

    def text(self, key: str) -> str | None:
        """Take a string that is not empty."""
        value: str | None = self.take(key, str, "a string", None)
        if value == "" or (value is not None and "\0" in value):
            raise self.error(key, "expected a string that is not empty")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Take true or false."""
        value: bool = self.take(key, bool, "true or false", default)
        return value

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Take a list of strings."""
        values = self.take(key, list, "a list of strings", None)
        if values is None:
            return default
        if not all(isinstance(value, str) and value for value in values):
            raise self.error(key, "expected a list of strings that are not empty")
        return tuple(values)

    def words(self, key: str) -> tuple[tuple[str, str], ...]:
        """Take a table of strings to strings, which may be named by an empty key."""
        table = self.table(key)
        return tuple((name, table.text(name) or "") for name in list(table._values))

    def directory(self, key: str) -> str | None:
        """Take a path; a relative one is below the file's own directory, never below the cwd."""
        value = self.text(key)
        if value is None:
            return None
        return os.path.normpath(os.path.join(os.path.dirname(self._file), expanded(value)))

    def areas(self, key: str, group: str, base: str) -> tuple[Area, ...] | None:
        """Take a table of area names to sub-directories or absolute paths."""
        if key not in self._values:
            self._known.append(key)
            return None
        table = self.table(key)
        areas = []
        for name in list(table._values):
            path = table.text(name)
            assert path is not None
            if not name:
                raise table.error('""', "an area needs a name")
            if name == ALL:
                raise table.error(name, f"'{ALL}' is the whole of {group}, pick another name")
            full = os.path.normpath(os.path.join(base, expanded(path)))
            areas.append(Area(group, name, full, f"{group}.{key}.{name}"))
        return tuple(areas)

    def finish(self) -> None:
        """Refuse keys that nobody took."""
        for key in self._values:
            close = difflib.get_close_matches(key, self._known, n=1)
            known = ", ".join(sorted(self._known))
            hint = f"did you mean {close[0]!r}?" if close else f"known here: {known}"
            raise self.error(key, f"unknown key; {hint}")


def expanded(path: str) -> str:
    """Return a path with ``~`` as the home directory."""
    if path == "~" or path.startswith("~/"):
        return home() + path[1:]
    return path


def from_here(path: str) -> str:
    """Return a path of an option or an environment variable: below the current directory."""
    return os.path.abspath(expanded(path))


def home() -> str:
    """Return the user's home directory.

    Raises
    ------
    ConfigError
        If there is none, or the name service does not answer.
    """
    # cron and systemd may give no HOME
    directory = os.environ.get("HOME")
    if directory and directory != NO_HOME:
        return directory
    if entry := own_entry():
        return entry.pw_dir
    raise ConfigError(f"user {os.geteuid()} has no home directory: set HOME")
