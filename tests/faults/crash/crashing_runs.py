"""Runs jwqlscan in forked processes that are killed at a point; see test_crash.py.

Reads one JSON line an order: ``{"config": path, "at": n, "log": path or null}``; n 0 is never, and
``[call, part of a path]`` in its place is the first such call.
Answers with one line: ``{"code": exit code, or minus the signal}``. Forking from a process that has
imported all makes a point take a second, not three.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import traceback
from typing import Any

from jwqlscan.config.loader import load_config
from jwqlscan.operations import run as job
from jwqlscan.reporting import page  # noqa: F401
from jwqlscan.store import postgresql, sqlite  # noqa: F401
from jwqlscan.system import signals


def main() -> None:
    shim = ctypes.CDLL(None)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(run(shim, order))
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


def run(shim: ctypes.CDLL, order: dict[str, Any]) -> int:
    try:
        config = load_config(order["config"])
        log = -1
        if order["log"]:
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        places = [
            os.fsencode(os.path.realpath(p)) for p in (config.state_path, config.outputs.directory)
        ]
        at = order["at"]
        number, call = (at, ["", ""]) if isinstance(at, int) else (0, at)
        shim.crash_arm(*places, number, *map(str.encode, call), log)
        return int(signals.run_until_signalled(job.run, config).exit_code)
    except BaseException:
        traceback.print_exc()
        return 99


main()
