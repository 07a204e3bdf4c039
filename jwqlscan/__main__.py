"""The entry point of the `jwqlscan` command and of ``python -m jwqlscan``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from jwqlscan.cli import app

    app(prog_name="jwqlscan")


if __name__ == "__main__":
    main()
