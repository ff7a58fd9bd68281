"""Ctrl-C, SIGTERM, and what follows: one signal interrupts, and the run is then tidied up undisturbed."""

from __future__ import annotations

import signal
import time
from types import FrameType

# Impatient users press Ctrl-C again while the temporary files are removed. After this time a further signal
# interrupts once more: the tidying may hang on a dead disk, and an exception raised inside a destructor is lost.
GRACE_SECONDS = 10.0

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""What interrupts: Ctrl-C, kill, and a terminal that is closed."""

_began: float | None = None


def forget() -> None:
    """Let the next signal interrupt: a new command begins in this process."""
    global _began
    _began = None


def begin_tidying() -> None:
    """Ignore further signals for ten seconds: the process is about to end."""
    global _began
    _began = time.monotonic()


def not_ignored() -> list[signal.Signals]:
    """The signals to handle: shells let jobs in the background ignore SIGINT, and nohup SIGHUP, which is respected."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def under_way() -> bool:
    """Whether an interruption is being dealt with."""
    return _began is not None


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal: raise KeyboardInterrupt unless an interruption is being dealt with already."""
    if _began is None or time.monotonic() - _began > GRACE_SECONDS:
        begin_tidying()
        raise KeyboardInterrupt


def ignore_signals() -> None:
    """Ignore the signals for good: all is done, and the interpreter takes a moment to shut down."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
