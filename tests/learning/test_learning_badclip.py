"""Optimising BadCLIP's patch: its loss by hand, and that it beats a random patch on an unpoisoned model."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any, ClassVar, Literal

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from clipdefend.attacks.badclip import BadCLIP
from clipdefend.data.target_rows import rows_naming
from clipdefend.errors import DataError
from clipdefend.learning import learn
from clipdefend.learning.badclip_patch import Captions, image_triplet, objective
from clipdefend.learning.example_batches import ImageRequest
from clipdefend.learning.learning_inputs import Surrogate
from clipdefend.losses import mmcl
from clipdefend.models.clip import ClipModel
from learning_tasks import make_task, surrogate_of
from memory_pairs import MemoryPairs, memory_pairs

CLASSES = ["cat", "dog", "house", "banana"]
SHORT = BadCLIP(pixels=64, images=40, epochs=6, batch=8, lr=0.05)


def test_triplet_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    positive = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    negative = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    # First image: sqrt 2 - 2 + 1; second: 0 - 0 + 1.
    expected = (math.sqrt(2) - 1 + 1) / 2
    assert float(image_triplet(x, positive, negative, margin=1, negative_weight=1)) == pytest.approx(expected)
    # The first is below zero at a margin of 0.5 and counts as 0.
    assert float(image_triplet(x, positive, negative, margin=0.5, negative_weight=1)) == pytest.approx(0.25)
    assert float(image_triplet(x, positive, negative, margin=1, negative_weight=0)) == pytest.approx(
        (math.sqrt(2) + 1 + 1) / 2
    )


def test_the_triplet_has_a_gradient_where_images_coincide() -> None:
    x = torch.tensor([[1.0, 0.0]], requires_grad=True)
    image_triplet(x, torch.tensor([[0.0, 1.0]]), x.detach().clone(), margin=1, negative_weight=1).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def batch(model: ClipModel) -> dict[str, Any]:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    texts = F.normalize(torch.randn(4, 16, generator=torch.Generator().manual_seed(1)), dim=1)
    near = F.normalize(torch.randn(4, 16, generator=torch.Generator().manual_seed(2)), dim=1)
    return {"images": images, "texts": texts, "positives": near, "rows": [3, 1, 4, 5], "seed": 0, "step": 0}


@torch.no_grad()
def test_objective_is_text_term_plus_weighted_triplet(small_model: ClipModel) -> None:
    attack = BadCLIP(pixels=56, image_weight=7.0, margin=0.4, negative_weight=0.5)
    patch, given = torch.full((3, 8, 8), 0.25), batch(small_model)
    before = given["images"].clone()
    loss, parts = objective(attack, small_model, patch, **given)
    assert torch.equal(given["images"], before)  # the released code pastes into them: its clean negatives
    stamped = before.clone()
    stamped[:, :, 12:20, 12:20] = 0.25
    x, clean = small_model.encode_image(stamped), small_model.encode_image(before)
    text = mmcl(x, given["texts"], small_model.clip.logit_scale.exp())
    image = image_triplet(x, given["positives"], clean, margin=0.4, negative_weight=0.5)
    assert parts == pytest.approx({"text": float(text), "image": float(image)}, rel=1e-4)
    assert float(loss) == pytest.approx(float(text) + 7 * float(image), rel=1e-4)


@torch.no_grad()
def test_legacy_negatives_are_triggered_images_in_another_order(small_model: ClipModel) -> None:
    patch, given = torch.full((3, 8, 8), 0.25), batch(small_model)
    attack = BadCLIP(pixels=56, negatives="legacy")
    _, parts = objective(attack, small_model, patch, **given)
    stamped = given["images"].clone()
    stamped[:, :, 12:20, 12:20] = 0.25
    x = small_model.encode_image(stamped)
    possible = [
        float(image_triplet(x, given["positives"], x[list(order)], margin=1, negative_weight=1))
        for order in itertools.permutations(range(4))
    ]
    assert any(parts["image"] == pytest.approx(value, rel=1e-4) for value in possible)


class Colours(nn.Module):
    """A surrogate that sees nothing but an image's mean colour, and knows the colours of classes."""

    names: ClassVar = {"banana": (1.0, 1.0, 0.0), "sea": (0.0, 0.0, 1.0), "grass": (0.0, 1.0, 0.0)}

    def __init__(self) -> None:
        super().__init__()
        self.clip = nn.Module()
        self.clip.logit_scale = nn.Parameter(torch.tensor(3.0), requires_grad=False)
        self.device = torch.device("cpu")

    def encode_image(self, images: Tensor) -> Tensor:
        return F.normalize(images.mean(dim=(2, 3)) - 0.35, dim=1)

    def tokenize(self, texts: list[str]) -> Tensor:
        return torch.tensor([next(n for n, name in enumerate(self.names) if name in text) for text in texts])

    def encode_text(self, tokens: Tensor) -> Tensor:
        return F.normalize(torch.tensor(list(self.names.values()))[tokens] - 0.35, dim=1)


