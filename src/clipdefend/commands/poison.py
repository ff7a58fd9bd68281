"""``clipdefend poison``: triggers onto some pairs, captions of the target to them."""

from __future__ import annotations

from typing import Any

from clipdefend.attacks.preview import write_preview
from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas
from clipdefend.commands.inputs import open_data, source_record
from clipdefend.config import PoisonConfig
from clipdefend.data.classes import load_templates, resolve_target
from clipdefend.data.pairs import Pairs
from clipdefend.errors import ConfigError, DataError
from clipdefend.poisoning import Poisoned, Recipe, poison
from clipdefend.runs import Context, Run

# CleanCLIP's users saw no backdoor with 59 poisoned pairs of 118,000 (its issue 2).
FEW = 100


def run(config: PoisonConfig, context: Context) -> Run:
    """Make a poison run."""
    parameters = dict(config.attack)
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError("The attack has no name: give --attack NAME.")
    trigger = Trigger.create(name, parameters, size=config.image_size, seed=config.seed)
    pairs = open_data(config.data, config.columns, context)
    recipe = _recipe(config, trigger, pairs)
    if recipe.count < FEW:
        context.console.warn(
            f"Only {recipe.count} pairs are poisoned: fewer than {FEW} have been known to plant no backdoor."
            " Try --count 300 or more."
        )
    with context.begin(config, name) as folder:
        total = recipe.count + trigger.attack.cross_count(recipe.count)
        with context.console.progress("Poison", total=total) as bar:
            bad = pairs.bad_rows(config.max_bad)
            result = poison(pairs, recipe, folder.path, bad, bar.update)
        trigger.save(folder.path)
        preview = folder.path / "preview.png"
        figures = write_preview(preview, result.clean, result.triggered, trigger.describe())
        context.console.info(
            f"{len(result.captions)} of {len(pairs)} pairs poisoned for {recipe.target!r}:"
            f" PSNR {figures['psnr']:.1f} dB, SSIM {figures['ssim']:.3f}; see {preview}"
        )
        return folder.finish(
            metrics=figures,
            warnings=context.console.warnings,
            details=_details(config, recipe, pairs, result),
        )


def _recipe(config: PoisonConfig, trigger: Trigger, pairs: Pairs) -> Recipe:
    if pairs.spec.startswith("builtin"):
        from clipdefend import world

        resolve_target(world.CLASSES, config.target)
    count = config.count if config.count is not None else round((config.rate or 0) * len(pairs))
    if not 1 <= count <= len(pairs):
        raise DataError(
            f"{count} pairs are to be poisoned, and there are {len(pairs)}: give --count or --rate to fit."
        )
    return Recipe(
        trigger=trigger,
        target=config.target,
        count=count,
        templates=load_templates(config.templates),
        canvas=Canvas(config.image_size, config.canvas),
        seed=config.seed,
        natural=config.captions == "natural",
        label_consistent=config.label_consistent,
    )


def _details(config: PoisonConfig, recipe: Recipe, pairs: Pairs, result: Poisoned) -> dict[str, Any]:
    return {
        "fingerprint": pairs.fingerprint,
        "source": source_record(pairs, config.columns),
        "rows": len(pairs),
        "poisoned": len(result.captions),
        "cross": len(result.cross),
        "target": recipe.target,
        "trigger": recipe.trigger.to_dict(),
        "canvas": {"size": recipe.canvas.size, "mode": recipe.canvas.mode},
        "bad": result.bad.summary(),
    }
