"""The proxy ASR: of a model with a planted direction, of one without, and the same twice."""

from __future__ import annotations

import pytest
import torch

from clipdefend.defences.proxy_asr import KINDS, ProxySettings, goal, proxy_asr
from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from small_clip import small_architecture

SETTINGS = ProxySettings(steps=2, members=1, batch=8)


class Bright(torch.nn.Module):
    """Stands in for a model: class 2 for any image with bright pixels in the mean, else class 0 or 1 by one pixel."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        pull = torch.sigmoid(200 * (images.mean(dim=(1, 2, 3)) - self.threshold))
        red = torch.sigmoid(200 * (images[:, 0, 0, 0] - 0.5))
        vectors = torch.stack([(1 - pull) * red, (1 - pull) * (1 - red), 2 * pull], dim=1)
        return torch.nn.functional.normalize(vectors, dim=1)


def images_of(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 0.6 + 0.2


def test_a_model_that_obeys_a_small_change_has_a_higher_proxy() -> None:
    """Means lie near 0.5. An overlay may add 0.05: it reaches a threshold of 0.53, and none reaches 0.8."""
    texts, images, held_out = torch.eye(3), images_of(16, 0), images_of(24, 1)
    settings = ProxySettings(steps=20, members=1, batch=8)
    obeys = proxy_asr(Bright(0.53), texts, images, held_out, settings)  # type: ignore[arg-type]
    assert obeys.value == 1.0
    assert obeys.target == 2
    assert obeys.kinds[obeys.kind] == 1.0
    sound = proxy_asr(Bright(0.8), texts, images, held_out, settings)  # type: ignore[arg-type]
    assert sound.target != 2
    assert sound.value < 1.0


def test_it_repeats_counts_its_steps_and_leaves_the_model_as_it_was() -> None:
    model = build_model(small_architecture(), seed=0).train()
    images = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    texts = torch.nn.functional.normalize(
        torch.randn(4, 16, generator=torch.Generator().manual_seed(1)), dim=1
    )
    before = {name: each.clone() for name, each in model.state_dict().items()}
    steps: list[int] = []

    def once(which: ClipModel) -> dict[str, float]:
        return proxy_asr(which, texts, images[:8], images[8:], SETTINGS, steps.append).kinds

    assert once(model) == once(model)
    assert sum(steps) == 2 * len(KINDS) * SETTINGS.steps * SETTINGS.members
    assert model.training
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_goal_by_hand() -> None:
    """All perturbed images alike and at a right angle to their own: 1 - 0; unchanged and apart: 1/2 - 1."""
    clean = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert float(goal(torch.tensor([[0.0, 0.0, 1.0]] * 2), clean)) == pytest.approx(1.0)
    assert float(goal(clean, clean)) == pytest.approx(-0.5)


def test_a_collapsed_model_does_not_pass_for_a_clean_one() -> None:
    """All clean images are of one class, and no perturbation moves them: there is no image to measure."""
    collapsed = proxy_asr(Bright(2.0), torch.eye(3)[[0, 2]], images_of(16, 0), images_of(24, 1), SETTINGS)  # type: ignore[arg-type]
    assert collapsed.value == 1.0
