"""Which reader reads: the choice is made once, here."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from jwqlscan.errors import ConfigError
from jwqlscan.scanning.rate_limit import Pace
from jwqlscan.scanning.readers.base import Reader
from jwqlscan.scanning.rules import ScanRules

if TYPE_CHECKING:
    from jwqlscan.naming.schemes import NameClassifier


def available_readers() -> tuple[str, ...]:
    """Return the names of the readers that this installation has, the best first."""
    if importlib.util.find_spec("jwqlscan.scanning.readers._native") is None:
        return ("scandir",)
    return ("native", "scandir")


def check_reader(name: str) -> None:
    """Refuse a reader asked for by name that this installation lacks.

    Raises
    ------
    ConfigError
    """
    if name != "auto" and name not in available_readers():
        raise ConfigError(
            f"reader {name!r} is not available here, only {', '.join(available_readers())}: "
            "install jwqlscan where there is a C compiler, or leave --reader and scan.reader out"
        )


def useful_cores(name: str) -> float:
    """Return how many processor cores that reader can keep busy: the GIL leaves one."""
    return float(len(os.sched_getaffinity(0))) if name == "native" else 1.0


def make_reader(
    name: str, rules: ScanRules, classifier: NameClassifier, pace: Pace | None = None
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

        return NativeReader(rules, classifier, pace or Pace())
    from jwqlscan.scanning.readers.scandir import ScandirReader

    return ScandirReader(rules, classifier, pace or Pace())
