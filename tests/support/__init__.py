"""What the tests share: trees, stores, servers, browsers, and things that fail on purpose."""

from pathlib import Path

# On the module path of child programs: `from tests.support import …`.
ROOT = Path(__file__).parents[2]
