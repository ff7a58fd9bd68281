"""STRIP: whether a prediction stays the same when other images are blended over the input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.detection.input_score import InputJudge, InputScore, Known
from clipdefend.draws import permutation
from clipdefend.errors import DataError


def entropies(cosines: Tensor, scale: float) -> Tensor:
    """Return the entropy in nats of softmax(scale * cosines) over the classes, shape (n,), of cosines (n, classes)."""
    logs = F.log_softmax(scale * cosines.double(), dim=1)
    return -(logs.exp() * logs).sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class Blending(InputScore):
    """Minus the mean entropy of the predictions for (1 - alpha) x + alpha o, over clean images o.

    A trigger that survives the blend keeps the prediction unchanged and its entropy small. Each o costs one more
    encoding of the input.

    Attributes:
        overlays: number of clean images o, drawn at random.
        alpha: weight of the clean images, between 0 and 1.

    Reference:
        Gao et al., STRIP: A Defence Against Trojan Attacks on Deep Neural Networks (ACSAC 2019).
    Deviates:
        Convex blends, which stay in [0, 1], with fewer images than the paper's 100; zero-shot predictions.
    """

    overlays: int = 8
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if self.overlays < 1 or not 0 < self.alpha < 1:
            raise ValueError(
                f"overlays is {self.overlays} and alpha {self.alpha}; they must be at least 1, and between 0 and 1"
            )

    def prepare(self, known: Known) -> InputJudge:
        if len(known.clean) < self.overlays:
            raise DataError(
                f"strip needs {self.overlays} clean images, but there are only {len(known.clean)}: give more."
            )
        drawn = permutation(len(known.clean), known.seed, "strip")[: self.overlays]
        overlays = known.clean[torch.from_numpy(drawn)]
        texts = known.class_texts(known.prompts())

        def judge(pixels: Tensor, embeddings: Tensor) -> Tensor:
            total = torch.zeros(len(pixels), dtype=torch.float64)
            for overlay in overlays:
                blend = (1 - self.alpha) * pixels + self.alpha * overlay
                image = F.normalize(known.encode_image(blend), dim=1)
                total += entropies(image @ texts.T, known.scale)
            return -total / len(overlays)

        return judge
