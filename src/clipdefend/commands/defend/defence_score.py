"""By what the best epoch of a defence is chosen."""

from __future__ import annotations

from collections.abc import Mapping

from clipdefend.evaluation.flat_metrics import defence_value
from clipdefend.evaluation.zero_shot import epoch_metrics


def defence_score(metrics: Mapping[str, float]) -> float:
    """What the defender wants of an epoch: accuracy kept, backdoor out, and triggered images recognised again.

    Args:
        metrics: of the epoch, fractions; those of the quick subset count where there are any. Without ASR, as of
            a suspect whose attack is not known, accuracy alone counts.

    Returns:
        See ``defence_value``; the epoch with the largest is kept as ``best/``.
    """
    return defence_value(epoch_metrics(metrics))
