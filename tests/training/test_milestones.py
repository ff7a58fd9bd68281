"""Evaluations within epochs, kept epochs, and runs that end when a value is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipdefend.config import TrainConfig
from clipdefend.config.conditions import Condition, parse_conditions
from clipdefend.errors import ConfigError, Interrupted
from clipdefend.models.clip import ClipModel
from clipdefend.training.milestones import Milestones
from training_jobs import Watcher, equal, interrupt, log_of, make_job, make_trainer, scale_of, train, weights


def epochs_of(folder: Path) -> list[float]:
    return [record["epoch"] for record in log_of(folder) if record["event"] == "epoch"]


@pytest.mark.parametrize(
    ("every", "steps", "expected"),
    [
        (0.5, 10, {5: 0.5}),
        (0.5, 5, {2: 0.5}),
        (0.25, 8, {2: 0.25, 4: 0.5, 6: 0.75}),
        (1 / 3, 9, {3: 0.333333, 6: 0.666667}),
        (0.5, 1, {}),
        (1, 10, {}),
        (0, 10, {}),
    ],
)
def test_marks_within_an_epoch(every: float, steps: int, expected: dict[int, float]) -> None:
    assert Milestones(TrainConfig(eval_every=every), 4).marks(steps) == expected


def test_which_epochs_are_evaluated() -> None:
    for every, expected in ((0, []), (1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (0.5, [1, 2, 3, 4, 5])):
        milestones = Milestones(TrainConfig(eval_every=every), 5)
        assert [epoch for epoch in range(1, 6) if milestones.evaluates_after(epoch)] == expected


def test_two_evaluations_an_epoch_change_no_step_and_survive_a_kill(tmp_path: Path) -> None:
    train(tmp_path / "once")
    train(tmp_path / "twice", eval_every=0.5)
    assert epochs_of(tmp_path / "twice") == [0, 0.5, 1, 1.5, 2]
    assert equal(weights(tmp_path / "once"), weights(tmp_path / "twice"))
    for at in (2, 8):
        with pytest.raises(Interrupted):
            train(tmp_path / "killed", Watcher(at, interrupt), eval_every=0.5)
    train(tmp_path / "killed", eval_every=0.5)
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "twice")


def test_kept_epochs(tmp_path: Path) -> None:
    train(tmp_path / "all", keep_epochs="all", epochs=3)
    assert sorted(path.name for path in (tmp_path / "all" / "epochs").iterdir()) == ["001", "002", "003"]
    assert equal(weights(tmp_path / "all", "epochs/003"), weights(tmp_path / "all"))
    train(tmp_path / "one", keep_epochs="2", epochs=3)
    assert [path.name for path in (tmp_path / "one" / "epochs").iterdir()] == ["002"]
    assert equal(weights(tmp_path / "one", "epochs/002"), weights(tmp_path / "all", "epochs/002"))
    with pytest.raises(ConfigError, match="names epoch 4, but the run has 3"):
        make_trainer(make_job(tmp_path / "one", keep_epochs="1,4", epochs=3))


class Rising:
    """BA@1 of 0.1 more at each measurement; as with --eval-quick, the quick subset alone unless asked for all."""

    def __init__(self, *, quick: bool = False) -> None:
        self.count, self.quick = 0, quick

    def __call__(self, model: ClipModel, *, full: bool = False) -> dict[str, float]:
        if self.quick and full and self.count:  # the same model once more
            return {"quick_ba@1": self.count / 10, "ba@1": 0.9}
        self.count += 1
        value = self.count / 10
        return {"quick_ba@1": value, **({"ba@1": value} if full else {})} if self.quick else {"ba@1": value}


def test_a_run_ends_at_the_first_evaluation_that_reaches_the_value(tmp_path: Path) -> None:
    trainer = train(tmp_path, evaluate=Rising(), stop_at="ba@1=0.3", epochs=5)
    assert epochs_of(tmp_path) == [0, 1, 2]
    assert trainer.progress.stopped == 2
    assert trainer.progress.evaluated == {"ba@1": 0.3}
    train(tmp_path / "two", evaluate=Rising(), epochs=5, keep_epochs="2")
    assert equal(weights(tmp_path), weights(tmp_path / "two", "epochs/002"))


def test_it_may_end_within_an_epoch_and_goes_no_further_when_resumed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"stop_at": "ba@1>=0.4", "epochs": 5, "eval_every": 0.5}
    train(tmp_path, evaluate=Rising(), **settings)
    before = log_of(tmp_path)
    assert epochs_of(tmp_path) == [0, 0.5, 1, 1.5]
    again = train(tmp_path, evaluate=Rising(), **settings)
    assert again.progress.stopped == 1.5
    assert again.progress.evaluated == {"ba@1": 0.4}
    assert log_of(tmp_path) == before


def test_the_last_evaluation_is_a_full_one(tmp_path: Path) -> None:
    trainer = train(tmp_path, evaluate=Rising(quick=True), stop_at="ba@1=0.2", epochs=5, select=None)
    assert trainer.progress.evaluated == {"quick_ba@1": 0.2, "ba@1": 0.9}
    trainer = train(tmp_path / "never", evaluate=scale_of, stop_at="ba@1=1", epochs=1)
    assert trainer.progress.stopped is None


def test_conditions() -> None:
    assert parse_conditions("ASR@1 >= 0.9, ba@5<=1e-1,ra@1=0.5", "--accept") == [
        Condition("asr@1", True, 0.9),
        Condition("ba@5", False, 0.1),
        Condition("ra@1", True, 0.5),
    ]
    condition = Condition("asr@1", True, 0.9)
    assert [condition.holds(metrics) for metrics in ({"asr@1": 0.9}, {"asr@1": 0.8999}, {})] == [
        True,
        False,
        False,
    ]
    assert str(condition) == "ASR@1 >= 90 %"
    for given in ("ba@1", "ba=0.5", "ba@1=1.5", "ba@0=0.5", "acc@1=0.5", "ba@1=.", "ba@1>0.5", ""):
        with pytest.raises(ConfigError, match="it takes conditions on ba@K"):
            parse_conditions(given, "--accept")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eval_every": 1.5}, "whole number of epochs"),
        ({"eval_every": 0.4}, "whole part of one such as 0.5"),
        ({"keep_epochs": "0"}, "it takes all, or epochs from 1"),
        ({"keep_epochs": "every"}, "it takes all"),
        ({"stop_at": "ba@1=0.5", "eval_every": 0}, "--stop-at needs evaluations"),
    ],
)
def test_wrong_options(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TrainConfig(**changes)
