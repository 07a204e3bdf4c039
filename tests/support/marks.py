"""Marks that select tests, set from the fixtures that a test uses, so that none is forgotten."""

from __future__ import annotations

import pytest

OF_FIXTURES = {
    "postgres": {"pg_server", "own_server"},
    "browser": {"browser"},
    "root": {"as_root"},
}

# The stores that a test runs over. `request.getfixturevalue` is not seen before a test runs.
STORES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        for mark, fixtures in OF_FIXTURES.items():
            if used & fixtures:
                item.add_marker(mark)
