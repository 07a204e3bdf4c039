"""Every command in the documentation runs as it is written, but for the places it names."""

import json
import os
import re
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.main import get_command

from jwqlscan.cli.app import app
from tests.store.test_copy import without_password
from tests.store.test_jwql import HISTORY, JWQL
from tests.support import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "jwqlscan/docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
CAL = "jw01018001001_02101_00001_nrcb4_cal.fits"

# What other programs do; where that is seen to.
ELSEWHERE = {
    "pip install -e": ".ci/run",
    "apt-get install": ".ci/run",
    "useradd --system": "tests/scanning/test_least_power.py",  # with a user that is there
    "setpriv --reuid": "tests/scanning/test_least_power.py",
}
# Where a command as it stands would take long; and those that are to fail, with their exit codes.
MORE = {"jwqlscan bench DIR": "--rounds 1 --workers 2 --reader scandir"}
CODES = {
    "jwqlscan check": (0, 1, 2),  # the disk of this host may be nearly full
    "jwqlscan scan --scheme hst": (2,),  # without a directory
    "jwqlscan scan --by owner": (2,),  # the same
    "jwqlscan init": (2,),  # there is no terminal to ask at
}


def commands():
    """Return what the documentation tells to type, in blocks and in running text, each once."""
    found = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if language == "sh":
                found.append(re.sub(r"\s+# .*", "", line))
            elif re.match(r"[0-9*]+ [0-9*]+ \* \* \*  ", line):  # a crontab
                found.append(re.split(r"\s{2,}", line, maxsplit=1)[1].removeprefix("root  "))
    text = re.sub(r"^```.*?^```", "", TEXT, flags=re.M | re.S)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
    found += [span for span in spans if re.match(r"(jwqlscan|useradd|apt-get) ", span)]
    return list(dict.fromkeys(line.strip() for line in found if line.strip()))


def elsewhere(command):
    return next((where for text, where in ELSEWHERE.items() if text in command), None)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with an archive, a configuration, two runs, and what stands in for other programs."""
    home = tmp_path_factory.mktemp("readme")
    for place in ("archive/public", "central/logs", ".config/jwqlscan", "bin", "empty"):
        (home / place).mkdir(parents=True)
    (home / "archive/public" / CAL).write_text("data")
    (home / "central/logs/a.log").write_text("line")
    (home / ".config/jwqlscan/config.toml").write_text(
        f"[archive]\npath = '{home}/archive'\n[central]\npath = '{home}/central'\n"
        "[central.areas]\nlogs = 'logs'\n[state]\npath = '~/state'\n"
    )
    (home / "config.json").write_text(
        json.dumps({"filesystem": f"{home}/archive", "outputs": f"{home}/out"})
    )
    programs = {
        "jwqlscan": f'exec {sys.executable} -m jwqlscan "$@"',
        "crontab": '[ "$1" = - ] && cat >"$HOME/crontab" || true',
    }
    for name, text in programs.items():
        (home / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (home / "bin" / name).chmod(0o755)
    for _ in range(2):
        done = run("jwqlscan run --no-report", home)
        assert done.returncode == 0, done.stderr
    return home


def run(command, home, **environment):
    return subprocess.run(
        ["sh", "-c", command],
        env={"PATH": f"{home}/bin:/usr/bin:/bin", "HOME": str(home), "SHELL": "/bin/bash"}
        | environment,
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def places(home, pg_url):
    """What the places in the README are here."""
    url, _ = without_password(pg_url)
    config = f"{home}/.config/jwqlscan/config.toml"
    return {
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/jwqlscan": "jwqlscan",
        "/usr/local/bin/jwqlscan": f"{home}/bin/jwqlscan",
        "/usr/bin/python3": sys.executable,
        "/etc/jwqlscan/config.toml": config,
        "sqlite:////var/lib/jwqlscan/jwqlscan.db": f"sqlite:///{home}/state/jwqlscan.db",
        "postgresql://owner@dbhost/jwqldb": url,
        "postgresql://jwql@dbhost/jwqldb": url,
        "postgresql://jwql@dbhost/jwql": url,
        "/data/jwst": f"{home}/archive",
        "/data/central": f"{home}/central",
        "/var/www/monitor": f"{home}/www",
        " /home": f" {home}/central",
        "DIR...": f"{home}/archive",
        "[DIR]": f"{home}/jwqlscan-demo",
        " DIR": f" {home}/archive",
        " TOPIC": " numbers",
        "FILE.prom": f"{home}/metrics.prom",
    }


RUN_HERE = [command for command in commands() if not elsewhere(command)]


def test_the_documentation_has_the_commands_that_there_are():
    words = {tuple(re.findall(r"jwqlscan ((?:db )?[\w-]+)", command)) for command in RUN_HERE}
    told = {name for names in words for name in names}
    group = get_command(app)
    there = {name for name in group.commands if name != "db"}
    there |= {f"db {name}" for name in group.commands["db"].commands}
    assert there <= told


@pytest.mark.parametrize("command", RUN_HERE)
def test_a_documented_command_runs(command, home, places, pg_url):
    line = command
    for place, here in places.items():
        line = line.replace(place, here)
    assert "…" not in line
    _, environment = without_password(pg_url)
    if " init" in command:  # it never overwrites: in a home where nothing is
        environment |= {"HOME": f"{home}/empty"}
    if "install-completion" in command:
        environment |= {
            "HOME": f"{home}/empty",
            "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
        }
        line += " bash"
    if "import-jwql" in command:
        assert subprocess.run([sys.executable, "-c", FILL, pg_url, JWQL + HISTORY]).returncode == 0
    done = run(f"{line} {MORE.get(command, '')}", home, **environment)
    assert done.returncode in CODES.get(command, (0,)), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if " init " in command:
        os.unlink(home / "empty/.config/jwqlscan/config.toml")


FILL = """
import asyncio, sys, asyncpg
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute(sys.argv[2])
    await connection.close()
