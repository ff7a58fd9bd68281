"""The standard streams: open whatever the shell did with them, and in the encoding that paths need."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import TextIO

from clipdefend.errors import ClipDefendError

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def prepare_streams() -> None:
    """Make the standard streams usable.

    Python has None for a stream that the shell closed (``>&-``), and the next file opened would get its number:
    the null device takes its place. Standard input and output carry paths and therefore use the file system's
    encoding, whatever PYTHONIOENCODING or the terminal says: another one could not name every file.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, _null_stream(number, mode))
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):  # a stream that was read from already
                stream.reconfigure(encoding=sys.getfilesystemencoding(), errors="surrogateescape")
    if isinstance(sys.stderr, io.TextIOWrapper):
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.reconfigure(errors="backslashreplace")


def write_result(text: str) -> None:
    """Write a command's result to standard output, with a line end.

    Raises:
        BrokenPipeError: nobody reads it any more.
        ClipDefendError: it cannot be written for another reason, such as a full disk.
    """
    line = text if text.endswith("\n") else f"{text}\n"
    try:
        try:
            sys.stdout.write(line)
        except UnicodeEncodeError:  # a file system with an old encoding, and a text that is not a path
            sys.stdout.write(line.encode("ascii", "backslashreplace").decode())
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        drop_output(sys.stdout)
        reason = getattr(error, "strerror", None) or "it is closed"
        raise ClipDefendError(
            f"Standard output cannot be written: {reason}. The result was: {text.strip()}"
        ) from None


def json_line(document: object) -> str:
    """A document as one line of JSON: in plain letters, or escaped where a file name is not valid Unicode."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(document, allow_nan=False)
    return text


def drop_output(*streams: TextIO) -> None:
    """Send streams that nobody reads to the null device, so that the interpreter's last flush does not fail.

    Args:
        *streams: standard output and standard error by default.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for stream in streams or (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(null, stream.fileno())


def _null_stream(number: int, mode: str) -> TextIO:
    """A stream to the null device, under the number of the closed one unless that is in use again."""
    handle = os.open(os.devnull, os.O_RDWR)
    if handle != number:
        try:
            os.fstat(number)
        except OSError:
            os.dup2(handle, number)
            os.close(handle)
            handle = number
    os.set_inheritable(handle, True)
    stream: TextIO = open(handle, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # type: ignore[assignment]  # noqa: SIM115
    return stream
