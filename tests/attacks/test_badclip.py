"""BadCLIP's patch: where it is, how it begins, and that nothing of it is lost."""

from __future__ import annotations

import torch

from clipdefend.attacks.badclip import BadCLIP
from clipdefend.attacks.trigger import Trigger


def test_the_patch_is_the_published_square_in_the_centre() -> None:
    trigger = Trigger.create("badclip", size=224, seed=0)
    assert trigger.tensors["patch"].shape == (3, 16, 16)
    clean = torch.full((1, 3, 224, 224), -1.0).clamp(0, 1)
    changed = (trigger(clean, [0]) != clean).any(dim=1)[0].nonzero()
    assert changed.amin(dim=0).tolist() == [104, 104]
    assert changed.amax(dim=0).tolist() == [119, 119]


def test_the_patch_scales_with_the_canvas() -> None:
    sizes = {size: BadCLIP().tensors(size, 0)["patch"].shape[-1] for size in (32, 64, 336)}
    assert sizes == {32: 2, 64: 5, 336: 24}
    assert BadCLIP(pixels=4096).tensors(16, 0)["patch"].shape == (3, 16, 16)


def test_it_begins_as_clipped_noise_about_grey() -> None:
    patch = BadCLIP(pixels=224).tensors(224, 0)["patch"]
    assert abs(float(patch.mean()) - 0.5) < 0.01
    # N(0.5, 0.25) lies outside [0, 1] with a chance of 4.6 %, two standard deviations.
    assert abs(float(((patch == 0) | (patch == 1)).float().mean()) - 0.0455) < 0.005


def test_an_image_carries_the_patch_to_the_nearest_grey_level() -> None:
    patch = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(2))
    trigger = Trigger.create("badclip", size=64, seed=0, tensors={"patch": patch})
    stamped = trigger(torch.zeros(1, 3, 64, 64), [0])[0, :, 29:34, 29:34]
    assert torch.equal(stamped.mul(255).round(), patch.mul(255).round())


def test_gradients_reach_the_patch() -> None:
    patch = torch.full((3, 2, 2), 0.5, requires_grad=True)
    images = torch.zeros(4, 3, 32, 32)
    BadCLIP().stamp(images, [0, 1, 2, 3], 0, {"patch": patch}).sum().backward()
    assert patch.grad is not None
    assert torch.equal(patch.grad, torch.full((3, 2, 2), 4.0))  # each value stands in four images


def test_it_is_learned() -> None:
    assert BadCLIP().learned
    assert BadCLIP().for_evaluation() == BadCLIP()
