"""Processes that read for a loader: which signals they answer, and what it means when one of them dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader

from clipdefend.errors import ClipDefendError


class WorkerLost(ClipDefendError):  # noqa: N818  # named as it is seen by the one who waits for it
    """A worker was killed from outside: of several processes one alone meets it, at any moment."""


def leave_to_parent(worker: int) -> None:
    """Let the main process alone decide what SIGINT and SIGTERM mean: what a loader calls in each worker.

    Terminals, launchers and batch systems signal a whole group. The main process then finishes its step or its
    evaluation and needs its workers for that, so that a SIGTERM ends one only where it comes from that process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "sigwaitinfo"):  # only this tells the sender
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_parent_says, daemon=True).start()


def _end_when_parent_says() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        continue
    os._exit(0)


def batches_of(loader: DataLoader[Any]) -> Iterator[Any]:
    """What a loader gives. Raises WorkerLost when one of its workers was killed."""
    with worker_faults():
        yield from _begun(loader)


def _begun(loader: DataLoader[Any]) -> Iterator[Any]:
    """A loader's iterator, its workers started; a SIGTERM of that moment waits until all can answer it."""
    if not hasattr(signal, "pthread_sigmask"):
        return iter(loader)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # workers begin with the same
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def worker_faults() -> Iterator[None]:
    """Context in which a worker's death is one line; torch raises it wherever this process happens to be.

    Raises:
        WorkerLost: a worker was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkerLost(
            "A process that reads images was killed, as happens for want of memory: try fewer --workers."
        ) from error
