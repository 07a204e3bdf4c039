"""The sections of a configuration, taken key by key into their records."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from urllib.parse import urlsplit

from jwqlscan.config.toml_table import Table, expanded, from_here
from jwqlscan.model.cube import MAX_CLASSES, MAX_OWNERS, MAX_PROGRAMS
from jwqlscan.model.directory_totals import Limits as DirectoryLimits
from jwqlscan.naming.schemes import BUILT_IN, LABEL, make_classifier
from jwqlscan.settings import (
    AUTO,
    DEFAULT_OUTPUT_MODE,
    JWST,
    MIN_KEPT,
    MIN_KEPT_S,
    READERS,
    InsightSettings,
    Limits,
    Notifications,
    Outputs,
    ScanOverrides,
    ScanSettings,
    Scheme,
    Thresholds,
    parse_workers,
)
from jwqlscan.text import escape
from jwqlscan.units import parse_duration

MAX_DEPTH = 16
MAX_DIRECTORIES = 100_000  # of 9 areas they make 130 MB in the spool, which takes 256 MiB


def take_schemes(table: Table) -> dict[str, Scheme]:
    """Take the naming schemes, which are added to the built-in ones."""
    schemes = dict(BUILT_IN)
    for name, one in table.tables():
        if name in BUILT_IN:
            raise table.error(name, "is built in: pick another name")
        endings = one.texts("endings", Scheme().endings)
        if not endings or not all(re.fullmatch(r"(\.[A-Za-z0-9_+~-]+)+", e) for e in endings):
            raise one.error("endings", "expected endings of file names, such as '.fits'")
        instruments = one.words("instruments")
        for token, instrument in instruments:
            if token != token.lower() or not LABEL.fullmatch(instrument):
                raise one.error("instruments", "expected lower case letters, digits and _.+- only")
        scheme = Scheme(name, endings, one.texts("patterns", ()), instruments)
        one.finish()
        if not scheme.patterns:
            raise one.error("patterns", "missing: expected a list of regular expressions")
        try:
            make_classifier(scheme)
        except ValueError as error:
            raise one.error("patterns", escape(str(error))) from None
        schemes[name] = scheme
    return schemes


def take_scan(table: Table, over: ScanOverrides, schemes: Mapping[str, Scheme]) -> ScanSettings:
    """Take the settings of the scan, under the options of the command line."""
    defaults = ScanSettings()
    try:
        workers = parse_workers(str(table.take("workers", (int, str), "auto or a number", AUTO)))
    except ValueError as error:
        raise table.error("workers", escape(str(error))) from None
    max_rate: int = table.take("max_rate", int, "a number of operations a second", 0)
    if max_rate < 0:
        raise table.error("max_rate", f"expected 0 (no limit) or more, not {max_rate}")
    reader = table.text("reader") or defaults.reader
    if reader not in READERS:
        raise table.error("reader", f"expected one of {', '.join(READERS)}, not {escape(reader)}")
    extra = table.texts("extra_filetypes", ())
    name = table.text("scheme") or JWST
    if name not in schemes:
        known = ", ".join(map(escape, schemes))
        raise table.error("scheme", f"there is no scheme {escape(name)}; there are {known}")
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
        stall_timeout_s=take_duration(table, "stall_timeout", "10min"),
        max_runtime_s=take_duration(table, "max_runtime", None),
    )
    return settings.overridden(over)


def take_insight(table: Table) -> InsightSettings:
    """Take what is kept of what is in the files."""
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
            number("depth", depth, MAX_DEPTH),
            number("max_directories", most, MAX_DIRECTORIES),
            number("largest_directories", largest, MAX_DIRECTORIES),
        ),
        max_classes=number("max_extensions", defaults.max_classes, MAX_CLASSES),
        max_owners=number("max_owners", defaults.max_owners, MAX_OWNERS),
        max_programs=number("max_programs", defaults.max_programs, MAX_PROGRAMS),
        thin_after_s=take_duration(table, "thin_after", None, least_s=MIN_KEPT_S, least=MIN_KEPT),
    )


def take_thresholds(table: Table) -> Thresholds:
    """Take when `jwqlscan check` warns."""
    defaults = Thresholds()
    return Thresholds(
        max_age_s=_limits(table, "max_age", defaults.max_age_s, ages=True),
        **{
            key: _limits(table, key, getattr(defaults, key))
            for key in (field.name for field in fields(Thresholds) if field.name != "max_age_s")
        },
    )


def take_notifications(table: Table) -> Notifications:
    """Take the settings of notifications."""
    url = table.text("ping_url")
    if url is not None and not _is_ping_url(url):
        # Who has the URL can ping: it is not repeated.
        raise table.error("ping_url", "expected http://HOST/... or https://HOST/..., no user name")
    command = table.texts("command", ())
    if command and not (command[0] and os.path.isabs(expanded(command[0]))):
        raise table.error("command", "the program must be named by its absolute path")
    return Notifications(
        url,
        (expanded(command[0]), *command[1:]) if command else (),
        take_duration(table, "timeout", "10s"),
        table.flag("incomplete_is_failure", False),
    )


def _is_ping_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # it must be a number, if there is one
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in url


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
        raise table.error(key, escape(str(error))) from None
    warning, critical = read
    if not all(0 <= value < float("inf") for value in read):
        raise table.error(key, "expected numbers that are not negative")
    if (warning < critical) if key.startswith("min") else (warning > critical):
        raise table.error(key, "critical would come before warning: swap the two")
    return warning, critical


def take_mode(table: Table) -> int | None:
    """Take the permission bits of files; None where they are not given."""
    text = table.text("mode")
    if text is None:
        return None
    if not re.fullmatch("0?[4-7][0-7]{2}", text):
        raise table.error("mode", f"expected octal digits such as '0640', not {text!r}")
    return int(text, 8)


def take_outputs(table: Table, directory: str | None, state_path: str) -> Outputs:
    """Take where the report goes: `directory`, if the command line names one."""
    path = table.directory("path") or os.path.join(state_path, "outputs")
    mode = take_mode(table)
    return Outputs(
        from_here(directory) if directory else path,
        DEFAULT_OUTPUT_MODE if mode is None else mode,
        table.text("group"),
        table.flag("allow_inside", False),
    )


def take_duration(
    table: Table, key: str, default: str | None, *, least_s: float = 0.0, least: str = ""
) -> float:
    """Take a duration in seconds; without a default it may be missing: 0.

    `least` is the shortest one allowed, as people write it, if there is one.
    """
    text = table.text(key) or default
    if text is None:
        return 0.0
    try:
        seconds = parse_duration(text).total_seconds()
    except ValueError as error:
        raise table.error(key, str(error)) from None
    if seconds <= 0:
        raise table.error(key, f"expected more than nothing, not {text!r}")
    if seconds < least_s:
        raise table.error(key, f"expected {least} or more, not {text!r}")
    return seconds


def take_percent(table: Table, key: str, default: int) -> int:
    """Take a percentage from 1 to 100."""
    percent: int = table.take(key, int, "a number of percent", default)
    if not 1 <= percent <= 100:
        raise table.error(key, f"expected 1 to 100 (percent), not {percent}")
    return percent


def take_number(table: Table, key: str, what: str, default: int) -> int:
    """Take a number that is at least 1."""
    number: int = table.take(key, int, what, default)
    if number < 1:
        raise table.error(key, f"expected {what}, 1 or more, not {number}")
    return number
