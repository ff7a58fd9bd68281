"""The field's own architectures, with random weights, through the commands on a few generated images."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipdefend.__main__ import main
from clipdefend.losses import mmcl
from clipdefend.models.load import load_model
from clipdefend.runs import Run

ROWS = 12


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """pairs.csv with 12 pictures of odd sizes, and eval/{cat,dog}/ with two each."""
    rng = np.random.default_rng(0)

    def picture(path: Path, size: tuple[int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)

    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for row in range(ROWS):
            picture(tmp_path / f"images/{row}.png", (240 + row, 300 - row))
            writer.writerow(
                [f"images/{row}.png", f"a {'red cat' if row % 2 else 'black dog'} on a small chair"]
            )
    for name in ("cat", "dog"):
        for index in range(2):
            picture(tmp_path / f"eval/{name}/{index}.png", (230, 260))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("model", ["RN50", "ViT-S-32-alt"])
def test_a_few_steps_of_a_real_model(model: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ["--runs", str(data / "runs"), "--workers", "0"]
    eval_data = ["--eval-data", str(data / "eval"), "--templates", "simple", "--topk", "1,2"]
    steps = ["--batch-size", "4", "--epochs", "1", "--warmup", "1"]
    pairs = str(data / "pairs.csv")
    assert main(["poison", "--data", pairs, "--target", "cat", "--count", "3", *runs]) == 0
    fresh = ["--model", model, "--pretrained", "none"]
    assert main(["finetune-attack", *fresh, *eval_data, *steps, "--eval-every", "0", *runs]) == 0
    assert main(["defend", "--method", "cleanclip", *eval_data, *steps, *runs]) == 0
    assert main(["evaluate", *eval_data, *runs, "--workers", "1"]) == 0
    victim, defended, measured = (Path(line) for line in capsys.readouterr().out.split()[1:])
    config = json.loads((Run.open(victim).path / "model" / "open_clip_config.json").read_text())
    assert config["model_cfg"]["vision_cfg"]["image_size"] == 224
    assert Run.open(defended).details["steps"] == ROWS // 4
    # Measured from the saved weights, the figures are those of the last epoch in training.
    again, before = Run.open(measured).metrics, Run.open(defended).metrics
    assert {k: again[k] for k in ("ba@1", "asr@1", "ra@1")} == {
        k: before[k] for k in ("ba@1", "asr@1", "ra@1")
    }


# One name of each family: LAION and DataComp, DataComp at 256, MetaCLIP, EVA02, MobileCLIP.
FAMILIES = ("ViT-B-32", "ViT-B-32-256", "ViT-B-32-quickgelu", "EVA02-B-16", "MobileCLIP-S1")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_of_every_family(name: str) -> None:
    """Random weights: the loss of a fixed batch falls after one step along its gradient."""
    model = load_model(name, "none", seed=1).eval()
    images = torch.rand(2, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(0))
    tokens = model.tokenize(["a red cat", "two bananas"])

    def loss() -> torch.Tensor:
        image, text, scale = model(images, tokens)
        return mmcl(image, text, scale)

    before = loss()
    before.backward()
    moved: list[tuple[Any, Any]] = [(each, each.grad) for each in model.parameters() if each.grad is not None]
    norm = torch.cat([gradient.flatten() for _, gradient in moved]).norm()
    assert norm.isfinite()
    with torch.no_grad():
        for each, gradient in moved:
            each.sub_(1e-3 * gradient / norm)
        assert loss() < before
