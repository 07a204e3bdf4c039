"""The entry point of the `jwqlscan` command and of ``python -m jwqlscan``."""

from __future__ import annotations

import os
import sys


def _distrust_start_directory() -> None:
    """Import nothing more from the current directory, nor from that of the script.

    Python puts one of them first on its path (without ``-P``): a file there that is named as a
    module of the standard library, such as ``random.py``, would be imported in its place.
    """
    if sys.flags.safe_path or not sys.path:
        return
    first = sys.path[0]
    if first not in ("", _current_directory(), os.path.dirname(os.path.realpath(sys.argv[0]))):
        return
    del sys.path[0]
    if os.path.realpath(first) == os.path.dirname(os.path.dirname(os.path.realpath(__file__))):
        sys.path.append(first)  # the package itself is there: a source tree that is not installed


def _current_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


_distrust_start_directory()

import contextlib  # noqa: E402 - not from there
import gc  # noqa: E402 - as above
import resource  # noqa: E402 - as above
import signal  # noqa: E402 - as above

from jwqlscan.resource_limits import shortage  # noqa: E402 - as above

# Commands that scan: their scanning process starts before anything else is imported.
SCANNING = ("run", "scan")

THREAD_STACK_BYTES = 2 * 2**20
M_ARENA_MAX = -8  # malloc.h


def main() -> None:
    """Run the command line."""
    # Ctrl-C while modules are imported and options read ends in silence, as in a program that
    # needs no time for it; a command then hears of it (`cli.error_boundary`).
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _restart_in_utf8_mode()
    from jwqlscan.system.standard_streams import prepare_streams

    prepare_streams()
    _prepare_colours()
    if _scans(sys.argv[1:]):
        from jwqlscan.scanning.child_process import start_early

        with contextlib.suppress(OSError):  # the command tries again, and reports it
            start_early()
    _save_address_space()
    from jwqlscan.system.accounts import complete_environment

    complete_environment()
    # Searches for garbage find next to none, and look through all that was made: without them a
    # report of five years of daily runs takes 0.4 s of 2 s less, and storing the insight of
    # 4,000,000 files 0.07 s of 0.5 s.
    gc.set_threshold(1_000_000, 50, 100)
    try:
        code = _run_app()
    except Exception as error:  # a limit of the host can show as any exception
        if "--debug" in sys.argv or not (words := shortage(error)):
            raise
        sys.stderr.write(f"jwqlscan: {words}\n")
        code = 3 if sys.argv[1:2] == ["check"] else 1
    _end(code)


def _restart_in_utf8_mode() -> None:
    """Start again where file names are not decoded as UTF-8, as in a locale of ISO 8859-1.

    The configuration, the records and what scanning processes are sent and answer are in UTF-8: a
    name decoded otherwise would become another one on its way.
    """
    if sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    from jwqlscan.system.standard_streams import LOCALE_OUTPUT

    options = ["-X", "utf8", "-X", LOCALE_OUTPUT]
    with contextlib.suppress(OSError):  # a process that scans then names the problem
        os.execv(sys.executable, [sys.executable, *options, *sys.orig_argv[1:]])  # noqa: S606 - the same program again


def _scans(arguments: list[str]) -> bool:
    """Tell whether a command line has something scanned, before it is parsed."""
    return (
        len(arguments) > 1
        and arguments[0] in SCANNING
        and not {"-h", "--help"}.intersection(arguments)
    )


def _run_app() -> int | str | None:
    """Run the command that the arguments name, and return its exit code."""
    from jwqlscan.cli.app import app
    from jwqlscan.cli.check import UNKNOWN, unknown_line
    from jwqlscan.cli.error_boundary import print_error, usage_problem, wanted_log_format
    from jwqlscan.errors import ExitCode, StandardOutputError
    from jwqlscan.system.standard_streams import discard_output

    if sys.flags.optimize > 1:
        from jwqlscan.cli.docstrings import restore_docstrings

        restore_docstrings("jwqlscan.cli")
    is_check = sys.argv[1:2] == ["check"]
    code: int | str | None = 0
    try:
        try:
            result = app(prog_name="jwqlscan", standalone_mode=False)
            code = result if isinstance(result, int) else 0
        except SystemExit as end:
            code = end.code
        except Exception as error:  # Typer's own are known by their attributes: it is not imported
            if not hasattr(error, "format_message"):  # as Typer's own have: about the command line
                raise
            problem, command = usage_problem(error)
            code = int(ExitCode.USAGE)
            if type(error).__name__ == "NoArgsIsHelpError":
                sys.stderr.write(f"{error}\n")  # its message is the help
            elif command == "jwqlscan check":  # 2 would be CRITICAL
                code = UNKNOWN
                sys.stdout.write(unknown_line(problem))
            else:
                print_error(problem, wanted_log_format(sys.argv[1:], os.environ))
        sys.stdout.flush()
    except StandardOutputError as error:
        print_error(str(error), wanted_log_format(sys.argv[1:], os.environ))
        if is_check:
            return UNKNOWN
        ended_by_signal = isinstance(code, int) and code > 128
        return code if ended_by_signal else int(error.exit_code)
    except BrokenPipeError:  # the reader has what it wants
        discard_output()
        return 128 + signal.SIGPIPE
    return code


def _end(code: int | str | None) -> None:
    """End at once: taking all objects apart takes another 0.3 s after a report."""
    if not isinstance(code, int):
        raise SystemExit(code)
    import logging

    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):  # a closed terminal hears nothing more
        sys.stderr.flush()
    with contextlib.suppress(OSError):  # no file can be opened: then no thread is stuck either
        from jwqlscan.scanning.child_process import close_unused
        from jwqlscan.system.process_exit import release_output

        close_unused()
        release_output()
    os._exit(code)


def _save_address_space() -> None:
    """Take less address space for threads where it is limited (``ulimit -v``).

    glibc reserves 64 MB for what each thread allocates, and 8 MB for its stack: mallopt(3).
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    import ctypes
    import threading

    threading.stack_size(THREAD_STACK_BYTES)
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


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
