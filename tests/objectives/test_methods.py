"""Methods and their weighted sum: formulas, views, steps without a batch, mistakes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from clipdefend import losses
from clipdefend.errors import ConfigError
from clipdefend.objectives import METHODS
from clipdefend.objectives.objective import Objective, build_objective
from clipdefend.objectives.term import Embeddings

Make = Callable[..., Embeddings]


def with_gradient(views: Any) -> set[str]:
    return {name for name, v in views.items() if v.grad is not None and bool(v.grad.abs().sum() > 0)}


@pytest.mark.parametrize("method", METHODS)
def test_method_contract(make: Make, method: str) -> None:
    objective = build_objective(method)
    e = make()
    total, parts = objective.loss(e)
    assert total.shape == ()
    assert total.isfinite()
    assert list(parts) == list(METHODS[method].terms)
    assert not any(part.requires_grad for part in parts.values())
    assert total.item() == pytest.approx(sum(part.item() for part in parts.values()))
    total.backward()
    assert with_gradient(e.image) == {*objective.image_views, *objective.subset_image_views}
    assert with_gradient(e.text) == {*objective.text_views, *objective.subset_text_views}
    assert METHODS[method].description
    assert "arXiv" in METHODS[method].source


@pytest.mark.parametrize(
    ("method", "image", "text", "subset", "reference"),
    [
        ("ft", ("clean",), ("clean",), False, False),
        ("ssl", ("clean", "augmented"), ("clean", "eda"), False, False),
        ("cleanclip", ("clean", "augmented"), ("clean", "eda"), False, False),
        ("cleanerclip", ("clean", "augmented"), ("clean", "eda"), True, False),
        ("par", ("perturbed",), ("clean",), False, True),
        ("par-clean", ("clean",), ("clean",), False, True),
        ("mmcl+ssl", ("clean", "augmented"), ("clean", "eda"), False, False),
    ],
)
def test_views_of_the_methods(
    method: str, image: tuple[str, ...], text: tuple[str, ...], subset: bool, reference: bool
) -> None:
    objective = build_objective(method)
    assert (objective.image_views, objective.text_views) == (image, text)
    assert (objective.has_subset, objective.needs_reference) == (subset, reference)
    assert objective.subset_image_views == (("subset",) if subset else ())
    assert objective.subset_text_views == (("factual", "counterfactual") if subset else ())
    assert objective.reference_image_views == (image if reference else ())
    assert objective.reference_text_views == (text if reference else ())


def test_formulas_of_the_methods(make: Make) -> None:
    e = make()
    clean, text = e.image["clean"], e.text["clean"]
    mmcl = losses.mmcl(clean, text, e.scale)
    ssl = losses.ssl(clean, e.image["augmented"], text, e.text["eda"], e.scale)
    fc = losses.factual_counterfactual(
        e.image["subset"], e.text["factual"], e.text["counterfactual"], 0.3, 0.3
    )
    noisy = e.image["perturbed"]
    drift, text_drift, noisy_drift = (
        (vectors - victim).square().sum(1).mean()
        for vectors, victim in (
            (clean, e.reference_image["clean"]),
            (text, e.reference_text["clean"]),
            (noisy, e.reference_image["perturbed"]),
        )
    )
    assert max(drift, text_drift, noisy_drift) < 2.15
    expected = {
        "ft": mmcl,
        "ssl": ssl,
        "cleanclip": mmcl + ssl,
        "mmcl+ssl": mmcl + ssl,
        "cleanerclip": mmcl + ssl + fc,
        "par": losses.mmcl(noisy, text, e.scale) - (noisy_drift + text_drift) / 2,
        "par-clean": mmcl - (drift + text_drift) / 2,
    }
    assert expected.keys() == METHODS.keys()
    for method, value in expected.items():
        assert build_objective(method).loss(e)[0].item() == pytest.approx(value.item(), rel=1e-6), method


def test_par_does_not_train_the_scale(make: Make) -> None:
    e = make()
    build_objective("par").loss(e)[0].backward()
    assert e.scale.grad is not None
    assert e.scale.grad.item() == 0


def test_an_override_keeps_the_methods_other_parameters() -> None:
    term = build_objective("par", {"mmcl": {"weight": 2}}).to_dict()["mmcl"]
    assert (term["weight"], term["image_view"], term["fixed_scale"]) == (2.0, "perturbed", True)


def test_lambda2_zero_is_cleanclip_to_the_last_bit(make: Make) -> None:
    cleaner = build_objective("cleanerclip", {"fc": {"weight": 0}})
    assert cleaner == build_objective("cleanclip")
    assert not cleaner.has_subset
    gradients = []
    for objective in (cleaner, build_objective("cleanclip")):
        e = make()
        total, _ = objective.loss(e)
        total.backward()
        gradients.append(
            [total.detach(), *(v.grad for v in (*e.image.values(), *e.text.values()) if v.grad is not None)]
        )
    assert len(gradients[0]) == 5
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("weight", [0.5, 2.0, 8.0])
def test_weights_multiply(make: Make, weight: float) -> None:
    e = make()
    objective = build_objective("cleanerclip", {"fc": {"weight": weight}, "ssl": {"weight": 3}})
    total, parts = objective.loss(e)
    value = parts["mmcl"] + 3 * parts["ssl"] + weight * parts["fc"]
    assert total.item() == pytest.approx(value.item(), rel=1e-6)
    assert str(objective) == f"mmcl + 3 ssl + {weight:g} fc"


def test_cleanerclip_with_pars_term(make: Make) -> None:
    """One override adds it: its view and the victim are added, the method's own terms do not change."""
    objective = build_objective("cleanerclip", {"par": {"weight": 0.5, "tau": 3}})
    assert list(objective.terms) == ["mmcl", "ssl", "fc", "par"]
    assert objective.image_views == ("clean", "augmented", "perturbed")
    assert objective.reference_image_views == ("perturbed",)
    assert objective.needs_reference
    e = make()
    plain = build_objective("cleanerclip").loss(e)[0]
    assert objective.loss(e)[0].item() == pytest.approx((plain + objective.loss(e)[1]["par"] / 2).item())
    shared = build_objective("cleanerclip", {"par": {"image_view": "augmented"}})
    assert shared.image_views == ("clean", "augmented")
    assert shared.reference_image_views == ("augmented",)
    assert objective.to_dict()["par"]["tau"] == 3.0


