"""Telling triggered images from clean ones as they come in: what a service calls for each batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clipdefend.detection import INPUT_SCORES
from clipdefend.detection.input_score import InputJudge, Known
from clipdefend.models.clip import ClipModel, evaluating

BATCH = 256


@dataclass
class Detector:
    """A score of images, ready to be called; ``make_detector`` makes one.

    Attributes:
        name: of the score.
        model: which the images are sent to.
        clean_scores: of the clean images that it was made with, float64, shape (m,).
    """

    name: str
    model: ClipModel
    judge: InputJudge = field(repr=False)
    clean_scores: Tensor = field(init=False, repr=False)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Score a batch: the more suspicious the larger. Each image is judged by itself.

        Args:
            pixels: images as the model takes them, float in [0, 1], shape (n, 3, size, size).

        Returns:
            float64 on the CPU, shape (n,).
        """
        with _inference(self.model):
            scores = [self.judge(part, _encode(self.model, part)) for part in pixels.split(BATCH)]
        return torch.cat([torch.empty(0, dtype=torch.float64), *scores])

    def threshold(self, false_alarms: float = 0.01) -> float:
        """Return the score above which a share of the clean images lies."""
        return float(self.clean_scores.quantile(1 - false_alarms))


def make_detector(
    name: str,
    model: ClipModel,
    *,
    classes: Sequence[str],
    templates: Sequence[str],
    clean: Tensor,
    traffic: Tensor | None = None,
    seed: int = 0,
) -> Detector:
    """Make a detector of triggered images.

    Args:
        name: one of ``INPUT_SCORES``: bdetclip, lorex or strip.
        model: under suspicion; left in the mode that it was in.
        classes: names that it tells apart.
        templates: prompts with ``{}``.
        clean: images that are known to be clean, float in [0, 1], shape (m, 3, size, size).
        traffic: images that were sent in, of the same form; lorex alone looks at them, and needs them.
        seed: of draws.

    Raises:
        ConfigError: an unknown name.
        DataError: too few images.
    """
    with _inference(model):
        known = Known(
            encode_image=lambda pixels: _encode(model, pixels),
            encode_text=lambda texts: _encode_texts(model, texts),
            classes=classes,
            templates=templates,
            clean=clean,
            traffic=None if traffic is None else _encode(model, traffic),
            scale=float(model.clip.logit_scale.exp().clamp(max=100)),
            seed=seed,
        )
        detector = Detector(name, model, INPUT_SCORES.build(name).prepare(known))
    detector.clean_scores = detector(clean)
    return detector


@contextmanager
def _inference(model: ClipModel) -> Iterator[None]:
    with evaluating(model), torch.no_grad():
        yield


def _encode(model: ClipModel, pixels: Tensor) -> Tensor:
    """Outputs of the image tower on the CPU: some devices lack the float64 that scores are computed in."""
    return torch.cat([model.image_features(part.to(model.device)).cpu() for part in pixels.split(BATCH)])


def _encode_texts(model: ClipModel, texts: list[str]) -> Tensor:
    parts = [model.tokenize(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
    return torch.cat([model.encode_text(tokens.to(model.device)).cpu() for tokens in parts])
