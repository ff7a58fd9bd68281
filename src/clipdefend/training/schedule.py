"""Learning-rate schedules, as functions of the optimiser step."""

from __future__ import annotations

import math

from clipdefend.choices import LrSchedule


def fit_warmup(warmup: int, total: int, kind: LrSchedule) -> int:
    """Return the number of warm-up steps: ``warmup``, or a tenth of ``total`` if the warm-up would fill the run.

    "cleanclip-compat" always keeps ``warmup``, because it reproduces another program's schedule.
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
    """Return the learning rate of optimiser step ``step``, counted from 0.

    Warm-up is linear and reaches ``peak`` at step ``warmup - 1``; "cosine" then falls to 0 at ``total``.

    "cleanclip-compat" reproduces the schedule of CleanCLIP's code (src/train.py) and its descendants. They count
    epochs from 1 and so run one epoch ahead: a short warm-up never happens, and the rate rises in the last epoch.
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
