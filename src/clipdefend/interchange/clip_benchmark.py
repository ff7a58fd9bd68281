"""Writes results as CLIP_benchmark's JSON, which its ``build`` command merges into one table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

TASK = "zeroshot_classification"


def clip_benchmark_json(
    metrics: Mapping[str, float], *, dataset: str, model: str, pretrained: str, extra: Mapping[str, Any]
) -> str:
    """Return the JSON that CLIP_benchmark's ``eval`` writes, with additional columns.

    ``acc1`` and ``acc5`` are BA@1 and BA@5; ASR and RA become ``asr1``, ``asr1_low``, ``ra5`` and so on. Shares are
    fractions from 0 to 1.

    Args:
        metrics: flat metrics of an evaluation run.
        dataset: name of the labelled images.
        model: name of the architecture.
        pretrained: name of the weights.
        extra: additional columns, such as the attack.

    Reference: CLIP_benchmark, cli.py, ``run`` and ``main_build``.
    """
    flat = {
        column(name): value for name, value in metrics.items() if value is not None and math.isfinite(value)
    }
    document = {
        "dataset": dataset,
        "model": model,
        "pretrained": pretrained,
        "task": TASK,
        "metrics": flat,
        "language": "en",
        **extra,
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def column(metric: str) -> str:
    """Return CLIP_benchmark's name of a metric: "acc5" for "ba@5", "floor_asr1_low" for "floor_asr@1_low"."""
    prefix, at, rest = metric.partition("@")
    if not at:
        return metric
    return f"{prefix[:-2]}acc{rest}" if prefix == "ba" or prefix.endswith("_ba") else f"{prefix}{rest}"
