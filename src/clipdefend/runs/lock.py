"""One process at a time writes a run folder."""

from __future__ import annotations

import os
from pathlib import Path

from clipdefend.errors import RunError

# Locks of this process, by file; the system frees them when the process ends, however it ends.
_held: dict[Path, int] = {}


def acquire(file: Path) -> None:
    """Lock a run by its record of the start.

    Raises:
        RunError: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    if file in _held:
        return
    handle = os.open(file, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise RunError(f"Run {str(file.parent)!r} is still being written by another process.") from None
    except OSError:  # a file system without locks
        os.close(handle)
        return
    _held[file] = handle


def release(file: Path) -> None:
    """Unlock a run; no matter whether it was locked."""
    handle = _held.pop(file, None)
    if handle is not None:
        os.close(handle)
