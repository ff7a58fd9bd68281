"""Losses: what every option, order, scale and precision does to them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from clipdefend import losses as typed_losses

losses: Any = typed_losses  # a type checker cannot count the vectors that are spread over arguments

DENOMINATORS = ["all", "own", "all+positives", "positives"]
T2I = ["images", "negtext"]


def vectors(n: int, count: int, seed: int = 0, d: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(count, n, d, generator=generator, dtype=torch.float64)
    return list(normalize(raw, dim=-1))


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(5)), seed=st.integers(0, 1000))
def test_order_of_the_batch_does_not_matter(order: list[int], seed: int) -> None:
    a, b, c, d = vectors(5, 4, seed)
    pa, pb, pc, pd = (v[order] for v in (a, b, c, d))
    assert torch.allclose(losses.mmcl(a, b, 20.0), losses.mmcl(pa, pb, 20.0), atol=1e-12)
    assert torch.allclose(losses.ssl(a, b, c, d, 20.0), losses.ssl(pa, pb, pc, pd, 20.0), atol=1e-12)
    for reading in itertools.product(DENOMINATORS, T2I):
        before, after = (
            losses.factual_counterfactual(*v, denominator=reading[0], t2i_negatives=reading[1])
            for v in ((a, b, c), (pa, pb, pc))
        )
        assert torch.allclose(before, after, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(low=st.floats(0.1, 99), factor=st.floats(1.05, 10), seed=st.integers(0, 1000))
def test_a_larger_scale_sharpens(low: float, factor: float, seed: int) -> None:
    """Where each pair is the nearest of all, MMCL falls with s; with captions exchanged it rises."""
    image = vectors(4, 1, seed)[0]
    high = low * factor
    # Below this log(1 + tiny) has no digits left in which to fall.
    if losses.mmcl(image, image, high) > 1e-12:
        assert losses.mmcl(image, image, high) < losses.mmcl(image, image, low)
    swapped = image.roll(1, dims=0)
    assert losses.mmcl(image, swapped, high) > losses.mmcl(image, swapped, low)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 6), seed=st.integers(0, 1000), tp=st.floats(0.05, 2), tn=st.floats(0.05, 2))
def test_options_move_the_loss_as_defined(n: int, seed: int, tp: float, tn: float) -> None:
    v = vectors(n, 3, seed)
    value = {d: losses.factual_counterfactual(*v, tp, tn, denominator=d) for d in DENOMINATORS}
    # More negatives in the denominator, more loss.
    assert value["own"] < value["all"] < value["all+positives"]
    assert value["positives"] < value["all+positives"]
    assert torch.equal(losses.factual_counterfactual(*v, tp, tn, combine="sum"), 2 * value["all"])
    assert torch.equal(losses.factual_counterfactual(*v, tp, tn, gradient="text"), value["all"])
    # MosaiCLIP's form is the reading with every text in the denominator and both temperatures 1 / s.
    mosaic = losses.factual_counterfactual(*v, tp, tn, form="mosaic", scale=7.0)
    same = losses.factual_counterfactual(*v, 1 / 7.0, 1 / 7.0, denominator="all+positives")
    assert torch.allclose(mosaic, same, atol=1e-12)


def test_factuals_alone_ignore_counterfactuals() -> None:
    i, p, c, other = vectors(4, 4)
    first, second = (losses.factual_counterfactual(i, p, x, denominator="positives") for x in (c, other))
    assert torch.equal(first, second)


def test_temperatures_weigh_their_side() -> None:
    """dL/dc_p = -(1 - p) / tp and dL/dc_n = q / tn: a larger tn takes attention from counterfactuals, and
    both larger weaken both, as section 4.3 of the paper has it."""

    def pull(tp: float, tn: float) -> tuple[float, float]:
        i, p, c = vectors(6, 3, seed=3)
        p.requires_grad_()
        c.requires_grad_()
        losses.factual_counterfactual(i, p, c, tp, tn).backward()
        assert p.grad is not None
        assert c.grad is not None
        return p.grad.norm().item(), c.grad.norm().item()

    assert pull(0.3, 0.6)[1] < pull(0.3, 0.3)[1]
    assert pull(0.6, 0.3)[0] < pull(0.3, 0.3)[0]
    assert max(pull(3.0, 3.0)) < min(pull(0.3, 0.3))


def test_gradient_side_text_leaves_images_alone() -> None:
    i, p, c = (v.requires_grad_() for v in vectors(4, 3))
    losses.factual_counterfactual(i, p, c, gradient="text").backward()
    assert i.grad is None
    assert p.grad is not None
    assert p.grad.norm() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_to_float32(dtype: torch.dtype) -> None:
    half = [v.to(dtype) for v in vectors(8, 4)]
    full = [v.float() for v in half]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pairs = [
            (losses.mmcl(*half[:2], 100.0), losses.mmcl(*full[:2], 100.0)),
            (losses.ssl(*half, 100.0), losses.ssl(*full, 100.0)),
            (losses.factual_counterfactual(*half[:3]), losses.factual_counterfactual(*full[:3])),
            (
                losses.perturb_recover_distance(*half[:2], 2.5),
                losses.perturb_recover_distance(*full[:2], 2.5),
            ),
        ]
    outside = losses.mmcl(*full[:2], 100.0)
    assert torch.equal(pairs[0][0], outside)
    for low, high in pairs:
        assert low.dtype == torch.float32
        assert torch.equal(low, high)


@pytest.mark.parametrize("n", [1, 2, 64])
@pytest.mark.parametrize("opposed", [False, True])
def test_finite_at_scale_100(n: int, opposed: bool) -> None:
    """Also where every pair is opposed, so that the loss is 200 and its softmax has no digits left."""
    image = vectors(n, 1, seed=1)[0].float()
    v = [image.clone().requires_grad_(), (-image if opposed else image).clone().requires_grad_()]
    total = losses.mmcl(*v, 100.0) + losses.ssl(*v, *v, 100.0)
    total = total + losses.factual_counterfactual(*v, v[0], 0.01, 0.01)
    total = total + losses.factual_counterfactual(*v, v[0], form="mosaic", scale=100.0)
    total.backward()
    assert math.isfinite(total.item())
    assert all(x.grad is not None and bool(x.grad.isfinite().all()) for x in v)
