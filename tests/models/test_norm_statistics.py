"""Statistics of batch norms against those of the pooled batch in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from clipdefend.models.norm_statistics import batch_norms, reestimate_norms
from small_clip import small_architecture


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(
        0, 256, (26, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


def tokens_of(model: ClipModel, count: int) -> torch.Tensor:
    return model.tokenize(["a cat"] * count)


def test_the_first_norm_has_the_mean_of_all_images_together(images: torch.Tensor) -> None:
    model = build_model(small_architecture(), seed=0).train()
    norm: Any = model.clip.visual.bn1
    norm.momentum = 0.3
    used = reestimate_norms(model, images, tokens_of(model, 26), batch=8)
    assert used == 24  # three whole batches
    pixels = (images[:24].float() / 255 - model.mean) / model.std
    seen = model.clip.visual.conv1(pixels).double()
    assert torch.allclose(norm.running_mean.double(), seen.mean(dim=(0, 2, 3)), atol=1e-6)
    batches = torch.stack([part.var(dim=(0, 2, 3), unbiased=True) for part in seen.split(8)])
    assert torch.allclose(norm.running_var.double(), batches.mean(dim=0), atol=1e-6)
    assert int(norm.num_batches_tracked) == 3
    assert norm.momentum == 0.3
    assert norm.training and model.training  # noqa: PT018


def test_the_weights_before_do_not_matter_and_it_repeats(images: torch.Tensor) -> None:
    found = []
    for value in (0.0, 5.0):
        model = build_model(small_architecture(), seed=0).eval()
        for norm in batch_norms(model.clip).values():
            norm.running_mean.fill_(value)
            norm.num_batches_tracked.fill_(int(value))
        reestimate_norms(model, images, tokens_of(model, 26), batch=8)
        found.append([norm.running_mean.clone() for norm in batch_norms(model.clip).values()])
        assert not any(norm.training for norm in batch_norms(model.clip).values())
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_few_images_are_one_batch_and_models_without_norms_are_left_alone(images: torch.Tensor) -> None:
    model = build_model(small_architecture(), seed=0)
    assert reestimate_norms(model, images[:5], tokens_of(model, 5), batch=8) == 5
    plain = build_model(
        small_architecture(vision={"layers": 1, "patch_size": 16, "width": 16, "head_width": 8}), seed=0
    )
    assert reestimate_norms(plain, images[:5], tokens_of(plain, 5), batch=8) == 0
