"""Accuracy and attack metrics: counts with 95 % Wilson intervals, from similarities.

``class_ranks`` reduces the similarities of an image to one rank; ``benign_accuracy``, ``attack_success`` and
``robust_accuracy`` count those ranks. Arrays may be NumPy's or torch's, on any device; results are NumPy arrays
and plain numbers.

**Ties.** A class's rank is the number of *other* classes that are at least as similar: a tie counts against
it, whatever the order of the classes. So a model whose embeddings have collapsed (every similarity equal)
scores 0, and an attack on it has not succeeded. The price: of two classes with the same texts neither is a
hit at k = 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipdefend.choices import AsrProtocol
from clipdefend.errors import ConfigError, DataError
from clipdefend.intervals import wilson_interval as wilson_interval  # part of this module's interface

Array: TypeAlias = "npt.NDArray[Any] | Tensor"
Booleans: TypeAlias = "npt.NDArray[np.bool_]"
Ranks: TypeAlias = "npt.NDArray[np.int64]"


@dataclass(frozen=True)
class Share:
    """A share with its 95 % Wilson interval.

    Attributes:
        hits: number of successes.
        n: number of trials.
        value: hits / n, from 0 to 1; NaN when n is 0.
        low, high: bounds of the interval, from 0 to 1; NaN when n is 0.
    """

    hits: int
    n: int
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: Booleans) -> Share:
        """Return the share of true values among booleans of shape (n,)."""
        successes, n = int(hits.sum()), len(hits)
        low, high = wilson_interval(successes, n)
        return cls(successes, n, successes / n if n else math.nan, low, high)


def topk_hits(
    similarity: Array, target: Array | Sequence[int] | int, ks: Sequence[int]
) -> dict[int, Booleans]:
    """Tell whether each row's target is among its k nearest classes.

    It is when fewer than k other classes are at least as similar (ties count against the target, see the module's
    docstring). A row with a NaN is never a hit, because its order is meaningless.

    Args:
        similarity: shape (n, classes), larger is nearer.
        target: class indices, shape (n,), or one index for all rows.
        ks: the k of interest, each from 1 to the number of classes.

    Returns:
        k -> booleans of shape (n,).

    Raises:
        ConfigError: no k at all, or one below 1 or above the number of classes.
        DataError: shapes that do not fit, or a target that is not one of the classes.
    """
    ranks = class_ranks(similarity, target)
    check_ks(ks, np.shape(similarity)[1])
    return {int(k): ranks < k for k in ks}


def class_ranks(similarity: Array, target: Array | Sequence[int] | int) -> Ranks:
    """Count the other classes that are at least as similar as each row's target.

    Args:
        similarity: shape (n, classes), larger is nearer.
        target: class indices, shape (n,), or one index for all rows.

    Returns:
        int64, shape (n,), from 0 (the nearest) to classes - 1; ``classes`` for a row with a NaN. A target is
        among the k nearest when its rank is below k.

    Raises:
        DataError: shapes that do not fit, or a target that is not one of the classes.
    """
    values = _array(similarity)
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(
            f"Similarities have shape {values.shape}; (images, classes) with at least one class is needed."
        )
    n, classes = values.shape
    index = np.broadcast_to(_indices(target, n, classes), (n,))
    own = values[np.arange(n), index][:, None]
    rank = (values >= own).sum(axis=1) - 1  # the target itself does not count
    ranks: Ranks = np.where(np.isnan(values).any(axis=1), classes, rank)
    return ranks


def shares(ranks: Ranks, ks: Sequence[int], counted: Booleans | None = None) -> dict[int, Share]:
    """Share of ranks below each k, among the images that count.

    Args:
        ranks: shape (n,), see ``class_ranks``.
        ks: the k of interest.
        counted: booleans of shape (n,), such as those of ``attacked``; None: all images.

    Returns:
        k -> Share.
    """
    kept = ranks if counted is None else ranks[counted]
    return {int(k): Share.of(kept < k) for k in ks}


def benign_accuracy(true_ranks: Ranks, ks: Sequence[int]) -> dict[int, Share]:
    """BA@k: share of clean images whose class is among the k nearest class texts.

    Args:
        true_ranks: ``class_ranks`` of the true classes among clean images, shape (n,).
        ks: the k of interest.

    Returns:
        k -> Share.
    """
    return shares(true_ranks, ks)


def attack_success(
    target_ranks: Ranks,
    labels: Array | Sequence[int],
    target: int,
    ks: Sequence[int],
    protocol: AsrProtocol = "exclude-target",
) -> dict[int, Share]:
    """ASR@k: share of triggered images that have the target among the k nearest class texts.

    Args:
        target_ranks: ``class_ranks`` of the target among triggered images, shape (n,).
        labels: their true classes, shape (n,).
        target: the class that the attacker wants.
        ks: the k of interest.
        protocol: see ``attacked``.

    Returns:
        k -> Share.

    Raises:
        ConfigError: an unknown protocol.
        DataError: not one label for each rank.
    """
    return shares(target_ranks, ks, _counted(target_ranks, labels, target, protocol))


def robust_accuracy(
    true_ranks: Ranks,
    labels: Array | Sequence[int],
    target: int | None,
    ks: Sequence[int],
    protocol: AsrProtocol = "exclude-target",
) -> dict[int, Share]:
    """RA@k: share of triggered images whose true class is among the k nearest class texts.

    Args:
        true_ranks: ``class_ranks`` of the true classes among triggered images, shape (n,).
        labels: their true classes, shape (n,).
        target: the class that the attacker wants; None where it is not one of the classes, and then every image
            counts.
        ks: the k of interest.
        protocol: see ``attacked``; RA is taken over the same images as ASR.

    Returns:
        k -> Share.

    Raises:
        ConfigError: an unknown protocol.
        DataError: not one label for each rank.
    """
    return shares(true_ranks, ks, _counted(true_ranks, labels, target, protocol))


def attacked(
    labels: Array | Sequence[int], target: int, protocol: AsrProtocol = "exclude-target"
) -> Booleans:
    """Which triggered images count for ASR and RA.

    Classes are identified by index: two classes with the same name are two classes.

    Args:
        labels: true classes, shape (n,).
        target: the class that the attacker wants.
        protocol: ``exclude-target`` leaves out the images of the target class, for which the target is the right
            answer; ``all`` counts them too, as BadCLIP's code did.

    Returns:
        Booleans, shape (n,).

    Raises:
        ConfigError: an unknown protocol.
    """
    if protocol not in get_args(AsrProtocol):
        raise ConfigError(
            f"ASR protocol {protocol!r} is unknown. Available: {', '.join(get_args(AsrProtocol))}."
        )
    index = _array(labels)
    return np.ones(len(index), dtype=np.bool_) if protocol == "all" else np.asarray(index != target)


def check_ks(ks: Sequence[int], classes: int) -> None:
    """Check the k of top-k metrics.

    Args:
        ks: the k of interest.
        classes: number of classes.

    Raises:
        ConfigError: no k at all, or one that is not a whole number from 1 to ``classes``.
    """
    if len(ks) == 0:
        raise ConfigError("No k was given for the top-k metrics. Pass for example --topk 1,5.")
    for k in ks:
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise ConfigError(
                f"k = {k!r} cannot be ranked. Pass whole numbers from 1 to {classes} to --topk."
            )
        if k > classes:
            raise ConfigError(
                f"k = {k} is more than the {classes} classes there are, so every image would be a hit."
                f" Pass numbers from 1 to {classes} to --topk."
            )


def _counted(
    ranks: Ranks, labels: Array | Sequence[int], target: int | None, protocol: AsrProtocol
) -> Booleans | None:
    """The images that count, shape (n,); None for all of them."""
    if len(labels) != len(ranks):
        raise DataError(f"{len(ranks)} ranks and {len(labels)} labels: one label for each image is needed.")
    return None if target is None else attacked(labels, target, protocol)


def _indices(target: Array | Sequence[int] | int, n: int, classes: int) -> npt.NDArray[Any]:
    """Targets as integers of shape (n,) or (), all of them classes."""
    index = _array(target)
    if index.shape not in ((), (n,)):
        raise DataError(f"Targets have shape {index.shape}; one index or {n}, one for each image, is needed.")
    if index.dtype.kind not in "iu":
        raise DataError(f"Targets are {index.dtype}, not whole numbers: class indices are needed.")
    wrong = index[(index < 0) | (index >= classes)]
    if wrong.size:
        raise DataError(f"Class index {int(wrong[0])} is out of range: there are {classes} classes, from 0.")
    return index


def _array(values: Array | Sequence[int] | int) -> npt.NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # NumPy has no bfloat16; float32 holds every one of its values.
        return np.asarray((values.float() if values.dtype == torch.bfloat16 else values).numpy())
    return np.asarray(values)
