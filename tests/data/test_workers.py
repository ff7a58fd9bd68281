"""Workers only obey their parent, and a killed worker is reported in one line."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import pytest
from torch.utils.data import DataLoader

from clipdefend.data.workers import WorkerLost, batches_of, leave_to_parent, worker_faults

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs signals that tell their sender")


def numbers(count: int = 200) -> tuple[Iterator[int], BaseProcess]:
    """A loader's numbers, the first of them taken, and its one worker."""
    loader: DataLoader[int] = DataLoader(
        range(count),  # type: ignore[arg-type]  # indexed, so any sequence will do
        batch_size=None,
        num_workers=1,
        worker_init_fn=leave_to_parent,
    )
    before = set(multiprocessing.active_children())
    batches = batches_of(loader)
    assert next(batches) == 0
    (worker,) = set(multiprocessing.active_children()) - before
    return batches, worker


def test_signals_of_others_do_not_end_a_worker() -> None:
    batches, worker = numbers()
    for name in ("-INT", "-TERM", "-TERM"):
        subprocess.run(["kill", name, str(worker.pid)], check=True)
    time.sleep(0.1)
    assert worker.is_alive()
    assert list(batches) == list(range(1, 200))
    worker.join(10)
    assert worker.exitcode == 0


def test_the_parent_ends_a_worker() -> None:
    batches, worker = numbers()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0
    with pytest.raises(WorkerLost):
        list(batches)


def test_a_killed_worker_is_one_line() -> None:
    batches, worker = numbers()

    def lose() -> None:
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join(10)  # or here, wherever this process is when it hears of it
        list(batches)

    line = "was killed, perhaps because memory ran out: try fewer --workers"
    with pytest.raises(WorkerLost, match=line), worker_faults():
        lose()


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="another") as error, worker_faults():
        raise RuntimeError("another")
    assert not isinstance(error.value, WorkerLost)
