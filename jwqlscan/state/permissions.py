"""Who may read the state: its directory and the SQLite file, by ``state.mode`` and ``state.group``.

The lock and the files in the spool stay private. What a reader needs, such as the user of a
monitoring system who runs `jwqlscan check`: the store, the last attempt, how many snapshots wait.
"""

from __future__ import annotations

import os
import stat

from jwqlscan.config.loader import Config
from jwqlscan.system.atomic_files import group_id

_SQLITE = "sqlite:///"


def share_state(config: Config) -> None:
    """Give the state directory, the spool and the configured SQLite file their mode and group.

    Does nothing where neither key is set: what an administrator did by hand stays.

    Raises
    ------
    OSError
    ConfigError
        If there is no such group.
    """
    if config.state_mode is None and config.state_group is None:
        return
    mode = 0o600 if config.state_mode is None else config.state_mode
    gid = group_id(config.state_group)
    # Files that SQLite makes there while the store is in use get the directory's group (setgid).
    directory_mode = mode | (mode & 0o444) >> 2 | (stat.S_ISGID if gid != -1 else 0)
    spool = os.path.join(config.state_path, "spool")
    for directory in (config.state_path, spool, os.path.join(spool, "bad")):
        if os.path.isdir(directory):
            _apply(directory, directory_mode, gid)
    if config.names_database and config.database_url.startswith(_SQLITE):
        path = config.database_url.removeprefix(_SQLITE)
        for end in ("", "-wal", "-shm", "-journal"):
            if os.path.isfile(path + end):
                _apply(path + end, mode, gid)


def _apply(path: str, mode: int, gid: int) -> None:
    # By name: closing a descriptor of an SQLite file drops the locks of this process on it.
    status = os.stat(path)
    if gid not in (-1, status.st_gid):
        os.chown(path, -1, gid)
    if stat.S_IMODE(status.st_mode) != mode:
        os.chmod(path, mode)
