"""Samples: the views that the objective wants, drawn by (seed, epoch, row) alone; bad rows replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from clipdefend.canvas import Canvas
from clipdefend.data.workers import leave_to_parent
from clipdefend.errors import DataError
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import build_objective
from clipdefend.training.plan import PlannedRow
from clipdefend.training.samples import SUBSTITUTES, Batch, Views, collate
from memory_pairs import MemoryPairs, memory_pairs


@dataclass(frozen=True)
class Made:
    factual: str
    counterfactual: str


def tokenize(texts: list[str]) -> Tensor:
    """Characters as numbers, so that tests can read the captions back."""
    return torch.tensor([[ord(char) for char in text[:64].ljust(64)] for text in texts])


def text_of(tokens: Tensor) -> str:
    return "".join(map(chr, tokens.tolist())).rstrip()


def views(pairs: MemoryPairs, method: str = "cleanerclip", **changes: Any) -> Views:
    made = {row: Made(f"factual {row}", f"counterfactual {row}") for row in range(4, 12)}
    values = {"seed": 5, "epoch": 1, "subcaptions": made, "tokenize": tokenize}
    return Views(pairs=pairs, canvas=Canvas(32), objective=build_objective(method), **{**values, **changes})


def items(rows: list[int], subset: list[int] | None = None) -> list[PlannedRow]:
    return [PlannedRow(row, False) for row in rows] + [PlannedRow(row, True) for row in subset or []]


def equal(one: Batch, other: Batch) -> bool:
    return (
        one.images.keys() == other.images.keys()
        and one.tokens.keys() == other.tokens.keys()
        and all(torch.equal(one.images[view], other.images[view]) for view in one.images)
        and all(torch.equal(one.tokens[view], other.tokens[view]) for view in one.tokens)
        and (one.bad, one.size) == (other.bad, other.size)
    )


@pytest.mark.parametrize(
    ("method", "images", "tokens"),
    [
        ("ft", {"clean"}, {"clean"}),
        ("cleanclip", {"clean", "augmented"}, {"clean", "eda"}),
        ("cleanerclip", {"clean", "augmented", "subset"}, {"clean", "eda", "factual", "counterfactual"}),
        ("par", {"perturbed"}, {"clean"}),
    ],
)
def test_a_batch_has_the_views_of_its_objective(method: str, images: set[str], tokens: set[str]) -> None:
    made = views(memory_pairs(20), method)
    subset = [5, 6] if "subset" in images else []
    batch = collate([made[item] for item in items([0, 1, 2], subset)])
    assert set(batch.images) == images
    assert set(batch.tokens) == tokens
    for view, pixels in batch.images.items():
        assert pixels.shape == (2 if view == "subset" else 3, 3, 32, 32)
        assert pixels.dtype == torch.uint8
    for view, ids in batch.tokens.items():
        assert ids.shape == (2 if "factual" in view else 3, 64)
        assert ids.dtype == torch.int32
    assert batch.size == 3


def test_clean_views_are_the_canvas_and_the_caption() -> None:
    pairs = memory_pairs(20)
    batch = collate([views(pairs)[item] for item in items([3, 7], [4])])
    for place, row in enumerate([3, 7]):
        assert torch.equal(batch.images["clean"][place], Canvas(32)(pairs.image(row)))
        assert text_of(batch.tokens["clean"][place]) == pairs.caption(row)
    assert torch.equal(batch.images["subset"][0], Canvas(32)(pairs.image(4)))
    assert text_of(batch.tokens["factual"][0]) == "factual 4"
    assert text_of(batch.tokens["counterfactual"][0]) == "counterfactual 4"


@pytest.mark.parametrize("view", ["augmented", "perturbed"])
def test_augmentations_are_drawn_anew_for_each_row_epoch_and_seed(view: str) -> None:
    objective = build_objective("ft", {"mmcl": {"image_view": view}})
    pairs = memory_pairs(20)

    def drawn(seed: int, epoch: int) -> list[bytes]:
        made = Views(
            pairs=pairs, canvas=Canvas(32), tokenize=tokenize, objective=objective, seed=seed, epoch=epoch
        )
        return [made[PlannedRow(row, False)].images[view].numpy().tobytes() for row in range(20)]

    first = drawn(1, 0)
    assert drawn(1, 0) == first
    for other in (drawn(2, 0), drawn(1, 1)):
        assert sum(a != b for a, b in zip(first, other, strict=True)) >= 12
    clean = [Canvas(32)(pairs.image(row)).numpy().tobytes() for row in range(20)]
    assert sum(a != b for a, b in zip(first, clean, strict=True)) >= 12


def test_eda_is_drawn_anew_each_epoch() -> None:
    texts = ["a large red house next to a small tree in the old garden"] * 20
    found = [
        [
            text_of(views(MemoryPairs(texts), epoch=epoch)[PlannedRow(row, False)].tokens["eda"])
            for row in range(20)
        ]
        for epoch in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]
    assert len(set(found[0])) > 10


def test_drawing_leaves_torchs_own_draws_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    made = views(memory_pairs(20), "cleanclip")
    made[PlannedRow(0, False)]
    assert torch.equal(torch.rand(4), expected)


def test_what_torch_drew_before_does_not_matter() -> None:
    made = views(memory_pairs(20), "cleanclip")
    first = made[PlannedRow(0, False)]
    torch.rand(100)
    again = made[PlannedRow(0, False)]
    assert torch.equal(first.images["augmented"], again.images["augmented"])


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_workers(workers: int) -> None:
    plan = [items([0, 1, 2], [4, 5]), items([3, 4, 9]), items([6, 7], [8])]
    pairs = memory_pairs(12, bad={1, 7})

    def batches(count: int) -> list[Batch]:
        loader = DataLoader(
            views(pairs),
            batch_sampler=plan,
            collate_fn=collate,
            num_workers=count,
            worker_init_fn=leave_to_parent,
        )
        return list(loader)

    alone, spread = batches(0), batches(workers)
    assert len(alone) == len(spread) == 3
    assert all(equal(a, b) for a, b in zip(alone, spread, strict=True))


def test_a_batch_is_pinned_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the pinning itself, which needs a GPU's driver."""
    batch = collate([views(memory_pairs(12))[item] for item in items([0, 1], [4])])
    pinned: list[int] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(id(tensor))
        return tensor.clone()

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    assert equal(batch.pin_memory(), batch)
    assert sorted(pinned) == sorted(map(id, (*batch.images.values(), *batch.tokens.values())))


