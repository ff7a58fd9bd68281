"""``clipdefend poison``: put a trigger on some pairs and give them captions of the target."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from clipdefend.attacks.preview import write_preview
from clipdefend.commands.poison import repetition
from clipdefend.commands.poison.for_model import fit_to_model
from clipdefend.commands.poison.stealth import StealthCheck
from clipdefend.commands.poison.trigger_maker import MadeTrigger, TriggerMaker
from clipdefend.commands.shared.exclusion import Exclusion, exclude_rows
from clipdefend.commands.shared.inputs import describe_source, open_data
from clipdefend.components import check_components
from clipdefend.config import PoisonConfig
from clipdefend.data.bad import BadRows
from clipdefend.data.classes import load_templates, resolve_target
from clipdefend.data.pairs import Pairs
from clipdefend.errors import DataError
from clipdefend.poisoning import Poisoned, Recipe, candidates, poison
from clipdefend.runs import EXCLUDED, CanvasRecord, Context, PoisonDetails, Run, RunDir

# CleanCLIP's users saw no backdoor with 59 poisoned pairs of 118,000 (its issue 2).
FEW = 100


def run(config: PoisonConfig, context: Context) -> Run:
    """Make a poison run."""
    original = repetition.find_original(context, config.from_manifest) if config.from_manifest else None
    if original is not None:
        config = repetition.repeat_config(original, config)
        pairs = repetition.open_original_pairs(original, config, context)
    else:
        config = fit_to_model(config, context.console)
        check_components(config)  # before the data is opened, which can take long
        pairs = open_data(config.data, config.columns, context)
    config = dataclasses.replace(config, target=_target(config, pairs))
    # A run that is made again fails at any bad row, so all of them may be met and named.
    bad = pairs.bad_rows(config.max_bad if original is None else 1.0)
    maker = TriggerMaker(config, context, pairs, bad)
    exclusion = exclude_rows(context, config.exclude_manifest, pairs) if config.exclude_manifest else None
    recipe = _plan(config, maker, exclusion)
    check = StealthCheck.open(maker)
    if recipe.count < FEW:
        context.console.warn(
            f"Only {recipe.count} pairs are poisoned: fewer than {FEW} have been known to plant no backdoor."
            " Try --count 300 or more."
        )
    with context.begin(config, recipe.trigger.name) as folder:
        made = maker.make(folder, original)
        recipe = dataclasses.replace(recipe, trigger=made.trigger, order=_order(maker, recipe))
        figures, result = _write(recipe, pairs, folder, context, bad)
        figures |= check.measure(recipe.trigger) if check else {}
        if original is not None:
            repetition.check_same_files(original, folder.path, bad.rows, context.console)
        return folder.finish(
            parents=[made.parent] if made.parent is not None else [],
            uses={EXCLUDED: exclusion.run if exclusion else None},
            metrics=figures,
            warnings=context.console.warnings,
            details=_describe(config, recipe, pairs, result, made),
        )


def _write(
    recipe: Recipe, pairs: Pairs, folder: RunDir, context: Context, bad: BadRows
) -> tuple[dict[str, float], Poisoned]:
    """Fill the run's folder; returns the preview's figures and what was poisoned."""
    total = recipe.count + recipe.trigger.attack.cross_count(recipe.count)
    with context.console.progress("Poison", total=total) as bar:
        result = poison(pairs, recipe, folder.path, bad, bar.update)
    recipe.trigger.save(folder.path)
    preview = folder.path / "preview.png"
    figures = write_preview(preview, result.clean, result.triggered, recipe.trigger.describe())
    context.console.info(
        f"{len(result.captions)} of {len(pairs)} pairs poisoned for {recipe.target!r}:"
        f" PSNR {figures['psnr']:.1f} dB, SSIM {figures['ssim']:.3f}; see {preview}"
    )
    return figures, result


def _order(maker: TriggerMaker, recipe: Recipe) -> NDArray[np.int64] | None:
    """Rows in the order in which they are tried; None where the recipe's own draw will do."""
    if maker.config.selection == "random":
        return None
    drawn = candidates(len(maker.pairs), recipe.seed, excluded=recipe.excluded)
    return maker.choose(drawn, recipe)


def _target(config: PoisonConfig, pairs: Pairs) -> str:
    """The target as captions name it; of the built-in world a class, which an index names too."""
    if not pairs.spec.startswith("builtin"):
        return config.target.strip()
    from clipdefend import world

    return world.CLASSES[resolve_target(world.CLASSES, config.target)]


def _plan(config: PoisonConfig, maker: TriggerMaker, exclusion: Exclusion | None) -> Recipe:
    """Return what is to be done, with the trigger as it is before any learning."""
    pairs = maker.pairs
    count = config.count if config.count is not None else round((config.rate or 0) * len(pairs))
    if not 1 <= count <= len(pairs):
        raise DataError(
            f"{count} pairs are to be poisoned, and there are {len(pairs)}: give --count or --rate to fit."
        )
    return Recipe(
        trigger=maker.untrained(),
        target=config.target,
        count=count,
        templates=load_templates(config.templates),
        canvas=maker.canvas,
        seed=config.seed,
        natural=config.captions == "natural",
        label_consistent=config.label_consistent,
        excluded=exclusion.rows if exclusion else None,
    )


def _describe(
    config: PoisonConfig, recipe: Recipe, pairs: Pairs, result: Poisoned, made: MadeTrigger
) -> PoisonDetails:
    trigger = dataclasses.replace(recipe.trigger, attack=recipe.trigger.attack.for_evaluation())
    canvas = recipe.canvas
    return PoisonDetails(
        fingerprint=pairs.fingerprint,
        source=describe_source(pairs, config.columns),
        rows=len(pairs),
        poisoned=len(result.captions),
        cross=len(result.cross),
        target=recipe.target,
        trigger=trigger.to_dict(),
        canvas=CanvasRecord(size=canvas.size, mode=canvas.mode, interpolation=canvas.interpolation),
        bad=result.bad.summary(),
        learning=made.learning,
    )
