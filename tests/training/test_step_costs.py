"""Costs of a training run, extrapolated from small steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipdefend.training.loop import Trainer
from clipdefend.training.step_costs import OVERHEAD, Costs, Linear, measure_steps
from training_jobs import make_job, make_trainer


def costs_of(trainer: Trainer) -> Costs:
    return measure_steps(trainer, trainer.timetable.stages[0])


def test_lines_by_hand() -> None:
    line = Linear.through([(4, 3.0), (16, 9.0)])
    assert (line.fixed, line.slope) == (1.0, 0.5)
    assert line(64) == 33.0
    for points in ([(8, 4.0)], [(4, 4.0), (8, 4.0)], [(4, 1.0), (8, 4.0)]):
        assert Linear.through(points) == Linear(0.0, points[-1][1] / 8)


def test_memory_by_hand() -> None:
    flat = Linear(0.0, 1.0)
    costs = Costs(
        seconds=flat,
        extra_seconds=flat,
        activations=Linear(100.0, 10.0),
        weights=1000,
        parameters=250,
        reading=0.1,
    )
    assert costs.memory(10) == 1000 + OVERHEAD * 200


@pytest.mark.parametrize("method", ["ft", "cleanerclip", "par"])
def test_the_costs_of_real_steps(tmp_path: Path, method: str) -> None:
    trainer = make_trainer(make_job(tmp_path, method=method, batch_size=16))
    weights = sum(p.nbytes for p in trainer.bare.parameters())
    costs = costs_of(trainer)
    assert costs.parameters == weights
    assert costs.weights == weights * (5 if method == "par" else 4)
    assert costs.activations(16) > 3 * costs.activations(4) > 0
    # Float pixels of each view are held at the least.
    views = {"ft": 1, "cleanerclip": 3, "par": 2}[method]
    assert costs.activations(16) > 16 * views * 3 * 32 * 32 * 4
    assert costs.seconds(16) > 0
    if method != "cleanerclip":  # on a busy machine the difference of two times may be nothing
        assert costs.extra_seconds(16) == 0
    assert costs.reading > 0


def test_a_frozen_tower_needs_less(tmp_path: Path) -> None:
    whole = costs_of(make_trainer(make_job(tmp_path / "a", method="ft", batch_size=8)))
    frozen = costs_of(make_trainer(make_job(tmp_path / "b", method="ft", batch_size=8, lock_image=True)))
    assert frozen.weights < whole.weights
    assert frozen.activations(8) < whole.activations(8)
