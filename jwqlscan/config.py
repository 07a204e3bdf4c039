"""Configuration: a TOML file, checked key by key, under what flags and environment say."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from jwqlscan.cube import MOST_CLASSES, MOST_OWNERS, MOST_PROGRAMS
from jwqlscan.directories import Limits as DirectoryLimits
from jwqlscan.errors import ConfigError
from jwqlscan.files import distrust
from jwqlscan.paths import shown
from jwqlscan.schemes import BUILT_IN, LABEL, make_classifier
from jwqlscan.settings import (
    AUTO,
    DEFAULT_OUTPUT_MODE,
    JWST,
    READERS,
    Area,
    InsightSettings,
    Limits,
    Outputs,
    ScanOverrides,
    ScanSettings,
    Scheme,
    Thresholds,
    parse_workers,
)
from jwqlscan.snapshot import ALL
from jwqlscan.toml_table import Table, expanded, home
from jwqlscan.units import parse_duration

SYSTEM_FILE = "/etc/jwqlscan/config.toml"
DEFAULT_ARCHIVE_AREAS = ("public", "proprietary")
DEFAULT_MAX_DROP_PERCENT = 50
MOST_DEPTH = 16
MOST_DIRECTORIES = 100_000  # of 9 areas they make 130 MB in the spool, which takes 256 MiB


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
    state_path : str
        Directory of the lock, the spool and the default store.
    max_drop_percent : int
        A run whose totals fall by more than this against the last complete one is suspect.
    thresholds : Thresholds
        What `jwqlscan check` compares with.
    metrics_path : str or None
        Where a run writes its metrics.
    insight : InsightSettings
    schemes : tuple of Scheme
        All that `scan.scheme` may name.
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
    max_drop_percent: int = DEFAULT_MAX_DROP_PERCENT
    thresholds: Thresholds = field(default_factory=Thresholds)
    metrics_path: str | None = None
    insight: InsightSettings = field(default_factory=InsightSettings)
    schemes: tuple[Scheme, ...] = tuple(BUILT_IN.values())

    @property
    def source(self) -> str:
        """`` in FILE``, for messages that name a key; "" without a file."""
        return f" in {shown(self.file)}" if self.file else ""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What flags (or environment variables) say; None leaves the file's or the default value."""

    archive: str | None = None
    central: str | None = None
    outputs: str | None = None
    database: str | None = field(default=None, repr=False)
    scan: ScanOverrides = field(default_factory=ScanOverrides)


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
    path = file or next((p for p in (_user_file(), SYSTEM_FILE) if os.path.isfile(p)), "")
    table = Table({}, "", path)
    if path:
        path = os.path.abspath(path)
        table = Table(_parse(path), "", path)
    return _build(table, overrides or Overrides(), path)


def _base(variable: str, *below_home: str) -> str:
    """Return a base directory of the XDG specification, by which a relative one is no one."""
    value = os.environ.get(variable, "")
    return value if os.path.isabs(value) else os.path.join(home(), *below_home)


def _user_file() -> str:
    return os.path.join(_base("XDG_CONFIG_HOME", ".config"), "jwqlscan", "config.toml")


def _default_state_path() -> str:
    return os.path.join(_base("XDG_DATA_HOME", ".local", "share"), "jwqlscan")


