"""Configuration: a TOML file, checked key by key, under options and environment variables."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from jwqlscan.config.sections import (
    take_duration,
    take_insight,
    take_mode,
    take_notifications,
    take_number,
    take_outputs,
    take_percent,
    take_scan,
    take_schemes,
    take_thresholds,
)
from jwqlscan.config.toml_table import Table, expanded, from_here, home
from jwqlscan.errors import ConfigError
from jwqlscan.model.snapshot import ALL
from jwqlscan.naming.schemes import BUILT_IN
from jwqlscan.settings import (
    Area,
    InsightSettings,
    Notifications,
    Outputs,
    ScanOverrides,
    ScanSettings,
    Scheme,
    Thresholds,
)
from jwqlscan.system.accounts import user_name
from jwqlscan.system.ownership import untrusted_ancestor, untrusted_reason
from jwqlscan.system.process_exit import CALL_TIMEOUT_S, call_in_time
from jwqlscan.text import escape

Result = TypeVar("Result")

SYSTEM_FILE = "/etc/jwqlscan/config.toml"
DEFAULT_ARCHIVE_AREAS = ("public", "proprietary")
DEFAULT_MAX_DROP_PERCENT = 50
DEFAULT_LOG_KEEP = 400  # a year of daily runs, and some more


@dataclass(frozen=True, slots=True)
class Config:
    """What a run needs to know; every path absolute.

    Attributes
    ----------
    file : str
        Where it was read; "" without one.
    archive_path, central_path : str or None
    archive_areas : tuple of Area or None
        None: those of public and proprietary that exist, or the archive itself.
    central_areas : tuple of Area
        The first is ``all``, the central directory itself.
    scan : ScanSettings
    database_url : str
        May hold a password: kept out of `repr`.
    outputs : Outputs
    df_timeout_s : float
    log_path : str or None
        Directory of the log files, one a run.
    log_keep : int
        How many of them stay.
    state_path : str
        Directory of the lock, the spool and the default store.
    state_mode : int or None
        Permission bits of the SQLite file; the state directory gets the same, and can be searched
        by who can read. None leaves both as they are.
    state_group : str or None
        Group name of both.
    max_drop_percent : int
        A run whose totals fall by more than this against the last complete one is suspect.
    thresholds : Thresholds
        What `jwqlscan check` compares with.
    metrics_path : str or None
        Where a run writes its metrics.
    notifications : Notifications
        Who is notified of a run.
    insight : InsightSettings
    schemes : tuple of Scheme
        All that `scan.scheme` may name.
    sources : mapping of str to str
        The option or environment variable that a value comes from, by key; the others are in the
        file, or have their default.
    """

    file: str
    archive_path: str | None
    archive_areas: tuple[Area, ...] | None
    central_path: str | None
    central_areas: tuple[Area, ...]
    scan: ScanSettings
    database_url: str = field(repr=False)
    outputs: Outputs
    df_timeout_s: float
    log_path: str | None
    state_path: str
    log_keep: int = DEFAULT_LOG_KEEP
    state_mode: int | None = None
    state_group: str | None = None
    max_drop_percent: int = DEFAULT_MAX_DROP_PERCENT
    thresholds: Thresholds = field(default_factory=Thresholds)
    metrics_path: str | None = None
    notifications: Notifications = field(default_factory=Notifications)
    insight: InsightSettings = field(default_factory=InsightSettings)
    schemes: tuple[Scheme, ...] = tuple(BUILT_IN.values())
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """`` in FILE``, for messages that name a key; "" without a file."""
        return f" in {escape(self.file)}" if self.file else ""

    @property
    def names_database(self) -> bool:
        """Whether the database is the configuration's (its default too), not an option's."""
        return "database.url" not in self.sources

    def named(self, key: str) -> str:
        """Return what sets a value: ``--archive``, ``JWQLSCAN_ARCHIVE`` or, in a file, its key."""
        if self.archive_areas is None and key.startswith("archive.areas."):
            key = "archive.path"  # these follow from it
        return self.sources.get(key) or escape(key)

    def where(self, key: str) -> str:
        """Return where a value is to be changed: ``KEY in FILE``, an option or a variable."""
        name = self.named(key)
        return name if name in self.sources.values() else f"{name}{self.source}"


@dataclass(frozen=True, slots=True)
class Overrides:
    """Values of options and environment variables; None leaves the file's or the default value.

    Attributes
    ----------
    variables : mapping of str to str
        The environment variables that values come from, by attribute; the others are options'.
    """

    archive: str | None = None
    central: str | None = None
    outputs: str | None = None
    database: str | None = field(default=None, repr=False)
    scan: ScanOverrides = field(default_factory=ScanOverrides)
    variables: Mapping[str, str] = field(default_factory=dict)

    def source(self, name: str) -> str:
        """Return the option or environment variable of an attribute."""
        return self.variables.get(name, f"--{name}")


def load_config(file: str | None = None, overrides: Overrides | None = None) -> Config:
    """Read the configuration.

    Parameters
    ----------
    file : str, optional
        A TOML file. Without it the first that exists of
        ``$XDG_CONFIG_HOME/jwqlscan/config.toml`` and ``/etc/jwqlscan/config.toml``, or none.
    overrides : Overrides, optional

    Raises
    ------
    ConfigError
        For a file that can't be read or parsed, an unknown key or a value of the wrong type; the
        message names the key and the file.
    """
    path = file or _in_time("~/.config or /etc", _default_file)
    table = Table({}, "", path)
    if path:
        path = os.path.abspath(path)
        table = Table(_parse(path), "", path)
    return _build(table, overrides or Overrides(), path)


def parse_config(text: str, file: str) -> Config:
    """Read a configuration that is yet to be a file.

    Raises
    ------
    ConfigError
    """
    return _build(Table(tomllib.loads(text), "", file), Overrides(), file)


def _base(variable: str, *below_home: str) -> str:
    """Return a base directory of the XDG specification, by which a relative one is no one."""
    value = os.environ.get(variable, "")
    return value if os.path.isabs(value) else os.path.join(home(), *below_home)


def _default_files() -> Iterator[str]:
    """Yield the paths where a configuration is looked for, the first that exists being used."""
    with contextlib.suppress(ConfigError):  # a user without a home directory has no file there
        yield user_file()
    yield SYSTEM_FILE


def user_file() -> str:
    """Return the path of the user's configuration file, the first one looked for."""
    return os.path.join(_base("XDG_CONFIG_HOME", ".config"), "jwqlscan", "config.toml")


