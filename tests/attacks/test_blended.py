"""Blended: the mixture, worked by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from clipdefend.attacks import ATTACKS
from clipdefend.attacks.blended import Blended
from clipdefend.errors import ConfigError


def test_mixture_by_hand() -> None:
    images = torch.tensor([0.0, 100, 255]).div(255).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    pattern = torch.tensor([[1.0, 0.4], [0.0, 0.2]]).expand(3, 2, 2)
    stamped = Blended(alpha=0.2).apply(images, range(3), 0, {"pattern": pattern}).mul(255).round()
    # 0.8 x + 0.2 n on 255 levels, n = 255, 102, 0, 51
    assert stamped[0, 1].tolist() == [[51, 20], [0, 10]]
    assert stamped[1, 1].tolist() == [[131, 100], [80, 90]]
    assert stamped[2, 1].tolist() == [[255, 224], [204, 214]]


def test_the_whole_pattern_and_nothing_but_the_pattern_at_the_ends_of_alpha() -> None:
    images = torch.full((1, 3, 16, 16), 0.6)
    pattern = Blended().tensors(16, 0)
    assert torch.equal(Blended(alpha=0).apply(images, [0], 0), images)
    only = Blended(alpha=1).apply(images, [0], 0)
    assert torch.equal(only[0], pattern["pattern"].mul(255).round().div(255))


def test_noise_is_uniform() -> None:
    noise = Blended().tensors(128, 4)["pattern"]
    counts = torch.histc(noise, bins=10, min=0, max=1)
    assert (counts / noise.numel() - 0.1).abs().max() < 0.01


def test_image_file_is_squashed_onto_the_canvas(tmp_path: Path) -> None:
    file = tmp_path / "half.png"
    half = Image.new("RGB", (40, 10), (255, 0, 0))
    half.paste((0, 0, 255), (20, 0, 40, 10))
    half.save(file)
    pattern = ATTACKS.build("blended", {"pattern": "image", "image": str(file)}).tensors(16, 0)["pattern"]
    assert pattern.shape == (3, 16, 16)
    assert pattern[:, 8, 2].tolist() == [1, 0, 0]
    assert pattern[:, 8, 13].tolist() == [0, 0, 1]


def test_alpha_above_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"alpha is 1\.5; give a number from 0 to 1"):
        ATTACKS.build("blended", {"alpha": 1.5})
