"""Detects triggered images at test time; a service calls this for each batch."""

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
    """A suspicion score of images, made by ``make_detector``.

    Attributes:
        name: name of the score.
        model: the model under suspicion.
        clean_scores: scores of the clean images that it was made with, float64, shape (m,).
    """

    name: str
    model: ClipModel
    judge: InputJudge = field(repr=False)
    clean_scores: Tensor = field(init=False, repr=False)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Score a batch; larger scores are more suspicious. Each image is scored independently.

        Args:
            pixels: images before normalisation, float in [0, 1], shape (n, 3, size, size).

        Returns:
            Scores, float64 on the CPU, shape (n,).
        """
        with _inference(self.model):
            scores = [self.judge(part, _encode(self.model, part)) for part in pixels.split(BATCH)]
        return torch.cat([torch.empty(0, dtype=torch.float64), *scores])

    def threshold(self, false_alarms: float = 0.01) -> float:
        """Return the score that a given share of the clean images exceeds."""
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
        model: the model under suspicion, which is left in its mode.
        classes: names of its classes.
        templates: prompts with ``{}``.
        clean: images known to be clean, float in [0, 1], shape (m, 3, size, size).
        traffic: received images, of the same form; required by lorex and ignored by the others.
        seed: seed of the draws.

    Raises:
        ConfigError: the name is unknown.
        DataError: there are too few images.
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
