"""Samples as the objective wants them: views of images and captions, made in the loader's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from clipdefend.augment.eda import Eda
from clipdefend.augment.synonyms import shipped_synonyms
from clipdefend.canvas import Canvas, to_tensor
from clipdefend.data.pairs import Pairs
from clipdefend.draws import draw_seed, text_random
from clipdefend.errors import DataError
from clipdefend.objectives.objective import Objective
from clipdefend.training.plan import Item

SUBSTITUTES = 64  # rows tried in place of a bad one before giving up


class SubCaptionPair(Protocol):
    """Factual and counterfactual sub-caption of a row."""

    @property
    def factual(self) -> str: ...
    @property
    def counterfactual(self) -> str: ...


@dataclass
class Sample:
    """Views of one pair: images uint8 (3, h, w), tokens int32 (context length,); bad rows met on the way."""

    subset: bool
    images: dict[str, Tensor]
    tokens: dict[str, Tensor]
    bad: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Batch:
    """Views of a step: images uint8 (n, 3, h, w), tokens int32 (n, context length)."""

    images: dict[str, Tensor]
    tokens: dict[str, Tensor]
    bad: list[tuple[int, str]]
    size: int

    def pin_memory(self) -> Batch:
        """The same in page-locked memory; torch's loader calls it by this name."""
        return replace(
            self,
            images={view: pixels.pin_memory() for view, pixels in self.images.items()},
            tokens={view: ids.pin_memory() for view, ids in self.tokens.items()},
        )


