"""``clipdefend defend``: fine-tune a suspect model on clean pairs."""

from __future__ import annotations

from clipdefend.commands.defend.prepare_defence import DefencePreparation
from clipdefend.commands.shared.fitting import fit
from clipdefend.config import DefendConfig
from clipdefend.runs import EXCLUDED, KEPT, UNLEARNT, Context, DefendDetails, Run

BEST = "best/ was chosen with the trigger in hand, as a defender cannot; model/ holds the last epoch."


def prepare(config: DefendConfig, context: Context) -> DefencePreparation:
    """Open everything that the training run needs. Raises ClipDefendError for the first thing that is wrong."""
    preparation = DefencePreparation(config, context)
    preparation.open()
    return preparation


def run(config: DefendConfig, context: Context) -> Run:
    """Make a cleaned model."""
    prepared = prepare(config, context)
    attack = prepared.attack.trigger.name if prepared.attack else None
    label = f"{config.method}-{attack}" if attack else config.method
    with context.begin(config, label, source=prepared.source) as folder:
        fitted = fit(prepared, folder.path)
        if prepared.attack and prepared.benchmark:
            context.console.info(BEST)
        source = prepared.subcaptions
        return folder.finish(
            parents=prepared.parents,
            uses={
                EXCLUDED: prepared.exclusion.run if prepared.exclusion else None,
                KEPT: prepared.poison if config.keep_poison else None,
                UNLEARNT: prepared.found.run if prepared.found else None,
            },
            metrics={**fitted.after, **{f"victim_{k}": v for k, v in fitted.before.items() if k[:2] != "n_"}},
            warnings=context.console.warnings,
            details=DefendDetails(
                method=config.method,
                attack=attack,
                subcaption_seconds=round(source.seconds, 3) if source else 0.0,
                visible=prepared.watched,
                **vars(fitted.details),
            ),
            device=fitted.device,
        )
