"""Locks a run folder, so that one process at a time writes it.

Why not filelock: it uses the same ``flock`` (4.3, ``_native/_unix.py``), but falls back to a marker file if the file
system does not support it. Here such a run continues without a lock, and the locked file is the record of the start,
so that a run folder contains no additional file.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from clipdefend.errors import RunError

# Some file systems report contention as EACCES.
_CONTENTION = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})

# Locks of this process, by file; the system frees them when the process ends, however it ends.
_held: dict[Path, int] = {}


def acquire(file: Path) -> None:
    """Lock a run by its record of the start.

    Raises:
        RunError: another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    if file in _held:
        return
    handle = os.open(file, os.O_RDWR)  # NFS grants an exclusive lock only on a file opened for writing
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in _CONTENTION:
            raise RunError(f"Run {str(file.parent)!r} is still being written by another process.") from None
        return  # a file system without locks
    _held[file] = handle


def release(file: Path) -> None:
    """Unlock a run, whether or not it was locked."""
    handle = _held.pop(file, None)
    if handle is not None:
        os.close(handle)
