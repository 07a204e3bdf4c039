"""Fuzz the compiled reader under AddressSanitizer and UndefinedBehaviorSanitizer.

    python3 tests/scanning/fuzz/fuzz_native.py [--seeds N] [--first N]

It is compiled together with a kernel that is made up (native_fuzzed.c), into a temporary directory,
and reads made-up trees: first alone, then by several workers that hand work to each other. Both
must find the same; no descriptor may stay open; a sanitizer that finds something ends the process.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
MODULE = "jwqlscan.scanning.readers._native"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000, help="made-up trees to read")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--built", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.built:
        fuzz(options.built, range(options.first, options.first + options.seeds))
        return
    with tempfile.TemporaryDirectory() as place:
        built = build(place)
        libraries = [_library(name) for name in ("libasan.so", "libubsan.so")]
        environment = {
            **os.environ,
            "LD_PRELOAD": " ".join(libraries),
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:hard_rss_limit_mb=4096",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
            "PYTHONMALLOC": "malloc",
        }
        arguments = [__file__, "--built", built, f"--seeds={options.seeds}"]
        arguments.append(f"--first={options.first}")
        done = subprocess.run([sys.executable, *arguments], env=environment, check=False)
    sys.exit(done.returncode)


def build(place: str) -> str:
    """Compile it and return the library's path."""
    built = os.path.join(place, "_native.so")
    include = f"-I{sysconfig.get_path('include')}"
    flags = ["-std=c11", "-g", "-O1", "-fno-omit-frame-pointer", "-fPIC", "-shared"]
    source = str(HERE / "native_fuzzed.c")
    subprocess.run(["gcc", *flags, *SANITIZE, include, source, "-o", built], check=True)
    return built


def _library(name: str) -> str:
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True)
    return found.stdout.strip()


def fuzz(built: str, seeds: range) -> None:
    loader = importlib.machinery.ExtensionFileLoader(MODULE, built)
    spec = importlib.util.spec_from_file_location(MODULE, built, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules[MODULE] = module
    library = ctypes.CDLL(built)
    library.fuzz_start.argtypes = [ctypes.c_uint64, ctypes.c_int, ctypes.c_long]

    from jwqlscan.model.cube import DAY_S, age_limits
    from jwqlscan.model.directory_totals import Limits
    from jwqlscan.naming.schemes import make_classifier
    from jwqlscan.scanning.rules import ScanRules
    from jwqlscan.settings import Scheme
    from tests.support.trees import Alone, read_alone, walk

    said = "(?P<instrument>[a-z]+).*"
    schemes = [
        make_classifier(Scheme()),
        make_classifier(Scheme("kept", ("s", ""), (f"{said}(?P<filetype>.)",))),
        make_classifier(Scheme("in part", (".fits",), (f"(?P<program>...){said}(?P<filetype>)",))),
    ]
    entries = out_of_memory = 0
    with tempfile.TemporaryDirectory() as root:
        for seed in seeds:
            rules = ScanRules(
                exclude=("*00*", "x/**") if seed % 3 == 0 else (),
                one_file_system=seed % 5 == 0,
                follow_file_symlinks=seed % 2 == 0,
                age_limits=age_limits(8000 * DAY_S) if seed % 7 else (),
                directories=Limits(seed % 3, 1 + seed % 11, seed % 13)
                if seed % 6
                else Limits(0, 0),
            )
            corrupt = seed % 4 == 0
            results = []
            names = schemes[seed % len(schemes)]
            for read in (
                partial(read_alone, root, "native", rules, classifier=names),
                partial(read_alone, root, "native", rules, Alone(wanted=3), names),
                partial(walk, root, "native", 4, rules, names),
            ):
                library.fuzz_start(seed, corrupt, -1)
                # Which samples of many are kept may differ, and the order of links.
                tally = read()
                record = {**tally.to_record(), "tree": tally.tree}  # its paths come in any order
                for key in ("error_samples", "unrecognized_samples", "allocated_bytes"):
                    record.pop(key)
                results.append(record)
                assert library.fuzz_open_count() == 0, f"seed {seed}: descriptors stay open"
            assert results[0] == results[1] == results[2], f"seed {seed}: {results}"
            entries += results[0]["files"] + results[0]["directories"]
            library.fuzz_start(seed, corrupt, seed % 97)
            try:
                read_alone(root, "native", rules, classifier=names)
            except MemoryError:
                out_of_memory += 1
            library.fuzz_start(seed, corrupt, -1)
    print(f"{len(seeds)} trees, {entries} entries, {out_of_memory} times out of memory: no report")


if __name__ == "__main__":
    main()
