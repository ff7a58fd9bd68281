"""Learning rate as a function of the global optimiser step."""

from __future__ import annotations

import math

from clipdefend.choices import LrSchedule


def fit_warmup(warmup: int, total: int, kind: LrSchedule) -> int:
    """Steps of warm-up in a run of ``total``: as given, or a tenth of the run where they would fill it.

    "cleanclip-compat" keeps what it is given, since it repeats another program's curve.
    """
    return warmup if warmup < total or kind == "cleanclip-compat" else total // 10


def learning_rate(
    step: float,
    *,
    peak: float,
    total: int,
    warmup: int,
    kind: LrSchedule = "cosine",
    steps_per_epoch: int = 0,
) -> float:
    """Learning rate of optimiser step ``step``, counted from 0.

    Warm-up is linear and reaches ``peak`` at step ``warmup - 1``; "cosine" then falls to 0 at ``total``.

    "cleanclip-compat" repeats the curve of CleanCLIP's code (src/train.py) and of its descendants, which counts
    epochs from 1 and so runs one epoch ahead: a short warm-up never happens, and the last epoch rises again.
    """
    if kind == "cleanclip-compat":
        step += steps_per_epoch
        if step < warmup:
            return peak * step / warmup
        return 0.5 * peak * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
    if step < warmup:
        return peak * (step + 1) / warmup
    if kind == "const":
        return peak
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
