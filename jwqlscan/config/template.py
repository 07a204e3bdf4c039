"""The first configuration: the commented example with what is known of this host filled in."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from importlib.resources import files

import anyio
import anyio.to_thread

from jwqlscan.config.loader import default_state_path, parse_config
from jwqlscan.config.toml_table import from_here, home
from jwqlscan.errors import ConfigError, single_errors
from jwqlscan.system.atomic_files import make_directory, write_atomically
from jwqlscan.text import escape

EXAMPLE = "config.example.toml"
MODE = 0o600  # it may hold a password
OPEN_MODE = "0644"  # of a report for everybody
PRIVATE_MODE = "0600"
PRIVATE_REPORT = (
    "outputs.path: {path}: only the user who runs jwqlscan can read the report there; for others,"
    f' such as a web server, set outputs.mode = "{OPEN_MODE}"'
)
LOOK_TIMEOUT_S = 10.0  # a directory that is there answers at once
WEB_NAMES = frozenset(
    {"www", "html", "htdocs", "public_html"}
)  # what web servers' directories hold

# By the dotted name of the key; a table of areas by the table's.
Values = Mapping[str, str | bool | Mapping[str, str]]

QUESTIONS = {
    "archive": "The archive, a directory (none if empty): ",
    "central": "The central storage, a directory (none if empty): ",
    "outputs": "Where the report goes, a directory (one of jwqlscan's own if empty): ",
    "database": (
        "The database, sqlite:///FILE or postgresql://USER@HOST/DATABASE (an SQLite file of"
        " jwqlscan's own if empty): "
    ),
}

_HEADER = re.compile(r"(?:# )?\[([a-z._]+)\]\n")
_KEY = re.compile(r"(?:# )?([a-z_]+) = .*\n")


def given(
    archive: str | None = None,
    central: str | None = None,
    outputs: str | None = None,
    database: str | None = None,
) -> Values:
    """Return the values that a person gave: paths made absolute, as they are meant from here."""
    values = {"archive.path": archive, "central.path": central, "outputs.path": outputs}
    made = {name: from_here(path) for name, path in values.items() if path}
    if database and database.startswith("sqlite:///"):
        database = f"sqlite:///{from_here(database.removeprefix('sqlite:///'))}"
    return made | ({"database.url": database} if database else {})


def asked(answer: Callable[[str], str]) -> Values:
    """Return the values that a person answers to the questions; without any, nothing is measured.

    Raises
    ------
    ConfigError
        If there is nothing to be measured.
    """
    answers = {"archive": "", "central": ""}
    for name, question in QUESTIONS.items():
        if name == "outputs" and not any(answers.values()):
            raise ConfigError("nothing to measure, so nothing is written: name one directory")
        answers[name] = answer(question).strip()
    return given(**answers)


def commented(values: Values) -> str:
    """Return the example configuration with some values set, and every comment.

    Raises
    ------
    ConfigError
        If a value can't be written in TOML: it is not UTF-8.
    """
    example = files("jwqlscan.config").joinpath(EXAMPLE).read_text(encoding="utf-8")
    left = dict(values)
    section, lines = "", []
    areas: Mapping[str, str] = {}
    for line in example.splitlines(keepends=True):
        if header := _HEADER.fullmatch(line):
            section = header[1]
            table = left.pop(section, None)
            areas = table if isinstance(table, Mapping) else {}
            if areas:
                lines.append(f"[{section}]\n")
                lines += [f"{name} = {_quoted(path)}\n" for name, path in areas.items()]
                continue
        elif key := _KEY.fullmatch(line):
            name = f"{section}.{key[1]}"
            value = left.pop(name, None)
            if value is not None:
                line = f"{key[1]} = {_literal(value)}\n"
            elif key[1] in areas:  # an example of one that is given
                continue
        lines.append(line)
    assert not left, f"{EXAMPLE} has no {sorted(left)}"
    return "".join(lines)


async def missing_directories(values: Values) -> list[str]:
    """Return a warning for each directory that a run needs and that is not there, or hangs."""

    def look(path: str) -> str:
        try:
            status = os.stat(path)
        except OSError as error:
            return error.strerror or ""
        return "" if stat.S_ISDIR(status.st_mode) else os.strerror(errno.ENOTDIR)

    problems: dict[str, tuple[str, str]] = {}

    async def look_at(key: str, path: str) -> None:
        problem = "no answer"
        with anyio.move_on_after(LOOK_TIMEOUT_S):
            problem = await anyio.to_thread.run_sync(look, path, abandon_on_cancel=True)
        if problem:
            problems[key] = (path, problem)

    needed = _needed_directories(values)
    with single_errors():
        async with anyio.create_task_group() as tasks:
            for key, path in needed.items():
                tasks.start_soon(look_at, key, path)
    warnings = []
    gone: list[str] = []
    for key in needed:
        path, problem = problems.get(key, ("", ""))
        # A directory within one that is missing is missing for that reason.
        if problem and not any(path == one or path.startswith(f"{one}/") for one in gone):
            gone.append(path)
            warnings.append(
                f"{key}: {escape(path)}: {problem}; mount or make it before the first run, or"
                " correct the configuration: --force writes it again"
            )
    return warnings


def _needed_directories(values: Values) -> dict[str, str]:
    """Return the directories that a run needs, by key."""
    needed: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            needed |= {f"{key}.{name}": path for name, path in value.items()}
        elif key in ("archive.path", "central.path") and isinstance(value, str):
            needed[key] = value
        elif key in ("outputs.path", "log.path") and isinstance(value, str):
            needed[key] = os.path.dirname(value)  # a run makes it in a directory that is there
    order = ("archive.path", "central.path")
    return dict(sorted(needed.items(), key=lambda one: one[0] not in order))


def report_is_private(values: Values) -> bool:
    """Tell whether the report goes where others may look for it, and nobody decided its mode.

    That is any directory outside the home of the user, or one within that a web server reads.
    """
    path = values.get("outputs.path")
    if not isinstance(path, str) or "outputs.mode" in values:
        return False
    inside = (home(), default_state_path())
    private = any(path == one or path.startswith(f"{one}/") for one in inside)
    return not private or not WEB_NAMES.isdisjoint(path.split("/"))


async def write_config(path: str, values: Values, *, replace: bool = False) -> None:
    """Write a new configuration, whole or not at all.

    Parameters
    ----------
    path : str
    values : Values
    replace : bool
        Whether a file that is there is replaced.

    Raises
    ------
    ConfigError
        If there is one already, it can't be written, or a value is wrong.
    """
    if not replace:
        check_new(path)
    # The default depends on the environment, and cron's is another than a person's.
    text = commented({"state.path": default_state_path(), **values})
    parse_config(text, path)  # what is written can be read
    try:
        await make_directory(os.path.dirname(path), MODE, None, follow_symlink=True)
        await write_atomically(path, text, MODE, None, replace=replace)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise ConfigError(
            f"{escape(path)}: {error.strerror}; name a file you can write with --config"
        ) from None


def check_new(path: str) -> None:
    """Refuse a path where something is.

    Raises
    ------
    ConfigError
    """
    if os.path.lexists(path):
        raise _exists(path)


def _exists(path: str) -> ConfigError:
    return ConfigError(
        f"{escape(path)} is there already and stays as it is: edit it, replace it with --force, or"
        " name another with --config"
    )


def _literal(value: str | bool | Mapping[str, str]) -> str:
    assert not isinstance(value, Mapping)
    return str(value).lower() if isinstance(value, bool) else _quoted(value)


def _quoted(text: str) -> str:
    """Return a basic string of TOML: JSON's, but for DEL and what is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{escape(text)}: a configuration file can hold UTF-8 only") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
