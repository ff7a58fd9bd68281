"""Ctrl-C, SIGTERM, and what follows: one signal interrupts, and the run is then tidied up undisturbed."""

from __future__ import annotations

import signal
import time
from types import FrameType

# Impatient users press Ctrl-C again while the temporary files are removed. After this time a further signal
# interrupts once more: the tidying may hang on a dead disk, and an exception raised inside a destructor is lost.
GRACE_SECONDS = 10.0

_began: float | None = None


def forget() -> None:
    """Let the next signal interrupt: a new command begins in this process."""
    global _began
    _began = None


def begin_tidying() -> None:
    """Ignore further signals for ten seconds: the process is about to end."""
    global _began
    _began = time.monotonic()


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal: raise KeyboardInterrupt unless an interruption is being dealt with already."""
    if _began is None or time.monotonic() - _began > GRACE_SECONDS:
        begin_tidying()
        raise KeyboardInterrupt


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM for good: all is done, and the interpreter takes a moment to shut down."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
