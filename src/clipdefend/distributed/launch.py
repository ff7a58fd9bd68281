"""Connects the processes of a run that a launcher started, and shares results of the main process.

Only the main process writes files, prints and looks for the newest run. It shares results through the launcher's
key-value store, which needs neither a device nor a process group.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from clipdefend import errors
from clipdefend.errors import ClipDefendError, ConfigError, EndedElsewhere

T = TypeVar("T")

NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
VARIABLES = (*NUMBERS, "MASTER_ADDR")
"""Variables that ``accelerate launch`` and ``torchrun`` set for each of several processes."""
_MPI = ("PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD")
LAUNCHED = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"),
    *(f"{launcher}_{name}" for launcher in _MPI for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")),
)
"""Variables from which torch and Accelerate conclude that there are several processes."""
MEETING = timedelta(minutes=10)
"""Timeout for the processes to find each other."""
TELLING = timedelta(days=1)
"""Timeout for work that only the main process does, such as building the index of a large data set."""
LEAVING = timedelta(seconds=10)
"""How long a failed process waits for the others before it exits and the launcher kills them."""


@dataclass
class Processes:
    """This process and its connection to the others of the run.

    Attributes:
        rank: rank of this process; 0 is the main process.
        world: number of processes.
        store: torch's key-value store; None if there is only one process.
    """

    rank: int = 0
    world: int = 1
    store: Any = None
    _told: int = 0

    @property
    def main(self) -> bool:
        return self.rank == 0

    def from_main(self, make: Callable[[], T]) -> T:
        """Call a function in the main process and return its result in all processes.

        Args:
            make: the function; with several processes its result must be a value that JSON can represent.

        Raises:
            ClipDefendError: the function raised it in the main process.
            EndedElsewhere: the function failed for another reason, which the main process reports.
        """
        if self.world == 1:
            return make()
        key, self._told = f"told/{self._told}", self._told + 1
        if not self.main:
            answer = json.loads(self.store.get(key))
            if "value" not in answer:
                kind = getattr(errors, answer["error"], EndedElsewhere)
                raise kind(answer["text"])
            value: T = answer["value"]
            return value
        try:
            value = make()
        except BaseException as error:
            kind = type(error).__name__ if isinstance(error, ClipDefendError) else EndedElsewhere.__name__
            self.store.set(key, json.dumps({"error": kind, "text": str(error)}))
            raise
        self.store.set(key, json.dumps({"value": value}))
        return value

    def main_process_first(self, make: Callable[[], T]) -> T:
        """Call a function in every process, first in the main one, so that the others find the files it writes."""
        made: list[T] = []
        self.from_main(lambda: made.append(make()))
        return made[0] if made else make()

    def speaks(self, code: int) -> bool:
        """Whether this process reports why the run ends; the first process that asks does.

        Args:
            code: exit code of this process, which the others adopt.
        """
        return self._claim_report(code)[0] == self.rank

    def failure_code(self) -> int:
        """Return the exit code of the process that reported why the run ends; 1 if none did."""
        with contextlib.suppress(Exception):
            self.store.wait(["spoken"], LEAVING)
            return self._claim_report(1)[1]
        return 1

    def _claim_report(self, code: int) -> tuple[int, int]:
        if self.world == 1:
            return self.rank, code
        try:
            said = self.store.compare_set("spoken", "", f"{self.rank} {code}")
        except Exception:  # without the launcher's, the store lives in the first process, which has ended
            return 0, code
        rank, first_code = (int(part) for part in said.split())
        return rank, first_code

    def leave(self, code: int) -> None:
        """Wait for the other processes before exiting, because a launcher kills all as soon as one has failed."""
        if self.world == 1:
            return
        if code != 0:  # exit with this code, not with that of the launcher's signal
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with contextlib.suppress(Exception):
            self.store.set(f"left/{self.rank}", str(code))
            self.store.wait([f"left/{rank}" for rank in range(self.world)], LEAVING)
            if code == 0:
                import torch.distributed as dist

                if dist.is_initialized():
                    dist.destroy_process_group()


_current = Processes()


def current() -> Processes:
    """Return the processes that ``connect`` found; before that, this process alone."""
    return _current


def connect() -> Processes:
    """Connect to the other processes that ``accelerate launch`` or ``torchrun`` started.

    A single process removes launcher variables from its environment, such as the LOCAL_RANK of a notebook or an
    ``srun`` step, because torch and Accelerate would wait for other processes.

    Raises:
        ConfigError: WORLD_SIZE is above 1 and other variables of a launcher are missing or wrong, or the processes
            cannot connect.
    """
    global _current
    _current = Processes()
    given = os.environ.get("WORLD_SIZE", "").strip()
    if given in ("", "1"):
        alone()
        return _current
    rank, world, port = _read_environment(given)
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store, rank, world = next(rendezvous("env://", rank, world, timeout=MEETING))
    except Exception as error:  # torch raises many kinds for one cause
        raise ConfigError(
            f"Process {rank} of {world} cannot connect to the first one at {os.environ['MASTER_ADDR']}:{port}"
            f" ({error!s:.100}): check the launcher's address and port."
        ) from error
    store.set_timeout(TELLING)
    _current = Processes(rank, world, PrefixStore(f"clipdefend/{attempt}", store))
    return _current


def alone() -> None:
    """Let this process work alone, for commands that do not benefit from several processes."""
    for name in LAUNCHED:
        os.environ.pop(name, None)


def _read_environment(world_size: str) -> tuple[int, int, int]:
    """Read rank, number of processes and port from the launcher's variables."""
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    try:
        rank, local, world, port = (int(os.environ.get(name) or 0) for name in NUMBERS)
        wrong = not (0 <= rank < world and 0 <= local < world and 0 < port < 65536)
    except ValueError:
        wrong = True
    if missing or wrong:
        found = (
            f"{', '.join(missing)} missing"
            if missing
            else ", ".join(f"{n} {os.environ[n]!r}" for n in NUMBERS)
        )
        raise ConfigError(
            f"WORLD_SIZE is {world_size!r}, but the environment does not describe one process of several ({found}):"
            " start with 'accelerate launch -m clipdefend' or torchrun, or unset WORLD_SIZE."
        )
    return rank, world, port
