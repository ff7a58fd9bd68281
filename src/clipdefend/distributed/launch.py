"""The processes of one run, as a launcher started them: which is first, and what the first tells the others.

Nothing but the first process writes files, prints or asks what the newest run is; the others are told. That
goes through the launcher's key-value store, so that it needs no device and no process group.
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

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LAUNCHED = (*VARIABLES[:2], "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
MEETING = timedelta(minutes=10)
"""How long processes wait for each other at the start."""
TELLING = timedelta(days=1)
"""How long they wait for what the first one does alone, such as the index of a large data set."""
LEAVING = timedelta(seconds=10)
"""How long a process that failed waits for the others before it ends, and the launcher ends them."""


@dataclass
class Processes:
    """This process among those of the run.

    Attributes:
        rank, world: its number, and how many there are.
        store: torch's store, where there are several.
    """

    rank: int = 0
    world: int = 1
    store: Any = None
    _told: int = 0

    @property
    def main(self) -> bool:
        return self.rank == 0

    def from_main(self, make: Callable[[], T]) -> T:
        """What the first process makes, in all of them; only JSON's types survive the way.

        Raises:
            ClipDefendError: the user's mistake that the first process met.
            EndedElsewhere: it ended for another reason, and says so itself.
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
        """What ``make`` returns in each process, the first one being ready before the others begin."""
        made: list[T] = []
        self.from_main(lambda: made.append(make()))
        return made[0] if made else make()

    def speaks(self, code: int) -> bool:
        """Whether this process is the one that says why the run ends, with an exit code: the first to ask."""
        return self._spoken(code)[0] == self.rank

    def ending(self) -> int:
        """The exit code of the process that said why the run ends; 1 where none did."""
        with contextlib.suppress(Exception):
            self.store.wait(["spoken"], LEAVING)
            return self._spoken(1)[1]
        return 1

    def _spoken(self, code: int) -> tuple[int, int]:
        if self.world == 1:
            return self.rank, code
        try:
            said = self.store.compare_set("spoken", "", f"{self.rank} {code}")
        except Exception:  # the first process holds the store where the launcher does not, and has ended
            return 0, code
        rank, first_code = (int(part) for part in said.split())
        return rank, first_code

    def leave(self, code: int) -> None:
        """End together, or after a while; a launcher ends all others as soon as one process fails."""
        if self.world == 1:
            return
        if code != 0:  # the code is to be this process's own, not that of the launcher's signal
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
    """The processes that ``connect`` found; this one alone before."""
    return _current


def connect() -> Processes:
    """Meet the processes that ``accelerate launch`` or ``torchrun`` started with this one.

    Raises:
        ConfigError: a number of processes without what a launcher sets beside it, or they do not meet.
    """
    global _current
    _current = Processes()
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return _current
    try:
        rank, world, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
        os.environ["MASTER_ADDR"]
    except (KeyError, ValueError):
        raise ConfigError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']!r}, but {', '.join(VARIABLES)} do not describe one process"
            " of several: start with 'accelerate launch -m clipdefend' or torchrun, or unset WORLD_SIZE."
        ) from None
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store, rank, world = next(rendezvous("env://", rank, world, timeout=MEETING))
    except Exception as error:  # torch raises many kinds for one cause
        raise ConfigError(
            f"Process {rank} of {world} does not meet the first one at {os.environ['MASTER_ADDR']}:{port}"
            f" ({error!s:.100}): check the launcher's address and port."
        ) from error
    store.set_timeout(TELLING)
    _current = Processes(rank, world, PrefixStore(f"clipdefend/{attempt}", store))
    return _current


def alone() -> None:
    """Let this process work as if it were the only one, for commands that do not gain from several."""
    for name in LAUNCHED:
        os.environ.pop(name, None)
