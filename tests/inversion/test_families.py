"""What every family of universal triggers keeps, and the sizes by hand."""

from __future__ import annotations

import math

import pytest
import torch

from clipdefend.inversion import FAMILIES
from clipdefend.inversion.family import Family
from wired_model import images

every_family = pytest.mark.parametrize("name", FAMILIES.names())


@every_family
def test_the_same_seed_begins_at_the_same_place_and_restarts_differ(name: str) -> None:
    family = FAMILIES.build(name)
    first, again, other = (family.start(32, 5, restart) for restart in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_family
def test_triggered_images_stay_images_and_gradients_reach_every_parameter(name: str) -> None:
    family = FAMILIES.build(name)
    parameters = {key: 3 * value for key, value in family.start(32, 0, 0).items()}
    parameters = {key: value.requires_grad_() for key, value in parameters.items()}
    given = images(4)
    before = given.clone()
    triggered = family.apply(given, parameters)
    assert triggered.shape == given.shape
    assert torch.equal(given, before)
    assert float(triggered.detach().min()) >= 0
    assert float(triggered.detach().max()) <= 1
    (triggered.square().sum() + family.measure(parameters)).backward()
    assert all(float(value.grad.abs().sum()) > 0 for value in parameters.values() if value.grad is not None)
    assert all(value.grad is not None for value in parameters.values())


@every_family
def test_the_attack_does_what_the_search_saw(name: str) -> None:
    """Up to the rounding to 256 grey levels."""
    family = FAMILIES.build(name)
    parameters = family.start(32, 1, 0)
    given = images(4)
    trigger = family.to_trigger(parameters, 32)
    difference = (trigger(given, range(4)) - family.apply(given, parameters)).abs().max()
    assert float(difference) <= 0.5 / 255 + 1e-5
    assert float((trigger(given, range(4)) - given).abs().max()) > 0.01


def test_sizes_by_hand() -> None:
    half = math.atanh(0.0)  # squashed to 1/2
    three_quarters = math.atanh(0.5)
    mask = torch.full((1, 1, 2, 2), half)
    mask[0, 0, 0, 0] = three_quarters
    patch: Family = FAMILIES.build("patch")
    assert float(patch.measure({"mask": mask, "pattern": mask})) == pytest.approx((3 * 0.5 + 0.75) / 4)

    additive = FAMILIES.build("additive", {"bound": 0.2})
    field = torch.tensor([math.atanh(0.5), -math.atanh(0.25)]).reshape(1, 1, 1, 2)
    assert float(additive.measure({"field": field})) == pytest.approx(0.2 * (0.5 + 0.25) / 2)
    shifted = additive.apply(torch.tensor([0.5, 0.02]).reshape(1, 1, 1, 2), {"field": field})
    assert shifted.flatten().tolist() == pytest.approx([0.6, 0.0])  # 0.02 - 0.05 is clipped

    blend = FAMILIES.build("blend")
    share = torch.full((1, 1, 1, 1), three_quarters)
    pattern = torch.full((1, 3, 2, 2), half)
    assert float(blend.measure({"share": share, "pattern": pattern})) == pytest.approx(0.75)
    mixed = blend.apply(torch.ones(1, 3, 2, 2), {"share": share, "pattern": pattern})
    assert mixed.unique().tolist() == pytest.approx([0.25 * 1 + 0.75 * 0.5])

    warp = FAMILIES.build("warp", {"points": 2})
    flow = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[4.0, 0.0], [1.0, 0.0]])
    assert float(warp.measure({"flow": torch.stack(flow)[None]})) == pytest.approx((5 + 0 + 1 + 0) / 4)


def test_a_flow_of_one_pixel_moves_the_image_by_one_pixel() -> None:
    warp = FAMILIES.build("warp", {"points": 32})
    flow = torch.zeros(1, 2, 32, 32)
    flow[:, 0] = 1.0  # to the right: every pixel takes its right neighbour's value
    given = images(1)
    assert torch.allclose(warp.apply(given, {"flow": flow})[..., :-1], given[..., 1:], atol=1e-5)
