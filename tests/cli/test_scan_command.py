"""`jwqlscan scan` as people and scripts meet it: its output, its exit codes, its silence."""

import base64
import dataclasses
import json
import os
import pty
import re
import subprocess
import sys
import tomllib

import pytest

from jwqlscan.cli.scan import settings_of_scan
from jwqlscan.config.loader import load_config
from jwqlscan.scanning.readers import available_readers
from jwqlscan.settings import ScanOverrides, ScanSettings
from tests.support.trees import Fifo, Hardlink, Symlink, find, make_tree, required

JWQLSCAN = [sys.executable, "-m", "jwqlscan"]

TREE = {
    "jw01018001001_02101_00001_nrca1_cal.fits": 1000,
    "jw01018001001_02101_00002_nrca1_cal.fits": 500,
    "sub": {
        "jw01018001001_02101_00001_mirimage_rate.fits": 7,
        "strange.fits": 11,
        "link": Symlink("strange.fits"),
        "hard": Hardlink("sub/strange.fits"),
        "fifo": Fifo(),
    },
    ".snapshot": {"old": 5},
}

UNSAFE = {
    b"esc\x1b[2J\x1b]0;title\x07.fits": 1,
    b"new\nline.fits": 1,
    b"c1\xc2\x9b31m.fits": 1,
    b"bad\xff.fits": 1,
    "bidi\u202e.fits": 1,
    "[": {"oops].fits": 1},
}


def jwqlscan(*arguments, **options):
    return subprocess.run(
        [*JWQLSCAN, *map(str, arguments)],
        **{"capture_output": True, "timeout": 120, **options},
    )


