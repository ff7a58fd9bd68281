"""By what the best epoch of a defence is chosen."""

from __future__ import annotations

from collections.abc import Mapping

from clipdefend.evaluation.flat_metrics import defence_value, recovery
from clipdefend.evaluation.zero_shot import epoch_metrics


def defence_score(metrics: Mapping[str, float], clean: Mapping[str, float]) -> float:
    """What the defender wants of an epoch: accuracy kept, backdoor out, and triggered images recognised again.

    Args:
        metrics: of the epoch, fractions; those of the quick subset count where there are any. Without ASR, as of
            a suspect whose attack is not known, accuracy alone counts.
        clean: of the clean model under the same trigger, of all images; empty where it is not known.

    Returns:
        See ``defence_value``; the epoch with the largest is kept as ``best/``.
    """
    compared = epoch_metrics(metrics)
    return defence_value(compared | recovery(compared, clean))
