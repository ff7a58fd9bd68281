"""Losses: hand-worked numbers, a plain float64 double loop, finite differences, wrong arguments."""

from __future__ import annotations

import itertools
import math
from math import exp, log
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clipdefend import losses

# Two pairs in the plane, whose cosines can be read off:
#   c(I, P) = [[1, .6], [0, .8]]     c(I, N) = [[.8, 0], [.6, 1]]
IMAGE = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
FACTUAL = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
COUNTERFACTUAL = torch.tensor([[0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)

DENOMINATORS = ["all", "own", "all+positives", "positives"]
T2I = ["images", "negtext"]


def vectors(n: int, count: int, seed: int = 0, d: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(count, n, d, generator=generator, dtype=torch.float64)
    return list(normalize(raw, dim=-1))


def cosine(a: Tensor, b: Tensor) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def loop_info_nce(query: Tensor, key: Tensor, scale: float) -> float:
    total = 0.0
    for i in range(len(query)):
        denominator = 0.0
        for j in range(len(key)):
            denominator += exp(scale * cosine(query[i], key[j]))
        total -= log(exp(scale * cosine(query[i], key[i])) / denominator)
    return total / len(query)


def loop_fc(
    i_: Tensor, p: Tensor, n_: Tensor, tp: float, tn: float, denominator: str, t2i: str, combine: str
) -> float:
    first = second = 0.0
    for i in range(len(i_)):
        positive = exp(cosine(i_[i], p[i]) / tp)
        below_first = below_second = positive
        for j in range(len(i_)):
            if denominator in ("all", "all+positives") or (denominator == "own" and i == j):
                below_first += exp(cosine(i_[i], n_[j]) / tn)
            if denominator in ("positives", "all+positives") and i != j:
                below_first += exp(cosine(i_[i], p[j]) / tn)
            if t2i == "images" and i != j:
                below_second += exp(cosine(p[i], i_[j]) / tn)
        if t2i == "negtext":
            below_second += exp(cosine(n_[i], i_[i]) / tn)
        first -= log(positive / below_first)
        second -= log(positive / below_second)
    return (first + second) / len(i_) / (2 if combine == "mean" else 1)


def test_mmcl_by_hand() -> None:
    """s = 1: rows of [[1, .6], [0, .8]] give log(1 + e^-.4) = .513015 and log(1 + e^-.8) = .371101, mean
    .442058; its columns log(1 + e^-1) = .313262 and log(1 + e^-.2) = .598139, mean .455700; (.442058 +
    .455700) / 2 = .448879."""
    assert losses.mmcl(IMAGE, FACTUAL, 1.0).item() == pytest.approx(0.448879, abs=1e-6)


def test_info_nce_and_ssl_by_hand() -> None:
    """One direction a modality: images against FACTUAL as their augmentation give the rows' .442058 above.
    Texts: FACTUAL against COUNTERFACTUAL have c = [[.8, 0], [.96, .8]]: log(1 + e^-.8) = .371101 and
    log(1 + e^.16) = .776344, mean .573723. (.442058 + .573723) / 2 = .507890."""
    assert losses.info_nce(IMAGE, FACTUAL, 1.0).item() == pytest.approx(0.442058, abs=1e-6)
    assert losses.ssl(IMAGE, FACTUAL, FACTUAL, COUNTERFACTUAL, 1.0).item() == pytest.approx(
        0.507890, abs=1e-6
    )


def test_factual_counterfactual_by_hand() -> None:
    """tp = .5, tn = 1. i2t: image 1: e^2 / (e^2 + e^.8 + e^0) = 7.389056 / 10.614597, -log = .362230; image
    2: e^1.6 / (e^1.6 + e^.6 + e^1) = 4.953032 / 9.493433, -log = .650600; mean .506415. t2i: caption 1: e^2
    / (e^2 + e^0), -log = log(1 + e^-2) = .126928; caption 2: e^1.6 / (e^1.6 + e^.6), -log = log(1 + e^-1) =
    .313262; mean .220095. (.506415 + .220095) / 2 = .363255."""
    value = losses.factual_counterfactual(IMAGE, FACTUAL, COUNTERFACTUAL, 0.5, 1.0)
    assert value.item() == pytest.approx(0.363255, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "i2t", "t2i"),
    [
        # Own negatives: c = .8 for image 1, 1 for image 2.
        ({"denominator": "own"}, (exp(0.8), exp(1)), (exp(0), exp(0.6))),
        # Also the other image's factual: c = .6 for image 1, 0 for image 2.
        (
            {"denominator": "all+positives"},
            (exp(0.8) + exp(0) + exp(0.6), exp(0.6) + exp(1) + exp(0)),
            (exp(0), exp(0.6)),
        ),
        ({"denominator": "positives"}, (exp(0.6), exp(0)), (exp(0), exp(0.6))),
        # The image's own counterfactual in the other direction too: c = .8 and 1.
        ({"t2i_negatives": "negtext"}, (exp(0.8) + 1, exp(0.6) + exp(1)), (exp(0.8), exp(1))),
    ],
)
def test_readings_by_hand(
    options: dict[str, str], i2t: tuple[float, float], t2i: tuple[float, float]
) -> None:
    """tp = .5, tn = 1: positives e^2 and e^1.6; what is added to them in the denominators is given."""
    positives = (exp(2), exp(1.6))
    expected = sum(log((p + n) / p) for p, n in zip(positives * 2, i2t + t2i, strict=True)) / 4
    value = losses.factual_counterfactual(IMAGE, FACTUAL, COUNTERFACTUAL, 0.5, 1.0, **options)  # type: ignore[arg-type]
    assert value.item() == pytest.approx(expected, abs=1e-12)


def test_mosaic_by_hand() -> None:
    """Scale 2, 2c: i2t over all four texts: image 1: 2 against 1.2, 1.6, 0: log(1 + e^-.8 + e^-.4 + e^-2) =
    .813143; image 2: 1.6 against 0, 1.2, 2: log(1 + e^-1.6 + e^-.4 + e^.4) = 1.213143; mean 1.013143. t2i:
    2 against 0: log(1 + e^-2) = .126928; 1.6 against 1.2: log(1 + e^-.4) = .513015; mean .319972.
    (1.013143 + .319972) / 2 = .666557."""
    value = losses.factual_counterfactual(IMAGE, FACTUAL, COUNTERFACTUAL, form="mosaic", scale=2.0)
    assert value.item() == pytest.approx(0.666557, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_contrast_equals_double_loop(n: int, scale: float) -> None:
    i, i2, t, t2 = vectors(n, 4)
    cross = (loop_info_nce(i, t, scale) + loop_info_nce(t, i, scale)) / 2
    within = (loop_info_nce(i, i2, scale) + loop_info_nce(t, t2, scale)) / 2
    assert losses.mmcl(i, t, scale).item() == pytest.approx(cross, rel=1e-12, abs=1e-12)
    assert losses.ssl(i, i2, t, t2, scale).item() == pytest.approx(within, rel=1e-12, abs=1e-12)


def test_siglip_by_hand() -> None:
    """s = 2, b = -1: logits [[1, .2], [-1, .6]]; -log sigmoid of 1, -.2, 1, .6: .313262 + .798139 + .313262 + .437488 =
    1.862151; over four pairs .465538, over two images .931075."""
    assert losses.siglip(IMAGE, FACTUAL, 2.0, -1.0).item() == pytest.approx(0.465538, abs=1e-6)
    assert losses.siglip(IMAGE, FACTUAL, 2.0, -1.0, per="image").item() == pytest.approx(0.931075, abs=1e-6)
    assert losses.siglip(IMAGE, FACTUAL, 2.0).equal(losses.siglip(IMAGE, FACTUAL, 2.0, 0.0))
    with pytest.raises(ValueError, match=r"^per is 'neither'"):
        losses.siglip(IMAGE, FACTUAL, 2.0, per="neither")  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize(("scale", "bias"), [(1.0, 0.0), (10.0, -10.0), (100.0, 2.5)])
def test_siglip_equals_double_loop(n: int, scale: float, bias: float) -> None:
    i, t = vectors(n, 2)
    total = 0.0
    for a in range(n):
        for b in range(n):
            sign = 1 if a == b else -1
            total += log(1 + exp(-sign * (scale * cosine(i[a], t[b]) + bias)))
    assert losses.siglip(i, t, scale, bias).item() == pytest.approx(total / n**2, rel=1e-12, abs=1e-12)
    assert losses.siglip(i, t, scale, bias, per="image").item() == pytest.approx(
        total / n, rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("taus", [(0.3, 0.3), (0.07, 0.5), (1.0, 0.1)])
def test_factual_counterfactual_equals_double_loop(n: int, taus: tuple[float, float]) -> None:
    i, p, c = vectors(n, 3, seed=n)
    for reading in itertools.product(DENOMINATORS, T2I, ["mean", "sum"]):
        options = dict(zip(("denominator", "t2i_negatives", "combine"), reading, strict=True))
        value = losses.factual_counterfactual(i, p, c, *taus, **options)  # type: ignore[arg-type]
        assert value.item() == pytest.approx(loop_fc(i, p, c, *taus, *reading), rel=1e-12, abs=1e-12), reading


@pytest.mark.parametrize("n", [1, 3])
def test_gradients_equal_finite_differences(n: int) -> None:
    def checked(function: object, count: int) -> None:
        raw = [v.clone().requires_grad_() for v in vectors(n, count, seed=7, d=3)]
        assert torch.autograd.gradcheck(lambda *vs: function(*(normalize(v, dim=1) for v in vs)), raw)  # type: ignore[operator]

    checked(lambda i, t: losses.mmcl(i, t, 5.0), 2)
    checked(lambda i, t: losses.siglip(i, t, 5.0, -2.0), 2)
    checked(lambda i, a, t, b: losses.ssl(i, a, t, b, 5.0), 4)
    for denominator, t2i in itertools.product(DENOMINATORS, T2I):
        checked(
            lambda i, p, c, den=denominator, neg=t2i: losses.factual_counterfactual(
                i, p, c, 0.3, 0.5, denominator=den, t2i_negatives=neg
            ),
            3,
        )
    checked(lambda *v: losses.factual_counterfactual(*v, form="mosaic", scale=5.0), 3)
    reference = vectors(n, 1, seed=9, d=3)[0]
    for tau, cutoff in ((4.0, "threshold"), (0.01, "threshold"), (1.0, "smooth")):
        checked(lambda e, t=tau, c=cutoff: losses.perturb_recover_distance(e, reference, t, cutoff=c), 1)


def test_scale_gets_its_gradient() -> None:
    """d mmcl / d s by central difference."""
    i, t = vectors(4, 2)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    losses.mmcl(i, t, scale).backward()
    step = (losses.mmcl(i, t, 3.0 + 1e-5) - losses.mmcl(i, t, 3.0 - 1e-5)) / 2e-5
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(step.item(), rel=1e-6)


def test_par_distance_by_hand() -> None:
    """Squared distances 0 of (1, 0) from itself and 2 of (0, 1) from (1, 0): D = 1. Below tau it is D with
    gradient 2 (e - r) / n, above it 0 with gradient 0; smooth with tau = D: tau - w log 2."""
    reference = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    embedding = IMAGE.clone().requires_grad_()
    below = losses.perturb_recover_distance(embedding, reference, 1.5)
    (gradient,) = torch.autograd.grad(below, embedding)
    assert below.item() == 1.0
    assert gradient.tolist() == [[0.0, 0.0], [-1.0, 1.0]]
    above = losses.perturb_recover_distance(embedding, reference, 0.5)
    (gradient,) = torch.autograd.grad(above, embedding)
    assert above.item() == 0.0
    assert gradient.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert losses.perturb_recover_distance(embedding, reference, 1.0).item() == 1.0
    frozen = reference.clone().requires_grad_()
    losses.perturb_recover_distance(embedding, frozen, 1.5).backward()
    assert frozen.grad is None
    smooth = losses.perturb_recover_distance(embedding, reference, 1.0, cutoff="smooth", width=0.5)
    assert smooth.item() == pytest.approx(1 - 0.5 * log(2), abs=1e-12)


def test_par_distance_of_one_vector() -> None:
    """The squared distance of (1, 0, 0) from (0, 0, 1) is 2: summed over the dimensions, not averaged."""
    embedding, reference = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    assert losses.perturb_recover_distance(embedding, reference, 3.0).item() == 2.0


def test_temperatures_are_a_third_by_default() -> None:
    """Section 4.3 of the paper sets both to 0.3."""
    values = [
        losses.factual_counterfactual(IMAGE, FACTUAL, COUNTERFACTUAL, *taus) for taus in ((), (0.3, 0.3))
    ]
    assert torch.equal(*values)


def test_smooth_cutoff_fades() -> None:
    """The slope in D = 1 is the logistic of (tau - D) / .1: 1 far below tau, 1/2 at it, 0 far above."""
    slopes = []
    reference = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    for tau in (2.0, 1.0, 0.5):
        embedding = IMAGE.clone().requires_grad_()
        losses.perturb_recover_distance(embedding, reference, tau, cutoff="smooth").backward()
        assert embedding.grad is not None
        slopes.append(embedding.grad[1, 1].item())  # D's own slope there is 1
    assert slopes == pytest.approx([1 / (1 + exp(-10)), 0.5, 1 / (1 + exp(5))], abs=1e-9)


def test_wrong_arguments() -> None:
    i, p, c = vectors(3, 3)
    with pytest.raises(ValueError, match=r"text does not fit.*image \(3, 6\), text \(2, 6\)"):
        losses.mmcl(i, p[:2], 1.0)
    with pytest.raises(ValueError, match="n >= 1"):
        losses.mmcl(i[:0], p[:0], 1.0)
    with pytest.raises(
        ValueError, match=r"denominator is 'every'; it must be one of: all, own, all\+positives"
    ):
        losses.factual_counterfactual(i, p, c, denominator="every")  # type: ignore[arg-type]
    for option in ("denominator", "t2i_negatives", "combine", "form", "gradient"):
        with pytest.raises(ValueError, match=f"^{option} is 'neither'"):
            losses.factual_counterfactual(i, p, c, **{option: "neither"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"image does not fit.*image \(6,\), text \(6,\)"):
        losses.mmcl(i[0], p[0], 1.0)
    bounds: list[dict[str, Any]] = [{"tau": 0.0}, {"tau": 1.0, "width": -1.0}]
    for bound in bounds:
        with pytest.raises(ValueError, match="must be a finite number above 0"):
            losses.perturb_recover_distance(i, p, **bound)
    with pytest.raises(ValueError, match="'mosaic' needs scale"):
        losses.factual_counterfactual(i, p, c, form="mosaic")
    for tau in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"tau_negative is .* above 0"):
            losses.factual_counterfactual(i, p, c, 0.3, tau)
    with pytest.raises(ValueError, match="cutoff is 'hard'; it must be one of: threshold, smooth"):
        losses.perturb_recover_distance(i, p, 1.0, cutoff="hard")  # type: ignore[arg-type]
