"""Delays an interruption to the end of a step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from clipdefend.distributed import launch
from clipdefend.interruption import begin_tidying, interrupt, not_ignored


class StopRequests:
    """Context in which SIGINT, SIGTERM and SIGHUP only request a stop; a second SIGINT interrupts at once.

    Under a launcher a second SIGINT does not: the launcher forwards the SIGINT that the terminal already sent to all
    processes, and kills processes that do not stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            for number in not_ignored():
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.requested:  # the run ends now, and a second Ctrl-C must not interrupt its last writes
            begin_tidying()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT and launch.current().world == 1:
            interrupt(number, frame)
        self.requested = True
