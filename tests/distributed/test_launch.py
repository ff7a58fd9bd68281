"""What the processes of a run share; threads with one of torch's stores stand in for processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]  # its stubs do not export it

from clipdefend.distributed import launch
from clipdefend.distributed.launch import LAUNCHED, Processes, connect
from clipdefend.errors import ConfigError, DataError, EndedElsewhere

WHOLE = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "1", "MASTER_ADDR": "localhost"}


def together(work: Callable[[Processes], Any], world: int = 2) -> list[Any]:
    """What the work returns or raises in each process."""
    store = HashStore()

    def run(rank: int) -> Any:
        try:
            return work(Processes(rank, world, store))
        except Exception as error:
            return error

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(run, range(world)))


def test_the_main_process_makes_and_all_get_the_result() -> None:
    made: list[int] = []

    def work(here: Processes) -> Any:
        def make() -> dict[str, Any]:
            made.append(here.rank)
            return {"path": "runs/é", "n": None}

        first = here.from_main(make)
        return first, here.from_main(lambda: here.rank)

    assert together(work, 3) == [({"path": "runs/é", "n": None}, 0)] * 3
    assert made == [0]


def test_a_mistake_is_the_same_in_all_and_a_bug_the_firsts_own() -> None:
    def mistake() -> None:
        raise DataError("no such file")

    found = together(lambda here: here.from_main(mistake))
    assert [(type(error), str(error)) for error in found] == [(DataError, "no such file")] * 2

    def bug() -> None:
        raise KeyError("x")

    assert [type(error) for error in together(lambda here: here.from_main(bug))] == [KeyError, EndedElsewhere]


def test_the_first_is_ready_before_the_others_begin() -> None:
    order: list[int] = []

    def enter(here: Processes) -> int:
        order.append(here.rank)
        return here.rank

    assert together(lambda here: here.main_process_first(lambda: enter(here)), 3) == [0, 1, 2]
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2]


def test_one_process_says_why_the_run_ends_and_the_others_take_its_code() -> None:
    def work(here: Processes) -> tuple[bool, int]:
        return here.speaks(2 if here.rank else 130), here.failure_code()

    found = together(work, 3)
    assert sum(speaks for speaks, _ in found) == 1
    assert {code for _, code in found} == {130 if found[0][0] else 2}


def test_one_process_alone_needs_nobody() -> None:
    here = Processes()
    assert here.main
    assert here.from_main(lambda: {1, 2}) == {1, 2}
    assert here.main_process_first(lambda: 3) == 3
    assert here.speaks(2)
    here.leave(2)


@pytest.mark.parametrize(
    "given",
    [
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "two"},
        {"WORLD_SIZE": "0"},
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "1"},
        {**WHOLE, "LOCAL_RANK": ""},
        {**WHOLE, "RANK": "2"},
        {**WHOLE, "RANK": "-1"},
        {**WHOLE, "MASTER_PORT": "99999"},
    ],
)
def test_half_of_a_launcher_is_a_mistake(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name in (*LAUNCHED, "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"WORLD_SIZE is '{given['WORLD_SIZE']}'.*accelerate launch"):
        connect()


@pytest.mark.parametrize("world", ["1", "", None])
def test_what_a_launcher_left_behind_is_removed(monkeypatch: pytest.MonkeyPatch, world: str | None) -> None:
    """A notebook's LOCAL_RANK, or that of a step of srun, made Accelerate wait for other processes."""
    for name in LAUNCHED:
        monkeypatch.setenv(name, "0")
    if world is None:
        monkeypatch.delenv("WORLD_SIZE")
    else:
        monkeypatch.setenv("WORLD_SIZE", world)
    assert connect() is launch.current()
    assert (launch.current().rank, launch.current().world) == (0, 1)
    assert not any(name in os.environ for name in LAUNCHED)
    assert "LOCAL_RANK" in LAUNCHED
