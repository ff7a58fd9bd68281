"""Embedding maps: clean, triggered and target images with the class texts, in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipdefend.report.style import BLUE, GREEN, GREY, VERMILLION, Picture, Theme, draw_picture, shorten

Method = Literal["pca", "tsne"]
NAMED = 8
"""Number of class texts that are written out, beside the target's."""
PERPLEXITY = 30.0


@dataclass(frozen=True)
class ModelEmbeddings:
    """Unit vectors of one model.

    Attributes:
        attack, defence: whose model it is.
        clean: clean images, (n, d), none of them of the target class.
        triggered: the same images with the trigger, (n, d).
        target_images: clean images of the target class, (m, d).
        texts: class texts, (classes, d).
        classes: their names.
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
    """Places in the plane of clean, triggered and target images and of the texts, (n, 2) each.

    Images and texts of a CLIP lie in two separate cones; each kind is moved to its own mean of clean vectors
    first, or the gap between them would be all that is seen. Triggered images are moved with the clean ones.
    """
    centre = np.concatenate([embedded.clean, embedded.target_images]).mean(axis=0)
    images = [embedded.clean - centre, embedded.triggered - centre, embedded.target_images - centre]
    parts = [*images, embedded.texts - embedded.texts.mean(axis=0)]
    stacked = np.concatenate(parts).astype(np.float64)
    plane = _pca(stacked, 2) if method == "pca" else _tsne(stacked, seed)
    cuts = np.cumsum([len(part) for part in parts])[:-1]
    return list(np.split(plane, cuts))


def _pca(vectors: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    """Coordinates along the first principal axes, each axis turned so that its largest entry is positive."""
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:dimensions]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    return np.asarray(centred @ axes.T)


def _tsne(vectors: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    reduced = _pca(vectors, min(50, *vectors.shape))
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    model = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(reduced), dtype=np.float64)


def draw_map(embedded: ModelEmbeddings, method: Method, seed: int) -> Picture:
    """Draw a map; the target's text is a star."""
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
    """The target's text and those that lie farthest from one another, so that names do not overlap."""
    chosen = [target]
    distance = np.linalg.norm(texts - texts[target], axis=1)
    while len(chosen) <= NAMED and distance.max() > 0:
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(texts - texts[farthest], axis=1))
    return chosen
