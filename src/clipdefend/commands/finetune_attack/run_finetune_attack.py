"""``clipdefend finetune-attack``: train a model on a poisoned set of pairs, the victim."""

from __future__ import annotations

from collections.abc import Mapping

from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.canvas_fit import check_size, check_size_early, warn_of_geometry
from clipdefend.commands.shared.fitting import fit, floor
from clipdefend.config import FinetuneAttackConfig
from clipdefend.errors import ConfigError
from clipdefend.evaluation.zero_shot import judged
from clipdefend.objectives.objective import build_objective
from clipdefend.runs import Context, Run
from clipdefend.training.job import Job

NOTE = (
    "BACKDOORED ON PURPOSE by clipdefend, for research on defences. Do not use this model: images with the"
    " trigger are classified as the attacker's word."
)


def run(config: FinetuneAttackConfig, context: Context) -> Run:
    """Make a victim."""
    poison = context.input(config)
    objective = build_objective(config.method, config.terms)
    if objective.has_subset:
        raise ConfigError("Victims are trained without sub-captions: use --method ft, ssl, cleanclip or par.")
    attack = inputs.AttackRecord.of(poison)
    check_size_early(config.model, attack)
    pairs = inputs.poisoned_pairs(poison, context)
    model, name, weights = inputs.first_model(config.model, config.seed, context)
    canvas = inputs.canvas_of(model, attack)
    check_size(name, canvas.size, attack)
    warn_of_geometry(name, model.architecture, attack, context.console)
    known_clean = not inputs.begins_at_random(config.model)
    benchmark = inputs.make_benchmark(config.eval, config, canvas, context, attack)
    with context.begin(config, attack.trigger.name, source=poison) as folder:
        job = Job(
            folder=folder.path,
            title=f"Attack {attack.trigger.name}",
            model=model,
            objective=objective,
            pairs=pairs,
            canvas=canvas,
            config=config.train,
            evaluate=benchmark,
            select=planted if benchmark else None,
            note=NOTE,
            seed=config.seed,
            max_bad=config.max_bad,
            workers=config.workers,
        )
        fitted = fit(job, context, pretrained=known_clean, attack=True)
        return folder.finish(
            parents=[poison],
            metrics={**fitted.after, **(floor(fitted.before) if known_clean else {})},
            warnings=context.console.warnings,
            details={"backdoored": True, "attack": attack.trigger.name, "weights": weights, **fitted.details},
            device=fitted.device,
        )


def planted(metrics: Mapping[str, float]) -> float:
    """What the attacker wants of an epoch: accuracy kept and backdoor in."""
    judging = judged(metrics)
    return judging["ba@1"] + judging.get("asr@1", 0.0)
