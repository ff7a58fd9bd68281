"""Training SSBA's encoder: its losses by hand, its ramp, and that a small one learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from clipdefend.attacks.ssba import SSBA
from clipdefend.attacks.trigger import Trigger
from clipdefend.learning import learn
from clipdefend.learning.ssba_encoder import encoder_losses, fade_in, image_weight
from learning_tasks import make_task
from memory_pairs import memory_pairs

SMALL = SSBA(
    bits=4,
    width=4,
    decoder_width=4,
    images=192,
    epochs=14,
    batch=16,
    lr=3e-3,
    fade=20,
    image_weight=1.0,
    ramp=30,
)


def test_without_weights_nothing_is_hidden_and_bits_are_guessed() -> None:
    weights = {name: torch.zeros_like(tensor) for name, tensor in SMALL.tensors(16, 0).items()}
    images = torch.full((2, 3, 16, 16), 0.5)
    bits, error, accuracy = encoder_losses(images, torch.tensor([[0.0, 1, 1, 1], [1.0, 1, 1, 1]]), weights)
    assert float(bits) == pytest.approx(math.log(2))
    assert float(error) == 0
    assert accuracy == pytest.approx(1 / 8)  # logits of 0 are read as 0


def test_image_loss_and_bits_by_hand() -> None:
    weights = {name: torch.zeros_like(tensor) for name, tensor in SMALL.tensors(16, 0).items()}
    weights["residual.bias"] = torch.tensor([0.3, 0.0, 0.8])
    weights["bits.bias"] = torch.tensor([2.0, -1.0, 0.0, 0.0])
    images = torch.full((1, 3, 16, 16), 0.5)
    bits, error, accuracy = encoder_losses(images, torch.tensor([[1.0, 0, 0, 1]]), weights)
    assert float(error) == pytest.approx((0.3**2 + 0.5**2) / 3, rel=1e-5)  # 1.3 is clipped to 1
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1)) + 2 * math.log(2)) / 4
    assert float(bits) == pytest.approx(expected)
    assert accuracy == 0.75


def test_the_gradient_passes_the_rounding() -> None:
    weights = SMALL.tensors(16, 0)
    weights["residual.bias"] = torch.zeros(3, requires_grad=True)
    bits, _, _ = encoder_losses(torch.full((1, 3, 16, 16), 0.5), torch.ones(1, 4), weights)
    (gradient,) = torch.autograd.grad(bits, weights["residual.bias"])
    assert (gradient != 0).all()


def test_the_images_count_once_the_bits_are_read() -> None:
    attack = SSBA(image_weight=10.0, ramp=200)
    assert image_weight(attack, 500, None) == 0
    assert [image_weight(attack, step, 100) for step in (100, 150, 300, 999)] == [0, 2.5, 10, 10]
    assert image_weight(SSBA(image_weight=10.0, ramp=0), 101, 100) == 10


def test_images_fade_in_from_grey() -> None:
    images = torch.tensor([0.0, 0.5, 0.9])
    assert fade_in(images, 0, 100).tolist() == [0.5, 0.5, 0.5]
    assert fade_in(images, 25, 100).tolist() == pytest.approx([0.375, 0.5, 0.6])
    assert fade_in(images, 100, 100) is images
    assert fade_in(images, 0, 0) is images


@pytest.fixture(scope="module")
def trained() -> tuple[Any, list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = []
    return learn("ssba", make_task(SMALL, size=16, pairs=memory_pairs(240), lines=lines)), lines


def test_a_small_encoder_learns_to_hide_four_bits(trained: tuple[Any, list[dict[str, Any]]]) -> None:
    learned, lines = trained
    figures = learned.details["held_out"]
    assert learned.details["steps"] == 168
    assert figures["images"] == 48
    assert figures["bit_accuracy"] > 0.9
    assert figures["secret_accuracy"] > 0.9
    assert figures["psnr"] > 15
    assert [line["step"] for line in lines] == [*range(1, 168, 10), 168]
    assert lines[-1]["bit_loss"] < 0.5 * lines[0]["bit_loss"]


def test_the_trigger_made_of_it_is_the_secret(trained: tuple[Any, list[dict[str, Any]]]) -> None:
    learned, _ = trained
    drawn = SMALL.tensors(16, 0)
    assert torch.equal(learned.tensors["secret"], drawn["secret"])
    assert {name: t.shape for name, t in learned.tensors.items()} == {n: t.shape for n, t in drawn.items()}
    trigger = Trigger("ssba", SMALL, 16, 0, learned.tensors)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(trigger(images, [0, 1]), Trigger("ssba", SMALL, 16, 0, drawn)(images, [0, 1]))


def test_same_seed_same_bytes_with_any_number_of_workers() -> None:
    short = SSBA(bits=4, width=2, decoder_width=2, images=32, epochs=1, batch=8)
    first, second, other = (
        learn("ssba", make_task(short, size=16, workers=workers, seed=seed)).tensors
        for workers, seed in ((0, 0), (1, 0), (0, 1))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_a_decoder_that_reads_badly_is_a_warning() -> None:
    task = make_task(SSBA(bits=4, width=2, decoder_width=2, images=16, epochs=1, batch=8), size=16)
    learn("ssba", task)
    assert any("of the bits: try more --set attack.epochs=2" in line for line in task.console.warnings)
