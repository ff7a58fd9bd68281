"""Tasks on pairs in memory, small enough to be learned in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from clipdefend.attacks.attack import Attack
from clipdefend.canvas import Canvas, to_tensor
from clipdefend.learning.learning_inputs import LearningInputs, Surrogate
from clipdefend.models.clip import ClipModel
from memory_pairs import MemoryPairs, memory_pairs


def flipped(picture: Image.Image, seed: int) -> Tensor:
    """An augmentation that shows: left and right change places."""
    return to_tensor(picture).flip(2)


def surrogate_of(model: ClipModel, classes: list[str], target: int) -> Callable[[], Surrogate]:
    model.requires_grad_(False)
    texts = F.normalize(
        model.encode_text(model.tokenize([f"a photo of a {name}" for name in classes])), dim=1
    )
    return lambda: Surrogate(model, texts, target)


def no_surrogate() -> Surrogate:
    raise RuntimeError("this attack needs no surrogate")


def make_task(
    attack: Attack,
    *,
    size: int = 32,
    pairs: MemoryPairs | None = None,
    lines: list[dict[str, Any]] | None = None,
    surrogate: Callable[[], Surrogate] = no_surrogate,
    workers: int = 0,
    seed: int = 0,
) -> LearningInputs:
    pairs = pairs or memory_pairs(60)
    kept = lines if lines is not None else []
    return LearningInputs(
        attack=attack,
        pairs=pairs,
        canvas=Canvas(size),
        target="banana",
        templates=["a photo of a {}.", "art of the {}."],
        surrogate=surrogate,
        augment=flipped,
        seed=seed,
        bad=pairs.bad_rows(0.5),
        log=lambda line: kept.append(dict(line)),
        workers=workers,
        device=torch.device("cpu"),
    )