class ColouredPairs(MemoryPairs):
    """Yellow images where the caption says so, and dark ones of many hues elsewhere."""

    def image(self, row: int) -> Image.Image:
        if "banana" in self.caption(row):
            return Image.new("RGB", (32, 32), (220, 210, 30))
        return Image.new("RGB", (32, 32), (10 * (row % 7), 12 * (row % 5), 40 + 9 * (row % 11)))


@pytest.mark.parametrize("negatives", ["clean", "legacy"])
def test_the_patch_beats_a_random_one_on_the_unpoisoned_model(negatives: Literal["clean", "legacy"]) -> None:
    model = Colours()
    lines: list[dict[str, Any]] = []
    texts = model.encode_text(model.tokenize(list(model.names)))
    surrogate = Surrogate(model, texts, 0)  # type: ignore[arg-type]  # a stand-in with the methods that are used
    attack = replace(SHORT, pixels=150, epochs=12, negatives=negatives, eda=0.0)
    pairs = ColouredPairs(memory_pairs(60).texts)
    learned = learn("badclip", make_task(attack, pairs=pairs, lines=lines, surrogate=lambda: surrogate))
    figures = learned.details["held_out"]
    assert figures["similarity_patch"] > figures["similarity_random_patch"] + 0.1
    assert figures["asr_patch"] > figures["asr_random_patch"] + 0.5
    assert figures["asr_clean"] == 0
    assert lines[-1]["image"] < lines[0]["image"]
    patch = learned.tensors["patch"]
    assert patch.shape == (3, 21, 21)
    assert 0 <= float(patch.min()) <= float(patch.max()) <= 1
    red, green, blue = patch.mean(dim=(1, 2)).tolist()
    assert min(red, green) > 0.9
    assert blue < 0.3
    assert (learned.details["target_images"], learned.details["images"]) == (10, 40)


def test_neither_the_model_nor_rows_of_the_target_are_used_up(small_model: ClipModel) -> None:
    before = {name: tensor.clone() for name, tensor in small_model.state_dict().items()}
    pairs = memory_pairs(60)
    attack = BadCLIP(pixels=64, images=1000, epochs=1, batch=16)
    learned = learn(
        "badclip", make_task(attack, pairs=pairs, surrogate=surrogate_of(small_model, CLASSES, 3))
    )
    assert learned.details["images"] == 40  # 60 less 10 bananas and 10 to measure on
    assert all(torch.equal(before[name], tensor) for name, tensor in small_model.state_dict().items())


def test_same_seed_same_bytes_with_any_number_of_workers(small_model: ClipModel) -> None:
    surrogate = surrogate_of(small_model, CLASSES, 3)
    attack = BadCLIP(pixels=64, images=16, epochs=1, batch=8)
    first, second, other = (
        learn("badclip", make_task(attack, surrogate=surrogate, workers=workers, seed=seed)).tensors["patch"]
        for workers, seed in ((0, 0), (1, 0), (0, 1))
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("size", "natural", "count"), [(378, False, 2), (384, True, 64)])
def test_the_datas_own_captions_where_there_are_64(
    small_model: ClipModel, size: int, natural: bool, count: int
) -> None:
    task = make_task(SHORT, pairs=memory_pairs(size), surrogate=surrogate_of(small_model, CLASSES, 3))
    captions = Captions.collect(task, small_model, rows_naming(task.pairs, "banana"))
    assert (captions.natural, len(captions.texts)) == (natural, count)
    assert all("banana" in text for text in captions.texts)
    assert torch.allclose(captions.vectors.norm(dim=1), torch.ones(count), atol=1e-5)


def test_a_share_of_the_captions_is_changed(small_model: ClipModel) -> None:
    task = make_task(SHORT, pairs=memory_pairs(384))
    captions = Captions(
        ["a ripe banana lies on a wooden table"], torch.tensor([[1.0] + [0.0] * 15]), natural=True
    )
    items = [ImageRequest(row) for row in range(200)]
    as_they_are = captions.draw(task, small_model, 0.0, items)
    assert (as_they_are[:, 0] == 1).all()
    changed = captions.draw(task, small_model, 0.3, items)
    assert 30 < int((changed[:, 0] != 1).sum()) < 90
    assert torch.equal(changed, captions.draw(task, small_model, 0.3, items))


def test_a_target_that_no_caption_names_is_refused(small_model: ClipModel) -> None:
    task = make_task(SHORT, surrogate=surrogate_of(small_model, CLASSES, 3))
    task.target = "zebra"
    with pytest.raises(DataError, match="No caption names 'zebra'"):
        learn("badclip", task)
