"""Standard output and standard error: both open, able to print any name, clear when they fail.

A program that can't write its result has failed, whatever it did: standard output on a full disk
raises an error of its own, which can't be taken for one of another file. What can't be written to
standard error is dropped: the exit code has to do.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from jwqlscan.errors import StandardOutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# An -X option of ours: this process was started again in UTF-8 mode (`restart_in_utf8_mode`), while
# the terminal still has the encoding of the locale.
LOCALE_OUTPUT = "jwqlscan_locale_output"

# The characters that charts are drawn with, where the terminal's encoding lacks them. Names are
# escaped there, so that no two of them look the same.
_DRAWN_AS = dict(zip("▁▂▃▄▅▆▇█│├└─", "_.-=+*%#||`-", strict=True))
_ERRORS = "jwqlscan.drawn_as"


class _Output(io.FileIO):
    """Standard output whose failure is no `OSError`, as that of any other file is."""

    def write(self, data: ReadableBuffer, /) -> int:
        while True:
            try:
                written: int | None = super().write(data)
            except BrokenPipeError:  # the reader has what it wants
                raise
            except OSError as error:
                # What is still in the buffers above can't be written either, and Python would try
                # to when it ends.
                discard_output()
                reason = error.strerror or type(error).__name__
                raise StandardOutputError(f"can't write standard output: {reason}") from None
            if written is not None:
                return written
            import select

            select.select([], [self.fileno()], [])  # it does not block, and is full


class _ErrorOutput(io.FileIO):
    """Standard error that drops what can't be written."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            written: int | None = super().write(data)
        except OSError:  # a full disk, or a terminal that is closed
            written = None
        return memoryview(data).nbytes if written is None else written


def prepare_streams() -> None:
    """Have all three standard streams, and outputs that can print any name."""
    # Closed ones (`2>&-`) would give their numbers to files: a message could end up in a database.
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    codecs.register_error(_ERRORS, _encoded_otherwise)
    sys.stdout = _prepared(sys.stdout or open(1, "w", closefd=False), _Output)  # noqa: SIM115 - it lives as long as we
    sys.stderr = _prepared(sys.stderr or open(2, "w", closefd=False), _ErrorOutput)  # noqa: SIM115 - as above


def discard_output() -> None:
    """Let what is written to standard output from now on go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _prepared(stream: TextIO, kind: type[io.FileIO]) -> TextIO:
    """Return a stream like one of Python's, that writes by `kind`."""
    if not isinstance(stream, io.TextIOWrapper):  # somebody's own
        return stream
    encoding = stream.encoding
    if LOCALE_OUTPUT in sys._xoptions and "PYTHONIOENCODING" not in os.environ:
        import locale

        encoding = locale.getencoding()
    return io.TextIOWrapper(
        io.BufferedWriter(kind(stream.fileno(), "w", closefd=False)),
        encoding=encoding,
        errors=_ERRORS,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _encoded_otherwise(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding lacks: drawn characters by similar ones, others by escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    texts = (
        _DRAWN_AS.get(character) or character.encode("ascii", "backslashreplace").decode()
        for character in lacking
    )
    return "".join(texts), error.end
