"""The compiled reader on a made-up kernel, under sanitizers: what may never happen does not."""

import subprocess
import sys
from pathlib import Path

import pytest
from trees import required

FUZZ = Path(__file__).parent / "fuzz" / "fuzz_native.py"


@pytest.mark.case("S15")
@pytest.mark.parametrize("first", [0, 1_000_000])
def test_no_listing_no_stat_and_no_error_breaks_the_compiled_reader(first):
    required("gcc")
    command = [sys.executable, FUZZ, f"--first={first}", "--seeds=30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("30 trees, ") and done.stdout.endswith(": no report\n")
