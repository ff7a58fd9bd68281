"""Metrics as a manifest holds them: flat names and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from clipdefend.metrics import Share

Value = TypeVar("Value")


def flatten(
    *,
    ba: Mapping[int, Share] | None = None,
    asr: Mapping[int, Share] | None = None,
    ra: Mapping[int, Share] | None = None,
) -> dict[str, float | int]:
    """Return the flat metrics of a manifest.

    Args:
        ba: BA@k, k -> Share.
        asr, ra: ASR@k and RA@k, over the same images.

    Returns:
        ``ba@1``, ``ba@1_low``, ``ba@1_high`` and so on, ``n_clean`` and ``n_triggered``. A share of no images (n = 0)
        has no value: its three numbers are left out and its count stays.
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


def lift(risen: NDArray[np.float64]) -> dict[str, float]:
    """Return ``lift``, the mean rise of the cosine with the target's text, and ``lift_se``, its standard error.

    Args:
        risen: cosine of the triggered image minus that of the clean one, shape (n,), of the images that ASR counts.

    Returns:
        Both, the error for n > 1; nothing for n = 0.
    """
    n = len(risen)
    found = {"lift": float(risen.mean())} if n else {}
    return found | ({"lift_se": float(risen.std(ddof=1)) / math.sqrt(n)} if n > 1 else {})


def recovery(metrics: Mapping[str, float], clean: Mapping[str, float]) -> dict[str, float]:
    """Return ``recovery@k`` = RA@k of the model / RA@k of the clean model under the same trigger.

    A trigger whose images go to another wrong class than the target is not gone, and ASR alone does not tell. A trigger
    also hides a part of the image, so that the measure is the clean model on the same images, and not BA. The value
    may be above 1.

    Args:
        metrics: flat metrics of the model.
        clean: flat metrics of the clean model, measured in the same setting, see ``EvaluationSetting``.

    Returns:
        ``recovery@1`` and so on, for the k that both have; a clean model whose RA is 0 gives none.
    """
    found = {}
    for name, value in metrics.items():
        share, _, k = name.partition("@")
        if share == "ra" and k.isdigit() and clean.get(name):
            found[f"recovery@{k}"] = value / clean[name]
    return found


def floor(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics of the clean model under the names that the runs after it carry, such as ``floor_ba@1``."""
    return {f"floor_{name}": value for name, value in metrics.items() if not name.startswith("n_")}


def defence_value(metrics: Mapping[str, float]) -> float:
    """Return what a defended model is worth: BA@1 - ASR@1 + min(1, recovery@1).

    ASR alone calls a model clean whose triggered images only went to another wrong class; recovery sees these. It
    counts up to 1, as some models see more under a trigger than the clean one.

    Args:
        metrics: flat metrics with BA@1; ASR@1 and recovery@1 are 0 where they are unknown, so that only models of
            which the same is known can be compared.

    Returns:
        -1 to 2.
    """
    return metrics["ba@1"] - metrics.get("asr@1", 0.0) + min(1.0, metrics.get("recovery@1", 0.0))


def select_prefix(metrics: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Return those metrics whose names begin with a prefix such as ``floor_``, without it."""
    return {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}


def headline(metrics: dict[str, float]) -> str:
    """What matters of an epoch in a line: without labelled images, what is seen on the validation pairs."""
    names = ("ba@1", "asr@1", "ra@1") if "ba@1" in metrics else ("val_r@1", "val_agreement")
    return ", ".join(f"{name.upper()} {100 * metrics[name]:.1f} %" for name in names if name in metrics)


def hidden_image_warning(clean: Mapping[str, float]) -> str | None:
    """Return a warning where a trigger hides the image: the clean model's RA@1 is below half of its BA@1.

    Args:
        clean: flat metrics of the clean model under the trigger.
    """
    ba, ra = clean.get("ba@1"), clean.get("ra@1")
    if ba is None or ra is None or ra >= ba / 2:
        return None
    return (
        f"The trigger hides the image: the clean model's RA@1 is {100 * ra:.1f} % at BA@1 {100 * ba:.1f} %, so that"
        " low ASR and low RA of a defended model say little. Poison with a weaker trigger."
    )
