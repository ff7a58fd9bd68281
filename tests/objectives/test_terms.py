"""Every term: one contract for all of them, then each one's own parameters."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from clipdefend import losses
from clipdefend.errors import ConfigError
from clipdefend.objectives import TERMS
from clipdefend.objectives.fc import FactualCounterfactual
from clipdefend.objectives.mmcl import Mmcl
from clipdefend.objectives.objective import build_objective
from clipdefend.objectives.par import PerturbRecover
from clipdefend.objectives.ssl import Ssl
from clipdefend.objectives.term import Embeddings
from clipdefend.objectives.views import IMAGE_VIEWS, TEXT_VIEWS, names_of

Make = Callable[..., Embeddings]
IMAGES, SUBSET_IMAGES = names_of(IMAGE_VIEWS, "main"), names_of(IMAGE_VIEWS, "subset")
TEXTS, SUBSET_TEXTS = names_of(TEXT_VIEWS, "main"), names_of(TEXT_VIEWS, "subset")


def with_gradient(views: Any) -> set[str]:
    return {name for name, v in views.items() if v.grad is not None and bool(v.grad.abs().sum() > 0)}


@pytest.mark.parametrize("name", TERMS.names())
def test_term_is_a_finite_scalar_of_its_declared_views(make: Make, name: str) -> None:
    """With nothing but the declared views the value is the same, and the gradient reaches each of them."""
    term = TERMS.build(name)
    e = make()
    only = Embeddings(
        image={view: e.image[view] for view in term.image_views},
        text={view: e.text[view] for view in term.text_views},
        scale=e.scale,
        reference_image={view: e.reference_image[view] for view in term.reference_image_views},
        reference_text={view: e.reference_text[view] for view in term.reference_text_views},
    )
    value = term.loss(only)
    assert value.shape == ()
    assert value.isfinite()
    assert torch.equal(value, term.loss(e))
    value.backward()
    assert with_gradient(e.image) == set(term.image_views) != set()
    assert with_gradient(e.text) == set(term.text_views) != set()


@pytest.mark.parametrize("name", TERMS.names())
def test_term_contract(name: str) -> None:
    component = TERMS.get(name)
    term = TERMS.build(name)
    assert dataclasses.is_dataclass(component)
    with pytest.raises(dataclasses.FrozenInstanceError):
        term.weight = 2.0  # type: ignore[misc]
    assert "Reference:" in (component.__doc__ or "")
    parameters = json.loads(json.dumps(dataclasses.asdict(term)))
    assert TERMS.build(name, parameters) == term
    assert term.needs_reference == bool(term.reference_image_views + term.reference_text_views)
    batch = (SUBSET_IMAGES, SUBSET_TEXTS) if term.subset else (IMAGES, TEXTS)
    assert set(term.image_views) <= set(batch[0])
    assert set(term.text_views) <= set(batch[1])


@pytest.mark.parametrize("name", TERMS.names())
@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "much", True, None])
def test_weight_is_checked(name: str, weight: object) -> None:
    with pytest.raises(ConfigError, match=rf"term '{name}': weight is .* must be a"):
        TERMS.build(name, {"weight": weight})


@pytest.mark.parametrize("name", TERMS.names())
def test_words_and_switches_are_checked(name: str) -> None:
    for item in dataclasses.fields(TERMS.get(name)):
        if item.name != "weight":
            with pytest.raises(ConfigError, match=rf"term '{name}': {item.name} is 'nonsense'; it must be"):
                TERMS.build(name, {item.name: "nonsense"})


@pytest.mark.parametrize("name", TERMS.names())
def test_weight_zero_takes_a_term_out(make: Make, name: str) -> None:
    """Beside another term, the objective is that other one alone: views, reference, sub-captions, value."""
    other = "ssl" if name == "mmcl" else "mmcl"
    alone = build_objective("ssl" if other == "ssl" else "ft")
    both = build_objective("ssl" if other == "ssl" else "ft", {name: {"weight": 0}})
    assert both == alone
    e = make()
    assert torch.equal(both.loss(e)[0], alone.loss(e)[0])


def test_numbers_may_come_as_text() -> None:
    """PyYAML reads 1e-5 as a string."""
    assert Mmcl(weight="1e-5").weight == 1e-5  # type: ignore[arg-type]
    assert type(Mmcl(weight=2).weight) is float


@pytest.mark.parametrize(
    "term",
    [Mmcl(fixed_scale=True), Ssl(fixed_scale=True), FactualCounterfactual(form="mosaic", fixed_scale=True)],
)
def test_a_fixed_scale_keeps_the_value_and_gets_a_zero_gradient(make: Make, term: Any) -> None:
    e = make()
    free = dataclasses.replace(term, fixed_scale=False)
    assert torch.equal(term.loss(e), free.loss(e))
    term.loss(e).backward()
    assert e.scale.grad is not None
    assert e.scale.grad.item() == 0
    free.loss(e).backward()
    assert e.scale.grad.item() != 0


def test_mmcl_views(make: Make) -> None:
    e = make()
    term = Mmcl(image_view="augmented", text_view="eda")
    assert torch.equal(term.loss(e), losses.mmcl(e.image["augmented"], e.text["eda"], e.scale))


def test_ssl_has_a_temperature_of_its_own(make: Make) -> None:
    """At 1 / scale it is the published term, whose gradient alone reaches the scale."""
    e = make()
    own = Ssl(temperature=1 / e.scale.item()).loss(e)
    assert own.item() == pytest.approx(Ssl().loss(e).item(), rel=1e-5)
    for sides in ("image", "text"):
        one, other = (TERMS.build("ssl", {"temperature": t, "sides": sides}) for t in (0.5, "5e-1"))
        warm = dataclasses.replace(e, scale=torch.tensor(2.0))
        assert one.loss(e).item() == pytest.approx(Ssl(sides=sides).loss(warm).item(), rel=1e-5)
        assert one == other
    own.backward()
    assert not e.scale.grad
    wrong: Any
    for wrong in (0.0, -1.0, float("nan"), "hot", True):
        with pytest.raises(ValueError, match="temperature"):
            Ssl(temperature=wrong)


def test_ssl_sides_are_its_two_halves(make: Make) -> None:
    e = make()
    image, text = Ssl(sides="image"), Ssl(sides="text")
    assert (image.image_views, image.text_views) == (("clean", "augmented"), ())
    assert (text.image_views, text.text_views) == ((), ("clean", "eda"))
    assert (image.loss(e) + text.loss(e)).item() == pytest.approx(Ssl().loss(e).item(), rel=1e-6)


def test_par_sides_and_cutoff(make: Make) -> None:
    e = make()
    image, text = PerturbRecover(sides="image"), PerturbRecover(sides="text")
    assert (image.text_views, text.image_views, text.reference_image_views) == ((), (), ())
    assert (image.loss(e) + text.loss(e)).item() == pytest.approx(PerturbRecover().loss(e).item(), rel=1e-6)
    assert PerturbRecover().loss(e) < 0
    spent = PerturbRecover(tau=0.01)
    spent.loss(e).backward()
    assert spent.loss(e) == 0
    assert with_gradient(e.image) == set()
    assert PerturbRecover(tau=0.01, cutoff="smooth").loss(e).item() == pytest.approx(-0.01, abs=1e-4)


def test_fc_hands_every_reading_on(make: Make) -> None:
    e = make()
    v = (e.image["subset"], e.text["factual"], e.text["counterfactual"])
    readings: list[dict[str, Any]] = [
        {"tau_positive": 0.1},
        {"tau_negative": 0.1},
        {"denominator": "own"},
        {"denominator": "positives"},
        {"t2i_negatives": "negtext"},
        {"combine": "sum"},
        {"form": "mosaic"},
    ]
    values = set()
    for reading in readings:
        value = FactualCounterfactual(**reading).loss(e)
        assert torch.equal(value, losses.factual_counterfactual(*v, **reading, scale=e.scale))
        values.add(value.item())
    assert len(values | {FactualCounterfactual().loss(e).item()}) == len(readings) + 1
    whole = FactualCounterfactual(positive="caption")
    assert whole.text_views == ("caption", "counterfactual")
    assert torch.equal(whole.loss(e), losses.factual_counterfactual(v[0], e.text["caption"], v[2]))
    FactualCounterfactual(gradient="text").loss(e).backward()
    assert with_gradient(e.image) == set()
    assert with_gradient(e.text) == {"factual", "counterfactual"}


def test_fc_defaults_are_the_functions() -> None:
    signature = inspect.signature(losses.factual_counterfactual).parameters
    for item in dataclasses.fields(FactualCounterfactual):
        if item.name in signature:
            assert item.default == signature[item.name].default, item.name


def test_fc_refuses_settings_without_effect() -> None:
    with pytest.raises(ConfigError, match="tau_positive has no effect on the form 'mosaic'"):
        build_objective("cleanerclip", {"fc": {"form": "mosaic", "tau_positive": 0.07}})
