"""Pair score from the loss: how easily a pair is distinguished from others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.detection.pair_score import Basis, Embedded, PairScore, Prepared
from clipdefend.errors import DataError


def contrastive_losses(pairs: Embedded, references: Embedded, scale: float) -> Tensor:
    """Return the loss of each pair against the references as negatives.

    With s the scale, c the cosine and j over the references other than the pair itself, it is half of
    -ln[e^(s c(I,T)) / (e^(s c(I,T)) + sum_j e^(s c(I,T_j)))] and the same with images and captions exchanged.

    Args:
        pairs: n pairs.
        references: r pairs.
        scale: factor of the cosines.

    Returns:
        float64, at least 0, shape (n,).
    """
    if pairs.text is None or references.text is None:
        raise DataError("loss needs the embeddings of captions.")
    image, others_image = (F.normalize(each.image.double(), dim=1) for each in (pairs, references))
    text = pairs.text.double()
    own = scale * (image * text).sum(dim=1, keepdim=True)
    places = references.places_of(pairs.rows)
    known = places >= 0
    found = torch.zeros(len(pairs), dtype=torch.float64, device=image.device)
    for left, right in ((image, references.text), (text, others_image)):
        others = scale * (left @ right.double().T)
        others[known.nonzero().squeeze(1), places[known]] = -torch.inf
        found += torch.logsumexp(torch.cat([own, others], dim=1), dim=1) - own.squeeze(1)
    return found / 2


@dataclass(frozen=True, kw_only=True)
class PairLoss(PairScore):
    """Minus the contrastive loss of the pair against the references: backdoored pairs are learned best.

    Reference:
        Li et al., Anti-Backdoor Learning (NeurIPS 2021); for CLIP, arXiv:2502.01385,
        https://github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a, process_detection_scores.py.
    Deviates:
        The loss of one model against a fixed draw of references replaces the mean over the first ten epochs of training
        against the batch.
    """

    needs_text: ClassVar[bool] = True

    def prepare(self, basis: Basis) -> Prepared:
        return Prepared(judge=lambda pairs: -contrastive_losses(pairs, basis.references, basis.scale))
