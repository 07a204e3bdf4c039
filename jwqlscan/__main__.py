"""The entry point of the `jwqlscan` command and of ``python -m jwqlscan``."""

from __future__ import annotations

import sys

# Commands that scan: their scanning process starts before anything else is imported.
SCANNING = ("run", "scan")


def main() -> None:
    """Run the command line."""
    if len(sys.argv) > 2 and sys.argv[1] in SCANNING:
        from jwqlscan.process import start_early

        start_early()
    from jwqlscan.cli import app

    app(prog_name="jwqlscan")


if __name__ == "__main__":
    main()
