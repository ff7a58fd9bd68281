"""By what the best epoch of an attack is chosen."""

from __future__ import annotations

from collections.abc import Mapping

from clipdefend.evaluation.zero_shot import epoch_metrics


def attack_score(metrics: Mapping[str, float]) -> float:
    """What the attacker wants of an epoch: accuracy kept and backdoor in, BA@1 + ASR@1.

    Args:
        metrics: of the epoch, fractions; those of the quick subset count where there are any.

    Returns:
        0 to 2; the epoch with the largest is kept as ``best/``.
    """
    compared = epoch_metrics(metrics)
    return compared["ba@1"] + compared.get("asr@1", 0.0)
