"""SafeCLIP: warm up within each modality, then match only pairs whose image and caption agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.config import TrainConfig
from clipdefend.defences.defence import Course, Defence, Phase, Rows, Step, TrainingData
from clipdefend.defences.memory_bank import MemoryBank, fill_banks
from clipdefend.distributed import collectives
from clipdefend.errors import ConfigError
from clipdefend.losses import info_nce
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import Objective
from clipdefend.objectives.term import Embeddings, Term, check_fields

IN_MODAL, CROSS_MODAL, MIXED = "in-modal", "cross-modal", "mixed"


@dataclass(frozen=True, kw_only=True)
class AcrossOrWithin(Term):
    """The in-modal or the cross-modal loss, as the course decides; both on two draws of each augmentation."""

    image_views = ("strong", "strong2")
    text_views = ("eda", "eda2")

    def loss(self, e: Embeddings) -> Tensor:
        image, image2 = e.image["strong"], e.image["strong2"]
        text, text2 = e.text["eda"], e.text["eda2"]
        if not e.extra["within"]:
            return (info_nce(image, text2, e.scale) + info_nce(text, image2, e.scale)) / 2
        rows = e.rows["main"]
        near_image = e.extra["images"].nearest(image, rows)
        near_text = e.extra["texts"].nearest(text, rows)
        return (info_nce(image2, near_image, e.scale) + info_nce(text2, near_text, e.scale)) / 2


def split_by_similarity(similarity: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Return which pairs belong to the more similar of two Gaussian components.

    Args:
        similarity: cosine of image and caption of each pair, shape (n,), n >= 2.
        threshold: smallest responsibility of that component.

    Returns:
        Booleans, shape (n,).
    """
    from sklearn.mixture import GaussianMixture

    values = similarity[:, None]
    mixture = GaussianMixture(2, random_state=0).fit(values)
    high = int(mixture.means_[:, 0].argmax())
    found: NDArray[np.bool_] = mixture.predict_proba(values)[:, high] > threshold
    return found


class Split(Course):
    """Two banks for the in-modal loss, and a record of which pairs are safe.

    Args:
        rows: number of pairs.
        width: dimension of the embeddings.
        defence: its parameters.
    """

    within: Tensor
    safe: Tensor
    share: Tensor

    def __init__(self, rows: int, width: int, defence: SafeClip) -> None:
        super().__init__()
        self.defence = defence
        size = min(defence.bank, rows)
        self.images, self.texts = MemoryBank(size, width), MemoryBank(size, width)
        self.register_buffer("within", torch.tensor(True))
        self.register_buffer("safe", torch.zeros(rows, dtype=torch.bool))
        self.register_buffer("share", torch.tensor(0.0, dtype=torch.float64))

    def begin_epoch(self, model: ClipModel, data: TrainingData, epoch: int, phase: Phase) -> None:
        first_half = (epoch - self.defence.before) % 2 == 0
        self.within.fill_(phase.name == IN_MODAL or (phase.name == MIXED and first_half))
        if phase.name == MIXED and first_half:
            self._divide(model, data)
        if self.within:
            fill_banks(model, data, self.images, self.texts)

    def _divide(self, model: ClipModel, data: TrainingData) -> None:
        """Choose the safe pairs; each side keeps at least as many pairs as a step has."""
        images, texts = data.embed(model)
        similarity = (images * texts).sum(dim=1).double().cpu().numpy()
        count = len(similarity)
        batch = data.config.batch_size * data.config.accum_freq * collectives.world()
        if self.share == 0:
            chosen = int(split_by_similarity(similarity, self.defence.threshold).sum())
        else:
            chosen = round(min(float(self.share) + self.defence.growth, self.defence.largest) * count)
        chosen = min(max(chosen, batch), count - batch)
        self.share.fill_(chosen / count)
        order = np.argsort(-similarity, kind="stable")
        safe = np.zeros(count, np.bool_)
        safe[order[:chosen]] = True
        self.safe = torch.from_numpy(safe).to(self.safe.device)

    def rows(self, epoch: int, phase: Phase) -> Rows | None:
        if phase.name != MIXED:
            return None
        first_half = (epoch - self.defence.before) % 2 == 0
        chosen = ~self.safe if first_half else self.safe
        found: Rows = chosen.nonzero()[:, 0].cpu().numpy()
        return found

    def extra(self, rows: Mapping[str, Tensor]) -> Mapping[str, Any]:
        return {"within": bool(self.within), "images": self.images, "texts": self.texts}

    def after_step(self, model: ClipModel, step: Step) -> None:
        if self.within:
            embeddings = step.embeddings
            self.images.put(embeddings.image["strong"], embeddings.rows["main"])
            self.texts.put(embeddings.text["eda"], embeddings.rows["main"])


