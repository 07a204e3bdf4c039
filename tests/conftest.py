"""Fixtures that every part of the tests may use."""

import pytest

pytest.register_assert_rewrite("tests.support")

pytest_plugins = [
    "tests.support.marks",
    "tests.support.postgres",
    "tests.support.root",
    "tests.support.varied_tree",
]
