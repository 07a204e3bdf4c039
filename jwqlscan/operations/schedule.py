"""What makes a host run jwqlscan every night: a crontab line, or a systemd service and timer."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from jwqlscan.config.loader import Config
from jwqlscan.errors import ConfigError
from jwqlscan.text import escape

# Off the full hour, at which everybody else's jobs start.
HOUR, MINUTE = 3, 17
TIMEOUT = "20h"  # a run that is still going on then would meet the next one

_SERVICE = """\
# {service}
[Unit]
Description=Measure the JWST archive: one snapshot, and the report
After=network-online.target remote-fs.target
Wants=network-online.target

[Service]
Type=oneshot
ExecStart={command}
User={user}
TimeoutStartSec={timeout}
KillMode=mixed
Nice=19
IOSchedulingClass=idle
UMask=0077
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome={home}
PrivateTmp={private_tmp}
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
CapabilityBoundingSet={capabilities}
"""

_TIMER = """\
# {timer}
[Unit]
Description=Measure the JWST archive every night

[Timer]
OnCalendar=*-*-* {hour:02d}:{minute:02d}:00
RandomizedDelaySec=5min
Persistent=yes

[Install]
WantedBy=timers.target
"""


def crontab_line(config: Config, program: Sequence[str]) -> str:
    """Return a line for ``crontab -e``.

    Parameters
    ----------
    config : Config
        Read from a file: cron gives no other settings.
    program : sequence of str
        How jwqlscan is started, by absolute paths: cron's PATH is short.
    """
    words = shlex.join(_command(config, program))
    # crontab(5): a per cent sign ends the command unless it is escaped.
    return f"{MINUTE} {HOUR} * * *  " + words.replace("%", r"\%")


def systemd_units(config: Config, program: Sequence[str], user: str) -> dict[str, str]:
    """Return the texts of a service and its timer, by file name."""
    places = {config.state_path, config.outputs.directory}
    if config.database_url.startswith("sqlite:///"):
        places.add(os.path.dirname(config.database_url.removeprefix("sqlite:///")))
    if config.log_path:
        places.add(config.log_path)
    if config.metrics_path:
        places.add(os.path.dirname(config.metrics_path))
    # One that a run is yet to make needs the directory above it to be writable.
    places = {place if os.path.isdir(place) else os.path.dirname(place) for place in places}
    read = {path for path in (config.archive_path, config.central_path, config.file) if path}
    read |= {area.path for area in (*(config.archive_areas or ()), *config.central_areas)}
    read |= set(program) & {word for word in program if os.path.isabs(word)}
    service, timer = "jwqlscan.service", "jwqlscan.timer"
    return {
        service: _SERVICE.format(
            service=f"/etc/systemd/system/{service}",
            command=" ".join(_quoted(word) for word in _command(config, program)),
            user=_plain(user),
            timeout=TIMEOUT,
            # A leading minus: a directory that is not there yet is no error of the unit.
            writable=" ".join(_quoted(f"-{place}") for place in sorted(places)),
            home="no" if _below(places, HOMES) else "read-only",
            private_tmp="no" if _below(places | read, ("/tmp", "/var/tmp")) else "yes",  # noqa: S108 - none is made there
            # root reads everything without owning it; any other user needs no capability
            capabilities=_capabilities(config) if user == "root" else "",
        ),
        timer: _TIMER.format(timer=f"/etc/systemd/system/{timer}", hour=HOUR, minute=MINUTE),
    }


def _capabilities(config: Config) -> str:
    """Return what root keeps: to read all, to set owners and, if need be, to write the metrics."""
    kept = ["CAP_DAC_READ_SEARCH", "CAP_CHOWN", "CAP_FOWNER"]
    if config.metrics_path:
        try:
            owner = os.stat(os.path.dirname(config.metrics_path)).st_uid
        except OSError:  # not there: there is nothing to be allowed
            owner = 0
        if owner:  # the node exporter's, as Debian's package makes it
            kept.append("CAP_DAC_OVERRIDE")
    return " ".join(kept)


HOMES = ("/home", "/root", "/run/user")


def _below(paths: set[str], directories: tuple[str, ...]) -> bool:
    return any(path == d or path.startswith(f"{d}/") for path in paths for d in directories)


def _command(config: Config, program: Sequence[str]) -> list[str]:
    if not config.file:
        raise ConfigError(
            "a schedule needs a configuration file: name one with --config, or write one with"
            " `jwqlscan init`"
        )
    return [_plain(word) for word in (*program, "run", "--config", config.file)]


def _plain(word: str) -> str:
    if escape(word) != word:
        raise ConfigError(f"{escape(word)}: such a name can't stand in a schedule: rename it")
    return word


def _quoted(word: str) -> str:
    """Quote a word as systemd.syntax(7) has it: no specifier, no variable, no splitting."""
    text = _plain(word).replace("%", "%%").replace("$", "$$").replace('"', r"\"")
    return f'"{text}"' if text != word or any(c in text for c in " '\";") else text
