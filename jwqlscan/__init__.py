"""Watch the JWST archive: one fast, exact, dated snapshot, and a report of its history.

`run`, `scan` and `report` are what the commands of the same names do, as coroutines;
`load_config` makes the configuration that they take.
"""

from __future__ import annotations

# As typing.TYPE_CHECKING. Nothing is imported here: with `python -m` the current directory is still
# the first place where modules are searched (`__main__` changes that).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from jwqlscan._version import __version__
    from jwqlscan.config.loader import Config, Overrides, load_config
    from jwqlscan.operations.report import report
    from jwqlscan.operations.run import Outcome, run
    from jwqlscan.scanning.measure import Measurement, scan
    from jwqlscan.settings import ScanSettings

__all__ = [
    "Config",
    "Measurement",
    "Outcome",
    "Overrides",
    "ScanSettings",
    "__version__",
    "load_config",
    "report",
    "run",
    "scan",
]

_HOMES = {
    "__version__": "_version",
    "Config": "config.loader",
    "Overrides": "config.loader",
    "load_config": "config.loader",
    "Outcome": "operations.run",
    "report": "operations.report",
    "run": "operations.run",
    "Measurement": "scanning.measure",
    "scan": "scanning.measure",
    "ScanSettings": "settings",
}


def __getattr__(name: str) -> object:
    # Loaded on demand (PEP 562): the scanning process and --help must start fast.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    found: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found
