"""Micro-batches make the step of the whole batch: the same loss and the same gradients."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clipdefend.models.builder import build_model
from clipdefend.objectives.objective import build_objective
from clipdefend.training.embed import Embedder
from clipdefend.training.feed import micro_batches
from clipdefend.training.gradients import Gradients, keep_statistics
from clipdefend.training.plan import PlannedRow
from clipdefend.training.samples import Batch
from small_clip import small_architecture
from training_jobs import log_of, make_job, train, weights

VIT = {"layers": 1, "width": 64, "patch_size": 16}
KEYS = "attn.in_proj_bias"  # of which the part for the keys has no gradient but rounding, which Adam enlarges


class Scaled:
    """Stands for Accelerate with a gradient scaler, in any precision."""

    device = torch.device("cpu")

    def __init__(self, dtype: torch.dtype | None = None, scale: float = 1.0) -> None:
        self.dtype, self.scale = dtype, scale

    def autocast(self) -> Any:
        return torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype is not None)

    def backward(self, loss: Tensor) -> None:
        (self.scale * loss).backward()

    def no_sync(self, model: nn.Module) -> Any:
        return contextlib.nullcontext()


class Cast(nn.Module):
    """A model below autocast, as Accelerate prepares it, with dropout on its images."""

    def __init__(self, model: nn.Module, accelerator: Scaled) -> None:
        super().__init__()
        self.inner, self.accelerator = model, accelerator
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor | None, tokens: Tensor | None) -> Any:
        with self.accelerator.autocast():
            pixels = None if images is None else self.dropout(images.float() / 255)
            return self.inner(pixels, tokens)


def made_batch(rows: int, subset: int, seed: int) -> Batch:
    """A batch of every view that an objective knows."""
    draw = torch.Generator().manual_seed(seed)
    sizes = {"clean": rows, "augmented": rows, "perturbed": rows, "subset": subset}
    images = {
        view: torch.randint(0, 256, (n, 3, 32, 32), generator=draw, dtype=torch.uint8)
        for view, n in sizes.items()
        if n
    }
    sizes = {"clean": rows, "eda": rows, "factual": subset, "counterfactual": subset}
    tokens = {view: torch.randint(1, 400, (n, 16), generator=draw) for view, n in sizes.items() if n}
    for ids in tokens.values():
        ids[:, -1] = 49407
    return Batch(images, tokens, {}, [])


def cut(batch: Batch, count: int) -> list[Batch]:
    def part(views: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        return {view: x.tensor_split(count)[number] for view, x in views.items()}

    return [Batch(part(batch.images, n), part(batch.tokens, n), {}, []) for n in range(count)]


def gradients_of(
    method: str, batches: list[Batch], accelerator: Scaled, *, dropout: bool = False, **changes: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    model = build_model(small_architecture(vision=VIT), seed=1).train()
    if changes.get("lock"):
        model.clip.lock_image_tower()
    objective = build_objective(method)
    wrapped = Cast(model, accelerator)
    wrapped.dropout.p = 0.5 if dropout else 0.0
    reference = build_model(small_architecture(vision=VIT), seed=2).eval() if method == "par" else None
    step = Gradients(embed=Embedder(wrapped, reference, objective, accelerator), seed=3)
    loss = step(batches, 7)
    assert set(loss.parts) <= set(objective.terms)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.total, found


@pytest.mark.parametrize("method", ["ft", "ssl", "cleanclip", "cleanerclip", "par"])
def test_micro_batches_are_the_whole_batch(method: str) -> None:
    batch = made_batch(8, 6 if method == "cleanerclip" else 0, seed=4)
    loss, whole = gradients_of(method, [batch], Scaled())
    again, parts = gradients_of(method, cut(batch, 4), Scaled())
    assert again.item() == pytest.approx(loss.item(), abs=1e-6)
    assert parts.keys() == whole.keys()
    for name, gradient in whole.items():
        assert torch.allclose(parts[name], gradient, rtol=1e-4, atol=1e-6), name
    assert (abs(float(whole["clip.logit_scale"])) > 1e-6) is (method != "par")  # which fixes it


@pytest.mark.parametrize(("dtype", "scale"), [(torch.bfloat16, 1.0), (torch.float16, 1024.0)])
def test_half_precision_and_a_scaled_loss(dtype: torch.dtype, scale: float) -> None:
    batch = made_batch(8, 6, seed=4)
    loss, whole = gradients_of("cleanerclip", [batch], Scaled(dtype, scale))
    again, parts = gradients_of("cleanerclip", cut(batch, 4), Scaled(dtype, scale))
    assert again.item() == pytest.approx(loss.item(), abs=1e-3)
    for name, gradient in whole.items():
        error = (parts[name] - gradient).norm() / (gradient.norm() + 1e-3 * scale)
        assert float(error) < 0.03, name


def test_dropout_is_repeated_in_the_second_pass() -> None:
    """The loss is that of the first pass; its gradient along a direction is what a small step changes."""
    batches = cut(made_batch(8, 0, seed=5), 2)
    first = gradients_of("ft", batches, Scaled(), dropout=True)
    second = gradients_of("ft", batches, Scaled(), dropout=True)
    assert first[0] == second[0]
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])
    assert first[0] != gradients_of("ft", batches, Scaled())[0]
    # By hand: all features with a graph at once, from the same draws.
    model = build_model(small_architecture(vision=VIT), seed=1).train()
    objective = build_objective("ft")
    wrapped = Cast(model, Scaled())
    step = Gradients(embed=Embedder(wrapped, None, objective, Scaled()), seed=3)
    images, texts = [], []
    for number, batch in enumerate(batches):
        step._draw(7, number)
        e = step.embed.local(batch)
        images.append(e.image["clean"])
        texts.append(e.text["clean"])
    from clipdefend import losses

    losses.mmcl(torch.cat(images), torch.cat(texts), e.scale).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(parameter.grad, first[1][name], rtol=1e-4, atol=1e-6), name


def test_a_frozen_tower_gets_no_gradient() -> None:
    batch = made_batch(8, 0, seed=4)
    _, whole = gradients_of("ft", [batch], Scaled(), lock=True)
    _, parts = gradients_of("ft", cut(batch, 2), Scaled(), lock=True)
    assert parts.keys() == whole.keys()
    assert not any(name.startswith("clip.visual") for name in parts)


def test_statistics_are_kept_and_the_output_is_the_same() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval())
    x = torch.rand(8, 3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with keep_statistics(model):
        kept = model(x)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(kept, model(x))
    assert not torch.equal(before["0.running_mean"], model.state_dict()["0.running_mean"])
    assert int(model.state_dict()["0.num_batches_tracked"]) == 1


@pytest.mark.parametrize("method", ["ft", "cleanclip", "cleanerclip"])
def test_twenty_steps_of_micro_batches(tmp_path: Path, method: str) -> None:
    common: dict[str, Any] = {"lr": 1e-5, "batch_norm": "eval", "epochs": 7, "evaluate": None, "select": None}
    train(tmp_path / "whole", method=method, batch_size=8, **common)
    train(tmp_path / "parts", method=method, batch_size=2, accum_freq=4, **common)
    whole, parts = log_of(tmp_path / "whole"), log_of(tmp_path / "parts")
    assert len(whole) == len(parts) == 21
    for one, other in zip(whole, parts, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert other["lr"] == one["lr"]
    start = build_model(small_architecture(), seed=1).clip.state_dict()
    ends = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for name, end in ends[0].items():
        assert torch.allclose(end, ends[1][name], rtol=0, atol=1e-4), name
        if not name.endswith((KEYS, "k_proj.bias")):
            assert torch.allclose(end, ends[1][name], rtol=0, atol=2e-6), name
    assert float((ends[0]["text_projection"] - start["text_projection"]).abs().max()) > 1e-4


def test_statistics_move_once_a_micro_batch(tmp_path: Path) -> None:
    train(tmp_path, method="ft", batch_size=2, accum_freq=2, epochs=1)
    assert int(weights(tmp_path)["visual.bn1.num_batches_tracked"]) == 10


def test_micro_batches_are_few_and_even() -> None:
    items = [PlannedRow(row, subset=False) for row in range(9)] + [
        PlannedRow(row, subset=True) for row in range(3)
    ]
    parts = micro_batches(items, 4)
    assert [[sum(i.subset is kind for i in part) for part in parts] for kind in (False, True)] == [
        [3, 3, 3],
        [1, 1, 1],
    ]
    assert sorted(item for part in parts for item in part) == sorted(items)
    assert micro_batches(items[:2], 4) == [items[:2]]
    assert [len(part) for part in micro_batches(items[9:], 2)] == [1, 2]


def test_the_job_says_whether_every_part_reaches_every_weight(tmp_path: Path) -> None:
    assert make_job(tmp_path, method="cleanerclip").uses_all
    assert not make_job(tmp_path, method="cleanerclip", schedule="epoch-end").uses_all
    assert make_job(tmp_path, method="ft", schedule="epoch-end").uses_all
