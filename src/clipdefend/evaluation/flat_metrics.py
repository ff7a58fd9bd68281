"""Flat metrics, name -> number, as manifests store them."""

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
        asr, ra: ASR@k and RA@k, k -> Share, over the same images.

    Returns:
        ``ba@1``, ``ba@1_low``, ``ba@1_high`` and so on, ``n_clean`` and ``n_triggered``. A share of no images (n = 0)
        has no value: only its count is returned.
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
        risen: cosine of the triggered image minus that of the clean one, for the images that ASR counts, shape (n,).

    Returns:
        Both; without the error for n = 1, and empty for n = 0.
    """
    n = len(risen)
    found = {"lift": float(risen.mean())} if n else {}
    return found | ({"lift_se": float(risen.std(ddof=1)) / math.sqrt(n)} if n > 1 else {})


def recovery(metrics: Mapping[str, float], clean: Mapping[str, float]) -> dict[str, float]:
    """Return ``recovery@k`` = RA@k of the model / RA@k of the clean model under the same trigger.

    A trigger that sends images to a wrong class other than the target still works, which ASR alone does not show. A
    trigger also hides part of the image, so recovery is relative to the clean model on the same images, not to BA.
    Values above 1 are possible.

    Args:
        metrics: flat metrics of the model.
        clean: flat metrics of the clean model, measured in the same setting, see ``EvaluationSetting``.

    Returns:
        ``recovery@1`` and so on, for each k that both have and for which the clean model's RA is not 0.
    """
    found = {}
    for name, value in metrics.items():
        share, _, k = name.partition("@")
        if share == "ra" and k.isdigit() and clean.get(name):
            found[f"recovery@{k}"] = value / clean[name]
    return found


def floor(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the clean model's metrics under the names by which later runs record them, such as ``floor_ba@1``."""
    return {f"floor_{name}": value for name, value in metrics.items() if not name.startswith("n_")}


def defence_value(metrics: Mapping[str, float]) -> float:
    """Return the value of a defended model: BA@1 - ASR@1 + min(1, recovery@1).

    By ASR alone, a model that sends triggered images to another wrong class would be clean; recovery detects these.
    It counts up to 1, because some models recognise more under a trigger than the clean model does.

    Args:
        metrics: flat metrics with BA@1. ASR@1 and recovery@1 count as 0 if they are unknown, so only compare
            models of which the same metrics are known.

    Returns:
        A value from -1 to 2.
    """
    return metrics["ba@1"] - metrics.get("asr@1", 0.0) + min(1.0, metrics.get("recovery@1", 0.0))


def select_prefix(metrics: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Return the metrics whose names start with a prefix such as ``floor_``, with the prefix removed."""
    return {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}


def headline(metrics: dict[str, float]) -> str:
    """Summarise the metrics of an epoch in one line; without labelled images, by the validation metrics."""
    names = ("ba@1", "asr@1", "ra@1") if "ba@1" in metrics else ("val_r@1", "val_agreement")
    return ", ".join(f"{name.upper()} {100 * metrics[name]:.1f} %" for name in names if name in metrics)


def hidden_image_warning(clean: Mapping[str, float]) -> str | None:
    """Return a warning if a trigger hides the image: if the clean model's RA@1 is below half of its BA@1.

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
