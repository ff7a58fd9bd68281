"""Embedding maps: clean images, triggered images, images of the target and class texts in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipdefend.report.style import BLUE, GREEN, GREY, VERMILLION, Picture, Theme, draw_picture, shorten

Method = Literal["pca", "tsne"]
NAMED = 8
"""Number of class texts that are labelled with their names, besides the target's."""
PERPLEXITY = 30.0
"""Perplexity of t-SNE, lowered for few vectors."""


@dataclass(frozen=True)
class ModelEmbeddings:
    """Unit vectors of one model.

    Attributes:
        attack, defence: names of the attack and the defence that made the model.
        clean: of clean images that are not of the target class, shape (n, d).
        triggered: of the same images with the trigger, shape (n, d).
        target_images: of clean images of the target class, shape (m, d).
        texts: of the classes, shape (c, d).
        classes: names of the c classes.
        target: index of the target class.
    """

    attack: str
    defence: str
    clean: NDArray[np.float32]
    triggered: NDArray[np.float32]
    target_images: NDArray[np.float32]
    texts: NDArray[np.float32]
    classes: tuple[str, ...]
    target: int


def project(embedded: ModelEmbeddings, method: Method, seed: int) -> list[NDArray[np.float64]]:
    """Project a model's vectors onto a plane.

    The image and the text embeddings of CLIP lie in two separate cones (Liang et al. 2022, "Mind the Gap"). Images are
    centred on the mean of the clean ones and texts on their own mean first, or the map would show nothing but that gap.

    Args:
        embedded: the vectors.
        method: "pca" (the first two principal components of all vectors) or "tsne".
        seed: of t-SNE.

    Returns:
        Coordinates of clean images, triggered images, images of the target and texts, shape (n, 2) each.
    """
    centre = np.concatenate([embedded.clean, embedded.target_images]).mean(axis=0)
    images = [embedded.clean - centre, embedded.triggered - centre, embedded.target_images - centre]
    parts = [*images, embedded.texts - embedded.texts.mean(axis=0)]
    stacked = np.concatenate(parts).astype(np.float64)
    plane = _pca(stacked, 2) if method == "pca" else _tsne(stacked, seed)
    cuts = np.cumsum([len(part) for part in parts])[:-1]
    return list(np.split(plane, cuts))


def _pca(vectors: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    """Return the coordinates along the first principal axes, shape (n, dimensions).

    The sign of an axis is arbitrary; it is chosen such that the largest entry is positive, for equal maps everywhere.
    """
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:dimensions]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    return np.asarray(centred @ axes.T)


def _tsne(vectors: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return the coordinates by t-SNE, shape (n, 2), after a reduction to at most 50 principal components."""
    from sklearn.manifold import TSNE

    reduced = _pca(vectors, min(50, *vectors.shape))
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    model = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(reduced), dtype=np.float64)


def draw_map(embedded: ModelEmbeddings, method: Method, seed: int) -> Picture:
    """Draw the map of a model; see ``project``."""
    clean, triggered, target_images, texts = project(embedded, method, seed)

    def draw(figure: Any, theme: Theme) -> None:
        axes = figure.subplots()
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        for points, colour, marker, name in (
            (clean, BLUE, "o", "clean images"),
            (target_images, GREEN, "s", "images of the target"),
            (triggered, VERMILLION, "^", "triggered images"),
        ):
            axes.scatter(*points.T, s=16, color=colour, marker=marker, alpha=0.8, linewidths=0, label=name)
        axes.scatter(*texts.T, s=20, color=GREY, marker="x", linewidths=1, label="class texts")
        star = texts[embedded.target]
        axes.scatter(
            *star, s=190, marker="*", color=VERMILLION, edgecolors=theme.ink, zorder=5, label="target's text"
        )
        for index in _choose_named_texts(texts, embedded.target):
            axes.annotate(
                shorten(embedded.classes[index], 18),
                texts[index],
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=7.5,
                fontweight="bold" if index == embedded.target else "normal",
            )
        figure.legend(loc="outside lower center", ncols=2)

    return draw_picture(draw, 4.7, 4.6)


def _choose_named_texts(texts: NDArray[np.float64], target: int) -> Sequence[int]:
    """Return the texts to label: the target's, then always the one farthest from those so far, so that few overlap."""
    chosen = [target]
    distance = np.linalg.norm(texts - texts[target], axis=1)
    while len(chosen) <= NAMED and distance.max() > 0:
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(texts - texts[farthest], axis=1))
    return chosen
