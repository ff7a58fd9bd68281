"""Worker processes of data loaders: how they handle signals, and how their death is reported."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader

from clipdefend.errors import ClipDefendError


class WorkerLost(ClipDefendError):  # noqa: N818  # an event, not a mistake
    """A worker was killed from outside. Only the process that owns the worker notices, at any moment."""


def leave_to_parent(worker: int) -> None:
    """Leave the handling of SIGINT and SIGTERM to the parent process; the ``worker_init_fn`` of data loaders.

    Terminals, launchers and batch systems signal a whole process group. The parent then finishes its step or its
    evaluation, for which it needs its workers; so a SIGTERM ends a worker only if the parent sent it.

    Args:
        worker: number of the worker, as the loader passes it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "sigwaitinfo"):  # the only call that reveals the sender
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_parent_says, daemon=True).start()


def _end_when_parent_says() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        continue
    os._exit(0)


def batches_of(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield the batches of a loader. Raises WorkerLost if one of its workers was killed."""
    with worker_faults():
        yield from _start_workers(loader)


def _start_workers(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start a loader's workers and return its iterator; SIGTERM is held back until they can handle it."""
    if not hasattr(signal, "pthread_sigmask"):
        return iter(loader)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # workers inherit the mask
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def worker_faults() -> Iterator[None]:
    """Context that reports a worker's death in one line; torch raises it wherever this process happens to be.

    Raises:
        WorkerLost: a worker was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkerLost(
            "A worker process that reads images was killed, perhaps because memory ran out: try fewer --workers."
        ) from error
