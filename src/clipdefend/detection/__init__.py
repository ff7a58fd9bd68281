"""Detection: scores of training pairs and of inputs; larger scores are more suspicious.

``PAIR_SCORES`` names the scores of ``filter``, pure functions of embeddings, and ``INPUT_SCORES`` those of ``evaluate
--detect``, functions of a batch of images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipdefend.registry import Registry

if TYPE_CHECKING:
    from clipdefend.detection.input_score import InputScore
    from clipdefend.detection.pair_score import PairScore

PAIR_SCORES: Registry[PairScore] = Registry(
    "score",
    {
        "dao": "clipdefend.detection.dao:Dao",
        "slof": "clipdefend.detection.slof:Slof",
        "kdist": "clipdefend.detection.kdist:KDistance",
        "lid": "clipdefend.detection.lid:Lid",
        "lorex": "clipdefend.detection.lorex:Lorex",
        "clipscore": "clipdefend.detection.clipscore:ClipScore",
        "loss": "clipdefend.detection.pair_loss:PairLoss",
    },
)

INPUT_SCORES: Registry[InputScore] = Registry(
    "detector",
    {
        "bdetclip": "clipdefend.detection.contrastive_prompts:ContrastivePrompts",
        "lorex": "clipdefend.detection.input_projection:InputProjection",
        "strip": "clipdefend.detection.blending:Blending",
    },
)

__all__ = ["INPUT_SCORES", "PAIR_SCORES"]
