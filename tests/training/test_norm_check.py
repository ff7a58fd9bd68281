"""The check of batch-norm statistics before the first step."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch

from clipdefend.console import Console
from clipdefend.losses import mmcl
from clipdefend.models.builder import build_model
from clipdefend.training.norm_check import statistics_losses
from clipdefend.training.samples import Batch
from small_clip import small_architecture
from training_jobs import train


def batch(count: int = 6) -> Batch:
    draw = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=draw)
    tokens = torch.zeros(count, 16, dtype=torch.int32)
    tokens[:, 0], tokens[:, 1] = torch.arange(1, count + 1), 49407
    return Batch({"clean": images}, {"clean": tokens}, {"main": torch.arange(count)}, [])


def test_losses_with_either_statistics_leave_the_model_as_it_was() -> None:
    model = build_model(small_architecture(), seed=1)
    given = batch()
    images, tokens = given.images["clean"], given.tokens["clean"]
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(-0.5)  # far from those of the batch
    with torch.no_grad():
        expected = float(mmcl(*model.eval()(images, tokens)))
        other = float(mmcl(*copy.deepcopy(model).train()(images, tokens)))
    assert abs(expected - other) > 0.01
    model.train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    assert statistics_losses(model, given) == pytest.approx((expected, other), abs=1e-6)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


@pytest.mark.parametrize(("mode", "warned"), [("train", True), ("eval", False)])
def test_damage_is_one_line_with_what_to_change(
    mode: str, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipdefend.training.norm_check.statistics_losses", lambda *_: (0.45, 3.25))
    console = Console(quiet=True, stream=io.StringIO())
    train(tmp_path / "run", console, batch_norm=mode, epochs=1)
    lines = [line for line in console.warnings if "batch-norm" in line]
    line = (
        "The loss of the first batch is 3.25 with its own batch-norm statistics and 0.45 with the model's: training"
        " begins by damaging the model. Try --batch-norm eval."
    )
    assert lines == ([line] if warned else [])


def test_a_model_from_random_weights_needs_no_word(tmp_path: Path) -> None:
    console = Console(quiet=True, stream=io.StringIO())
    train(tmp_path / "run", console, epochs=1)
    assert not [line for line in console.warnings if "statistics" in line]
