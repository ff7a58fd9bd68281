"""Ctrl-C, SIGTERM, and what follows: one signal interrupts, and the run is then tidied up undisturbed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

# Impatient users press Ctrl-C again while the temporary files are removed. After this time a further signal
# interrupts once more: the tidying may hang on a dead disk, and an exception raised inside a destructor is lost.
GRACE_SECONDS = 10.0

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""What interrupts: Ctrl-C, kill, and a terminal that is closed."""

_AGAIN_SECONDS = 0.02

_began: float | None = None
_delaying = False
_delayed: list[float] = []  # when the first signal came that is delayed


def forget() -> None:
    """Let the next signal interrupt: a new command begins in this process."""
    global _began, _delaying
    _began, _delaying = None, False


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


@contextlib.contextmanager
def delayed() -> Iterator[None]:
    """Context in which a signal interrupts at the end, for what must not stop half-way and takes a moment.

    A further signal after ten seconds interrupts at once.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    global _delaying
    _delayed.clear()
    _delaying = True
    try:
        yield
    finally:
        _delaying = False
    if _delayed:
        begin_tidying()
        raise KeyboardInterrupt


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal: raise KeyboardInterrupt unless an interruption is being dealt with already."""
    if _delaying:
        _delayed.append(time.monotonic())
        if _delayed[-1] - _delayed[0] <= GRACE_SECONDS:
            return
    if _began is None or time.monotonic() - _began > GRACE_SECONDS:
        begin_tidying()
        raise KeyboardInterrupt


@contextlib.contextmanager
def none_lost() -> Iterator[None]:
    """Context in which an interruption that falls into a destructor, where Python drops it, comes again behind it."""
    before = sys.unraisablehook

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type or object, KeyboardInterrupt):
            before(dropped)
            return
        forget()
        # By a thread, since what is raised inside of this hook is dropped, too.
        threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT)).start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def ignore_signals() -> None:
    """Ignore the signals for good: all is done, and the interpreter takes a moment to shut down."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
