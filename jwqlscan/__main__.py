"""The entry point of the `jwqlscan` command and of ``python -m jwqlscan``."""

from __future__ import annotations

import io
import os
import sys

# Commands that scan: their scanning process starts before anything else is imported.
SCANNING = ("run", "scan")


def main() -> None:
    """Run the command line."""
    _prepare_streams()
    if len(sys.argv) > 2 and sys.argv[1] in SCANNING:
        from jwqlscan.scanning.process import start_early

        start_early()
    from jwqlscan.cli import app

    app(prog_name="jwqlscan")


def _prepare_streams() -> None:
    """Have all three standard streams, and an output that can print any name."""
    # Closed ones (`2>&-`) would give their numbers to files: a message could end up in a database.
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - it lives as long as we
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
