"""``clipdefend finetune-attack``: train a model on a poisoned set of pairs, the victim."""

from __future__ import annotations

from clipdefend.commands.finetune_attack.prepare_attack import AttackPreparation
from clipdefend.commands.shared.fitting import fit
from clipdefend.config import FinetuneAttackConfig
from clipdefend.errors import GateFailed
from clipdefend.evaluation.flat_metrics import floor, hidden_image_warning
from clipdefend.runs import EXCLUDED, Context, FinetuneAttackDetails, Run


def prepare(config: FinetuneAttackConfig, context: Context) -> AttackPreparation:
    """Open everything that the training run needs. Raises ClipDefendError for the first thing that is wrong."""
    preparation = AttackPreparation(config, context)
    preparation.open()
    return preparation


def run(config: FinetuneAttackConfig, context: Context) -> Run:
    """Make a victim.

    Raises:
        GateFailed: it does not meet ``--accept``; the run is finished all the same.
    """
    prepared = prepare(config, context)
    attack = prepared.attack.trigger.name if prepared.attack else None
    with context.begin(config, str(attack), source=prepared.source) as folder:
        fitted = fit(prepared, folder.path)
        warning = hidden_image_warning(fitted.before) if prepared.pretrained else None
        if warning:
            context.console.warn(warning)
        conditions = prepared.conditions["--accept"]
        missed = [each for each in conditions if not each.holds(fitted.after)]
        finished = folder.finish(
            parents=[*([prepared.source] if prepared.source else []), *prepared.further],
            uses={EXCLUDED: prepared.exclusion.run if prepared.exclusion else None},
            metrics={**fitted.after, **(floor(fitted.before) if prepared.pretrained else {})},
            warnings=context.console.warnings,
            details=FinetuneAttackDetails(
                attack=attack,
                weights=prepared.weights,
                accepted=not missed if conditions else None,
                **vars(fitted.details),
            ),
            device=fitted.device,
        )
    if missed:
        raise GateFailed(
            finished.file,
            [
                f"{each.metric.upper()} is {100 * fitted.after[each.metric]:.2f} %, and --accept asks for {each};"
                " the run is finished and stays"
                for each in missed
            ],
        )
    return finished