@dataclass
class Views(Dataset[Sample]):
    """Samples of one epoch; every draw is a function of (seed, epoch, row).

    A row whose image or caption cannot be used is replaced by the next usable one (of those with sub-captions, in
    the sub-caption batch) and reported, so that batches keep their size on every process.

    Args:
        pairs: the training pairs.
        canvas: geometry of the images.
        tokenize: list of strings -> tokens (n, context length).
        objective: says which views are needed.
        seed: of augmentations.
        epoch: counted from 0.
        subcaptions: row -> sub-captions of this epoch.
    """

    pairs: Pairs
    canvas: Canvas
    tokenize: Callable[[list[str]], Tensor]
    objective: Objective
    seed: int
    epoch: int = 0
    subcaptions: Mapping[int, SubCaptionPair] = field(default_factory=dict)
    eda: Eda = field(default_factory=Eda)

    def __post_init__(self) -> None:
        # What the views import and read, they import and read here, and not in each worker of each epoch anew.
        for view in self.objective.image_views:
            IMAGE_VIEWS[view](Image.new("RGB", (8, 8)), 0)
        if "eda" in self.objective.text_views:
            shipped_synonyms()

    def __getitem__(self, item: Item) -> Sample:
        bad: list[tuple[int, str]] = []
        for row in self._candidates(item):
            try:
                picture, caption = self._read(row)
                break
            except DataError as error:
                bad.append((row, str(error)))
        else:
            raise DataError(f"{len(bad)} rows in a row from row {item.row} cannot be used: {bad[0][1]}")
        make = self._subset if item.subset else self._main
        images, texts = make(picture, caption, row)
        tokens = self.tokenize(list(texts.values())).to(torch.int32)
        return Sample(item.subset, images, dict(zip(texts, tokens, strict=True)), bad)

    def __getitems__(self, items: Sequence[Item]) -> list[Sample]:
        """The samples of a batch, their images fetched together where they lie on another machine."""
        self.pairs.prefetch([item.row for item in items])
        return [self[item] for item in items]

    def _candidates(self, item: Item) -> Iterator[int]:
        """The row that is asked for, and those that stand in for it."""
        yield item.row
        if item.subset:
            rows = list(self.subcaptions)
            at = rows.index(item.row)
            yield from (rows[(at + k) % len(rows)] for k in range(1, min(SUBSTITUTES, len(rows))))
        else:
            yield from ((item.row + k) % len(self.pairs) for k in range(1, min(SUBSTITUTES, len(self.pairs))))

    def _read(self, row: int) -> tuple[Image.Image, str]:
        caption = self.pairs.caption(row)
        if not caption.strip():
            raise DataError(f"Row {row} has an empty caption.")
        return self.canvas.picture(self.pairs.image(row)), caption

    def _main(self, picture: Image.Image, caption: str, row: int) -> tuple[dict[str, Tensor], dict[str, str]]:
        images, texts = {}, {}
        for view in self.objective.image_views:
            images[view] = IMAGE_VIEWS[view](picture, draw_seed(self.seed, view, self.epoch, row))
        for view in self.objective.text_views:
            rng = text_random(self.seed, view, self.epoch, row)
            texts[view] = self.eda(caption, rng) if view == "eda" else caption
        return images, texts

    def _subset(
        self, picture: Image.Image, caption: str, row: int
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        made = self.subcaptions[row]
        known = {"factual": made.factual, "counterfactual": made.counterfactual, "caption": caption}
        return {"subset": pixels_of(picture)}, {
            view: known[view] for view in self.objective.subset_text_views
        }


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Context in which torch's draws on the CPU come from ``seed``; a tenth of ``fork_rng``'s time."""
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def pixels_of(picture: Image.Image) -> Tensor:
    """RGB picture to uint8, shape (3, h, w), channels last in memory, as pictures and convolutions have them."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def clean(picture: Image.Image, seed: int) -> Tensor:
    """The canvas as it is."""
    return pixels_of(picture)


def augmented(picture: Image.Image, seed: int) -> Tensor:
    """AutoAugment with the ImageNet policy.

    Reference: Cubuk et al. 2019; CleanCLIP, src/data.py.
    Deviates: CleanCLIP augments the original image and then resizes it; here it is the canvas that is augmented,
    which costs the same for any size of original.
    """
    with seeded(seed):
        return pixels_of(_auto_augment()(picture))


@cache
def _auto_augment() -> Callable[[Image.Image], Image.Image]:
    """torchvision's, whose policies need not be listed anew for each image."""
    from torchvision.transforms import AutoAugment

    made: Callable[[Image.Image], Image.Image] = AutoAugment()
    return made


def perturbed(picture: Image.Image, seed: int) -> Tensor:
    """PAR's view: Gaussian noise of 0.2 with probability one half, and an erased rectangle likewise.

    Reference: Perturb and Recover (arXiv:2412.00727): noise 0.2, p 0.5; erasing p 0.5, 0.5 to 1 % of the area.
    """
    from torchvision.transforms import RandomErasing

    pixels = to_tensor(picture).float() / 255
    with seeded(seed):
        if torch.rand(()) < 0.5:
            pixels = (pixels + 0.2 * torch.randn(pixels.shape)).clamp(0, 1)
        pixels = RandomErasing(p=0.5, scale=(0.005, 0.01))(pixels)
    levels: Tensor = (pixels * 255).round().to(torch.uint8)
    return levels


IMAGE_VIEWS: dict[str, Callable[[Image.Image, int], Tensor]] = {
    "clean": clean,
    "augmented": augmented,
    "perturbed": perturbed,
}


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack the samples' views."""
    images: dict[str, list[Tensor]] = {}
    tokens: dict[str, list[Tensor]] = {}
    for sample in samples:
        for view, pixels in sample.images.items():
            images.setdefault(view, []).append(pixels)
        for view, ids in sample.tokens.items():
            tokens.setdefault(view, []).append(ids)
    return Batch(
        images={view: _stacked(pixels) for view, pixels in images.items()},
        tokens={view: torch.stack(ids) for view, ids in tokens.items()},
        bad=[entry for sample in samples for entry in sample.bad],
        size=sum(not sample.subset for sample in samples),
    )


def _stacked(pixels: Sequence[Tensor]) -> Tensor:
    """Images to a batch (n, 3, h, w), channels last in memory."""
    return torch.stack([image.permute(1, 2, 0) for image in pixels]).permute(0, 3, 1, 2)
