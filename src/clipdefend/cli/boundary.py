"""The boundary between errors and people: what ends a run becomes one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from clipdefend.console import is_terminal, one_line
from clipdefend.errors import ClipDefendError, GateFailed, Interrupted

DONE = 0
BUG = 1
MISTAKE = 2
GATE = 3
INTERRUPTED = 130

# What the machine refuses for reasons that only the user can mend.
_REMEDIES = {
    errno.ENOSPC: "Free some space, or choose another place with --out or --runs.",
    errno.EDQUOT: "Free some space, or choose another place with --out or --runs.",
    errno.EACCES: "Choose another place, or change its permissions.",
    errno.EPERM: "Choose another place, or change its permissions.",
    errno.EROFS: "Choose a place that can be written, with --out or --runs.",
    errno.ENOTDIR: "A part of the path is a file; choose another place.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ELOOP: "A link leads to itself; choose another place.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n), or lower --workers.",
    errno.EIO: "The disk reports a fault.",
}


def guarded(function: Callable[[], int], command: str) -> int:
    """Call a function; returns its exit code, or that of how it failed.

    Args:
        function: what to do.
        command: the command's name, for the line that tells how to resume.
    """
    try:
        return function()
    except ClipDefendError as error:
        _say(f"error: {error}")
        return MISTAKE
    except GateFailed as failed:
        _say(f"gate failed: {failed}")
        return GATE
    except Interrupted as stopped:
        _say(_how_to_go_on(stopped.folder, command))
        return INTERRUPTED
    except KeyboardInterrupt:
        _say(_how_to_go_on(None, command))
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return DONE
    except OSError as error:
        if error.errno not in _REMEDIES:
            traceback.print_exc()
            return BUG
        place = f" {error.filename!r}:" if error.filename else ""
        _say(f"error:{place} {error.strerror}. {_REMEDIES[error.errno]}")
        return MISTAKE
    except Exception:
        traceback.print_exc()
        return BUG


def _how_to_go_on(folder: Path | None, command: str) -> str:
    if folder is None:
        return "interrupted: nothing was kept; start the command again."
    relative = os.path.relpath(folder)
    place = str(folder) if relative.startswith(os.pardir) else relative
    return f"interrupted: go on with 'clipdefend {command} --resume {place}'."


def _say(text: str) -> None:
    line = one_line(text)
    if is_terminal(sys.stderr) and "NO_COLOR" not in os.environ:
        line = f"\x1b[31m{line}\x1b[0m"
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except BrokenPipeError:
        _drop_output()


def _drop_output() -> None:
    """Nobody reads any more: keep the interpreter from failing once more when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):
            continue
