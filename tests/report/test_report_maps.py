"""Embedding maps: places in the plane that can be worked out, and drawing with names of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clipdefend.report.maps import ModelEmbeddings, draw_map, project


def embedded(classes: tuple[str, ...] = ("cat", "banana"), **changes: Any) -> ModelEmbeddings:
    """Clean images along the first axis, triggered ones displaced along the second."""
    clean = np.zeros((4, 5), dtype=np.float32)
    clean[:, 0] = (-3, -1, 1, 3)
    triggered = clean.copy()
    triggered[:, 1] = 2
    texts = np.zeros((len(classes), 5), dtype=np.float32)
    parts: dict[str, Any] = {
        "clean": clean,
        "triggered": triggered,
        "target_images": np.zeros((1, 5), dtype=np.float32),
        "texts": texts,
    }
    return ModelEmbeddings("badnet", "none", **{**parts, **changes}, classes=classes, target=1)


def test_principal_components_by_hand() -> None:
    clean, triggered, target, texts = project(embedded(), "pca", 0)
    # Variance is largest along the first axis, then along the second; everything is seen about the mean.
    assert clean[:, 0] == pytest.approx([-3, -1, 1, 3])
    assert triggered[:, 0] == pytest.approx([-3, -1, 1, 3])
    assert triggered[:, 1] - clean[:, 1] == pytest.approx([2, 2, 2, 2])
    assert target[0, 0] == pytest.approx(0)
    assert texts.shape == (2, 2)


def test_the_gap_between_images_and_texts_is_taken_out() -> None:
    far = np.full((2, 5), 100, dtype=np.float32)
    assert np.concatenate(project(embedded(texts=far), "pca", 0)) == pytest.approx(
        np.concatenate(project(embedded(), "pca", 0))
    )


@pytest.mark.slow
def test_tsne_is_a_function_of_its_seed() -> None:
    random = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    many = embedded(clean=random, triggered=random + 1)
    first, again = (np.concatenate(project(many, "tsne", 1)) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.isfinite(first).all()


def test_names_are_drawn_as_they_are() -> None:
    texts = np.eye(3, 5, dtype=np.float32)
    picture = draw_map(embedded(("$x_", "b$anana^{", "<猫>&"), texts=texts), "pca", 0)
    assert picture.svg.startswith(b"<?xml")
    assert picture.png.startswith(b"\x89PNG")
    assert picture == draw_map(embedded(("$x_", "b$anana^{", "<猫>&"), texts=texts), "pca", 0)
