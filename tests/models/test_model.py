"""The model: open_clip's features behind one forward pass, texts cut to their length."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clipdefend.models.builder import build_model
from clipdefend.models.clip import (
    MAX_LOGIT_SCALE,
    OPENAI_MEAN,
    OPENAI_STD,
    Architecture,
    ClipModel,
    cut,
    evaluating,
)
from small_clip import small_architecture

TEXTS = [
    "a cat",
    "a photo of a large red striped fish next to a tiny green house",
    "",
    "banana " * 100,
    "one can see two airplanes here",
]


def model(context: int = 77, **text: object) -> ClipModel:
    made = build_model(small_architecture(text={"context_length": context, **text}), seed=3)
    with torch.no_grad():  # trained-like positions, so that a wrong one would show
        made.clip.positional_embedding.normal_(std=0.5)
    return made.eval()


@pytest.mark.parametrize(
    "text",
    [
        {},
        {"proj_type": "none", "width": 16},
        {"proj_bias": True},
        {"no_causal_mask": True},
        {"pool_type": "last"},
    ],
    ids=str,
)
@torch.no_grad()
def test_cut_text_equals_open_clips_encode_text(text: dict[str, Any]) -> None:
    ours = model(**text)
    tokens = ours.tokenize(TEXTS)
    assert tokens.shape == (5, 77)
    whole = F.normalize(ours.clip.encode_text(tokens), dim=-1)
    assert torch.allclose(ours.encode_text(tokens), whole, atol=1e-6)
    short = ours.encode_text(ours.tokenize(TEXTS[:1]))
    assert torch.allclose(short, whole[:1], atol=1e-6)


def test_short_texts_are_really_cut() -> None:
    ours = model()
    lengths = []
    ours.clip.transformer.register_forward_hook(lambda module, given, out: lengths.append(given[0].shape[1]))
    ours.encode_text(ours.tokenize(["a cat", "a dog and a cat"]))
    assert lengths == [7]  # start, five words, end


def test_a_tower_that_sees_behind_the_end_is_not_cut() -> None:
    ours = model(no_causal_mask=True)
    lengths = []
    ours.clip.transformer.register_forward_hook(lambda module, given, out: lengths.append(given[0].shape[1]))
    ours.encode_text(ours.tokenize(["a cat"]))
    assert lengths == [77]


def test_cut_keeps_the_last_end_token() -> None:
    tokens = torch.tensor([[8, 1, 9, 0, 0, 0], [8, 1, 2, 3, 9, 0]])
    assert cut(tokens).tolist() == [[8, 1, 9, 0, 0], [8, 1, 2, 3, 9]]
    assert cut(torch.tensor([[8, 1, 2, 9]])).shape == (1, 4)


def test_the_cut_carries_the_same_gradients() -> None:
    ours = model()
    tokens = ours.tokenize(TEXTS)
    weights = torch.linspace(-1, 1, 5 * 16).view(5, 16)
    found = []
    for encode in (ours.encode_text, lambda t: F.normalize(ours.clip.encode_text(t), dim=-1)):
        ours.zero_grad()
        (encode(tokens) * weights).sum().backward()
        found.append({n: p.grad.clone() for n, p in ours.clip.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-5), name


@torch.no_grad()
def test_images_are_normalised_once_and_bytes_are_fractions_of_255(small_model: ClipModel) -> None:
    images = torch.randint(
        0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (OPENAI_MEAN, OPENAI_STD))
    theirs = F.normalize(small_model.clip.encode_image((images / 255 - mean) / std), dim=-1)
    assert torch.allclose(small_model.encode_image(images), theirs, atol=1e-5)
    assert torch.equal(small_model.encode_image(images), small_model.encode_image(images.float() / 255))


def test_the_checkpoints_own_mean_and_std_are_used() -> None:
    base = small_architecture()
    own = Architecture(base.model, {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 1.0]})
    made = build_model(own).eval()
    assert made.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert made.std.flatten().tolist() == [0.25, 0.5, 1.0]
    assert not {"mean", "std"} & set(made.state_dict())


def test_one_forward_pass_encodes_any_number_of_views(small_model: ClipModel) -> None:
    images = torch.rand(6, 3, 32, 32)
    tokens = small_model.tokenize(["a cat", "a dog"])
    image, text, scale = small_model(images, tokens)
    assert torch.equal(image, small_model.encode_image(images))
    assert torch.equal(text, small_model.encode_text(tokens))
    assert torch.allclose(image.norm(dim=1), torch.ones(6))
    assert torch.allclose(text.norm(dim=1), torch.ones(2))
    assert scale.item() == pytest.approx(1 / 0.07, rel=1e-5)
    alone, nothing, _ = small_model(images)
    assert nothing is None
    assert torch.equal(alone, image)
    assert small_model(None, tokens)[0] is None


def test_the_scale_is_at_most_100_and_its_logarithm_is_kept_in_range(small_model: ClipModel) -> None:
    for given, kept in ((10.0, MAX_LOGIT_SCALE), (-3.0, 0.0), (2.0, 2.0)):
        with torch.no_grad():
            small_model.clip.logit_scale.fill_(given)
        scale = small_model(None, small_model.tokenize(["a"]))[2]
        assert scale.item() == pytest.approx(min(math.exp(given), 100), rel=1e-5)
        small_model.clamp_scale()
        assert small_model.clip.logit_scale.item() == pytest.approx(kept)


def test_each_module_is_in_its_own_mode_again_after_an_evaluation() -> None:
    layers = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1), nn.Dropout())
    layers[1].eval()  # as --batch-norm eval has it in the middle of a training
    with contextlib.suppress(KeyboardInterrupt), evaluating(layers):
        assert not any(module.training for module in layers.modules())
        raise KeyboardInterrupt
    assert [module.training for module in (layers, *layers)] == [True, True, False, True]


def test_the_architecture_knows_its_input_size() -> None:
    assert small_architecture().image_size == 32
    assert small_architecture(vision={"image_size": [48, 48]}).image_size == 48
    assert Architecture({"vision_cfg": {}, "text_cfg": {}}).image_size == 224
    assert small_architecture().interpolation == "bicubic"
    assert Architecture({}, {"interpolation": "bilinear"}).interpolation == "bilinear"
