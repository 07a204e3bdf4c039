"""The source distribution: complete, and its documents' links lead to files that are in it."""

import os
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

from tests.support import ROOT

ONLY_FOR_GIT = {".gitignore"}


@pytest.fixture(scope="module")
def tracked():
    """Return the names of all files that are tracked."""
    if not (ROOT / ".git").exists():
        if os.environ.get("CI"):
            pytest.fail("this test needs the files that git tracks: run it in a clone")
        pytest.skip("not a clone; with CI set this fails")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    output = subprocess.check_output(command, cwd=ROOT, text=True)
    return {name for name in output.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def unpacked(tracked, tmp_path_factory):
    """Build the source distribution of the tracked files, unpack it, and return where it is."""
    place = tmp_path_factory.mktemp("distribution")
    for name in tracked:
        (place / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / "clone" / name, follow_symlinks=False)
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(place)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place / "clone", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [archive] = place.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(place / "unpacked", filter="data")
    [directory] = (place / "unpacked").iterdir()
    return directory


def test_every_tracked_file_is_in_it(unpacked, tracked):
    there = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert tracked - there - ONLY_FOR_GIT == set()


def test_nothing_that_was_built_is_in_it(unpacked):
    built = {".so", ".pyc", ".o"}
    assert not [path for path in unpacked.rglob("*") if path.suffix in built]


def test_the_links_of_its_documents_lead_to_files_in_it(unpacked):
    links = [
        (document, target)
        for document in unpacked.rglob("*.md")
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text())
        if "://" not in target
    ]
    assert links
    lost = [
        f"{document.relative_to(unpacked)}: {target}"
        for document, target in links
        if not (document.parent / target).exists()
    ]
    assert not lost