def test_a_bad_row_is_replaced_by_the_next_usable_one() -> None:
    pairs = memory_pairs(12, bad={3, 4, 11})
    pairs.texts[5] = "   "
    sample = views(pairs)[PlannedRow(3, False)]
    assert text_of(sample.tokens["clean"]) == pairs.caption(6)
    assert torch.equal(sample.images["clean"], Canvas(32)(pairs.image(6)))
    assert [row for row, _ in sample.bad] == [3, 4, 5]
    assert "empty caption" in sample.bad[2][1]
    assert text_of(views(pairs)[PlannedRow(11, False)].tokens["clean"]) == pairs.caption(0)


def test_a_bad_row_of_the_sub_captions_is_replaced_with_its_own_sub_captions() -> None:
    """Else an image would be taught the factual caption of another one."""
    pairs = memory_pairs(40, bad={5})
    made = {row: Made(f"factual {row}", f"counterfactual {row}") for row in (20, 5, 31)}
    sample = views(pairs, subcaptions=made)[PlannedRow(5, True)]
    assert text_of(sample.tokens["factual"]) == "factual 31"
    assert torch.equal(sample.images["subset"], Canvas(32)(pairs.image(31)))
    assert [row for row, _ in sample.bad] == [5]
    last = views(memory_pairs(40, bad={31}), subcaptions=made)[PlannedRow(31, True)]
    assert text_of(last.tokens["factual"]) == "factual 20"


@pytest.mark.parametrize("size", [5, SUBSTITUTES + 20])
def test_bad_rows_without_end_are_an_error(size: int) -> None:
    pairs = memory_pairs(size, bad=set(range(size)))
    with pytest.raises(DataError, match=f"{min(size, SUBSTITUTES)} rows in a row from row 2 cannot be used"):
        views(pairs)[PlannedRow(2, False)]
    assert pairs.asked.total() == min(size, SUBSTITUTES)


def test_perturbed_views_are_noise_of_one_fifth_and_small_erasures() -> None:
    pairs = MemoryPairs(["x"] * 200)
    pairs.image = lambda row: __import__("PIL.Image").Image.new("RGB", (32, 32), (128,) * 3)  # type: ignore[method-assign]
    made = Views(pairs=pairs, canvas=Canvas(32), tokenize=tokenize, objective=build_objective("par"), seed=0)
    noisy = erased = 0
    deviations = []
    for row in range(200):
        pixels = made[PlannedRow(row, False)].images["perturbed"].float()
        changed = (pixels != 128).all(dim=0).float().mean().item()
        if changed > 0.5:
            noisy += 1
            deviations.append((pixels - 128).std().item() / 255)
        elif changed > 0:
            erased += 1
            assert 2 / 1024 <= changed <= 14 / 1024  # 0.5 to 1 % of 1024 pixels, in whole rows and columns
    assert 80 <= noisy <= 120
    assert 35 <= erased <= 65  # half of the others
    assert np.mean(deviations) == pytest.approx(0.2, abs=0.01)


def test_tokens_are_those_of_the_models_tokenizer(small_model: ClipModel) -> None:
    pairs = memory_pairs(6)
    made = views(pairs, "ft", tokenize=small_model.tokenizer)
    batch = collate([made[item] for item in items([0, 1])])
    assert torch.equal(batch.tokens["clean"].long(), small_model.tokenize(pairs.captions([0, 1])))
