"""RoCLIP: in every second epoch, images are matched with the most similar earlier caption instead of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipdefend.config import TrainConfig
from clipdefend.defences.defence import Course, Defence, Phase, Step, TrainingData
from clipdefend.defences.memory_bank import MemoryBank, fill_banks
from clipdefend.losses import mmcl
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import Objective
from clipdefend.objectives.term import Embeddings, Term, check_fields


@dataclass(frozen=True, kw_only=True)
class PooledMmcl(Term):
    """MMCL with the augmented captions, or with captions from the bank if the course provides one."""

    image_views = ("strong",)
    text_views = ("eda",)

    def loss(self, e: Embeddings) -> Tensor:
        image, text, bank = e.image["strong"], e.text["eda"], e.extra["bank"]
        if bank is not None:
            text = bank.nearest(image, e.rows["main"])
        return mmcl(image, text, e.scale)


class CaptionPool(Course):
    """The bank of caption embeddings, and whether the current epoch uses it.

    Args:
        size: number of captions in the bank.
        width: dimension of the embeddings.
        every: see ``RoClip``.
    """

    pooled: Tensor

    def __init__(self, size: int, width: int, every: int) -> None:
        super().__init__()
        self.bank = MemoryBank(size, width)
        self.every = every
        self.register_buffer("pooled", torch.tensor(False))

    def begin_epoch(self, model: ClipModel, data: TrainingData, epoch: int, phase: Phase) -> None:
        self.pooled.fill_((epoch + 1) % self.every == 0)
        if self.pooled:
            fill_banks(model, data, None, self.bank)

    def extra(self, rows: Mapping[str, Tensor]) -> Mapping[str, Any]:
        return {"bank": self.bank if self.pooled else None}

    def after_step(self, model: ClipModel, step: Step) -> None:
        if self.pooled:
            self.bank.put(step.embeddings.text["eda"], step.embeddings.rows["main"])


@dataclass(frozen=True, kw_only=True)
class RoClip(Defence):
    """Robust pre-training on data that may be poisoned: breaks the association of poisoned images with their captions.

    In epochs k, 2k, 3k, ..., counted from 1, L = MMCL(I, NN(I)), where NN(I_i) is the caption in the bank that is most
    similar to image i, without a gradient; in the other epochs L = MMCL(I, T). Both losses use strongly augmented
    images and captions changed by EDA. The bank holds the captions of the last ``bank`` rows of those epochs.

    Attributes:
        every: k, at least 1; 1 uses the bank in every epoch.
        bank: size of the bank, at least 2; limited by the number of pairs.

    Reference: Yang, Gan, Wang, Mirzasoleiman, Robust Contrastive Language-Image Pre-training against Data Poisoning
    and Backdoor Attacks, NeurIPS 2023 (arXiv:2303.06854); its code uses batches of 512, 24 epochs and a learning
    rate of 5e-5.
    Deviates: the bank is filled before its first use and kept when a run resumes, see ``MemoryBank``; EDA and
    augmentation are drawn anew in each epoch, whereas the code draws them once and writes them to disk.
    """

    every: int = 2
    bank: int = 21_845

    def __post_init__(self) -> None:
        check_fields(self)
        if self.every < 1:
            raise ValueError(f"every is {self.every}; it must be at least 1")
        if self.bank < 2:
            raise ValueError(f"bank is {self.bank}; it must be at least 2")

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        return [Phase(objective=Objective({"pooled": PooledMmcl()}))]

    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        width = int(model.architecture.model["embed_dim"])
        return CaptionPool(min(self.bank, len(data.pairs)), width, self.every)
