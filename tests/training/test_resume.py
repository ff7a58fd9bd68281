"""An interrupted run ends in the same bits as one that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from clipdefend.errors import Interrupted, RunError
from memory_pairs import memory_pairs
from training_jobs import (
    ROWS,
    Watcher,
    equal,
    interrupt,
    log_of,
    make_job,
    make_trainer,
    scale_of,
    train,
    weights,
)

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"method": "cleanerclip"},
    "bad rows": {"method": "ft", "pairs": memory_pairs(ROWS, {3}), "max_bad": 0.1},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp("whole") / "run" for name in SETTINGS}
    for name, folder in folders.items():
        train(folder, **SETTINGS[name])
    return folders


def same_end(folder: Path, other: Path) -> None:
    assert log_of(folder) == log_of(other)
    assert equal(weights(folder), weights(other))
    assert equal(weights(folder, "best"), weights(other, "best"))


@pytest.mark.parametrize("at", [0, 1, 3, 5, 6, 9])
def test_a_stop_at_any_step_changes_nothing(tmp_path: Path, whole: dict[str, Path], at: int) -> None:
    with pytest.raises(Interrupted) as stopped:
        train(tmp_path, Watcher(at, interrupt), **SETTINGS["plain"])
    assert stopped.value.folder == tmp_path
    assert not (tmp_path / "model").exists()
    console = Watcher()
    trainer = train(tmp_path, console, **SETTINGS["plain"])
    assert trainer.progress.global_step == console.steps == 10
    same_end(tmp_path, whole["plain"])


def test_a_stop_in_the_last_step_lets_the_run_end(tmp_path: Path, whole: dict[str, Path]) -> None:
    train(tmp_path, Watcher(10, interrupt), **SETTINGS["plain"])
    same_end(tmp_path, whole["plain"])


def test_many_stops_change_nothing(tmp_path: Path, whole: dict[str, Path]) -> None:
    for at in (2, 4, 5, 8):
        with pytest.raises(Interrupted):
            train(tmp_path, Watcher(at, interrupt), **SETTINGS["plain"])
    train(tmp_path, **SETTINGS["plain"])
    same_end(tmp_path, whole["plain"])


def test_bad_rows_of_before_are_remembered(tmp_path: Path, whole: dict[str, Path]) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path, Watcher(6, interrupt), **SETTINGS["bad rows"])
    trainer = make_trainer(make_job(tmp_path, **SETTINGS["bad rows"]))
    trainer.restore()
    assert trainer.bad.rows == {3}
    train(tmp_path, **SETTINGS["bad rows"])
    same_end(tmp_path, whole["bad rows"])


class CrashError(Exception):
    pass


def crash() -> None:
    raise CrashError


@pytest.mark.parametrize(("every", "at", "first"), [(3, 5, 3), (2, 2, 0), (0, 4, 0), (0, 8, 5), (4, 7, 5)])
def test_a_crash_goes_back_to_the_last_state(
    tmp_path: Path, whole: dict[str, Path], every: int, at: int, first: int
) -> None:
    """What was logged after that state is of a lost future, and is logged once in the end."""
    with pytest.raises(CrashError):
        train(tmp_path, Watcher(at, crash), **SETTINGS["plain"], save_every=every)
    console = Watcher()
    trainer = make_trainer(make_job(tmp_path, **SETTINGS["plain"], save_every=every), console)
    trainer.restore()
    assert trainer.progress.global_step == first
    train(tmp_path, **SETTINGS["plain"], save_every=every)
    same_end(tmp_path, whole["plain"])


def test_a_crash_during_an_evaluation_repeats_its_epoch(tmp_path: Path, whole: dict[str, Path]) -> None:
    calls = []

    def evaluate(model: Any, *, full: bool = False) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 3:
            raise CrashError
        return scale_of(model)

    with pytest.raises(CrashError):
        train(tmp_path, **SETTINGS["plain"], evaluate=evaluate)
    train(tmp_path, **SETTINGS["plain"])
    same_end(tmp_path, whole["plain"])


def test_a_finished_training_is_not_repeated(tmp_path: Path, whole: dict[str, Path]) -> None:
    train(tmp_path, **SETTINGS["plain"])
    console = Watcher()
    train(tmp_path, console, **SETTINGS["plain"])
    same_end(tmp_path, whole["plain"])


def test_the_best_epoch_of_before_stays_the_best(tmp_path: Path) -> None:
    def run(folder: Path, values: list[float], console: Watcher | None = None) -> Any:
        left = iter(values)
        return train(
            folder, console, method="ft", epochs=3, evaluate=lambda model, full: {"ba@1": next(left)}
        )

    with pytest.raises(Interrupted):
        run(tmp_path, [0.1, 0.9, 0.4], Watcher(12, interrupt))
    best = weights(tmp_path, "best")
    trainer = run(tmp_path, [0.6])
    assert (trainer.progress.best, trainer.progress.best_epoch) == (0.9, 1)
    assert trainer.progress.start == {"ba@1": 0.1}
    assert equal(weights(tmp_path, "best"), best)


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 2e-3},
        {"seed": 10},
        {"batch_size": 5},
        {"epochs": 3},
        {"method": "ft"},
        {"schedule": "epoch-end"},
    ],
    ids=str,
)
def test_another_configuration_does_not_go_on(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path, Watcher(2, interrupt), **SETTINGS["plain"])
    with pytest.raises(RunError, match="another configuration"):
        train(tmp_path, **{**SETTINGS["plain"], **changes})


def test_what_does_not_change_the_steps_may_differ(tmp_path: Path, whole: dict[str, Path]) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path, Watcher(2, interrupt), **SETTINGS["plain"])
    train(tmp_path, **SETTINGS["plain"], save_every=2, workers=1, keep_state=True)
    same_end(tmp_path, whole["plain"])


def test_a_damaged_state_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path, Watcher(2, interrupt), **SETTINGS["plain"])
    state = tmp_path / "state" / "state.pt"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(RunError, match="is damaged"):
        train(tmp_path, **SETTINGS["plain"])


def test_a_log_that_lost_its_end_is_not_filled_with_zeros(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path, Watcher(4, interrupt), **SETTINGS["plain"])
    log = tmp_path / "metrics.jsonl"
    first = log.read_bytes().splitlines(keepends=True)[0]
    log.write_bytes(first)
    train(tmp_path, **SETTINGS["plain"])
    assert all(json.loads(line) for line in log.read_text().splitlines())


def test_the_state_holds_no_loss_of_precision(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path, Watcher(3, interrupt), **SETTINGS["plain"])
    state = torch.load(tmp_path / "state" / "state.pt", weights_only=True)
    assert set(state) == {"progress", "model", "optimizer", "course"}
    assert all(v.dtype == torch.float32 for v in state["model"].values() if v.is_floating_point())
