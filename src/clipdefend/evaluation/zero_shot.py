"""Zero-shot evaluation: clean and triggered images in one pass, every image decoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas
from clipdefend.data.bad import BadRows
from clipdefend.data.labelled import LabelledImages
from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation.class_texts import class_embeddings
from clipdefend.metrics import Protocol, attack_success, benign_accuracy, check_ks, flatten, robust_accuracy
from clipdefend.model import ClipModel

Report = Callable[[int], None]


@dataclass
class _Canvases(Dataset[tuple[int, Tensor | None, str]]):
    """Labelled images on their canvas; a bad one is None with its reason."""

    images: LabelledImages
    canvas: Canvas

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, Tensor | None, str]:
        try:
            return index, self.canvas(self.images.image(index)), ""
        except DataError as error:
            return index, None, str(error)


def _usable(
    samples: list[tuple[int, Tensor | None, str]],
) -> tuple[list[int], Tensor | None, list[tuple[int, str]]]:
    pixels = [x for _, x, _ in samples if x is not None]
    indices = [index for index, x, _ in samples if x is not None]
    bad = [(index, reason) for index, x, reason in samples if x is None]
    return indices, torch.stack(pixels) if pixels else None, bad


@dataclass(kw_only=True)
class Benchmark:
    """BA, and ASR and RA where a trigger is known, of any model on one set of labelled images.

    Attributes:
        images: labelled images with their class names.
        templates: prompts with ``{}``.
        canvas: geometry of the images, and of the trigger.
        ks: the k of BA@k, ASR@k, RA@k; k = 1 is measured in any case, for gates and for the choice of weights.
        trigger, target: the attack and its class's index; None for accuracy alone.
        protocol: which images ASR and RA count.
        batch_size: images of a step; each is encoded twice where there is a trigger.
        workers: processes that read images.
        max_bad: largest share of unusable images.
    """

    images: LabelledImages
    templates: Sequence[str]
    canvas: Canvas
    ks: Sequence[int]
    trigger: Trigger | None = None
    target: int | None = None
    protocol: Protocol = "exclude-target"
    batch_size: int = 256
    workers: int = 0
    max_bad: float = 0.01
    bad: BadRows = field(init=False)

    def __post_init__(self) -> None:
        check_ks(self.ks, len(self.images.classes))
        self.ks = sorted({1, *self.ks})
        if self.trigger is not None and self.trigger.size != self.canvas.size:
            raise ConfigError(
                f"The trigger was made for {self.trigger.size} pixels and the model sees {self.canvas.size}:"
                f" poison with --image-size {self.canvas.size}."
            )
        self.bad = self.images.bad_rows(self.max_bad)

    @torch.no_grad()
    def __call__(self, model: ClipModel, report: Report | None = None) -> dict[str, float]:
        """Flat metrics of a model: ``ba@1``, ``asr@1``, ``ra@1`` ... with intervals and counts.

        Args:
            model: left in the mode that it was in.
            report: called with the number of images done.

        Raises:
            DataError: more unusable images than ``max_bad`` allows.
        """
        training = model.training
        model.eval()
        try:
            clean, triggered, indices = self._similarities(model, report)
        finally:
            model.train(training)
        labels = self.images.labels[indices]
        metrics = flatten(ba=benign_accuracy(clean, labels, self.ks))
        if triggered is not None and self.target is not None:
            asr = attack_success(triggered, labels, self.target, self.ks, self.protocol)
            ra = robust_accuracy(triggered, labels, self.target, self.ks, self.protocol)
            metrics |= flatten(asr=asr, ra=ra)
        return metrics

    def _similarities(
        self, model: ClipModel, report: Report | None
    ) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[np.int64]]:
        """Cosines of clean and triggered images with the classes, (n, classes) each, and the images' indices."""
        classes = class_embeddings(model, self.images.classes, self.templates)
        clean, triggered, indices = [], [], []
        for batch_indices, pixels, bad in self._batches():
            self.bad.update(bad)
            if pixels is None:
                continue
            views = [pixels.float() / 255]
            if self.trigger is not None:  # on the CPU, as in poisoning: equal to the last bit
                views.append(self.trigger(views[0], batch_indices))
            vectors = model.encode_image(torch.cat(views).to(model.device))
            cosines = (vectors @ classes.T).float().cpu().numpy()
            clean.append(cosines[: len(pixels)])
            triggered.append(cosines[len(pixels) :])
            indices += batch_indices
            if report:
                report(len(pixels))
        self.bad.check(len(self.images))
        if not indices:
            raise DataError(f"No image of {self.images.spec} can be used.")
        with_trigger = np.concatenate(triggered) if self.trigger is not None else None
        return np.concatenate(clean), with_trigger, np.array(indices)

    def _batches(self) -> DataLoader[Any]:
        return DataLoader(
            _Canvases(self.images, self.canvas),
            batch_size=self.batch_size,
            num_workers=self.workers,
            collate_fn=_usable,
        )
