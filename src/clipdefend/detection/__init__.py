"""Detection: scores of training pairs and of inputs, the more suspicious the larger.

``PAIR_SCORES`` names the scores of ``filter``; each is a pure function of embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipdefend.registry import Registry

if TYPE_CHECKING:
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

__all__ = ["PAIR_SCORES"]
