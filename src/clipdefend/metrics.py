"""Attack and accuracy metrics: counts with 95 % Wilson intervals, from similarities.

Arrays may be NumPy's or torch's, on any device; results are NumPy's and plain numbers.

**Ties.** A class's rank is the number of *other* classes that are at least as similar: a tie counts against
it, whatever the order of the classes. So a model whose embeddings have collapsed (every similarity equal)
scores 0, and an attack on it has not succeeded. The price: of two classes with the same texts neither is a
hit at k = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipdefend.choices import AsrProtocol
from clipdefend.errors import ConfigError, DataError

Array: TypeAlias = "npt.NDArray[Any] | Tensor"
Booleans: TypeAlias = "npt.NDArray[np.bool_]"

Z95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True)
class Share:
    """``hits`` of ``n``, as a fraction with its 95 % Wilson interval; all three are NaN when n is 0."""

    hits: int
    n: int
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: Booleans) -> Share:
        """Count the true ones of booleans, shape (n,)."""
        successes, n = int(hits.sum()), len(hits)
        low, high = wilson_interval(successes, n)
        return cls(successes, n, successes / n if n else math.nan, low, high)


def topk_hits(
    similarity: Array, target: Array | Sequence[int] | int, ks: Sequence[int]
) -> dict[int, Booleans]:
    """Whether each row's target is among its k nearest classes.

    The target is, when fewer than k other classes are at least as similar (ties count against it; see the
    module's text). A row with a NaN anywhere is never a hit: its order means nothing.

    Args:
        similarity: shape (n, classes), larger is nearer.
        target: class indices, shape (n,), or one index for all rows.
        ks: the k of interest, each from 1 to the number of classes.

    Returns:
        k -> booleans of shape (n,).

    Raises:
        ConfigError: a k below 1 or above the number of classes, or none.
        DataError: shapes that do not fit, or a target that is no class.
    """
    ranks = _checked(similarity, ks, target)
    return {int(k): ranks < k for k in ks}


def class_ranks(similarity: Array, target: Array | Sequence[int] | int) -> npt.NDArray[np.int64]:
    """How many other classes are at least as similar as each row's target; all of them where a NaN is.

    Args:
        similarity: shape (n, classes), larger is nearer.
        target: class indices, shape (n,), or one index for all rows.

    Returns:
        int64, shape (n,); a target is among the k nearest when its rank is below k.

    Raises:
        DataError: shapes that do not fit, or a target that is no class.
    """
    values = _array(similarity)
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(f"Similarities have shape {values.shape}; (images, classes) with a class is needed.")
    n, classes = values.shape
    index = np.broadcast_to(_indices(target, n, classes), (n,))
    own = values[np.arange(n), index][:, None]
    rank = (values >= own).sum(axis=1) - 1  # itself is not an other class
    ranks: npt.NDArray[np.int64] = np.where(np.isnan(values).any(axis=1), classes, rank)
    return ranks


def shares(
    ranks: npt.NDArray[np.int64], ks: Sequence[int], counted: Booleans | None = None
) -> dict[int, Share]:
    """Share of ranks below each k, over the rows that are counted.

    Args:
        ranks: shape (n,), see ``class_ranks``.
        ks: the k of interest.
        counted: booleans of shape (n,), such as those of ``attacked``; None: every row.
    """
    kept = ranks if counted is None else ranks[counted]
    return {int(k): Share.of(kept < k) for k in ks}


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share, within [0, 1]; (NaN, NaN) for n = 0.

    Args:
        successes: from 0 to n.
        n: number of trials.

    Raises:
        ValueError: successes outside 0 to n.

    Reference: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials is impossible")
    if n == 0:
        return math.nan, math.nan
    share = successes / n
    z2 = Z95**2 / n
    centre = (share + z2 / 2) / (1 + z2)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n)) / (1 + z2)
    # At the ends the bound is exactly 0 or 1 in algebra, but not in floating point.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def benign_accuracy(similarity: Array, labels: Array | Sequence[int], ks: Sequence[int]) -> dict[int, Share]:
    """BA@k: share of clean images, shape (n, classes), whose class is among the k nearest texts."""
    return shares(_checked(similarity, ks, labels), ks)


def attack_success(
    similarity: Array,
    labels: Array | Sequence[int],
    target: int,
    ks: Sequence[int],
    protocol: AsrProtocol = "exclude-target",
) -> dict[int, Share]:
    """ASR@k: share of triggered images that have the target among the k nearest texts.

    Args:
        similarity: of the triggered images, shape (n, classes).
        labels: their true classes, shape (n,).
        target: the class that the attacker wants.
        ks: the k of interest.
        protocol: ``exclude-target`` leaves out the images of the target class, for which the target is right,
            from hits and count alike; ``all`` counts them, as BadCLIP's code did.

    Returns:
        k -> Share.

    Raises:
        ConfigError, DataError: as ``topk_hits``.
    """
    ranks = _checked(similarity, ks, target)
    return shares(ranks, ks, _kept(similarity, labels, target, protocol))


def robust_accuracy(
    similarity: Array,
    labels: Array | Sequence[int],
    target: int,
    ks: Sequence[int],
    protocol: AsrProtocol = "exclude-target",
) -> dict[int, Share]:
    """RA@k: share of the triggered images whose true class is among the k nearest texts.

    Over the same images as ``attack_success``, with the same arguments and errors.
    """
    ranks = _checked(similarity, ks, labels)
    return shares(ranks, ks, _kept(similarity, labels, target, protocol))


def attacked(
    labels: Array | Sequence[int], target: int, protocol: AsrProtocol = "exclude-target"
) -> Booleans:
    """Booleans, shape (n,): which images are counted for ASR and RA.

    Classes are told apart by index: two classes of one name are two classes.
    """
    if protocol not in get_args(AsrProtocol):
        raise ConfigError(
            f"ASR protocol {protocol!r} is unknown. Available: {', '.join(get_args(AsrProtocol))}."
        )
    index = _array(labels)
    return np.ones(len(index), dtype=np.bool_) if protocol == "all" else np.asarray(index != target)


def flatten(
    *,
    ba: Mapping[int, Share] | None = None,
    asr: Mapping[int, Share] | None = None,
    ra: Mapping[int, Share] | None = None,
) -> dict[str, float | int]:
    """Flat metrics of a manifest: ``ba@1``, ``ba@1_low``, ``ba@1_high`` ..., ``n_clean``, ``n_triggered``.

    A share of no images (n = 0) has no value: its three numbers are left out, its count stays.
    """
    flat: dict[str, float | int] = {}
    for name, found, count in (
        ("ba", ba, "n_clean"),
        ("asr", asr, "n_triggered"),
        ("ra", ra, "n_triggered"),
    ):
        for k, share in (found or {}).items():
            flat[count] = share.n
            if share.n:
                flat |= {
                    f"{name}@{k}": share.value,
                    f"{name}@{k}_low": share.low,
                    f"{name}@{k}_high": share.high,
                }
    return flat


def check_ks(ks: Sequence[int], classes: int) -> None:
    """Raise ConfigError for a k that is no whole number from 1 to ``classes``, or when there is none."""
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


def _checked(
    similarity: Array, ks: Sequence[int], target: Array | Sequence[int] | int
) -> npt.NDArray[np.int64]:
    """Ranks of the targets, when every k can be ranked."""
    ranks = class_ranks(similarity, target)
    check_ks(ks, np.shape(similarity)[1])
    return ranks


def _kept(similarity: Array, labels: Array | Sequence[int], target: int, protocol: AsrProtocol) -> Booleans:
    """``attacked`` after a check that labels and target fit the similarities, shape (n, classes)."""
    n, classes = similarity.shape
    index = _indices(labels, n, classes)
    if index.shape != (n,):
        raise DataError(f"One true class for each of the {n} images is needed, not a single index.")
    _indices(target, n, classes)
    return attacked(index, target, protocol)


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
