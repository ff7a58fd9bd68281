"""Signals ask for a stop at a step's end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from clipdefend import interruption
from clipdefend.interruption import interrupt
from clipdefend.training.interrupt import StopRequests


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    interruption.forget()
    yield
    interruption.forget()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_only_asks(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequests() as stop:
        requested = [stop.requested]
        signal.raise_signal(number)
        requested.append(stop.requested)
    assert requested == [False, True]
    assert signal.getsignal(number) is before


def test_a_second_interrupt_stops_at_once_and_a_second_termination_does_not() -> None:
    with StopRequests() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the state's temporary file is being removed now


def test_what_follows_an_interruption_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    interruption.begin_tidying()
    now = 109.0
    interrupt(signal.SIGINT, None)
    now = 111.0
    with pytest.raises(KeyboardInterrupt):
        interrupt(signal.SIGINT, None)
    interrupt(signal.SIGTERM, None)


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="inside"), StopRequests():
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_leave_the_handlers_alone() -> None:
    seen: list[object] = []

    def run() -> None:
        with StopRequests() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
