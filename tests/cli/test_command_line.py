"""What a command line is expected to do: help, completion, colour, pipes, one line for an error."""

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
from typer.main import get_command

from jwqlscan.cli.app import app
from tests.cli.test_json import COMMANDS
from tests.faults.test_signals import SOON_S

JWQLSCAN = [sys.executable, "-m", "jwqlscan"]
BARE = {"PATH": "/usr/bin:/bin"}


def jwqlscan(*arguments, cwd="/", **env):
    return subprocess.run(
        [*JWQLSCAN, *map(str, arguments)],
        env={**BARE, **env},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def helped(*words):
    return jwqlscan(*words, "--help", COLUMNS="80").stdout


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_examples_that_are_valid_and_fits_a_terminal(words):
    text = helped(*words)
    assert text.startswith(f"Usage: jwqlscan {' '.join(words)} ")
    assert "\x1b" not in text
    options, _, rest = text.partition("\n  Examples:\n")
    assert max(map(len, options.splitlines())) <= 80
    examples = rest.partition("\n\n")[0].splitlines()
    assert examples and all("jwqlscan " in line for line in examples)
    for example in examples:
        command = re.search(r"jwqlscan ([^|;)>]+)", example)[1]
        arguments = shlex.split(command)
        assert tuple(arguments[: len(words)]) == words
        # a wrong option or value raises
        get_command(app).commands[arguments[0]].make_context("x", arguments[1:]).close()


def test_the_list_of_commands_begins_with_what_comes_first_and_cuts_nothing_off():
    text = helped()
    listed = re.findall(r"(?m)^  (\w+)  +\S.*$", text.partition("\nCommands:\n")[2])
    assert listed[:4] == ["init", "doctor", "schedule", "run"]
    assert {words[0] for words in COMMANDS} <= set(listed)
    assert "..." not in text.partition("\nCommands:\n")[2].partition("Examples")[0]
    assert "..." not in helped("db").partition("\nCommands:\n")[2]


LOOK_FOR_NONE = {("init",), ("scan",)}  # one writes it, the other reads what it is given


@pytest.mark.parametrize("words", [w for w in COMMANDS if w not in LOOK_FOR_NONE], ids=" ".join)
def test_help_says_where_the_configuration_is_looked_for(words):
    if "config" in {parameter.name for parameter in COMMANDS[words].params}:
        text = " ".join(helped(*words).split())
        assert "~/.config/jwqlscan/config.toml or, if there is none, /etc/jwqlscan/" in text


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("jwqlscan sta", {"status"}),
        ("jwqlscan db ", {"copy", "flush", "import-jwql", "migrate", "prune"}),
        ("jwqlscan history --for", {"--format"}),
        ("jwqlscan history --format ", {"table", "csv", "json"}),
    ],
)
def test_bash_is_told_what_can_be_completed(typed, offered):
    words = typed.split(" ")
    done = jwqlscan(
        _JWQLSCAN_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(words) - 1)
    )
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize(
    ("env", "coloured"),
    [
        ({}, False),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"CLICOLOR_FORCE": "0"}, False),
        ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_in_a_pipe_is_for_who_asks(tmp_path, env, coloured):
    done = jwqlscan("scan", tmp_path, **env)
    assert (done.returncode, "\x1b[" in done.stdout) == (0, coloured)


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, True), ({"CLICOLOR": "0"}, False), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colour_at_a_terminal(tmp_path, env, coloured):
    for number in range(1000):  # of fewer no setting is recommended
        (tmp_path / f"{number}").touch()
    output = at_terminal(["bench", "--workers", "1", "--rounds", "1", "-q", str(tmp_path)], env)
    assert (b"\x1b[32m" in output) == coloured  # green: the recommended row


def at_terminal(arguments, env):
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*JWQLSCAN, *arguments],
        env={**BARE, "TERM": "xterm", **env},
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    output = b""
    try:
        while part := os.read(parent, 4096):
            output += part
    except OSError:  # the other end is closed
        pass
    os.close(parent)
    assert process.wait(60) == 0, output
    return output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run", "--nonsense"],
        ["run", "--workers", "0"],
        ["scan"],
        ["status", "extra"],
        ["db", "nonsense"],
        ["history", "--format", "xml"],
        ["init", "--archive"],
        ["\x1b[31mred\nline"],
    ],
)
def test_a_wrong_command_line_is_one_line_that_says_where_to_look(arguments):
    done = jwqlscan(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("jwqlscan: ") and line.endswith("--help`") and "\x1b" not in line


@pytest.mark.parametrize("words", [[], ["db"]])
def test_without_a_command_there_is_help(words):
    done = jwqlscan(*words)
    assert done.returncode == 2
    assert "Usage: jwqlscan" in done.stdout + done.stderr


def test_an_error_has_a_traceback_for_who_asks(tmp_path):
    (tmp_path / "c.toml").write_text("[nonsense]\n")
    assert "Traceback" not in jwqlscan("status", "-c", tmp_path / "c.toml").stderr
    assert "Traceback" in jwqlscan("status", "-c", tmp_path / "c.toml", "--debug").stderr


@pytest.mark.parametrize("command", ["status", "check", "doctor"])
def test_an_interrupt_ends_any_command_within_a_second_with_a_last_line(command):
    import socket

    with socket.socket() as server:  # a database that hangs
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/d"
        process = subprocess.Popen(
            [*JWQLSCAN, command, "--database", url],
            env={**BARE, "HOME": "/nonexistent"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        server.settimeout(120)
        connection, _ = server.accept()  # it waits for an answer now
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        connection.close()
    assert time.monotonic() - began < SOON_S
    assert process.returncode == 130
    assert err.splitlines()[-1] == "jwqlscan: ended by SIGINT"
