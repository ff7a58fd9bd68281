"""Command lines as real processes that can be killed, forked from one that has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

TIMEOUT = 300.0
_CONTEXT = multiprocessing.get_context("forkserver")
_IMPORTED = ("pytest", "accelerate", "open_clip", "torchvision")
_OWN = ("cli.execute", "cli.app", "commands.finetune_attack.run_finetune_attack", "evaluation")
_CONTEXT.set_forkserver_preload([*_IMPORTED, *(f"clipdefend.{name}" for name in _OWN)])


def _carry_out(args: list[str], folder: str, log: str) -> None:
    os.setsid()  # a group of its own, for signals as a terminal sends them
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have jobs in the background ignore it
    os.chdir(folder)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    import torch

    from clipdefend.__main__ import main

    torch.set_num_threads(1)  # another number can mean other last bits
    sys.exit(main(args))


@dataclass
class Running:
    """A command line under way; what it writes goes to ``log``."""

    process: ForkServerProcess
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    @property
    def ended(self) -> bool:
        return self.process.exitcode is not None

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, if it is still there."""
        if self.process.pid is not None and not self.ended:
            os.killpg(self.process.pid, number)

    def end(self) -> int:
        """Wait; returns the exit code, that of a killed process negative."""
        self.process.join(TIMEOUT)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running: {self.text}")
        return self.process.exitcode


def start(folder: Path, *args: object) -> Running:
    """Start ``clipdefend ARGS`` in a folder."""
    log = folder / f"log-{time.monotonic_ns()}.txt"
    process = _CONTEXT.Process(target=_carry_out, args=([str(arg) for arg in args], str(folder), str(log)))
    process.start()
    running = Running(process, log)
    end = time.monotonic() + TIMEOUT
    while not log.exists() and not running.ended:  # then it leads its group
        if time.monotonic() > end:
            raise AssertionError("the process did not start")
        time.sleep(0.005)
    return running


def finish(folder: Path, *args: object) -> str:
    """Run to the end; returns what was written."""
    running = start(folder, *args)
    assert running.end() == 0, running.text
    return running.text
