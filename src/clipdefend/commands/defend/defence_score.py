"""By what the best epoch of a defence is chosen."""

from __future__ import annotations

from collections.abc import Mapping

from clipdefend.evaluation.zero_shot import judged


def defence_score(metrics: Mapping[str, float]) -> float:
    """What the defender wants of an epoch: accuracy kept and backdoor out, BA@1 - ASR@1.

    Args:
        metrics: of the epoch, fractions; those of the quick subset count where there are any. Without ASR, as of
            a suspect whose attack is not known, accuracy alone counts.

    Returns:
        -1 to 1; the epoch with the largest is kept as ``best/``.
    """
    compared = judged(metrics)
    return compared["ba@1"] - compared.get("asr@1", 0.0)
