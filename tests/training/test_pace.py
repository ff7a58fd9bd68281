"""Throughput, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipdefend.training.pace import Pace
from training_jobs import BATCH, train


def test_means_by_hand() -> None:
    pace = Pace()
    pace.add(samples=8, seconds=1.0, waited=0.5)
    pace.add(samples=4, seconds=3.0, waited=0.5)
    assert pace.values() == {"samples_per_second": 3.0, "step_seconds": 2.0, "data_wait": 0.25}
    assert pace.for_progress_bar() == {"samples/s": 3.0, "data wait": "25%"}


def test_every_logged_step_says_how_fast_it_went(tmp_path: Path) -> None:
    train(tmp_path, method="ft", epochs=1, log_every=2)
    steps = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in steps if record["event"] == "step"]
    assert [record["step"] for record in steps] == [2, 4, 5]
    for record in steps:
        assert record["samples_per_second"] * record["step_seconds"] == pytest.approx(BATCH)
        assert 0 <= record["data_wait"] <= 1
