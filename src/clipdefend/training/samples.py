"""Samples as an objective wants them: the views of a pair, made in the loader's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from clipdefend.canvas import Canvas
from clipdefend.data.pairs import Pairs
from clipdefend.errors import DataError
from clipdefend.objectives.objective import Objective
from clipdefend.objectives.views import IMAGE_VIEWS, TEXT_VIEWS, BatchName, ImageView, Pair, SubCaptionPair
from clipdefend.training.plan import PlannedRow

SUBSTITUTES = 64  # rows tried in place of a bad one before giving up


class SameCaption(NamedTuple):
    """Stands for a pair of sub-captions, which are hardly longer than their caption."""

    factual: str
    counterfactual: str


@dataclass
class Sample:
    """Views of one pair.

    Attributes:
        row: id of the pair that they are of: the planned one, or the one that took the place of a bad row.
        batch: ``main`` or ``subset``.
        images: view -> uint8, shape (3, h, w).
        tokens: view -> int32, shape (context length,).
        bad: rows that could not be used and why.
    """

    row: int
    batch: BatchName
    images: dict[str, Tensor]
    tokens: dict[str, Tensor]
    bad: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Batch:
    """Views of a step, or of a micro-batch of it.

    Attributes:
        images: view -> uint8, or float in [0, 1] where the device made it, shape (n, 3, h, w).
        tokens: view -> int32, shape (n, context length).
        rows: batch (``main``, ``subset``) -> ids of its rows, int64, shape (n,).
        bad: rows that could not be used and why.
    """

    images: dict[str, Tensor]
    tokens: dict[str, Tensor]
    rows: dict[str, Tensor]
    bad: list[tuple[int, str]]

    @property
    def size(self) -> int:
        """Number of pairs of the main batch."""
        return len(self.rows.get("main", ()))

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
        only: rows that take part, ascending; None: all.
    """

    pairs: Pairs
    canvas: Canvas
    tokenize: Callable[[list[str]], Tensor]
    objective: Objective
    seed: int
    epoch: int = 0
    subcaptions: Mapping[int, SubCaptionPair] = field(default_factory=dict)
    only: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        # Libraries and word lists that views load on first use are loaded here, not in each worker of each epoch.
        blank = Pair(Image.new("RGB", (8, 8)), "a small cat", SameCaption("a cat", "a dog"))
        self._make(blank, 0, "main")
        self._make(blank, 0, "subset")

    def __getitem__(self, planned: PlannedRow) -> Sample:
        bad: list[tuple[int, str]] = []
        for row in self._candidates(planned):
            try:
                picture, caption = self._read(row)
                break
            except DataError as error:
                bad.append((row, str(error)))
        else:
            raise DataError(f"{len(bad)} rows in a row from row {planned.row} cannot be used: {bad[0][1]}")
        batch: BatchName = "subset" if planned.subset else "main"
        pair = Pair(picture, caption, self.subcaptions[row] if planned.subset else None)
        images, texts = self._make(pair, row, batch)
        tokens = (
            dict(zip(texts, self.tokenize(list(texts.values())).to(torch.int32), strict=True))
            if texts
            else {}
        )
        return Sample(row, batch, images, tokens, bad)

    def __getitems__(self, planned: Sequence[PlannedRow]) -> list[Sample]:
        """The samples of a batch, their images fetched together where they are on another machine."""
        self.pairs.prefetch([each.row for each in planned])
        return [self[each] for each in planned]

    def _candidates(self, planned: PlannedRow) -> Iterator[int]:
        """The row that is asked for, and those that stand in for it."""
        yield planned.row
        rows: Sequence[int] | NDArray[np.int64]
        if planned.subset:
            rows = list(self.subcaptions)
            at = rows.index(planned.row)
        elif self.only is not None:
            rows, at = self.only, int(np.searchsorted(self.only, planned.row))
        else:
            rows, at = range(len(self.pairs)), planned.row
        yield from (int(rows[(at + k) % len(rows)]) for k in range(1, min(SUBSTITUTES, len(rows))))

    def _read(self, row: int) -> tuple[Image.Image, str]:
        caption = self.pairs.caption(row)
        if not caption.strip():
            raise DataError(f"Row {row} has an empty caption.")
        return self.canvas.picture(self.pairs.image(row)), caption

    def _make(self, pair: Pair, row: int, batch: BatchName) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Images and texts of the views of a batch."""
        objective, images, texts = self.objective, {}, {}
        main = batch == "main"
        for name in objective.loaded_image_views if main else objective.subset_image_views:
            view = IMAGE_VIEWS[name]
            if not isinstance(view, ImageView):
                raise ValueError(
                    f"image view {name!r} is made on the device, so that no other can start from it"
                )
            images[name] = view.make(pair, view.seed(self.seed, self.epoch, row))
        for name in objective.loaded_text_views if main else objective.subset_text_views:
            text = TEXT_VIEWS[name]
            texts[name] = text.make(pair, text.seed(self.seed, self.epoch, row))
        return images, texts


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack the samples' views."""
    images: dict[str, list[Tensor]] = {}
    tokens: dict[str, list[Tensor]] = {}
    rows: dict[str, list[int]] = {}
    for sample in samples:
        rows.setdefault(sample.batch, []).append(sample.row)
        for view, pixels in sample.images.items():
            images.setdefault(view, []).append(pixels)
        for view, ids in sample.tokens.items():
            tokens.setdefault(view, []).append(ids)
    return Batch(
        images={view: _stack_images(pixels) for view, pixels in images.items()},
        tokens={view: torch.stack(ids) for view, ids in tokens.items()},
        rows={batch: torch.tensor(ids) for batch, ids in rows.items()},
        bad=[entry for sample in samples for entry in sample.bad],
    )


def _stack_images(pixels: Sequence[Tensor]) -> Tensor:
    """Images to a batch (n, 3, h, w), channels last in memory."""
    return torch.stack([image.permute(1, 2, 0) for image in pixels]).permute(0, 3, 1, 2)
