"""Validation metrics, on models with known embeddings."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from clipdefend.canvas import Canvas
from clipdefend.errors import DataError
from clipdefend.models.clip import ClipModel
from clipdefend.training.job import freeze
from clipdefend.training.validation import Validation, draw_validation, measure_all, weight_drift
from memory_pairs import memory_pairs

CANVAS = Canvas(32)


def watched(model: ClipModel, size: int = 12) -> Validation:
    return draw_validation(memory_pairs(40), CANVAS, freeze(model), size=size, seed=3)


def test_the_start_model_agrees_with_itself_and_has_not_moved(small_model: ClipModel) -> None:
    seen = watched(small_model)(small_model)
    assert seen["n_val"] == 12
    assert seen["val_agreement"] == 1
    assert seen["drift_image"] == seen["drift_text"] == pytest.approx(0, abs=1e-6)
    assert seen["drift_weights"] == 0
    assert seen["val_loss"] > 0
    assert 0 <= seen["val_r@1"] <= 1


def test_the_start_model_is_remembered_as_it_was(small_model: ClipModel) -> None:
    visible = watched(small_model)
    with torch.no_grad():
        for parameter in small_model.clip.visual.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    seen = visible(small_model)
    assert seen["drift_image"] > 1e-4
    assert seen["drift_text"] == pytest.approx(0, abs=1e-6)
    assert seen["drift_weights"] > 0.1
    assert seen == visible(small_model)


def test_weight_drift_by_hand(small_model: ClipModel) -> None:
    start = copy.deepcopy(small_model)
    with torch.no_grad():
        for parameter in small_model.clip.parameters():
            parameter.mul_(1.25)
    assert weight_drift(small_model, start) == pytest.approx(0.25)


class Known(ClipModel):
    """Image i is e_i, caption i is e_(order[i])."""

    def __init__(self, model: ClipModel, order: list[int]) -> None:
        super().__init__(model.clip, model.architecture, model.tokenizer)
        self.order = order

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return torch.eye(len(images))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.eye(len(tokens))[self.order]


def test_figures_by_hand(small_model: ClipModel) -> None:
    start, now = Known(small_model, [0, 1, 2, 3]), Known(small_model, [0, 1, 3, 2])
    visible = Validation(torch.zeros(4, 3, 32, 32), torch.zeros(4, 16, dtype=torch.int32), start)
    with torch.no_grad():
        now.clip.logit_scale.fill_(math.log(2))
    seen = visible(now)
    # Two of the four images find their own caption, and the same two the one that they found before.
    assert seen["val_r@1"] == seen["val_agreement"] == 0.5
    # The two captions that changed places are at right angles to what they were.
    assert seen["drift_text"] == 0.5
    assert seen["drift_image"] == 0
    # Cosine 1 or 0 with the own caption, scale 2: -log(e^2 / (e^2 + 3)) and -log(1 / (e^2 + 3)).
    log = math.log(math.e**2 + 3)
    assert seen["val_loss"] == pytest.approx(((log - 2) + log) / 2)


def test_the_pairs_are_a_seeded_draw_without_bad_images(small_model: ClipModel) -> None:
    first, again = watched(small_model), watched(small_model)
    assert torch.equal(first.images, again.images)
    other = draw_validation(memory_pairs(40), CANVAS, small_model, size=12, seed=4)
    assert not torch.equal(first.images, other.images)
    few = draw_validation(memory_pairs(12, bad={0, 1}), CANVAS, small_model, size=20, seed=0)
    assert len(few.images) == 10
    with pytest.raises(DataError, match=r"Only 7 of the validation pairs 'memory'.*--val-pairs 0"):
        draw_validation(memory_pairs(7), CANVAS, small_model, size=20, seed=0)


def test_measurements_measure_all(small_model: ClipModel) -> None:
    def first(model: ClipModel, *, full: bool = False) -> dict[str, float]:
        return {"a": 1.0 + full}

    def second(model: ClipModel, *, full: bool = False) -> dict[str, float]:
        return {"b": 2.0 + full}

    both = measure_all(first, None, second)
    assert both is not None
    assert both(small_model) == {"a": 1.0, "b": 2.0}
    assert both(small_model, full=True) == {"a": 2.0, "b": 3.0}
    assert measure_all(None, None) is None
