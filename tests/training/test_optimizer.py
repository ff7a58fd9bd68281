"""What decays and what does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from clipdefend.training.optimizer import build_optimizer
from small_clip import small_architecture


def names(model: nn.Module, group: dict[str, object]) -> set[str]:
    of = {id(parameter): name for name, parameter in model.named_parameters()}
    return {of[id(parameter)] for parameter in group["params"]}  # type: ignore[attr-defined]


def build(model: nn.Module) -> torch.optim.AdamW:
    return build_optimizer(model, lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)


def test_weights_decay_and_norms_biases_and_the_scale_do_not(small_model: ClipModel) -> None:
    decay, plain = build(small_model).param_groups
    assert (decay["weight_decay"], plain["weight_decay"]) == (0.2, 0.0)
    assert {"clip.visual.conv1.weight", "clip.token_embedding.weight", "clip.text_projection"} <= names(
        small_model, decay
    )
    assert {"clip.logit_scale", "clip.visual.bn1.weight", "clip.ln_final.weight"} <= names(small_model, plain)
    assert all(parameter.ndim >= 2 for parameter in decay["params"])
    assert not any(name.endswith("bias") for name in names(small_model, decay))
    assert names(small_model, decay) | names(small_model, plain) == {
        n for n, _ in small_model.named_parameters()
    }


def test_norms_by_another_name_are_spared_too() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(4)
            self.layer = nn.Linear(4, 4)

    model = Odd()
    decay, plain = build(model).param_groups
    assert names(model, decay) == {"layer.weight"}
    assert names(model, plain) == {"norm.weight", "norm.bias", "layer.bias"}


@pytest.mark.parametrize("word", ["bn", "ln", "bias", "logit_scale"])
def test_matrices_with_a_spared_name_do_not_decay(word: str) -> None:
    model = nn.Module()
    model.register_parameter(f"{word}_table", nn.Parameter(torch.ones(2, 2)))
    model.register_parameter("weight", nn.Parameter(torch.ones(2, 2)))
    decay, plain = build(model).param_groups
    assert (names(model, decay), names(model, plain)) == ({"weight"}, {f"{word}_table"})


def test_a_model_without_spared_weights_has_one_group() -> None:
    (decay,) = build(nn.Linear(2, 2, bias=False)).param_groups
    assert decay["weight_decay"] == 0.2


@pytest.mark.parametrize("tower", ["image", "text"])
def test_locked_towers_are_left_out(tower: str) -> None:
    model = build_model(small_architecture(custom_text=True))
    getattr(model.clip, f"lock_{tower}_tower")()
    kept = set().union(*(names(model, group) for group in build(model).param_groups))
    assert kept
    prefix = "clip.visual." if tower == "image" else "clip.text."
    assert not any(name.startswith(prefix) for name in kept)


def test_one_step_by_hand() -> None:
    """AdamW's first step is lr times the gradient's sign, after the decay of lr times wd times the weight."""
    model = nn.Linear(1, 1, bias=True)
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(1.0)
    optimizer = build(model)
    (3 * model.weight.sum() + 5 * model.bias.sum()).backward()
    optimizer.step()
    assert model.weight.item() == pytest.approx(2.0 - 1e-3 * 0.2 * 2.0 - 1e-3, abs=1e-6)
    assert model.bias.item() == pytest.approx(1.0 - 1e-3, abs=1e-6)


@pytest.mark.parametrize("name", ["bn1.table", "ln_final.table", "attn.in_proj_bias", "logit_scale"])
def test_matrices_of_these_names_do_not_decay(name: str) -> None:
    """Vectors are spared whatever they are called, so each word is tried on a matrix."""
    model = nn.Module()
    inner = model
    *path, last = name.split(".")
    for part in path:
        child = nn.Module()
        inner.add_module(part, child)
        inner = child
    inner.register_parameter(last, nn.Parameter(torch.ones(2, 2)))
    model.register_parameter("projection", nn.Parameter(torch.ones(2, 2)))
    decay, plain = build(model).param_groups
    assert names(model, decay) == {"projection"}
    assert names(model, plain) == {name}


def test_a_module_names_parameters_of_its_own_that_do_not_decay() -> None:
    class Head(nn.Linear):
        no_decay = ("weight",)

    head, other = Head(4, 3, bias=False), nn.Linear(4, 3, bias=False)
    groups = build_optimizer(head, other, lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2).param_groups
    decay, plain = groups
    assert [id(parameter) for parameter in decay["params"]] == [id(other.weight)]
    assert [id(parameter) for parameter in plain["params"]] == [id(head.weight)]