def _parse(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            _check_trust(path, os.fstat(file.fileno()))
            table = tomllib.load(file)
            _check_secret(path, os.fstat(file.fileno()), table)
            return table
    except OSError as error:
        raise ConfigError(f"{shown(path)}: {error.strerror}; see config.example.toml") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number or nest too large
        raise ConfigError(f"{shown(path)}: not valid TOML: {shown(str(error))}") from None


def _check_trust(path: str, status: os.stat_result) -> None:
    """Refuse a file that others than root decide on, when this is root."""
    directories = {os.path.dirname(path), os.path.dirname(os.path.realpath(path))}
    for one, its in ((path, status), *((d, os.stat(d)) for d in sorted(directories))):
        if reason := distrust(one, its):
            place = "" if one == path else f", where {shown(os.path.basename(path))} is,"
            raise ConfigError(f"{shown(one)}{place} {reason}")


def _check_secret(path: str, status: os.stat_result, table: Mapping[str, Any]) -> None:
    """Refuse a password that other users can read; a file of root's may let its group read."""
    database = table.get("database")
    url = database.get("url") if isinstance(database, dict) else None
    if not (isinstance(url, str) and holds_password(url) and stat.S_ISREG(status.st_mode)):
        return
    if status.st_mode & (0o007 if status.st_uid == 0 else 0o077):
        raise ConfigError(
            f"{shown(path)}: database.url: holds a password that others can read: "
            f"chmod 600 {shown(path)}, or keep the password in ~/.pgpass"
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
    insight = table.table("insight")
    schemes = _schemes(table.table("schemes"))
    table.finish()

    state_path = state.directory("path") or _default_state_path()
    archive_path = archive.directory("path")
    if over.archive:
        archive_path = os.path.abspath(over.archive)
    archive_areas = archive.areas("areas", "archive", archive_path or "/")
    central_path = central.directory("path")
    if over.central:
        central_path = os.path.abspath(over.central)
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
        scan=_scan_settings(scan, over, schemes),
        max_drop_percent=_percent(scan, "max_drop", DEFAULT_MAX_DROP_PERCENT),
        database_url=_database_url(over.database or stored_url, state_path, file),
        outputs=_outputs(outputs, over, state_path),
        df_timeout_s=_duration(df, "timeout", "30s"),
        log_path=log.directory("path"),
        state_path=state_path,
        thresholds=_thresholds(check),
        metrics_path=metrics.directory("path"),
        insight=_insight(insight),
        schemes=tuple(schemes.values()),
    )
    parts = (archive, central, scan, database, outputs, df, log, state, check, metrics, insight)
    for part in parts:
        part.finish()
    return config


def _schemes(table: Table) -> dict[str, Scheme]:
    """Take the naming schemes, which are added to the built-in ones."""
    schemes = dict(BUILT_IN)
    for name, one in table.tables():
        if name in BUILT_IN:
            raise table.error(name, "is built in: pick another name")
        endings = one.texts("endings", Scheme().endings)
        if not endings or not all(re.fullmatch(r"(\.[A-Za-z0-9_+~-]+)+", e) for e in endings):
            raise one.error("endings", "expected endings of file names, such as '.fits'")
        instruments = one.words("instruments")
        for said, instrument in instruments:
            if said != said.lower() or not LABEL.fullmatch(instrument):
                raise one.error("instruments", "expected lower case letters, digits and _.+- only")
        scheme = Scheme(name, endings, one.texts("patterns", ()), instruments)
        one.finish()
        if not scheme.patterns:
            raise one.error("patterns", "missing: expected a list of regular expressions")
        try:
            make_classifier(scheme)
        except ValueError as error:
            raise one.error("patterns", shown(str(error))) from None
        schemes[name] = scheme
    return schemes


def _scan_settings(table: Table, over: Overrides, schemes: Mapping[str, Scheme]) -> ScanSettings:
    defaults = ScanSettings()
    try:
        workers = parse_workers(str(table.take("workers", (int, str), "auto or a number", AUTO)))
    except ValueError as error:
        raise table.error("workers", shown(str(error))) from None
    max_rate: int = table.take("max_rate", int, "a number of operations a second", 0)
    if max_rate < 0:
        raise table.error("max_rate", f"expected 0 (no limit) or more, not {max_rate}")
    reader = table.text("reader") or defaults.reader
    if reader not in READERS:
        raise table.error("reader", f"expected one of {', '.join(READERS)}, not {shown(reader)}")
    extra = table.texts("extra_filetypes", ())
    name = table.text("scheme") or JWST
    if name not in schemes:
        known = ", ".join(map(shown, schemes))
        raise table.error("scheme", f"there is no scheme {shown(name)}; there are {known}")
    if extra and name != JWST:
        raise table.error("extra_filetypes", f"only for the scheme {JWST}: see scan.scheme")
    try:
        make_classifier(Scheme(), extra)
    except ValueError as error:
        raise table.error("extra_filetypes", str(error)) from None
    settings = ScanSettings(
        workers=workers,
        reader=reader,
        exclude=table.texts("exclude", defaults.exclude),
        snapshot_names=table.texts("snapshot_names", defaults.snapshot_names),
        one_file_system=table.flag("one_file_system", defaults.one_file_system),
        follow_file_symlinks=table.flag("follow_file_symlinks", defaults.follow_file_symlinks),
        extra_filetypes=extra,
        scheme=schemes[name],
        max_rate=max_rate,
        background=table.flag("background", defaults.background),
        stall_timeout_s=_duration(table, "stall_timeout", "10min"),
        max_runtime_s=_duration(table, "max_runtime", None),
    )
    return settings.overridden(over.scan)


def _insight(table: Table) -> InsightSettings:
    defaults = InsightSettings()

    def number(key: str, default: int, most: int) -> int:
        value: int = table.take(key, int, "a number", default)
        if not 1 <= value <= most:
            raise table.error(key, f"expected 1 to {most}, not {value}")
        return value

    depth, most, largest = defaults.directories
    return InsightSettings(
        enabled=table.flag("enabled", defaults.enabled),
        directories=DirectoryLimits(
            number("depth", depth, MOST_DEPTH),
            number("max_directories", most, MOST_DIRECTORIES),
            number("largest_directories", largest, MOST_DIRECTORIES),
        ),
        max_classes=number("max_extensions", defaults.max_classes, MOST_CLASSES),
        max_owners=number("max_owners", defaults.max_owners, MOST_OWNERS),
        max_programs=number("max_programs", defaults.max_programs, MOST_PROGRAMS),
        thin_after_s=_duration(table, "thin_after", None),
    )


def _thresholds(table: Table) -> Thresholds:
    defaults = Thresholds()
    return Thresholds(
        max_age_s=_limits(table, "max_age", defaults.max_age_s, ages=True),
        **{
            key: _limits(table, key, getattr(defaults, key))
            for key in (field.name for field in fields(Thresholds) if field.name != "max_age_s")
        },
    )


def _limits(table: Table, key: str, default: Limits | None, *, ages: bool = False) -> Limits | None:
    """Take [warning, critical], in that order of gravity; [] turns the threshold off."""
    what = "[warning, critical]" + (" such as ['36h', '72h']" if ages else "")
    values = table.take(key, list, what, None)
    if values is None:
        return default
    if not values:
        return None
    kinds = {str} if ages else {int, float}
    if len(values) != 2 or not {type(value) for value in values} <= kinds:
        raise table.error(key, f"expected {what}, or [] for none")
    try:
        read = [parse_duration(v).total_seconds() if ages else float(v) for v in values]
    except (ValueError, OverflowError) as error:
        raise table.error(key, shown(str(error))) from None
    warning, critical = read
    if not all(0 <= value < float("inf") for value in read):
        raise table.error(key, "expected numbers that are not negative")
    if (warning < critical) if key.startswith("min") else (warning > critical):
        raise table.error(key, "critical would come before warning: swap the two")
    return warning, critical


def _outputs(table: Table, over: Overrides, state_path: str) -> Outputs:
    path = table.directory("path") or os.path.join(state_path, "outputs")
    text = table.text("mode")
    try:
        mode = DEFAULT_OUTPUT_MODE if text is None else int(text, 8)
    except ValueError:
        raise table.error("mode", f"expected octal digits such as '0640', not {text!r}") from None
    if not 0o400 <= mode <= 0o777:
        raise table.error("mode", f"expected octal digits such as '0640', not {text!r}")
    return Outputs(
        os.path.abspath(over.outputs) if over.outputs else path,
        mode,
        table.text("group"),
        table.flag("allow_inside", False),
    )


def _duration(table: Table, key: str, default: str | None) -> float:
    """Take a duration in seconds; without a default it may be missing: 0."""
    text = table.text(key) or default
    if text is None:
        return 0.0
    try:
        seconds = parse_duration(text).total_seconds()
    except ValueError as error:
        raise table.error(key, str(error)) from None
    if seconds <= 0:
        raise table.error(key, f"expected more than nothing, not {text!r}")
    return seconds


def _percent(table: Table, key: str, default: int) -> int:
    percent: int = table.take(key, int, "a number of percent", default)
    if not 1 <= percent <= 100:
        raise table.error(key, f"expected 1 to 100 (percent), not {percent}")
    return percent


def _database_url(url: str | None, state_path: str, file: str) -> str:
    """Return the URL; an SQLite path is made absolute, below the file's directory."""
    if url is None:
        return f"sqlite:///{os.path.join(state_path, 'jwqlscan.db')}"
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        path = expanded(url.removeprefix("sqlite:///"))
        return f"sqlite:///{os.path.abspath(os.path.join(os.path.dirname(file), path))}"
    if url.startswith(("postgresql://", "postgres://")):
        return url
    where = f"{shown(file)}: " if file else ""
    # The URL itself may hold a password: it is not repeated.
    raise ConfigError(
        f"{where}database.url: expected sqlite:///FILE or postgresql://USER@HOST/DATABASE"
    )