def scan_json(*arguments):
    done = jwqlscan("scan", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return json.loads(done.stdout)


# ---- JSON ----


def test_the_json_object_has_these_names_and_values(tmp_path):
    make_tree(tmp_path, TREE)
    result = scan_json("--workers", "3", "--reader", "scandir", tmp_path)
    assert 0 < result.pop("seconds") < 60
    assert result.pop("entries_per_second") > 0
    [area] = result["areas"]
    assert area.pop("allocated_bytes") == find(tmp_path).allocated_bytes - 4096  # the snapshot's
    assert result == {
        "schema_version": 1,
        "complete": True,
        "areas": [
            {
                "state": "complete",
                "note": "",
                "path": str(tmp_path),
                "files": 5,
                "apparent_bytes": 1529,
                "directories": 2,
                "fits_files": 4,
                "fits_bytes": 1518,
                "symlinks": 1,
                "other": 1,
                "vanished": 0,
                "skipped": {"snapshot": 1},
                "mounts": {},
                "errors": {},
                "error_samples": [],
                "unrecognized": {"count": 1, "samples": [f"{tmp_path}/sub/strange.fits"]},
                "by_product": [
                    {"instrument": "miri", "filetype": "rate", "count": 1, "bytes": 7},
                    {"instrument": "nircam", "filetype": "cal", "count": 2, "bytes": 1500},
                ],
            }
        ],
        "reader": "scandir",
        "workers": 3,
    }


def test_the_json_object_is_one_line_of_ascii(tmp_path):
    make_tree(tmp_path, UNSAFE)
    output = jwqlscan("scan", "--json", tmp_path).stdout
    assert output.isascii()
    assert output.count(b"\n") == 1 and output.endswith(b"}\n")


def test_names_are_read_by_the_scheme_that_is_asked_for(tmp_path):
    make_tree(tmp_path, {"r0000101001001001001_0001_wfi01_f158_cal.asdf": 9, "a_cal.fits": 1})
    [area] = scan_json("--scheme", "roman", "--by", "extension", tmp_path)["areas"]
    assert area["by_product"] == [{"instrument": "wfi", "filetype": "cal", "count": 1, "bytes": 9}]
    assert [row["extension"] for row in area["by_extension"]] == ["asdf", "fits"]
    [area] = scan_json(tmp_path)["areas"]
    assert (area["by_product"], area["fits_files"]) == ([], 1)
    done = jwqlscan("scan", "--scheme", "nope", tmp_path)
    assert done.returncode == 2
    message = "jwqlscan: --scheme: there is no scheme 'nope'; there are jwst, hst, roman\n"
    assert done.stderr.decode() == message


@pytest.mark.case("F26")
def test_a_path_that_is_not_utf_8_is_there_byte_for_byte(tmp_path):
    root = os.fsencode(tmp_path) + b"/\xff\n"
    os.mkdir(root)
    [area] = scan_json(os.fsdecode(root))["areas"]
    assert area["path"] == f"{tmp_path}/\\xff\\x0a"
    assert base64.b64decode(area["path_b64"]) == root


def test_areas_are_in_the_order_asked_for(tmp_path):
    make_tree(tmp_path, TREE)
    result = scan_json(tmp_path / "sub", tmp_path, tmp_path / "sub")
    assert [area["files"] for area in result["areas"]] == [3, 5, 3]


@pytest.mark.parametrize("reader", available_readers())
@pytest.mark.parametrize("workers", [1, 32])
def test_a_real_tree_has_the_numbers_of_find(reader, workers, varied_tree):
    [area] = scan_json("--workers", workers, "--reader", reader, varied_tree)["areas"]
    found = find(varied_tree)
    assert area["allocated_bytes"] == found.allocated_bytes
    assert {name: area[name] for name in found.totals._fields} == found.totals._asdict()


# ---- tables ----


def test_the_table_tells_areas_products_and_what_is_odd(tmp_path):
    make_tree(tmp_path, TREE)
    done = jwqlscan("scan", tmp_path, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    lines = [re.sub(r" +", " ", line).strip() for line in done.stdout.splitlines()]
    assert lines[0] == "area files size allocated directories FITS FITS size links"
    assert lines[1].startswith(f"{tmp_path} 5 1.49 KiB 16.00 KiB 2 4 1.48 KiB 1")
    assert "miri rate 1 7 B" in lines
    assert "nircam cal 2 1.46 KiB" in lines
    assert "1 FITS name not recognized, such as" in lines
    assert f"{tmp_path}/sub/strange.fits" in lines
    assert "skipped: 1 snapshot" in lines
    assert re.fullmatch(
        r"9 entries in [0-9.]+ s: [0-9,]+ a second, [a-z]+ reader, [0-9]+ workers", lines[-1]
    )


@pytest.mark.case("F27")
def test_names_reach_no_terminal_as_they_are(tmp_path):
    make_tree(tmp_path, dict.fromkeys(UNSAFE, UNSAFE))
    roots = [os.path.join(os.fsencode(tmp_path), os.fsencode(name)) for name in UNSAFE]
    for command in (["scan"], ["scan", "--json"]):
        output = jwqlscan(*command, *map(os.fsdecode, roots)).stdout.decode()
        assert not re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", output)


@pytest.mark.case("F28")
@pytest.mark.parametrize("name", ["[red]x[", "[link=x] '1234'", ":smile:", "\\["])
def test_markup_and_emoji_in_names_are_printed_literally(tmp_path, name):
    make_tree(tmp_path, {name: {"red].fits": 1}})
    shown = name.replace("\\", "\\\\")
    output = jwqlscan("scan", tmp_path / name, text=True).stdout
    assert f"  {tmp_path}/{shown}/red].fits\n" in output
    assert f"\n{tmp_path}/{shown} " in output
    error = jwqlscan("scan", tmp_path / name / "red]", text=True).stderr
    assert f"{tmp_path}/{shown}/red]: No such file" in error


def test_a_long_path_is_not_broken_into_lines(tmp_path):
    path = "/".join(["d" * 100] * 6)
    (tmp_path / path).mkdir(parents=True)
    make_tree(tmp_path / path, {"odd.fits": 1})
    assert f"  {tmp_path}/{path}/odd.fits\n" in jwqlscan("scan", tmp_path, text=True).stdout


def test_output_that_can_not_show_a_name_shows_it_escaped(tmp_path):
    make_tree(tmp_path, {"\u00fc\u4f60.fits": 1})
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    done = jwqlscan("scan", tmp_path, env=environment, text=True)
    assert done.returncode == 0, done.stderr
    assert "\\xfc\\u4f60.fits" in done.stdout


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_names_are_the_same_in_every_locale(tmp_path, locale):
    make_tree(tmp_path / "\u00fc", {b"bad\xff\xc3\xbc.fits": 1})
    environment = {**os.environ, "LC_ALL": locale}
    done = jwqlscan("scan", "--json", tmp_path / "\u00fc", env=environment)
    [area] = json.loads(done.stdout)["areas"]
    assert area["path"] == f"{tmp_path}/\u00fc"
    assert area["unrecognized"]["samples"] == [f"{tmp_path}/\u00fc/bad\\xff\u00fc.fits"]


def test_a_terminal_sees_progress_and_then_only_the_result(tmp_path):
    make_tree(tmp_path, {f"{i:03}": 1 for i in range(100)})
    main, terminal = pty.openpty()
    with subprocess.Popen(
        [*JWQLSCAN, "scan", "--max-rate", "100", tmp_path],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                data = os.read(main, 65536)
            except OSError:  # EIO: the other end is closed
                break
            if not data:
                break
            shown += data
        output = process.stdout.read()
    os.close(main)
    assert process.returncode == 0
    assert b"entries" in shown and b"files" in shown
    assert b"100" in output and b"\x1b" not in output


# ---- exit codes and errors ----


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{tmp}/none"], 1, "jwqlscan: {tmp}/none: No such file or directory; give directories"),
        (["{tmp}/file"], 1, "jwqlscan: {tmp}/file: Not a directory; give directories"),
        (["{tmp}", "{tmp}/no\x1b[2J"], 1, "jwqlscan: {tmp}/no\\x1b[2J: No such file"),
        ([""], 2, "jwqlscan: an empty path names no directory"),
        ([], 2, "Missing argument 'DIR...'"),
        (["--workers", "0", "{tmp}"], 2, "expected auto or 1 to 1024"),
        (["--workers", "1025", "{tmp}"], 2, "expected auto or 1 to 1024"),
        (["--workers", "x", "{tmp}"], 2, "expected auto or 1 to 1024"),
        (["--reader", "fast", "{tmp}"], 2, "'fast' is not one of"),
        (["--max-rate", "-1", "{tmp}"], 2, "-1"),
        (["--nonsense", "{tmp}"], 2, "No such option"),
    ],
)
def test_an_error_is_told_in_words_with_its_exit_code(tmp_path, arguments, code, message):
    (tmp_path / "file").touch()
    done = jwqlscan("scan", *(word.format(tmp=tmp_path) for word in arguments), text=True)
    assert done.returncode == code
    assert done.stdout == ""
    assert message.format(tmp=tmp_path) in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.count("\n") == 1


def test_a_tree_that_was_read_in_part_is_told_by_exit_code_3(tmp_path):
    make_tree(tmp_path, {"closed": {"a": 1}, "b": 2})
    os.chmod(tmp_path / "closed", 0)
    # without capabilities root, too, is bound by the mode of what it owns
    under = [required("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]
    under = under if os.geteuid() == 0 else []
    try:
        table, record = (
            subprocess.run([*under, *JWQLSCAN, "scan", *more, tmp_path], capture_output=True)
            for more in ([], ["--json"])
        )
    finally:
        os.chmod(tmp_path / "closed", 0o700)
    assert table.returncode == record.returncode == 3
    assert b"not read: 1 permission, such as" in table.stdout
    assert f"{tmp_path}/closed (open: permission)".encode() in table.stdout
    reason = f"{tmp_path}: partial, 1 error, such as {tmp_path}/closed (permission)"
    assert table.stderr.decode() == record.stderr.decode() == f"jwqlscan: incomplete: {reason}\n"
    [area] = json.loads(record.stdout)["areas"]
    assert area["files"] == 1
    assert area["errors"] == {"permission": 1}
    assert area["error_samples"] == [
        {
            "path": f"{tmp_path}/closed",
            "kind": "permission",
            "operation": "open",
            "message": "Permission denied",
        }
    ]


@pytest.fixture
def cut_short(tmp_path):
    """Return the arguments of a scan that the time allowed ends: it would take 40 s."""
    make_tree(
        tmp_path / "large", {f"d{n}": {f"{m}.fits": 1 for m in range(20)} for n in range(200)}
    )
    make_tree(tmp_path / "small", {"a.fits": 1})
    limits = ("--max-rate", "100", "--max-runtime", "4s", "--workers", "1")
    return ("scan", *limits, tmp_path / "large", tmp_path / "small")


@pytest.mark.case("P16")
def test_a_scan_that_was_cut_short_shows_so_in_its_table_and_on_standard_error(tmp_path, cut_short):
    done = jwqlscan(*cut_short, text=True)
    assert done.returncode == 3
    reason = f"{tmp_path}/large: stopped (the time allowed by scan.max_runtime was over)"
    assert f"jwqlscan: incomplete: {reason}" in done.stderr.splitlines()
    lines = done.stdout.splitlines()
    assert lines[0].split()[-1] == "state"
    [row] = [line for line in lines if line.startswith(f"{tmp_path}/large ")]
    assert row.split()[-1] == "stopped"
    heading = lines.index("incomplete, so these numbers are too small:")
    assert lines[heading + 1].strip() == reason


@pytest.mark.case("P16")
def test_a_scan_that_was_cut_short_shows_so_in_json(tmp_path, cut_short):
    done = jwqlscan(*cut_short, "--json", "--quiet")
    assert (done.returncode, done.stderr) == (3, b"")
    result = json.loads(done.stdout)
    assert result["complete"] is False
    large = result["areas"][0]
    assert large["state"] == "stopped" and "time allowed" in large["note"]
    assert large["files"] < 4000


def test_a_complete_scan_shows_so_in_json_and_has_no_column_for_states(tmp_path):
    make_tree(tmp_path, TREE)
    result = scan_json(tmp_path)
    assert result["complete"] is True
    assert [(area["state"], area["note"]) for area in result["areas"]] == [("complete", "")]
    table = jwqlscan("scan", tmp_path, text=True)
    assert (table.returncode, table.stderr) == (0, "") and "state" not in table.stdout


# ---- the configuration ----

# No key has its default.
SCAN_SECTION = """\
archive.path = "{tmp}/tree"
state.path = "{tmp}/state"
[scan]
workers = 3
reader = "scandir"
max_rate = 100000
background = true
stall_timeout = "7min"
max_runtime = "11h"
max_drop = 40
exclude = ["scratch", "sub/*.tmp"]
snapshot_names = ["old"]
one_file_system = true
follow_file_symlinks = true
scheme = "jwst"
extra_filetypes = ["newtype"]
"""

CONFIGURED = {
    "scratch": {"b.fits": 1},
    "sub": {"c.tmp": 1, "c.fits": 2},
    "c.tmp": 4,
    "old": {"d.fits": 8},
    ".snapshot": {"e.fits": 16},
    "link": Symlink("c.tmp"),
    "jw01018001001_02101_00001_nrca1_newtype.fits": 32,
}


@pytest.fixture
def file(tmp_path):
    make_tree(tmp_path / "tree", CONFIGURED)
    (tmp_path / "c.toml").write_text(SCAN_SECTION.format(tmp=tmp_path))
    return tmp_path / "c.toml"


@pytest.mark.parametrize("given", ["option", "environment"])
def test_scan_finds_with_a_configuration_what_a_run_finds(tmp_path, file, given):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = jwqlscan("run", "-c", file, "--no-report", "--json", env=environment)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    option = ("-c", file) if given == "option" else ()
    if not option:
        environment["JWQLSCAN_CONFIG"] = str(file)
    done = jwqlscan("scan", "--json", *option, tmp_path / "tree", env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    result = json.loads(done.stdout)
    [area], [expected] = result["areas"], measured["areas"]
    assert {key: expected[key] for key in area} == area
    assert (result["workers"], result["reader"]) == (3, "scandir")
    assert area["files"] == 5 and area["by_product"][0]["filetype"] == "newtype"


def test_scan_applies_every_key_of_its_section(file):
    keys = set(tomllib.loads(file.read_text())["scan"]) - {"max_drop"}
    settings = settings_of_scan(None, str(file), ScanOverrides())
    assert settings == load_config(str(file)).scan
    values, defaults = dataclasses.asdict(settings), dataclasses.asdict(ScanSettings())
    same = {name for name, value in values.items() if value == defaults[name]}
    # What a command asks for, and the scheme, of which JWST's own is the one with further suffixes.
    assert same == {"scheme", "ages_from_s", "directories"}
    assert {key.removesuffix("_s") for key in values} - {"ages_from", "directories"} == keys


def test_options_of_scan_come_before_its_section(file):
    over = ScanOverrides(workers=5, reader="native", max_rate=7, background=False, max_runtime_s=9)
    settings = settings_of_scan("hst", str(file), over)
    assert dataclasses.asdict(over).items() <= dataclasses.asdict(settings).items()
    assert settings.scheme.name == "hst"
    assert settings.extra_filetypes == ()  # they are of JWST
    assert settings.exclude == ("scratch", "sub/*.tmp")


def test_scan_takes_the_scheme_of_its_section(file):
    text = file.read_text().replace('extra_filetypes = ["newtype"]\n', "")
    file.write_text(text.replace('scheme = "jwst"', 'scheme = "roman"'))
    assert settings_of_scan(None, str(file), ScanOverrides()).scheme.name == "roman"
    assert settings_of_scan("jwst", str(file), ScanOverrides()).scheme.name == "jwst"


def test_scan_reads_no_configuration_that_is_not_named(tmp_path, file):
    place = tmp_path / ".config/jwqlscan"
    place.mkdir(parents=True)
    (place / "config.toml").write_text("not TOML")
    done = jwqlscan("scan", "--json", tmp_path / "tree", env={"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr


def test_debug_shows_the_traceback(tmp_path):
    done = jwqlscan("scan", "--debug", tmp_path / "none", text=True)
    assert done.returncode == 1
    assert "ScanFailedError" in done.stderr and "Traceback" in done.stderr


@pytest.mark.case("P07")
@pytest.mark.parametrize("arguments", [["--json"], []])
def test_a_reader_that_has_read_enough_ends_it_quietly(arguments, varied_tree):
    with subprocess.Popen(
        [*JWQLSCAN, "scan", *arguments, varied_tree],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + 13


@pytest.mark.case("P07")
def test_closed_standard_streams_do_no_harm(tmp_path):
    make_tree(tmp_path, TREE)
    for closed in ("<&-", "2>&-", "<&- 2>&-"):
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", *JWQLSCAN, "scan", "--json", tmp_path]
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60)
        assert done.returncode == 0, closed
        assert json.loads(done.stdout)["areas"][0]["files"] == 5
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *JWQLSCAN, "scan", "--json", tmp_path]
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=60)
    assert b"Traceback" not in done.stderr


def test_quiet_says_nothing_but_the_result(tmp_path):
    done = jwqlscan("scan", "-q", "--json", tmp_path)
    assert done.stderr == b"" and done.stdout.startswith(b"{")