def default_state_path() -> str:
    """Return the default state directory: it depends on the user and the environment."""
    return os.path.join(_base("XDG_DATA_HOME", ".local", "share"), "jwqlscan")


def _parse(path: str) -> dict[str, Any]:
    try:
        return _in_time(escape(path), partial(_read, path))
    except OSError as error:
        raise ConfigError(f"{escape(path)}: {error.strerror}; {_remedy(error)}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number or nest too large
        raise ConfigError(f"{escape(path)}: not valid TOML: {escape(str(error))}") from None


def _remedy(error: OSError) -> str:
    """Return what to do where a configuration can't be read."""
    if isinstance(error, FileNotFoundError):
        return "`jwqlscan init` writes one"
    if isinstance(error, PermissionError):
        user = user_name(os.geteuid())
        return f"let user {user} read it (chmod, chgrp), or run this as a user who may"
    return "name a file that can be read"


def _default_file() -> str:
    return next(filter(os.path.isfile, _default_files()), "")


def _in_time(where: str, look: Callable[[], Result]) -> Result:
    """Look at the configuration; a disk that does not answer is left behind."""
    try:
        return call_in_time(look)
    except TimeoutError:
        problem = f"no answer within {CALL_TIMEOUT_S:g} s: see its mount"
        raise ConfigError(f"the configuration, {where}: {problem}") from None


def _read(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        _check_trust(path, os.fstat(file.fileno()))
        # Some editors begin a file with a byte order mark, which TOML does not know.
        table = tomllib.loads(file.read().decode("utf-8-sig"))
        _check_secret(path, os.fstat(file.fileno()), table)
        return table


def _check_trust(path: str, status: os.stat_result) -> None:
    """Refuse a file that others than root decide on, when this is root."""
    place, reason = untrusted_ancestor(path)
    if not reason:
        place, reason = (
            path,
            untrusted_reason(path, status),
        )  # what was opened, whatever is there now
    if reason:
        way = "" if place == path else f", on the way to {escape(path)},"
        raise ConfigError(f"{escape(place)}{way} {reason}")


def _check_secret(path: str, status: os.stat_result, table: Mapping[str, Any]) -> None:
    """Refuse a password that other users can read; a file of root's may let its group read."""
    database = table.get("database")
    url = database.get("url") if isinstance(database, dict) else None
    if not (isinstance(url, str) and holds_password(url) and stat.S_ISREG(status.st_mode)):
        return
    if status.st_mode & (0o007 if status.st_uid == 0 else 0o077):
        raise ConfigError(
            f"{escape(path)}: database.url: holds a password that others can read: "
            f"chmod 600 {escape(path)}, or keep the password in ~/.pgpass"
        )


def holds_password(url: str) -> bool:
    """Tell whether a database URL holds a password, or may hold one: it need not be well-formed."""
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite":
        return False
    rest = rest if separator else url
    return ":" in rest.rpartition("@")[0] or re.search(r"[?&](ssl)?password=", rest) is not None


def _build(table: Table, over: Overrides, file: str) -> Config:
    archive, central = table.table("archive"), table.table("central")
    scan, database = table.table("scan"), table.table("database")
    outputs, df = table.table("outputs"), table.table("df")
    log, state = table.table("log"), table.table("state")
    check, metrics = table.table("check"), table.table("metrics")
    notify = table.table("notify")
    insight = table.table("insight")
    schemes = take_schemes(table.table("schemes"))
    table.finish()

    state_path = state.directory("path") or default_state_path()
    archive_path = archive.directory("path")
    if over.archive:
        archive_path = from_here(over.archive)
    archive_areas = archive.areas("areas", "archive", archive_path or "/")
    central_path = central.directory("path")
    if over.central:
        central_path = from_here(over.central)
    central_areas = central.areas("areas", "central", central_path or "/") or ()
    if central_path:
        central_areas = (Area("central", ALL, central_path, "central.path"), *central_areas)
    elif central_areas:
        raise central.error("path", "missing, though central.areas is given")
    if archive_areas is not None and not archive_path:
        raise archive.error("path", "missing, though archive.areas is given")

    stored_url = database.text("url")
    config = Config(
        file=file,
        archive_path=archive_path,
        archive_areas=archive_areas,
        central_path=central_path,
        central_areas=central_areas,
        scan=take_scan(scan, over.scan, schemes),
        max_drop_percent=take_percent(scan, "max_drop", DEFAULT_MAX_DROP_PERCENT),
        database_url=(
            store_url(over.database, over.source("database"))
            if over.database
            else _database_url(stored_url, state_path, file)
        ),
        outputs=take_outputs(outputs, over.outputs, state_path),
        df_timeout_s=take_duration(df, "timeout", "30s"),
        log_path=log.directory("path"),
        log_keep=take_number(log, "keep", "a number of log files", DEFAULT_LOG_KEEP),
        state_path=state_path,
        state_mode=take_mode(state),
        state_group=state.text("group"),
        thresholds=take_thresholds(check),
        metrics_path=metrics.directory("path"),
        notifications=take_notifications(notify),
        insight=take_insight(insight),
        schemes=tuple(schemes.values()),
        sources={
            key: over.source(key.partition(".")[0])
            for key in ("archive.path", "central.path", "outputs.path", "database.url")
            if getattr(over, key.partition(".")[0])
        },
    )
    parts = (archive, central, scan, database, outputs, df, log, state, check, metrics)
    for part in (*parts, notify, insight):
        part.finish()
    return config


def store_url(url: str, what: str = "a store's URL") -> str:
    """Return the URL of a store from the command line or the environment.

    The path of an SQLite file is made absolute, below the current directory.

    Parameters
    ----------
    url : str
    what : str
        The name of the option, for messages.

    Raises
    ------
    ConfigError
        If it is not the URL of a store.
    """
    return _database_url(url, "", "", what)


def _database_url(url: str | None, state_path: str, file: str, what: str = "database.url") -> str:
    """Return the URL; an SQLite path is made absolute, below the file's directory."""
    if url is None:
        return f"sqlite:///{os.path.join(state_path, 'jwqlscan.db')}"
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        path = expanded(url.removeprefix("sqlite:///"))
        return f"sqlite:///{os.path.abspath(os.path.join(os.path.dirname(file), path))}"
    if url.startswith(("postgresql://", "postgres://")):
        return url
    where = f"{escape(file)}: " if file else ""
    # The URL itself may hold a password: no more of it than its scheme is repeated.
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://", url)
    problem = f"the URL scheme {scheme[1]} is not supported: " if scheme else ""
    if scheme and scheme[1] == "sqlite":
        problem = ""
    expected = "expected sqlite:///FILE or postgresql://USER@HOST/DATABASE"
    raise ConfigError(f"{where}{what}: {problem}{expected}")
