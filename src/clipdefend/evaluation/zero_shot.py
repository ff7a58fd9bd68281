"""Zero-shot evaluation of clean and triggered images in one pass; each image is decoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas
from clipdefend.choices import AsrProtocol
from clipdefend.data.bad import BadRows
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.distributed import collectives, launch
from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation.cache import Cache, model_digest
from clipdefend.evaluation.class_texts import class_embeddings
from clipdefend.evaluation.encoding import Reading, Report, encode, quick_rows
from clipdefend.evaluation.flat_metrics import recovery
from clipdefend.evaluation.tally import Tally
from clipdefend.metrics import check_ks
from clipdefend.models.clip import ClipModel, evaluating

QUICK = "quick_"


@dataclass(kw_only=True)
class Benchmark:
    """Measures BA and, if a trigger is known, ASR and RA of models on one set of labelled images.

    Attributes:
        images: labelled images with their class names.
        templates: prompts with ``{}``.
        canvas: geometry of the images, and of the trigger.
        ks: values of k in BA@k, ASR@k, RA@k; k = 1 is always measured, for gates and for the choice of weights.
        trigger, target: the trigger and the index of the target class; None to measure accuracy only.
        protocol: which images ASR and RA count.
        batch_size: images per batch; with a trigger each is encoded twice.
        workers: number of processes that read images.
        max_bad: largest allowed share of unusable images, 0 to 1.
        quick: number of images of the fixed subset that is measured between epochs; None measures all.
        cache: cache of class embeddings; None does not cache them.
        clean: flat metrics of the clean model under the same trigger, for recovery; empty if they are unknown.
    """

    images: LabelledImages
    templates: Sequence[str]
    canvas: Canvas
    ks: Sequence[int]
    trigger: Trigger | None = None
    target: int | None = None
    protocol: AsrProtocol = "exclude-target"
    batch_size: int = 256
    workers: int = 0
    max_bad: float = 0.01
    quick: int | None = None
    cache: Cache | None = None
    clean: Mapping[str, float] = field(default_factory=dict)
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

    @property
    def size(self) -> int:
        """Number of images of a measurement that is not full."""
        return len(self._quick_rows)

    @property
    def _quick_rows(self) -> NDArray[np.int64]:
        return quick_rows(len(self.images), self.quick)

    @torch.no_grad()
    def __call__(
        self, model: ClipModel, report: Report | None = None, *, full: bool = False
    ) -> dict[str, float]:
        """Return flat metrics of a model: ``ba@1``, ``asr@1``, ``ra@1`` and so on, with intervals and counts.

        Args:
            model: the model, which is left in its mode.
            report: called with the number of images of each batch.
            full: measure all images; if there is a quick subset, its metrics are returned as well, as
                ``quick_ba@1`` and so on, from the same pass.

        Raises:
            DataError: there are more unusable images than ``max_bad`` allows.
        """
        with evaluating(model):
            tally = self._tally(model, np.arange(len(self.images)) if full else self._quick_rows, report)
        metrics = tally.metrics(self.ks)
        metrics |= recovery(metrics, self.clean)
        if full and self.size < len(self.images):
            subset = tally.metrics(self.ks, self._quick_rows)
            subset |= recovery(subset, self.clean)
            metrics |= {f"{QUICK}{name}": value for name, value in subset.items()}
        return metrics

    def _tally(self, model: ClipModel, rows: NDArray[np.int64], report: Report | None) -> Tally:
        """Rank the true classes and the target for each image; several processes share the batches."""
        tally = Tally(labels=self.images.labels, target=self.target, protocol=self.protocol)
        classes = self._class_embeddings(model)
        reading = Reading(
            canvas=self.canvas,
            trigger=self.trigger if self.target is not None else None,
            batch_size=self.batch_size,
            workers=self.workers,
        )
        size, world = self.batch_size, collectives.world()
        firsts = range(collectives.rank() * size, len(rows), world * size)
        own = np.concatenate([rows[:0], *(rows[first : first + size] for first in firsts)])
        for part in encode(model, self.images, own, reading, self.bad, report):
            clean = _cosines(part.clean, classes)
            triggered = None if part.triggered is None else _cosines(part.triggered, classes)
            tally.add(part.rows, clean, triggered)
        tally.gather()
        for met, examples in collectives.all_gather_object([sorted(self.bad.rows), self.bad.examples]):
            self.bad.rows.update(met)
            self.bad.examples += [text for text in examples if text not in self.bad.examples]
        self.bad.check(len(self.images))  # all that were met so far, of this subset or not
        if not len(tally.rows):
            raise DataError(f"No image of {self.images.spec} can be used.")
        return tally

    def _class_embeddings(self, model: ClipModel) -> Tensor:
        """Return the class embeddings, shape (classes, d), from the cache if there is one."""
        names, templates = self.images.classes, self.templates
        if self.cache is None:
            return class_embeddings(model, names, templates)
        facts = {
            "of": "class texts",
            "model": model_digest(model),
            "classes": list(names),
            "templates": list(templates),
            "device": model.device.type,
        }
        found = self.cache.get(
            facts,
            lambda: {"classes": class_embeddings(model, names, templates)},
            keep=lambda: launch.current().main,
            agree=lambda hit: all(collectives.all_gather_object(hit)),  # what makes them, all enter or none
        )
        return found["classes"].to(model.device)


def _cosines(features: Tensor, classes: Tensor) -> Tensor:
    """Return the cosines, shape (n, classes), of image features (n, d) with class embeddings (classes, d)."""
    return (F.normalize(features, dim=-1) @ classes.T).float()


def epoch_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics by which epochs are compared: those of the quick subset if there is one, else all.

    Some epochs are measured on all images, but every epoch is measured on the subset.
    """
    quick = {name.removeprefix(QUICK): value for name, value in metrics.items() if name.startswith(QUICK)}
    return quick or dict(metrics)
