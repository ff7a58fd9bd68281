"""The boundary between errors and people: whatever ends a run becomes one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipdefend.cli.streams import drop_output, prepare_streams
from clipdefend.console import is_terminal, one_line
from clipdefend.distributed import launch
from clipdefend.errors import ClipDefendError, EndedElsewhere, GateFailed, Interrupted, Stopped
from clipdefend.interruption import begin_tidying, forget, interrupt, none_lost, not_ignored, under_way
from clipdefend.typed_path import typed_path

DONE = 0
BUG = 1
MISTAKE = 2
GATE = 3
INTERRUPTED = 130

# What the machine refuses for reasons that only the user can remove.
_REMEDIES = {
    errno.ENOSPC: "Free some space, or choose another place with --out or --runs.",
    errno.EDQUOT: "Free some space, or choose another place with --out or --runs.",
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f), or choose another place with --out or --runs.",
    errno.EACCES: "Choose another place, or change its permissions.",
    errno.EPERM: "Choose another place, or change its permissions.",
    errno.EROFS: "Choose a place that can be written, with --out or --runs.",
    errno.ENOTDIR: "A part of the path is a file; choose another place.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ELOOP: "A link leads to itself; choose another place.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n), or lower --workers.",
    errno.EIO: "The disk reports a fault.",
}


def guarded(function: Callable[[], int], args: Sequence[str]) -> int:
    """Call a function and turn whatever it raises into one line and an exit code.

    SIGTERM and SIGHUP interrupt as SIGINT does. Several processes of a run end together.

    Args:
        function: what to do; it returns an exit code.
        args: the command line, for the line that tells how to resume.

    Returns:
        The exit code.
    """
    prepare_streams()
    code = _outcome(function, args)
    launch.current().leave(code)
    return code


def _outcome(function: Callable[[], int], args: Sequence[str]) -> int:
    try:
        with _interruptible():
            return function()
    except EndedElsewhere:
        return launch.current().failure_code()
    except GateFailed as failed:
        return _end(f"gate failed: {failed}", GATE)
    except Interrupted as stopped:
        if stopped.folder is not None and stopped.finished:
            return _end(f"interrupted: the run is finished, see {typed_path(stopped.folder)}.", INTERRUPTED)
        if stopped.folder is not None and stopped.partial:
            kept = (
                f"what is finished is kept in {typed_path(stopped.folder)}; the same command makes the rest"
            )
            return _end(f"interrupted: {kept}.", INTERRUPTED)
        return _end(_how_to_go_on(stopped.folder, args), INTERRUPTED)
    except KeyboardInterrupt:
        return _end(_how_to_go_on(None, args), INTERRUPTED)
    except BrokenPipeError:
        drop_output()
        return DONE
    except Stopped as stopped:
        return _failed(
            stopped.__cause__ or stopped,
            f" Resume the run from its last state with {_resuming(stopped.folder, args)}.",
        )
    except Exception as error:
        return _failed(error)


def _failed(error: BaseException, then: str = "") -> int:
    """One line for what the user can fix, a traceback for a bug; returns the exit code."""
    if isinstance(error, ClipDefendError):
        return _end(f"error: {error}{then}", MISTAKE)
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        place = f" {error.filename!r}:" if error.filename else ""
        return _end(f"error:{place} {error.strerror}. {_REMEDIES[error.errno]}{then}", MISTAKE)
    if under_way():  # Ctrl-C inside a library that converted it to its own error
        return _end("interrupted.", INTERRUPTED)
    if not launch.current().speaks(BUG):  # it only follows from what ended another process
        return launch.current().failure_code()
    with contextlib.suppress(OSError, ValueError):  # a standard error that cannot be written
        traceback.print_exception(type(error), error, error.__traceback__)
    return BUG


def _end(line: str, code: int) -> int:
    """Say why the run ends, unless another process has said so."""
    if launch.current().speaks(code):
        _say(line)
    return code


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Context in which SIGTERM and SIGHUP clean up as SIGINT does, and each interrupts once.

    After an interruption the handlers stay: the message and the clean-up behind it are to be left alone too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    forget()
    before = {number: signal.signal(number, interrupt) for number in not_ignored()}
    try:
        with none_lost():
            yield
    except (KeyboardInterrupt, Interrupted):
        begin_tidying()
        raise
    except BaseException:
        _restore(before)
        raise
    _restore(before)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _how_to_go_on(folder: Path | None, args: Sequence[str]) -> str:
    if folder is not None:
        return f"interrupted: resume it with {_resuming(folder, args)}."
    resumed = _resumed(args)
    if resumed is not None:
        return f"interrupted: the run is unchanged; resume it with {_resuming(resumed, args)}."
    return "interrupted: no run was kept; run the command again."


def _resuming(folder: Path | str, args: Sequence[str]) -> str:
    return f"'clipdefend {args[0]} --resume {typed_path(folder)}'"


def _resumed(args: Sequence[str]) -> str | None:
    """What ``--resume`` names on a command line."""
    for flag, value in zip(args, [*args[1:], ""], strict=True):
        if flag == "--resume":
            return value
        if flag.startswith("--resume="):
            return flag.partition("=")[2]
    return None


def _say(text: str) -> None:
    line = one_line(text)
    if is_terminal(sys.stderr) and "NO_COLOR" not in os.environ:
        line = f"\x1b[31m{line}\x1b[0m"
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody reads it, or it cannot be written: the exit code says it
        drop_output()
