"""A process that has imported everything and forks one for each run: imports take longer than a short run.

``python -m clipdefend.study.fork_server`` says "ready" once everything is imported. It then reads requests as lines of
JSON and makes one run after another. For each it answers with the process's id, and then with its exit code. It ends
with its input.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from clipdefend.surroundings import tune_process

IMPORTED = (
    "torchvision",
    "open_clip",
    "accelerate",
    "pyarrow.parquet",
    "clipdefend.cli.app",
    "clipdefend.cli.execute",
)
"""What nearly every command imports. Nothing here may ask for a GPU: a forked process could not use it any more."""
READY = "ready\n"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ForkServer:
    """The process's other end, for one run at a time.

    Args:
        environment: variables of all its runs.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            text=True,
        )
        self._child: int | None = None
        self._ready = self._interrupted = False

    def run(self, words: Sequence[str], log: Path) -> int:
        """Make a run; what it writes is added to ``log``.

        Returns:
            The exit code, that of a killed process negative.
        """
        request = {"words": list(words), "folder": str(Path.cwd()), "log": str(log)}
        requests, answers = self._pipes
        try:
            if not self._ready and answers.readline() != READY:
                raise ValueError
            self._ready = True
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            self._child = int(answers.readline())
            if self._interrupted:  # while it was forked
                self.interrupt()
            return int(answers.readline())
        except (OSError, ValueError):  # it was killed, and has not answered
            self._process.kill()
            self._process.wait()
            return -signal.SIGKILL
        finally:
            self._child = None

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Interrupt the run under way; a server that has begun none yet is killed."""
        self._interrupted = True
        if not self._ready:
            self._process.kill()
        child = self._child
        if child is not None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(child, signal.SIGTERM)

    def close(self) -> None:
        """End the process. Between runs alone: it ends after the one under way."""
        for pipe in self._pipes:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()

    @property
    def _pipes(self) -> tuple[IO[str], IO[str]]:
        return cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)


class ForkServers:
    """As many as there are runs at a time; each is kept for the next run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[ForkServer] = []
        self._busy: set[ForkServer] = set()
        self._interrupted = False

    def run(self, words: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
        """Make a run by an idle server, or a new one; see ``ForkServer.run``. After `interrupt` none is begun."""
        server = self._take(environment)
        if server is None:
            return -signal.SIGTERM
        try:
            return server.run(words, log)
        finally:
            with self._lock:
                self._busy.discard(server)
                if server.alive:
                    self._idle.append(server)

    def interrupt(self) -> None:
        """Interrupt all runs under way, and begin no more."""
        with self._lock:
            self._interrupted = True
            for server in self._busy:
                server.interrupt()

    def close(self) -> None:
        """End all that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for server in idle:
            server.close()

    def _take(self, environment: Mapping[str, str]) -> ForkServer | None:
        with self._lock:
            if self._interrupted:
                return None
            fitting = [each for each in self._idle if each.alive and each.environment == environment]
            server = fitting[0] if fitting else ForkServer(environment)
            self._idle = [each for each in self._idle if each is not server]
            self._busy.add(server)
            return server


def serve() -> int:
    """Make runs until the input ends. Returns the exit code, in each run's process that of the run."""
    handlers = {number: signal.signal(number, _leave_to_runs) for number in _SIGNALS}
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries may print, too
    tune_process()
    for name in IMPORTED:
        importlib.import_module(name)
    answers.write(READY)
    for line in sys.stdin:
        request = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until the run has handlers of its own
        child = os.fork()
        if child == 0:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if child == 0:
            answers.close()
            return _make(request)
        answers.write(f"{child}\n")
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
    return 0


def _leave_to_runs(*_: Any) -> None:
    """Signals that a terminal sends to all are for the runs; the server ends with its input."""


def _make(request: Mapping[str, Any]) -> int:
    """The run, in its own process. Returns the exit code."""
    from clipdefend.__main__ import main

    os.chdir(request["folder"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for mine, handle in enumerate((nothing, log, log)):
        os.dup2(handle, mine)
    sys.argv = ["clipdefend", *request["words"]]
    return main()


if __name__ == "__main__":
    raise SystemExit(serve())
