"""Weights between two models, worked by hand."""

from __future__ import annotations

import pytest
import torch

from clipdefend.errors import CheckpointError
from clipdefend.models.interpolate import interpolate

FIRST = {"w": torch.tensor([1.0, -2.0]), "count": torch.tensor(7)}
SECOND = {"w": torch.tensor([3.0, 2.0]), "count": torch.tensor(90)}


def test_two_parameters_by_hand() -> None:
    """0.75 * 1 + 0.25 * 3 = 1.5; 0.75 * -2 + 0.25 * 2 = -1; the counter is the first one's."""
    merged = interpolate(FIRST, SECOND, 0.75)
    assert merged["w"].tolist() == [1.5, -1.0]
    assert int(merged["count"]) == 7


def test_the_ends_are_the_models_bit_for_bit() -> None:
    first, second = ({"w": torch.randn(1000, generator=torch.Generator().manual_seed(s))} for s in (0, 1))
    assert torch.equal(interpolate(first, second, 1.0)["w"], first["w"])
    assert torch.equal(interpolate(first, second, 0.0)["w"], second["w"])


def test_half_precision_is_rounded_once() -> None:
    """0.3 * 2048 + 0.7 * 1.1426 = 615.1998, nearest to 615; rounded twice, 614.5 + 0.7998 gives 615.5."""
    first, second = ({"w": torch.tensor([x], dtype=torch.float16)} for x in (2048.0, 1.142578125))
    merged = interpolate(first, second, 0.3)["w"]
    assert merged.dtype == torch.float16
    assert float(merged) == 615.0


def test_what_cannot_be_merged_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"differ in 1 tensors \(b\)"):
        interpolate(FIRST, {**SECOND, "b": torch.zeros(1)}, 0.5)
    with pytest.raises(CheckpointError, match=r"Tensor w has shape \(2,\) in one model and \(3,\)"):
        interpolate(FIRST, {**SECOND, "w": torch.zeros(3)}, 0.5)
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        interpolate(FIRST, SECOND, 1.5)
