"""Training, validation and test splits of a labelled set, for linear probes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipdefend.data.labelled import torchvision_sets
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.data.labelled.layouts import is_tiny_imagenet
from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.data.paths import expand
from clipdefend.draws import permutation
from clipdefend.errors import DataError

VALIDATION = 0.2
"""Share of the training images to hold out if the set has no validation split."""
TEST = 0.3
"""Share of the images to test on if the set has no training split."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SplitRows:
    """Some rows of labelled images.

    Attributes:
        images: the labelled images.
        rows: ascending row numbers, int64, shape (n,).
    """

    images: LabelledImages
    rows: Rows

    @property
    def labels(self) -> Rows:
        return self.images.labels[self.rows]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The splits that a probe is trained, validated and tested on.

    Attributes:
        train, validation, test: the splits; no image is in two of them.
        how: one line about the origin of the splits, for people.
    """

    train: SplitRows
    validation: SplitRows
    test: SplitRows
    how: str


def open_splits(
    spec: str,
    *,
    train: str | None = None,
    samples: int | None = None,
    root: Path | None = None,
    download: bool = False,
    seed: int = 0,
) -> Splits:
    """Open the splits of a labelled set.

    Args:
        spec: as for ``open_labelled``; the set's own training, validation and test splits are used if it has
            them. Otherwise validation images are held out of the training images, and a set without splits is
            divided class by class.
        train: labelled images of the same classes to train on, if ``spec`` only contains test images.
        samples: number of training and validation images, drawn class by class; None means all, or 50,000 of
            ImageNet's.
        root, download: see ``open_labelled``.
        seed: seed of the divisions.

    Raises:
        DataError: a set cannot be opened, or the sets do not match.
    """

    def opened(source: str, split: str | None) -> LabelledImages:
        return open_labelled(source, root=root, split=split, download=download)

    names = _names(spec) if train is None else None
    test = opened(spec, names["test"] if names else None)
    everything = np.arange(len(test))
    validation = None
    if names is None and train is None:
        kept, held = divide(test.labels, TEST, seed, "probe test")
        learning, test_part = SplitRows(images=test, rows=kept), SplitRows(images=test, rows=held)
        how = f"divided class by class, {100 * TEST:.0f} % for the test"
    else:
        images = opened(spec if train is None else train, names["train"] if names else None)
        learning = SplitRows(images=images, rows=np.arange(len(images)))
        test_part = SplitRows(images=test, rows=everything)
        how = "its own splits" if train is None else f"trained on {images.recognised}"
        if names and names["validation"]:
            held_out = opened(spec, names["validation"])
            validation = SplitRows(images=held_out, rows=np.arange(len(held_out)))
    if samples is None and spec.startswith("torchvision:") and torchvision_sets.key_of(spec) == "imagenet":
        samples = torchvision_sets.IMAGENET_PROBE_SAMPLES
    learning = _limited(learning, samples, seed)
    if validation is None:
        kept, held = divide(learning.labels, VALIDATION, seed, "probe validation")
        validation = SplitRows(images=learning.images, rows=learning.rows[held])
        learning = SplitRows(images=learning.images, rows=learning.rows[kept])
        how += f", {100 * VALIDATION:.0f} % of the training images held out for validation"
    _check(learning, validation, test_part)
    counts = (
        f"{len(learning.rows):,} train, {len(validation.rows):,} validation, {len(test_part.rows):,} test"
    )
    return Splits(train=learning, validation=validation, test=test_part, how=f"{how}: {counts}")


def divide(labels: Rows, share: float, seed: int, key: str) -> tuple[Rows, Rows]:
    """Divide rows into those that stay and those that are held out, with an equal share of every class.

    Args:
        labels: labels of the rows, shape (n,).
        share: share to hold out, 0 to 1; of a class with several rows at least one stays and one is held out.
        seed, key: seed and key of the draw.

    Returns:
        The rows that stay and the rows that are held out, both ascending.
    """
    held: list[Rows] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = round(share * len(rows))
        if len(rows) > 1:
            count = min(max(count, 1), len(rows) - 1)
        held.append(rows[permutation(len(rows), seed, key, int(label))[:count]])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), out), out


def _limited(part: SplitRows, samples: int | None, seed: int) -> SplitRows:
    if samples is None or samples >= len(part.rows):
        return part
    _, held = divide(part.labels, samples / len(part.rows), seed, "probe samples")
    return SplitRows(images=part.images, rows=part.rows[held])


def _check(train: SplitRows, validation: SplitRows, test: SplitRows) -> None:
    for other in (train, validation):
        if other.images.classes != test.images.classes:
            raise DataError(
                f"The classes of {other.images.spec!r} are not those of {test.images.spec!r}: a probe needs"
                " the same classes, in the same order, in its training and its test images."
            )
    if len(np.unique(train.labels)) < 2 or not len(test.rows) or not len(validation.rows):
        raise DataError(
            f"A probe of {test.images.spec!r} needs training images of two classes at least, and images for"
            f" validation and test; it has {len(train.rows)}, {len(validation.rows)} and {len(test.rows)}."
        )


def _names(spec: str) -> dict[str, str | None] | None:
    """Name the training, validation (or None) and test splits; return None if there is no training split."""
    kind = spec.partition(":")[0]
    if kind == "builtin":
        return None
    if kind == "torchvision":
        return torchvision_sets.probe_splits(spec)
    _, found = expand(spec)
    if len(found) == 1 and is_tiny_imagenet(found[0]):
        return {"train": "train", "validation": None, "test": "val"}
    there = {name for name in ("train", "val", "test") if len(found) == 1 and (found[0] / name).is_dir()}
    if "train" not in there or len(there) == 1:  # one of the classes may be called "train"
        return None
    if "test" not in there:
        return {"train": "train", "validation": None, "test": "val"}
    return {"train": "train", "validation": "val" if "val" in there else None, "test": "test"}
