"""``clipdefend defend``: fine-tune a suspect model on clean pairs."""

from __future__ import annotations

from collections.abc import Mapping

from clipdefend.commands.defend.watching import watched
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.fitting import fit
from clipdefend.commands.shared.rebuild import excluded
from clipdefend.commands.shared.subcaption_source import open_subcaptions
from clipdefend.config import DefendConfig
from clipdefend.data.pairs import Pairs
from clipdefend.data.subset import Subset
from clipdefend.draws import permutation
from clipdefend.errors import ConfigError
from clipdefend.evaluation.zero_shot import judged
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import build_objective
from clipdefend.runs import Context, Run
from clipdefend.training.job import Job
from clipdefend.training.visible import together

BEST = "best/ was chosen with the trigger in hand, as a defender cannot; model/ holds the last epoch."


def run(config: DefendConfig, context: Context) -> Run:
    """Make a cleaned model."""
    objective = build_objective(config.method, config.terms)
    victim = _victim(config, context)
    poison = victim.find_ancestor("poison") if victim else None
    attack = inputs.AttackRecord.of(poison) if poison else None
    model = start_model(config, victim, context)
    pairs = clean_pairs(config, poison, context)
    canvas = inputs.canvas_of(model, attack)
    benchmark = inputs.make_benchmark(config.eval, config, canvas, context, attack)
    visible, seen = watched(config, pairs, canvas, model, context)
    parents = [victim] if victim else []
    source = None
    if objective.has_subset:
        source, augment = open_subcaptions(config, pairs, context)
        parents += [augment] if augment else []
    label = f"{config.method}-{attack.trigger.name}" if attack else config.method
    with context.begin(config, label, source=victim) as folder:
        job = Job(
            folder=folder.path,
            title=f"Defend {config.method}",
            model=model,
            objective=objective,
            pairs=pairs,
            canvas=canvas,
            config=config.train,
            evaluate=together(benchmark, visible),
            select=cleaned if benchmark else None,
            seed=config.seed,
            max_bad=config.max_bad,
            workers=config.workers,
            subcaptions=source,
            schedule=config.fc_schedule,
        )
        fitted = fit(job, context)
        if attack and benchmark:
            context.console.info(BEST)
        return folder.finish(
            parents=parents,
            metrics={**fitted.after, **{f"victim_{k}": v for k, v in fitted.before.items() if k[:2] != "n_"}},
            warnings=context.console.warnings,
            details={
                "method": config.method,
                "attack": attack.trigger.name if attack else None,
                "subcaption_seconds": round(source.seconds, 3) if source else 0.0,
                "visible": seen,
                **fitted.details,
            },
            device=fitted.device,
        )


def cleaned(metrics: Mapping[str, float]) -> float:
    """What the defender wants of an epoch: accuracy kept and backdoor out, where it can be seen."""
    judging = judged(metrics)
    return judging["ba@1"] - judging.get("asr@1", 0.0)


def _victim(config: DefendConfig, context: Context) -> Run | None:
    """The run whose model is cleaned; none where a checkpoint is given alone."""
    if config.checkpoint is not None and context.source is None:
        return None
    return context.input(config)


def start_model(config: DefendConfig, victim: Run | None, context: Context) -> ClipModel:
    """The suspect model. Raises ConfigError when neither a run nor a checkpoint names it."""
    if config.checkpoint is not None:
        return inputs.bare_model(config.checkpoint, config.model, victim, config.seed, context)
    if victim is None:
        raise ConfigError("Nothing to defend: give a run with --from, or weights with --checkpoint.")
    return inputs.model_of(victim)


def clean_pairs(config: DefendConfig, poison: Run | None, context: Context) -> Pairs:
    """The defender's pairs. Raises ConfigError when neither a flag nor an attack names them."""
    if config.data is not None:
        pairs = inputs.open_data(config.data, config.columns, context)
    elif poison is None:
        raise ConfigError("Clean pairs are needed: a checkpoint alone does not name them. Give --data.")
    else:
        pairs = inputs.recorded_pairs(poison, context)
    if config.exclude_manifest is not None:
        pairs = Subset(pairs, excluded(context, config.exclude_manifest, pairs))
    if config.num_samples is not None and config.num_samples < len(pairs):
        pairs = Subset(pairs, permutation(len(pairs), config.seed, "num-samples")[config.num_samples :])
    return pairs
