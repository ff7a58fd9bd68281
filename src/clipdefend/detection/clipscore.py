"""How badly a caption fits its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from clipdefend.detection.pair_score import Basis, Embedded, PairScore, Prepared
from clipdefend.errors import DataError


def mismatch(image: Tensor, text: Tensor) -> Tensor:
    """Return minus the cosine of image and caption, from -1 to 1.

    Args:
        image: any length, shape (n, d).
        text: unit vectors, shape (n, d).

    Returns:
        float64, shape (n,).
    """
    return -(F.normalize(image.double(), dim=1) * text.double()).sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class ClipScore(PairScore):
    """Minus the cosine of image and caption, in the clean reference model if there is one.

    In the suspect itself it says little: a victim has learned that poisoned images and captions belong together. In a
    clean model, poisoned captions do not fit their images, unless the attack is label-consistent.

    Reference:
        Hessel et al., CLIPScore (EMNLP 2021); as a detector, arXiv:2502.01385,
        https://github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a, clip_scores.py.
    """

    needs_text: ClassVar[bool] = True

    def prepare(self, basis: Basis) -> Prepared:
        return Prepared(judge=_judge)


def _judge(pairs: Embedded) -> Tensor:
    image, text = pairs.clean_image, pairs.clean_text
    if image is None or text is None:
        image, text = pairs.image, pairs.text
    if text is None:
        raise DataError("clipscore needs the embeddings of captions.")
    return mismatch(image, text)
