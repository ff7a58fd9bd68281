"""Image-caption retrieval in both directions, with clean and with triggered images.

**Ties.** The rank of an image's best own caption is the number of captions of *other* images that are at least
as similar: a tie counts against it, as with classes (see ``clipdefend.metrics``). Two images with the same caption
therefore never find it at k = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.errors import ConfigError, DataError
from clipdefend.metrics import Booleans, Share, shares

BLOCK = 1 << 26
"""Maximum number of similarities in memory: 256 MB."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Images and captions as unit vectors.

    Attributes:
        images: shape (n, d).
        texts: unit vectors of the distinct captions, shape (t, d), so that equal captions have bit-identical vectors.
        text_of: for each of m captions its row in ``texts``, shape (m,).
        image_of: for each caption its row in ``images``, shape (m,).
    """

    images: Tensor
    texts: Tensor
    text_of: Rows
    image_of: Rows


def caption_ranks(gallery: Gallery, positive: Callable[[Tensor], Tensor]) -> Rows:
    """Return for each image the number of other captions that are at least as similar as its best positive one.

    Args:
        gallery: n images and m captions.
        positive: rows of images, shape (b,) -> booleans, shape (b, m) or (1, m), that mark the positive captions.

    Returns:
        int64, shape (n,), 0 to m; m for an image without a positive caption or with NaN similarities.
    """
    text_of = torch.from_numpy(gallery.text_of)
    found = []
    for rows in _blocks(len(gallery.images), len(gallery.text_of)):
        similarity = (gallery.images[rows] @ gallery.texts.T)[:, text_of]
        hits = positive(rows).expand(len(rows), -1)
        best = similarity.masked_fill(~hits, -torch.inf).amax(dim=1, keepdim=True)
        rank = ((similarity >= best) & ~hits).sum(dim=1)
        wrong = similarity.isnan().any(dim=1) | ~hits.any(dim=1)
        found.append(rank.masked_fill(wrong, len(gallery.text_of)))
    return torch.cat(found).numpy()


def image_ranks(gallery: Gallery) -> Rows:
    """Return for each caption the number of other images at least as similar as its own, int64, shape (m,)."""
    image_of = torch.from_numpy(gallery.image_of)
    text_of = torch.from_numpy(gallery.text_of)
    found = []
    for rows in _blocks(len(gallery.image_of), len(gallery.images)):
        similarity = gallery.texts[text_of[rows]] @ gallery.images.T
        own = similarity.gather(1, image_of[rows][:, None])
        rank = (similarity >= own).sum(dim=1) - 1
        found.append(rank.masked_fill(similarity.isnan().any(dim=1), len(gallery.images)))
    return torch.cat(found).numpy()


def recalls(
    gallery: Gallery, ks: Sequence[int], counted: Booleans | None = None
) -> dict[str, dict[int, Share]]:
    """Compute R@k of image to text (``i2t``) and of text to image (``t2i``).

    i2t is the share of images that have a caption of their own among their k nearest; t2i the share of captions
    that have their image among their k nearest.

    Args:
        gallery: n images and m captions.
        ks: values of k.
        counted: images that i2t counts, booleans, shape (n,); None counts all. t2i counts all captions.

    Raises:
        ConfigError: a k is not below the number of images and of captions.
        DataError: an image has no caption.
    """
    _check(gallery, ks)
    image_of = torch.from_numpy(gallery.image_of)
    to_text = caption_ranks(gallery, lambda rows: image_of[None, :] == rows[:, None])
    return {"i2t": shares(to_text, ks, counted), "t2i": shares(image_ranks(gallery), ks)}


def caption_attack(
    gallery: Gallery, named: Booleans, ks: Sequence[int], counted: Booleans | None = None
) -> dict[int, Share]:
    """Compute ASR@k: the share of triggered images that have a caption naming the target among their k nearest.

    Args:
        gallery: triggered images and captions.
        named: whether each caption names the target, booleans, shape (m,).
        ks: values of k.
        counted: images to count, booleans, shape (n,); by default those without a caption that names the target.
    """
    _check(gallery, ks)
    hits = torch.from_numpy(named)[None, :]
    ranks = caption_ranks(gallery, lambda _: hits)
    return shares(ranks, ks, without_target(gallery, named) if counted is None else counted)


def without_target(gallery: Gallery, named: Booleans) -> Booleans:
    """Return which images have no caption that names the target, booleans, shape (n,)."""
    found = np.ones(len(gallery.images), np.bool_)
    found[gallery.image_of[named]] = False
    return found


def check_ks(ks: Sequence[int], *, images: int, captions: int) -> None:
    """Raise ConfigError unless each k is at least 1 and below the number of images and of captions."""
    fewest = min(images, captions)
    if fewest < 2:
        raise ConfigError(
            f"Retrieval among {images} images and {captions} captions means nothing: give more."
        )
    for k in ks:
        if not 1 <= k < fewest:
            raise ConfigError(
                f"k = {k} cannot be measured among {images} images and {captions} captions: pass --topk"
                f" numbers from 1 to {fewest - 1}."
            )


def _blocks(rows: int, columns: int) -> list[Tensor]:
    """Yield row numbers in blocks whose similarities fit into ``BLOCK``."""
    return list(torch.arange(rows).split(max(1, BLOCK // max(1, columns))))


def _check(gallery: Gallery, ks: Sequence[int]) -> None:
    missing = len(gallery.images) - len(np.unique(gallery.image_of))
    if missing:
        raise DataError(f"{missing} images have no caption: retrieval needs one of each at least.")
    check_ks(ks, images=len(gallery.images), captions=len(gallery.image_of))