asyncio.run(main())
"""


@pytest.mark.parametrize("command", [one for one in commands() if elsewhere(one)])
def test_what_is_not_run_here_is_run_elsewhere(command):
    text = (ROOT / elsewhere(command)).read_text(encoding="utf-8")
    packages = re.findall(r"(?:install )(.*)", command) if "apt-get" in command else []
    for package in " ".join(packages).split():
        assert package in text
    if not packages:
        assert re.search(r"setpriv|pip install", text)


def options(command):
    """Return the options of a command and those below it."""
    found = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    for below in getattr(command, "commands", {}).values():
        found |= options(below)
    return found


def test_every_option_that_is_named_is_one():
    # without the blocks: other programs have options there too
    text = re.sub(r"^```.*?^```", "", TEXT, flags=re.M | re.S)
    spans = re.findall(r"`([^`]+)`", text)
    named = {
        option
        for span in spans
        if span.startswith(("jwqlscan", "-"))
        for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", span)
    }
    assert named - options(get_command(app)) - {"--help", "--version"} == set()


def test_every_environment_variable_is_told_and_is_one():
    def variables(command):
        found = {one.envvar for one in command.params if one.envvar}
        for below in getattr(command, "commands", {}).values():
            found |= variables(below)
        return found

    told = set(re.findall(r"JWQLSCAN_[A-Z_]+", TEXT))
    assert told == variables(get_command(app))


def test_every_key_that_is_named_is_one():
    example = (ROOT / "config.example.toml").read_text(encoding="utf-8")
    sections, keys = [], set()
    for line in example.splitlines():
        if match := re.match(r"(?:# )?\[([\w.]+)\]", line):
            sections = [match[1]]
        elif match := re.match(r"(?:# )?(\w+) = ", line):
            keys.add(f"{sections[0]}.{match[1]}")
    tables = {key.split(".")[0] for key in keys}
    named = set(re.findall(rf"`((?:{'|'.join(tables)})\.\w+)\b[^`/(]*`", TEXT))
    assert named and named <= keys


def test_every_metric_is_told_and_is_one(home):
    written = run("jwqlscan metrics", home).stdout
    names = {one.name for one in text_string_to_metric_families(written)}
    told = {
        name if name.startswith("jwqlscan") else f"jwqlscan{name}"
        for name in re.findall(r"`((?:jwqlscan)?_[a-z_]+)`", TEXT)
    }
    # here was no error, and after two runs nobody can say when a filesystem is full
    assert told == names | {"jwqlscan_seconds_until_full", "jwqlscan_area_errors"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_a_page_links_to_is_there(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert all((page.parent / link).exists() for link in links), links


def test_the_readme_links_to_every_page_and_help_shows_it(home):
    listed = run("jwqlscan help", home).stdout
    assert re.findall(r"^[\w-]+", listed, re.M) == [page.stem for page in PAGES[1:]]
    readme = PAGES[0].read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"[{page.stem}](jwqlscan/docs/{page.name})" in readme
        assert run(f"jwqlscan help {page.stem}", home).stdout == page.read_text(encoding="utf-8")


def test_a_topic_that_is_not_there_is_one_line(home):
    done = run("jwqlscan help nothing", home)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jwqlscan: no topic 'nothing'; there are architecture, ")
