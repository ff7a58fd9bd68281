"""Metrics that a defender can measure without knowing the attack, on clean validation pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from clipdefend.canvas import Canvas
from clipdefend.data.image_reader import read_canvases
from clipdefend.data.pairs import Pairs
from clipdefend.draws import permutation
from clipdefend.errors import DataError
from clipdefend.losses import mmcl
from clipdefend.metrics import topk_hits
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.training.job import Evaluation

BATCH = 64
MIN_PAIRS = 8
"""Minimum number of pairs for the figures to be meaningful."""


@dataclass
class Validation:
    """Measures loss, accuracy and distance from the start model on a few fixed clean pairs.

    Args:
        images: uint8, shape (n, 3, size, size).
        tokens: tokens of their captions, shape (n, context length).
        start: frozen copy of the initial suspect (``clipdefend.training.job.freeze``).

    A call returns ``n_val``; ``val_loss``, the MMCL of the n pairs as one batch; ``val_r@1``, the share of images
    whose own caption is the nearest of all n; ``val_agreement``, the share of images for which model and start
    model find the same caption nearest; ``drift_image`` and ``drift_text``, the mean of 1 - cosine of the two
    models' embeddings (0 to 2); ``drift_weights``, the L2 distance of the parameters relative to the start
    model's norm.

    Reference:
        Deciding when to stop cleaning is the open problem of "Effective Backdoor Mitigation in Vision-Language
        Models Depends on the Pre-training Objective" (arXiv:2311.14948).
    """

    images: Tensor
    tokens: Tensor
    start: ClipModel
    _start_vectors: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    @torch.no_grad()
    def __call__(self, model: ClipModel, *, full: bool = True) -> dict[str, float]:
        """Measure a model, which is left in its mode; ``full`` is ignored, all pairs are always used."""
        with evaluating(model):
            image, text = self._encode(model)
            scale = model.clip.logit_scale.exp().clamp(max=100).float().cpu()
        if self._start_vectors is None:  # computed once, on the model's device
            before = self.start.device
            self._start_vectors = self._encode(self.start.to(model.device))
            self.start.to(before)
        start_image, start_text = self._start_vectors
        similarity = image @ text.T
        agreement = similarity.argmax(dim=1) == (start_image @ start_text.T).argmax(dim=1)
        hits = topk_hits(similarity, range(len(image)), (1,))[1]
        return {
            "n_val": len(image),
            "val_loss": float(mmcl(image, text, scale)),
            "val_r@1": float(hits.mean()),
            "val_agreement": float(agreement.float().mean()),
            "drift_image": _drift(image, start_image),
            "drift_text": _drift(text, start_text),
            "drift_weights": weight_drift(model, self.start),
        }

    def _encode(self, model: ClipModel) -> tuple[Tensor, Tensor]:
        """Return the unit vectors of images and captions, shape (n, d) each, float32 on the CPU."""
        images = [model.encode_image(x.to(model.device)).float().cpu() for x in _batches(self.images)]
        texts = [model.encode_text(x.to(model.device)).float().cpu() for x in _batches(self.tokens)]
        return torch.cat(images), torch.cat(texts)


def draw_validation(pairs: Pairs, canvas: Canvas, model: ClipModel, *, size: int, seed: int) -> Validation:
    """Draw the validation pairs of a defence.

    Args:
        pairs: clean pairs, preferably not used for training.
        canvas: geometry of the images.
        model: frozen copy of the initial suspect.
        size: number of pairs to draw, if there are enough.
        seed: seed of the draw.

    Raises:
        DataError: fewer than `MIN_PAIRS` of them can be used.
    """
    # The key keeps its old name: another one would draw other pairs.
    drawn = permutation(len(pairs), seed, "visible")[: 2 * size].tolist()
    captioned = (row for row in drawn if pairs.caption(row))
    # Unusable images are counted by the training loop, not here.
    found = dict(islice(read_canvases(pairs, captioned, canvas), size))
    if len(found) < MIN_PAIRS:
        raise DataError(
            f"Only {len(found)} of the validation pairs {pairs.spec!r} can be used, but {MIN_PAIRS} are needed: give"
            " others with --val-data, or turn validation off with --val-pairs 0."
        )
    tokens = model.tokenize([pairs.caption(row) for row in found])
    return Validation(torch.stack(list(found.values())), tokens, model)


def measure_all(*measures: Evaluation | None) -> Evaluation | None:
    """Combine several measurements into one; return None if there are none."""
    given = [each for each in measures if each is not None]
    if not given:
        return None

    def measure(model: ClipModel, *, full: bool = False) -> dict[str, float]:
        return {name: value for each in given for name, value in each(model, full=full).items()}

    return measure


@torch.no_grad()
def weight_drift(model: ClipModel, start: ClipModel) -> float:
    """Return the L2 distance of all parameters from the start model's, relative to the norm of the latter."""
    moved = norm = 0.0
    for now, before in zip(model.clip.parameters(), start.clip.parameters(), strict=True):
        old = before.to(now.device, torch.float32)
        moved += float((now.float() - old).square().sum())
        norm += float(old.square().sum())
    return math.sqrt(moved / norm) if norm else math.nan


def _drift(vectors: Tensor, before: Tensor) -> float:
    """Return the mean of 1 - cosine between unit vectors, shape (n, d) each; never negative by rounding."""
    return max(0.0, float(1 - (vectors * before).sum(dim=1).mean()))


def _batches(values: Tensor) -> Iterator[Tensor]:
    yield from values.split(BATCH)
