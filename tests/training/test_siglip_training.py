"""SigLIP's loss in training: with the model's bias, without it, and in micro-batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clipdefend import losses
from clipdefend.config import FinetuneAttackConfig, load_config
from clipdefend.models.builder import build_model
from clipdefend.objectives.objective import build_objective
from clipdefend.objectives.term import Embeddings
from small_clip import small_architecture
from training_jobs import log_of, train

SIGLIP: dict[str, dict[str, Any]] = {"mmcl": {"weight": 0}, "siglip": {}}


def test_the_term_takes_the_models_bias_where_it_has_one() -> None:
    draw = torch.Generator().manual_seed(2)
    image, text = (torch.nn.functional.normalize(torch.randn(4, 6, generator=draw), dim=1) for _ in range(2))
    scale, bias = torch.tensor(5.0), torch.tensor(-3.0)

    def value(logit_bias: torch.Tensor | None, **parameters: Any) -> float:
        objective = build_objective("ft", {"mmcl": {"weight": 0}, "siglip": parameters})
        return float(objective.loss(Embeddings({"clean": image}, {"clean": text}, scale, bias=logit_bias))[0])

    assert value(bias) == pytest.approx(losses.siglip(image, text, 5.0, -3.0).item())
    for found in (value(None), value(bias, bias=False)):
        assert found == pytest.approx(losses.siglip(image, text, 5.0).item())


def test_a_model_with_a_bias_is_trained_with_it(tmp_path: Path) -> None:
    first = {}
    for name, bias in (("ten", -10), ("one", -1)):
        model = build_model(small_architecture(init_logit_bias=bias), seed=1)
        settings: dict[str, Any] = {
            "objective": build_objective("ft", SIGLIP),
            "eval_every": 0,
            "batch_norm": "eval",
        }
        trainer = train(tmp_path / name, model=model, **settings)
        assert trainer.bare.clip.logit_bias.item() == bias
        first[name] = [record["siglip"] for record in log_of(tmp_path / name)]
    assert first["ten"][0] > first["one"][0] + 0.5  # own captions are far below a bias of -10
    assert first["ten"][-1] < first["ten"][0]
    model = build_model(small_architecture(init_logit_bias=-10), seed=1)
    train(tmp_path / "parts", model=model, **settings, batch_size=2, accum_freq=2)
    assert log_of(tmp_path / "parts")[0]["siglip"] == pytest.approx(first["ten"][0], rel=1e-5)


def test_the_pretraining_preset_begins_at_random_with_any_model() -> None:
    config = load_config(FinetuneAttackConfig, preset="pretrain", flags={"model.name": "ViT-B-32"})
    assert (config.model.name, config.model.pretrained) == ("ViT-B-32", "none")
    train = config.train
    assert (train.batch_size, train.epochs, train.lr, train.warmup, train.wd) == (2048, 64, 1e-3, 10_000, 0.1)
