"""SSBA: shapes, the secret, what the encoder adds, and images of another encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clipdefend.attacks.ssba import SSBA
from clipdefend.attacks.stegastamp import decode, decoder_shapes, encoder_shapes, residual, strides
from clipdefend.attacks.trigger import Trigger
from clipdefend.errors import ConfigError, DataError

SMALL: dict[str, Any] = {"bits": 8, "width": 2, "decoder_width": 2}


def test_the_published_sizes_have_the_published_weights() -> None:
    encoder = encoder_shapes(100, 32)
    assert encoder["secret.weight"] == (768, 100)
    assert [encoder[f"conv{n}.weight"][0] for n in range(1, 11)] == [
        32,
        32,
        64,
        128,
        256,
        128,
        64,
        32,
        32,
        32,
    ]
    assert encoder["conv9.weight"] == (32, 70, 3, 3)
    assert encoder["residual.weight"] == (3, 32, 1, 1)
    decoder = decoder_shapes(100, 32, 224)
    channels = [decoder[f"decode{n}.weight"][0] for n in range(1, 8)]
    assert channels == [32, 32, 64, 64, 64, 128, 128]
    assert decoder["dense.weight"] == (512, 128 * 7 * 7)
    assert decoder["bits.weight"] == (100, 512)


@pytest.mark.parametrize(
    ("size", "expected", "side"),
    [
        (224, [2, 1, 2, 1, 2, 2, 2], 7),
        (64, [2, 1, 2, 1, 2, 1, 1], 8),
        (40, [2, 1, 2, 1, 2, 1, 1], 5),
        (8, [1, 1, 1, 1, 1, 1, 1], 8),
    ],
)
def test_the_decoder_halves_down_to_eight_places(size: int, expected: list[int], side: int) -> None:
    assert strides(size) == (expected, side)


def test_the_secret_is_bits_of_the_seed() -> None:
    attack = SSBA(width=2, decoder_width=2)
    first, again, other = (attack.tensors(16, seed)["secret"] for seed in (1, 1, 2))
    assert first.shape == (100,)
    assert set(first.tolist()) == {0.0, 1.0}
    assert 30 < int(first.sum()) < 70
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_residual_of_a_tenth_is_added_and_clipped() -> None:
    attack = SSBA(**SMALL)
    tensors = {name: torch.zeros_like(tensor) for name, tensor in attack.tensors(16, 0).items()}
    tensors["residual.bias"] = torch.tensor([0.1, 0.0, -0.1])
    images = torch.full((2, 3, 16, 16), 0.95)
    stamped = attack.apply(images, [0, 1], 0, tensors)
    levels = stamped.mul(255).round()
    assert (levels[:, 0] == 255).all()  # 0.95 + 0.1 is above 1
    assert (levels[:, 1] == 242).all()  # 0.95 x 255 = 242.25
    assert (levels[:, 2] == 217).all()  # 0.85 x 255 = 216.75


def test_the_residual_depends_on_the_secret_and_on_the_image() -> None:
    weights = SSBA(**SMALL).tensors(24, 3)
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    secrets = torch.stack([weights["secret"], 1 - weights["secret"]])
    both = residual(images, secrets, weights)
    one = residual(images, secrets[:1], weights)
    assert torch.allclose(both[0], one[0], atol=1e-6)
    assert not torch.allclose(both[1], one[1], atol=1e-3)
    assert not torch.allclose(one[0], one[1], atol=1e-3)


@pytest.mark.parametrize("size", [16, 33, 64])
def test_the_decoder_reads_as_many_bits_as_there_are(size: int) -> None:
    weights = SSBA(**SMALL).tensors(size, 0)
    assert decode(torch.rand(3, 3, size, size), weights).shape == (3, 8)


def write(path: Path, value: int, size: tuple[int, int] = (16, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, 1)).save(path)


def test_precomputed_images_take_the_place_of_the_image(tmp_path: Path) -> None:
    write(tmp_path / "train" / "000000012.png", 7)
    write(tmp_path / "eval" / "000000012.png", 9)
    trigger = Trigger.create("ssba", {"precomputed": str(tmp_path)}, size=16, seed=0)
    assert not trigger.attack.learned
    assert trigger.tensors == {}
    clean = torch.full((1, 3, 16, 16), 0.5)
    assert trigger(clean, [12]).mul(255).round().amax(dim=(0, 2, 3)).tolist() == [7, 7, 1]
    evaluated = trigger.attack.for_evaluation().apply(clean, [12], 0, {})
    assert evaluated.mul(255).round().amax(dim=(0, 2, 3)).tolist() == [9, 9, 1]


def test_precomputed_images_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    attack, clean = SSBA(precomputed=str(tmp_path)), torch.zeros(1, 3, 16, 16)
    with pytest.raises(DataError, match=r"000000003\.png.*not found.*train/ and in eval/"):
        attack.apply(clean, [3], 0)
    write(tmp_path / "train" / "000000003.png", 1, (17, 16))
    with pytest.raises(DataError, match="has 17 x 16 pixels: give 16 x 16"):
        attack.apply(clean, [3], 0)
    Image.new("RGB", (16, 16)).save(tmp_path / "train" / "000000004.png", format="JPEG")
    with pytest.raises(DataError, match="not a readable PNG"):
        attack.apply(clean, [4], 0)


def test_a_wrong_folder_is_an_error() -> None:
    with pytest.raises(ConfigError, match="precomputed is 3; give the path of a folder"):
        Trigger.create("ssba", {"precomputed": 3}, size=16, seed=0)


def test_a_trained_encoder_is_learned() -> None:
    assert SSBA().learned
    assert SSBA().for_evaluation().part == "eval"
