"""The compiled reader on a made-up kernel, under sanitizers: what may never happen does not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.trees import required

FUZZ = Path(__file__).parent / "fuzz" / "fuzz_native.py"


@pytest.mark.case("S15")
@pytest.mark.parametrize("first", [0, 110, 1_000_000])
def test_no_listing_no_stat_and_no_error_breaks_the_compiled_reader(first):
    required("gcc")
    command = [sys.executable, FUZZ, f"--first={first}", "--seeds=30"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as fuzz:
        try:
            output, errors = fuzz.communicate(timeout=240)
        except BaseException:
            # Its child too, which holds the pipes open: without that the test would wait for it.
            os.killpg(fuzz.pid, signal.SIGKILL)
            raise
    assert fuzz.returncode == 0, errors
    assert output.startswith("30 trees, ") and output.endswith(": no report\n")
