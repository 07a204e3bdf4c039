"""Which reader reads: the choice is made once, here."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from jwqlscan.errors import ConfigError
from jwqlscan.scanning.rate_limit import RateLimit
from jwqlscan.scanning.readers.base import Reader
from jwqlscan.scanning.rules import ScanRules

if TYPE_CHECKING:
    from jwqlscan.naming.schemes import NameClassifier


# The number of the interface between the compiled reader and `readers.native`, as in `_native.c`: a
# compiled reader of another number was built from other sources.
CONTRACT = 2

_REBUILD = "build it again with `pip install -e .` in the checkout, or reinstall jwqlscan"


def is_native_installed() -> bool:
    """Return whether there is a compiled reader, usable or not."""
    return importlib.util.find_spec("jwqlscan.scanning.readers._native") is not None


def native_problem() -> str:
    """Return why the compiled reader that is installed can't be used; "" if it can, or is none."""
    if not is_native_installed():
        return ""
    try:
        from jwqlscan.scanning.readers import _native
    except ImportError as error:
        return f"the compiled reader can't be loaded ({error}): {_REBUILD}"
    if getattr(_native, "CONTRACT", 0) != CONTRACT:
        return (
            f"the compiled reader {_native.__file__} was built from other sources than this"
            f" version of jwqlscan: {_REBUILD}"
        )
    return ""


def fallback_warning(asked: str, used: str) -> str:
    """Return why a scan used the reader in Python though the best was asked for; "" if it did not.

    Nothing is wrong where no compiled reader is installed.
    """
    if asked != "auto" or used != "scandir" or not (problem := native_problem()):
        return ""
    return f"the scan took longer with the reader in Python: {problem}"


def available_readers() -> tuple[str, ...]:
    """Return the names of the readers that this installation can use, the best first."""
    if not is_native_installed() or native_problem():
        return ("scandir",)
    return ("native", "scandir")


def check_reader(name: str) -> None:
    """Refuse a reader asked for by name that this installation can't use.

    Raises
    ------
    ConfigError
    """
    if name == "native" and (problem := native_problem()):
        raise ConfigError(f"{problem}; or leave --reader and scan.reader out")
    if name != "auto" and name not in available_readers():
        raise ConfigError(
            f"reader {name!r} is not available here, only {', '.join(available_readers())}: "
            "install jwqlscan where there is a C compiler, or leave --reader and scan.reader out"
        )


def useful_cores(name: str) -> float:
    """Return how many processor cores that reader can keep busy: the GIL leaves one."""
    return float(len(os.sched_getaffinity(0))) if name == "native" else 1.0


def make_reader(
    name: str, rules: ScanRules, classifier: NameClassifier, rate_limit: RateLimit | None = None
) -> Reader:
    """Return the reader of that name; ``auto`` is the best available.

    Raises
    ------
    ValueError
        If it is not available.
    """
    names = available_readers()
    chosen = names[0] if name == "auto" else name
    if chosen not in names:
        raise ValueError(f"reader {name!r} is not available here: {', '.join(names)}")
    if chosen == "native":
        from jwqlscan.scanning.readers.native import NativeReader

        return NativeReader(rules, classifier, rate_limit or RateLimit())
    from jwqlscan.scanning.readers.scandir import ScandirReader

    return ScandirReader(rules, classifier, rate_limit or RateLimit())
