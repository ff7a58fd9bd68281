"""Size, interpolation and canvas of poisoned images, and of the model that is trained on them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from clipdefend.commands.finetune_attack import run_finetune_attack
from clipdefend.commands.shared import canvas_fit, inputs
from clipdefend.config import FinetuneAttackConfig, ModelConfig
from clipdefend.console import Console
from clipdefend.errors import ConfigError
from clipdefend.models.clip import Architecture
from clipdefend.runs import Context
from small_clip import SMALL


@pytest.fixture
def squashing(tmp_path: Path) -> str:
    """A model that squashes images to 32 pixels by bilinear interpolation."""
    path = tmp_path / "squashing.json"
    document = {"model_cfg": SMALL, "preprocess_cfg": {"resize_mode": "squash", "interpolation": "bilinear"}}
    path.write_text(json.dumps(document))
    return str(path)


def test_the_geometry_follows_the_model_that_is_named(make: Any, squashing: str) -> None:
    run = make(for_model=squashing, image_size=None)
    assert run.details["canvas"] == {"size": 32, "mode": "squash", "interpolation": "bilinear"}
    assert run.config["image_size"] == 32
    again = make(data=None, image_size=None, count=None, from_manifest=run.name)
    assert again.details == run.details


def test_another_geometry_beside_it_is_refused(make: Any, squashing: str) -> None:
    with pytest.raises(
        ConfigError, match=r"--image-size is 48 and --for .*json takes 32: leave one of them out"
    ):
        make(for_model=squashing, image_size="48")
    with pytest.raises(ConfigError, match="--interpolation is 'nearest' and --for"):
        make(for_model=squashing, interpolation="nearest")
    with pytest.raises(ConfigError, match=r"'auto' says nothing about sizes .* give --image-size"):
        make(for_model="auto", image_size=None)


def test_another_size_is_reported_before_weights_are_read(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    monkeypatch.setattr(inputs, "load_model", lambda *_, **__: pytest.fail("weights are read"))
    config = FinetuneAttackConfig(model=ModelConfig(name="RN50", pretrained="openai"))
    with pytest.raises(
        ConfigError, match=r"RN50 takes images of 224 .* at 32: poison again with --for RN50 or"
    ):
        run_finetune_attack.run(config, Context(runs=run.path.parent))


def test_mixed_geometries_are_warned_of(make: Any) -> None:
    attack = inputs.AttackRecord.of(make())
    console = Console(quiet=True)
    own = Architecture(dict(SMALL), {})
    canvas_fit.warn_of_geometry("m", own, attack, console)
    assert console.warnings == []
    other = Architecture(dict(SMALL), {"resize_mode": "squash", "interpolation": "bilinear"})
    canvas_fit.warn_of_geometry("m", other, attack, console)
    assert "bicubic interpolation and clean ones are by bilinear" in console.warnings[0]
    assert "poison with --for m or --canvas squash" in console.warnings[1]
    canvas_fit.warn_of_geometry("m", own, dataclasses.replace(attack, canvas="squash"), console)
    assert "poison with --for m or --canvas crop" in console.warnings[2]