@dataclass(frozen=True, kw_only=True)
class SafeClip(Defence):
    """Robust pre-training on data that may be poisoned: only pairs that agree are matched across the modalities.

    A1 and A2 are two draws of augmentation (strong for images, EDA for captions), and NN is the most similar vector in
    a bank of earlier A1:

    in-modal: L = (InfoNCE(A2(I), NN(A1(I))) + InfoNCE(A2(T), NN(A1(T)))) / 2;
    cross-modal: L = (InfoNCE(A1(I), A2(T)) + InfoNCE(A1(T), A2(I))) / 2.

    Training on all pairs uses the in-modal loss for ``in_modal_epochs``, then the cross-modal loss for one epoch at
    ``filter_lr``. Before each of the remaining epochs the pairs are divided by the cosine of image and caption: first
    those in the more similar of two Gaussian components are safe, later a growing share of all pairs. Such an
    epoch counts as two in logs and for ``--eval-every``: the in-modal loss on the unsafe pairs, then the cross-modal
    loss on the safe ones. ``--epochs`` is the number of epochs as the paper counts them.

    Attributes:
        in_modal_epochs: number of epochs of the first phase, at least 1.
        filter_lr: learning rate of the cross-modal epoch that follows.
        threshold: responsibility of the more similar component from which a pair is safe at first, in (0, 1).
        growth: increase of the share of safe pairs per epoch, in [0, 1].
        largest: largest share of safe pairs, in (0, 1].
        bank: size of each bank, at least 2.

    Reference: Yang, Gan, Mirzasoleiman, Better Safe than Sorry: Pre-training CLIP against Targeted Data Poisoning and
    Backdoor Attacks, ICML 2024 (arXiv:2310.05862); its code uses batches of 128, 32 epochs and a learning rate of
    5e-4 with 10,000 steps of warm-up.
    Deviates: the learning rate of the last phase follows the steps actually taken, whereas the code's schedule ends
    before the training run does and rises again; later splits rank by the cosine, whereas the code ranks by the
    responsibility, which is 1.0 for many pairs; images and captions are scored without augmentation, so that no pair
    changes sides by chance; banks are filled before their first use and kept when a run resumes.
    """

    in_modal_epochs: int = 5
    filter_lr: float = 5e-6
    threshold: float = 0.9
    growth: float = 0.01
    largest: float = 0.85
    bank: int = 256

    def __post_init__(self) -> None:
        check_fields(self)
        if self.in_modal_epochs < 1:
            raise ValueError(f"in_modal_epochs is {self.in_modal_epochs}; it must be at least 1")
        if self.bank < 2:
            raise ValueError(f"bank is {self.bank}; it must be at least 2")
        for name, low, high in (("threshold", 0, 1), ("growth", -1e-9, 1), ("largest", 0, 1)):
            if not low < getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a share between 0 and 1")
        if not self.filter_lr > 0:
            raise ValueError(f"filter_lr is {self.filter_lr}; it must be above 0")

    @property
    def before(self) -> int:
        """Number of epochs before the pairs are divided."""
        return self.in_modal_epochs + 1

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        """Return the three phases. Raises ConfigError if there are too few epochs, or too few pairs to divide."""
        mixed = train.epochs - self.before
        if mixed < 1:
            raise ConfigError(
                f"safeclip needs at least {self.before + 1} epochs, {self.in_modal_epochs} in-modal, one cross-modal"
                f" and one of both, and --epochs is {train.epochs}: give more, or --set defence.in_modal_epochs=1."
            )
        step = train.batch_size * train.accum_freq * collectives.world()
        if rows < 2 * step:
            raise ConfigError(
                f"safeclip divides the pairs in two, but {rows:,} pairs are fewer than two steps of {step:,}: use a"
                " smaller --batch-size."
            )
        objective = Objective({"safeclip": AcrossOrWithin()})
        return [
            Phase(name=IN_MODAL, objective=objective, epochs=self.in_modal_epochs),
            Phase(name=CROSS_MODAL, objective=objective, epochs=1, lr=self.filter_lr),
            Phase(name=MIXED, objective=objective, epochs=2 * mixed),
        ]

    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        return Split(len(data.pairs), int(model.architecture.model["embed_dim"]), self)
