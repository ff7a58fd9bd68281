"""Makes the views of pairs that an objective needs, in the loader's workers."""

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

SUBSTITUTES = 64
"""Number of rows to try in place of a bad one before giving up."""


class SameCaption(NamedTuple):
    """Stand-in for a pair of sub-captions, which are hardly longer than their caption."""

    factual: str
    counterfactual: str


@dataclass
class Sample:
    """Views of one pair.

    Attributes:
        row: id of the pair: the planned row, or the one that replaced a bad row.
        batch: ``main`` or ``subset``.
        images: view -> uint8, shape (3, h, w).
        tokens: view -> int32, shape (context length,).
        bad: unusable rows, with the reasons.
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
        images: view -> uint8, or float in [0, 1] for device views, shape (n, 3, h, w).
        tokens: view -> int32, shape (n, context length).
        rows: batch (``main``, ``subset``) -> ids of its rows, int64, shape (n,).
        bad: unusable rows, with the reasons.
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
        """Return the batch in page-locked memory; torch's loader calls this method by name."""
        return replace(
            self,
            images={view: pixels.pin_memory() for view, pixels in self.images.items()},
            tokens={view: ids.pin_memory() for view, ids in self.tokens.items()},
        )


@dataclass
class Views(Dataset[Sample]):
    """Data set of the samples of one epoch; every draw is a function of (seed, epoch, row).

    A row whose image or caption cannot be used is reported and replaced by the next usable one (in the sub-caption
    batch, the next with sub-captions), so that batches have the same size in every process.

    Args:
        pairs: the training pairs.
        canvas: geometry of the images.
        tokenize: list of n strings -> tokens, shape (n, context length).
        objective: decides which views are made.
        seed: seed of augmentations.
        epoch: epoch, counted from 0.
        subcaptions: row -> sub-captions of this epoch.
        only: rows to train on, ascending; None means all.
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
        # Load the libraries and word lists that views need now, not in each worker of each epoch.
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
        """Return the samples of a batch, fetching remote images together."""
        self.pairs.prefetch([each.row for each in planned])
        return [self[each] for each in planned]

    def _candidates(self, planned: PlannedRow) -> Iterator[int]:
        """Yield the planned row, and the rows that may replace it."""
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
        """Make the images and texts of the views of a batch."""
        objective, images, texts = self.objective, {}, {}
        main = batch == "main"
        for name in objective.loaded_image_views if main else objective.subset_image_views:
            view = IMAGE_VIEWS[name]
            if not isinstance(view, ImageView):
                raise ValueError(
                    f"image view {name!r} is made on the device, so it cannot be the base of another view"
                )
            images[name] = view.make(pair, view.seed(self.seed, self.epoch, row))
        for name in objective.loaded_text_views if main else objective.subset_text_views:
            text = TEXT_VIEWS[name]
            texts[name] = text.make(pair, text.seed(self.seed, self.epoch, row))
        return images, texts


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack the views of samples into a batch."""
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
    """Stack images to shape (n, 3, h, w), channels last in memory."""
    return torch.stack([image.permute(1, 2, 0) for image in pixels]).permute(0, 3, 1, 2)
