"""What the model can do: classes of ImageNet, retrieval among held-out photos, the gap between the towers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from photos import Photos
from torch import Tensor

from clipdefend.data.classes import load_templates
from clipdefend.evaluation.class_texts import class_embeddings
from clipdefend.evaluation.retrieval import Gallery, recalls
from clipdefend.metrics import benign_accuracy, class_ranks
from clipdefend.models.clip import ClipModel


@torch.no_grad()
def zero_shot(model: ClipModel, images: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Top-1 and top-5 accuracy by open_clip's seven simple templates.

    Args:
        images: unit vectors (n, d).
        labels: numbers of their classes (n,).
        names: of all classes.
    """
    classes = class_embeddings(model, names, load_templates("simple"))
    found = benign_accuracy(class_ranks(images @ classes.T, labels), (1, 5))
    return {f"zero-shot top-{k}": share.value for k, share in found.items()}


@torch.no_grad()
def held_out(model: ClipModel, photos: Photos, images: Tensor) -> dict[str, float]:
    """Retrieval with one caption a photo, and the distance of the means of images and captions.

    Args:
        images: unit vectors of all photos.
    """
    captions = [photos.pairs.caption(photos.rows[number][0]) for number in photos.held_out]
    texts = model.encode_text(model.tokenize(captions))
    shown = images[photos.held_out]
    numbers = np.arange(len(texts))
    found = recalls(Gallery(images=shown, texts=texts, text_of=numbers, image_of=numbers), (1, 5))
    result = {f"{way} R@{k}": share.value for way, each in found.items() for k, share in each.items()}
    return {**result, "modality gap": (shown.mean(0) - texts.mean(0)).norm().item()}
