"""The entry point of the `jwqlscan` command and of ``python -m jwqlscan``."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys

# Commands that scan: their scanning process starts before anything else is imported.
SCANNING = ("run", "scan")


def main() -> None:
    """Run the command line."""
    # Ctrl-C while modules are imported and options read ends in silence, as in a program that
    # needs no time for it; a command then hears of it (`cli_common.told`).
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prepare_streams()
    _prepare_colours()
    if len(sys.argv) > 2 and sys.argv[1] in SCANNING:
        from jwqlscan.scanning.process import start_early

        start_early()
    # The collector looks through all that bokeh made while years of history are read and drawn, for
    # nothing: with so few looks a report takes 0.4 s of 2 s less (five years of daily runs).
    gc.set_threshold(100_000, 50, 100)
    _end(_run_app())


def _run_app() -> int | str | None:
    """Run the command that the arguments name, and return its exit code."""
    from jwqlscan.cli import app
    from jwqlscan.cli_alert import unknown_line
    from jwqlscan.cli_common import tell, usage_problem
    from jwqlscan.errors import ExitCode

    try:
        code = app(prog_name="jwqlscan", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SystemExit as end:
        return end.code
    except Exception as error:  # Typer's own are told by what they have: it is not imported here
        if not hasattr(error, "format_message"):  # as Typer's own have: about the command line
            raise
        problem, command = usage_problem(error)
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(f"{error}\n")  # its message is the help
            return int(ExitCode.USAGE)
        if command == "jwqlscan check":  # 2 would be CRITICAL
            sys.stdout.write(unknown_line(problem))
            return 3
        tell(problem)
        return int(ExitCode.USAGE)


def _end(code: int | str | None) -> None:
    """End at once: taking all objects apart takes another 0.3 s after a report."""
    if not isinstance(code, int):
        raise SystemExit(code)
    import logging

    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):  # a closed terminal hears nothing more
        sys.stderr.flush()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):  # the other end is closed; Python says what it has to
        raise SystemExit(code) from None
    os._exit(code)


def _prepare_streams() -> None:
    """Have all three standard streams, and an output that can print any name."""
    # Closed ones (`2>&-`) would give their numbers to files: a message could end up in a database.
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - it lives as long as we
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - as above
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _prepare_colours() -> None:
    """Heed CLICOLOR (https://bixense.com/clicolors/) as well; rich knows NO_COLOR and TERM."""
    if os.environ.get("NO_COLOR"):
        os.environ.pop("FORCE_COLOR", None)
    elif os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        os.environ["FORCE_COLOR"] = "1"
    elif os.environ.get("CLICOLOR") == "0":
        os.environ["NO_COLOR"] = "1"


if __name__ == "__main__":
    main()
