"""Image-tower outputs of whole sets, cached beside the runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipdefend.attacks.trigger import Trigger
from clipdefend.data.bad import BadRows
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.errors import DataError
from clipdefend.evaluation.cache import Cache, model_digest
from clipdefend.evaluation.encoding import Encoded, Reading, Report, concatenate, encode
from clipdefend.models.clip import ClipModel, evaluating


def features(
    model: ClipModel,
    images: LabelledImages,
    rows: NDArray[np.int64],
    reading: Reading,
    *,
    bad: BadRows,
    cache: Cache | None = None,
    report: Report | None = None,
) -> Encoded:
    """Return the image-tower outputs of all usable rows, float32 on the CPU.

    Args:
        model: the model, which is left in its mode.
        images, rows, reading, bad, report: as for ``encode``; ``rows`` must not be empty.
        cache: cache of the features, by model, images, geometry and trigger. Features of a set with unusable
            images are not cached, so that these images are reported each time.

    Raises:
        DataError: no image, or too few of them, can be used.
    """
    facts = _facts(model, images, rows, reading) if cache is not None else {}

    def encode_all() -> dict[str, torch.Tensor]:
        with evaluating(model):
            found = concatenate(encode(model, images, rows, reading, bad, report))
        if found is None:
            raise DataError(f"No image of {images.spec} can be used.")
        tensors = {"rows": torch.from_numpy(found.rows), "clean": found.clean}
        return tensors if found.triggered is None else {**tensors, "triggered": found.triggered}

    tensors = encode_all() if cache is None else cache.get(facts, encode_all, keep=lambda: not bad.rows)
    bad.check(len(images))
    return Encoded(tensors["rows"].numpy(), tensors["clean"], tensors.get("triggered"))


def _facts(
    model: ClipModel, images: LabelledImages, rows: NDArray[np.int64], reading: Reading
) -> dict[str, Any]:
    canvas = reading.canvas
    return {
        "of": "image features",
        "model": model_digest(model),
        "images": images.identity(rows),
        "canvas": [canvas.size, canvas.mode, canvas.interpolation],
        "trigger": _trigger_facts(reading.trigger),
        "device": model.device.type,
    }


def _trigger_facts(trigger: Trigger | None) -> Sequence[Any] | None:
    if trigger is None:
        return None
    digest = hashlib.sha256()
    for name, tensor in sorted(trigger.tensors.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return [repr(trigger.attack), trigger.name, trigger.size, trigger.seed, digest.hexdigest()]
