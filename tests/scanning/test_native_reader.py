"""A compiled reader that was built from other sources, or can't be loaded."""

import hashlib
import importlib.machinery
import json
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import jwqlscan
from jwqlscan.scanning.readers import CONTRACT, available_readers

PACKAGE = Path(jwqlscan.__file__).parent
NATIVE = PACKAGE / "scanning/native"

OLDER = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_native"};
PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&module); }
"""

# Of what the two sides say to each other, in each version of it.
INTERFACES = {1: "e46df87882665ba9", 2: "d323920d9d13d331"}


def interface():
    """Return a digest of what the compiled reader takes and returns: its types and formats."""
    stub = (PACKAGE / "scanning/readers/_native.pyi").read_text()
    sources = "".join(path.read_text() for path in sorted(NATIVE.glob("*.[ch]")))
    formats = re.findall(r'(?:Py_BuildValue|PyArg_ParseTuple)\([^"]*"((?:[^"]|"\s+")*)"', sources)
    return hashlib.sha256("\n".join([stub, *formats]).encode()).hexdigest()[:16]


@pytest.fixture(params=["older", "broken"])
def installed(request, tmp_path):
    """Return an installation whose compiled reader is of no use, and what is reported of it."""
    place = tmp_path / "site"
    ignored = shutil.ignore_patterns("_native*.so", "__pycache__")
    shutil.copytree(PACKAGE, place / "jwqlscan", ignore=ignored)
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    library = place / f"jwqlscan/scanning/readers/_native{suffix}"
    if request.param == "broken":
        library.write_text("not a library")
        return place, "the compiled reader can't be loaded ("
    if "native" not in available_readers():
        pytest.skip("there is no compiler")
    (tmp_path / "older.c").write_text(OLDER)
    compiler = shlex.split(sysconfig.get_config_var("CC"))
    include = f"-I{sysconfig.get_paths()['include']}"
    command = [*compiler, "-shared", "-fPIC", include, tmp_path / "older.c", "-o", library]
    subprocess.run(command, check=True)
    return place, f"the compiled reader {library} was built from other sources"


def test_a_useless_compiled_reader_is_reported_and_only_asked_for_by_name_an_error(
    installed, tmp_path
):
    place, problem = installed
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/a.fits").write_text("x")
    config = tmp_path / "c.toml"
    config.write_text("archive.path = 'archive'\nstate.path = 'state'\n")

    def jwqlscan(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "jwqlscan", *map(str, arguments)],
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(place)},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
        )

    for repeated in (False, True):  # it holds from night to night: it is given once
        done = jwqlscan("run", "-c", config, "--no-report", "--json")
        outcome = json.loads(done.stdout)
        [warning] = outcome["warnings"]
        assert (done.returncode, outcome["reader"]) == (0, "scandir")
        assert problem in warning and "`pip install -e .`" in warning
        assert done.stderr == ("" if repeated else f"jwqlscan: {warning}\n")
    scanned = jwqlscan("scan", tmp_path / "archive", "--json")
    assert (scanned.returncode, json.loads(scanned.stdout)["reader"]) == (0, "scandir")
    assert scanned.stderr == f"jwqlscan: {warning}\n"
    [failure] = jwqlscan("doctor", "-c", config, "--quiet").stdout.splitlines()
    assert failure.startswith(f"FAIL  reader: {problem}")
    for command in (["scan", tmp_path / "archive"], ["run", "-c", config]):
        done = jwqlscan(*command, "--reader", "native")
        [line] = done.stderr.splitlines()
        assert done.returncode == 2 and line.startswith(f"jwqlscan: {problem}")
    assert "(readers: scandir;" in jwqlscan("--version").stdout


def test_a_change_of_the_interface_changes_its_number():
    """If this fails, raise CONTRACT in `_native.c` and `readers`, and add the new digest here."""
    assert INTERFACES[CONTRACT] == interface() and max(INTERFACES) == CONTRACT
    assert len(set(INTERFACES.values())) == len(INTERFACES)
    assert f"enum {{ CONTRACT = {CONTRACT} }};" in (NATIVE / "_native.c").read_text()
