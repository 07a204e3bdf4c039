"""Fixtures that every part of the tests may use."""

import signal

import pytest

pytest.register_assert_rewrite("tests.support")

pytest_plugins = [
    "tests.support.marks",
    "tests.support.postgres",
    "tests.support.root",
    "tests.support.varied_tree",
]


def pytest_configure() -> None:
    """Let the programs that tests start heed Ctrl-C, which a shell's `&` has them ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