def test_steps_without_sub_captions(make: Make) -> None:
    e = make(subset=0)
    total, parts = build_objective("cleanerclip").loss(e)
    assert list(parts) == ["mmcl", "ssl"]
    assert torch.equal(total, build_objective("cleanclip").loss(e)[0])


def test_steps_of_sub_captions_alone(make: Make) -> None:
    _, parts = build_objective("cleanerclip").loss(make(main=0))
    assert list(parts) == ["fc"]


def test_steps_with_nothing(make: Make) -> None:
    with pytest.raises(ValueError, match="none of the terms mmcl, ssl has a batch"):
        build_objective("cleanclip").loss(make(main=0))


def test_a_missing_view_is_not_passed_over(make: Make) -> None:
    e = make()
    half = dataclasses.replace(e, image={"clean": e.image["clean"]}, text=e.text)
    with pytest.raises(ValueError, match="term 'ssl' needs the image view 'augmented'; given: clean"):
        build_objective("cleanclip").loss(half)
    with pytest.raises(ValueError, match="term 'par' needs the reference image view 'perturbed'"):
        build_objective("par").loss(make(reference=False))


@pytest.mark.parametrize(
    ("method", "overrides", "message"),
    [
        ("cleanerclp", {}, r"Unknown method 'cleanerclp'\. Did you mean 'cleanerclip'\? Available: ft, ssl"),
        ("ft", {"parr": {}}, r"Unknown term 'parr'\. Did you mean 'par'\? Available: mmcl, siglip, ssl, fc, par"),
        ("ft", {"mmcl": {"wieght": 1}}, r"no parameter 'wieght'\. Did you mean 'weight'\?"),
        ("ft", {"mmcl": 2}, r"Term 'mmcl' is given as 2; name its parameters, such as mmcl\.weight"),
        ("cleanclip", {"mmcl": {"weight": 0}, "ssl": {"weight": 0}}, r"no term left: mmcl, ssl all"),
        ("cleanerclip", {"fc": {"tau_positive": 0}}, r"tau_positive is 0\.0; .* above 0"),
        ("par", {"par": {"tau": "far"}}, r"tau is 'far'; it must be a number"),
        ("par", {"mmcl": {"image_view": "noisy"}}, r"image_view is 'noisy'; .* one of: clean, augmented"),
    ],
)  # fmt: skip
def test_mistakes_are_named(method: str, overrides: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_objective(method, overrides)
    assert "\n" not in str(caught.value)


def test_building_does_not_change_the_methods() -> None:
    before = {name: {term: dict(given) for term, given in m.terms.items()} for name, m in METHODS.items()}
    build_objective("cleanerclip", {"par": {"weight": 1}, "ssl": {"weight": 2}})
    assert {name: m.terms for name, m in METHODS.items()} == before
    assert isinstance(build_objective("cleanerclip"), Objective)


def test_listing_imports_nothing_heavy() -> None:
    code = "import sys, clipdefend.objectives; print(*{'torch', 'numpy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
