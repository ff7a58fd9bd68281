"""``--precision auto``: what is chosen, that a resumed run keeps it, and that values do not depend on the layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clipdefend.commands.shared import fitting
from clipdefend.config import TrainConfig
from clipdefend.models.builder import build_model
from clipdefend.training import arithmetic
from clipdefend.training.arithmetic import (
    Arithmetic,
    choose_arithmetic,
    measure_arithmetic,
)
from clipdefend.training.loop import Trainer
from command_lines import EVAL, MODEL, POISON, TRAIN, Shell, write_data
from small_clip import small_architecture
from training_jobs import equal


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        (
            {"fp32 channels-last": 1.0, "bf16 channels-last": 0.5, "fp32 contiguous": 0.8},
            "bf16 channels-last",
        ),
        ({"fp32 channels-last": 1.0, "bf16 channels-last": 1.5, "fp32 contiguous": 0.8}, "fp32 contiguous"),
        ({"fp32 channels-last": 1.0, "bf16 channels-last": 0.91}, "fp32 channels-last"),  # within the noise
        ({"fp32 contiguous": 1.0}, "fp32 contiguous"),
    ],
)
def test_the_fastest_is_chosen_where_it_is_faster_by_a_tenth(seconds: dict[str, float], chosen: str) -> None:
    assert choose_arithmetic(seconds) == chosen


def test_every_combination_is_tried_and_the_model_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(small_architecture(), seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    took = iter([9.0, 4.0, 5.0, 9.0, 1.0, 2.0, 9.0, 3.0, 3.0, 9.0, 2.0, 0.5])

    def seconds_of(step: Any, device: torch.device) -> float:
        step()
        return next(took)

    monkeypatch.setattr(arithmetic, "seconds_of", seconds_of)
    found = measure_arithmetic(model, TrainConfig(), torch.device("cpu"))
    # The first of three steps is for warming up; of the others the faster one counts.
    assert found.seconds == {
        "fp32 channels-last": 4.0,
        "bf16 channels-last": 1.0,
        "fp32 contiguous": 3.0,
        "bf16 contiguous": 0.5,
    }
    assert (found.precision, found.layout) == ("bf16", "contiguous")
    assert equal(dict(model.state_dict()), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.layout == torch.channels_last


def test_a_layout_changes_no_value() -> None:
    model = build_model(small_architecture(), seed=1).eval()
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = model.encode_image(images)
        model.set_layout(torch.contiguous_format)
        assert torch.allclose(model.encode_image(images), before, atol=1e-5)
    weight = model.clip.visual.conv1.weight
    assert weight.is_contiguous()


def test_the_choice_is_recorded_and_a_resumed_run_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell(tmp_path / "here")
    write_data(shell.folder)
    assert shell("poison", *POISON).code == 0
    asked: list[Arithmetic] = []

    def measure(*_: Any) -> Arithmetic:
        name = "bf16" if not asked else "fp32"
        times = {"fp32 channels-last": 1.0, "bf16 channels-last": 0.5}
        asked.append(Arithmetic(precision=name, layout="channels-last", seconds=times))
        return asked[-1]

    monkeypatch.setattr(fitting, "measure_arithmetic", measure)
    line = ("finetune-attack", *MODEL, *EVAL, *TRAIN, "--precision", "auto")
    whole = shell(*line, "--out", "whole")
    assert "Precision auto: bf16 channels-last" in whole.err
    recorded = whole.manifest["details"]["arithmetic"]
    assert (recorded["precision"], recorded["seconds"]["fp32 channels-last"]) == ("bf16", 1.0)
    # Seconds differ from run to run: no file of theirs may stand among the outputs, whose digests are compared.
    assert not any("arithmetic" in each["path"] for each in whole.manifest["outputs"])

    real = Trainer._end_epoch

    def stop_in_the_second(self: Trainer, *given: Any) -> None:
        if self.progress.epoch == 1:
            raise KeyboardInterrupt
        real(self, *given)

    asked.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_end_epoch", stop_in_the_second)
        assert shell(*line, "--out", "stopped").code == 130
    resumed = shell("finetune-attack", "--resume", "stopped")
    assert resumed.manifest["details"]["arithmetic"]["precision"] == "bf16"
    assert len(asked) == 1
    assert not (shell.folder / "stopped" / "arithmetic.json").exists()
    first, second = (
        shell.folder / name / "model/open_clip_model.safetensors" for name in ("whole", "stopped")
    )
    assert first.read_bytes() == second.read_bytes()


def test_doctor_shows_what_was_measured(tmp_path: Path) -> None:
    done = Shell(tmp_path)(
        "doctor", "--method", "ft", "--precision", "auto", "--device", "cpu", "--workers", 0
    )
    assert done.code == 0, done.err
    assert "precision auto is " in done.err
