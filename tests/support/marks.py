"""Marks that select tests: set from the fixtures that a test uses, and from measured times."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

OF_FIXTURES = {
    "postgres": {"pg_server", "own_server"},
    "browser": {"browser"},
    "root": {"as_root"},
}

# The stores that a test runs over. `request.getfixturevalue` is not seen before a test runs.
STORES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]

# The tests marked slow, as FILE::TEST; written by `pytest --record-slow`.
SLOW = Path(__file__).parents[1] / "slow.txt"
# Seconds that all parameters of a test take together, two tests at a time on two cores: below it
# is half of all tests, which take a minute together. The quickest of each file may take longer.
SLOW_S = 0.4
QUICKEST_S = 5.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-slow", action="store_true", help=f"write {SLOW.name} anew for the tests that run"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("record_slow"):
        config.pluginmanager.register(Recorder())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = slow_tests()
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        for mark, fixtures in OF_FIXTURES.items():
            if used & fixtures:
                item.add_marker(mark)
        if without_parameters(item.nodeid) in slow:
            item.add_marker("slow")


def slow_tests() -> set[str]:
    return set(SLOW.read_text(encoding="utf-8").split())


def without_parameters(nodeid: str) -> str:
    return nodeid.partition("[")[0].removeprefix("tests/")


class Recorder:
    """Adds up the seconds of each test, and writes at the end which are slow."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[without_parameters(report.nodeid)] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):  # pytest-xdist: the main process writes
            return
        slow = slow_tests() - self._seconds.keys() | self._slow()
        SLOW.write_text("".join(f"{test}\n" for test in sorted(slow)), encoding="utf-8")

    def _slow(self) -> set[str]:
        """Return the tests that are slow, except the quickest of each file."""
        files: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
        for test, seconds in self._seconds.items():
            files[test.partition("::")[0]].append((seconds, test))
        return {
            test
            for tests in files.values()
            for n, (seconds, test) in enumerate(sorted(tests))
            if seconds >= (SLOW_S if n else QUICKEST_S)
        }
