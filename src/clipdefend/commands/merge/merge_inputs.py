"""What a merge reads: the two models, clean pairs, class names and labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipdefend.canvas import Canvas
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.drawn_images import FEWEST, draw_images, split_images
from clipdefend.commands.shared.named_model import check_same_architecture, named_model
from clipdefend.config import DefendConfig, MergeConfig, load_config, to_dict
from clipdefend.data.bad import BadRows
from clipdefend.data.pairs import Pairs
from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation.recorded_floor import floor_of_run
from clipdefend.evaluation.setting import EvaluationSetting
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import ClipModel
from clipdefend.models.interpolate import check_same_tensors
from clipdefend.runs import Context, Run, find_run

BATCH = 64
"""Pairs whose statistics are estimated at a time."""


@dataclass(frozen=True, kw_only=True)
class MergedModels:
    """The two models.

    Attributes:
        source: the run of the first one; None for a bare checkpoint.
        first: the input model.
        other: the other model.
        other_run: the run that it is from, if it is from one.
        other_name: its name, for people.
    """

    source: Run | None
    first: ClipModel
    other: ClipModel
    other_run: Run | None
    other_name: str


def open_models(config: MergeConfig, context: Context) -> MergedModels:
    """Open the two models.

    Raises:
        ConfigError: the other model is missing or has a different architecture.
        CheckpointError: weights that are missing or do not fit.
        RunError: an input run that is missing, damaged or of the wrong kind.
    """
    source = _find_source(config, context)
    if config.checkpoint is not None:
        first = inputs.bare_model(config.checkpoint, config.model, source, config.seed, context)
    elif source is not None:
        first = inputs.model_of(source)
    else:
        raise ConfigError("There is nothing to merge: give a run with --from, or weights with --checkpoint.")
    if config.other is not None:
        other, run = named_model("--with", config.other, config.model, config.seed, source, context)
        name = run.name if run else config.other
    elif source is None:
        raise ConfigError("A checkpoint alone does not say what it is mixed with: give --with MODEL.")
    else:
        other, run, name = _suspect_of(source, context)
    check_same_architecture(f"Model {name}", first, other, "only models of one architecture can be merged")
    check_same_tensors(first.clip.state_dict(), other.clip.state_dict())
    context.console.info(f"Merging with: {name}")
    return MergedModels(source=source, first=first, other=other, other_run=run, other_name=name)


def _find_source(config: MergeConfig, context: Context) -> Run | None:
    if config.checkpoint is not None and context.source is None:
        return None
    if config.other is not None:
        return context.input(config)
    # Without another model only a cleaned one will do: a victim has no suspect behind it.
    source = find_run(
        context.runs,
        config.sources if context.source is not None else ("defend",),
        context.source,
        say=context.console.info,
    )
    if source.command != "defend":
        raise ConfigError(
            f"Run {source.name} is of kind {source.command!r}, which was not cleaned: give --with MODEL to mix it with"
            " a clean model, or the run of a cleaned one."
        )
    return source


def _suspect_of(source: Run, context: Context) -> tuple[ClipModel, Run | None, str]:
    """The model that a defence started from, the run that it is from, and its name."""
    defence = load_config(DefendConfig, recorded=source.config)
    records = [record for record in source.manifest["parents"] if "use" not in record]
    parents = [parent for parent in map(source.parent, records) if parent.kind.model]
    run = parents[0] if parents else None
    if defence.checkpoint is not None:
        model = inputs.bare_model(defence.checkpoint, defence.model, run, defence.seed, context)
        return model, None, defence.checkpoint
    if run is None:
        raise ConfigError(f"Run {source.name} does not say which model it was made from: give --with MODEL.")
    return inputs.model_of(run), run, run.name


def open_pairs(config: MergeConfig, source: Run | None, context: Context) -> Pairs:
    """The clean pairs: those that a flag names, else those of the attack, else those of the defence.

    Raises:
        ConfigError: none of these names any.
    """
    if config.data is not None:
        return inputs.open_data(config.data, config.columns, context)
    poison = source.find_ancestor("poison") if source and config.checkpoint is None else None
    if poison is not None:
        return inputs.recorded_pairs(poison, context)
    if source is not None and source.command == "defend" and config.checkpoint is None:
        defence = load_config(DefendConfig, recorded=source.config)
        if defence.data is not None:
            return inputs.open_data(defence.data, defence.columns, context)
    raise ConfigError("Clean pairs are needed, and no run names any. Give --data.")


def open_benchmark(
    config: MergeConfig,
    canvas: Canvas,
    source: Run | None,
    attack: inputs.AttackRecord | None,
    context: Context,
) -> tuple[Benchmark | None, dict[str, float]]:
    """The evaluation, and the comparable figures of the suspect that the input run recorded; None without images."""
    benchmark = inputs.make_benchmark(config.eval, config, canvas, context, attack)
    if benchmark is None or attack is None or source is None:
        return benchmark, {}
    setting = EvaluationSetting.from_config(
        {**to_dict(config.eval), "quick": None}, canvas=canvas.mode, target=attack.target, poison=attack.run
    )
    benchmark.clean = floor_of_run(source, setting)
    theirs = EvaluationSetting.of(source, attack.run)
    victim = {key: value for key, value in source.metrics.items() if key.startswith("victim_")}
    return benchmark, setting.comparable(theirs, victim)


@dataclass(frozen=True, kw_only=True)
class MergeImages:
    """Clean pairs that were drawn by the seed, on the CPU.

    Attributes:
        pixels: uint8, shape (n, 3, size, size).
        captions: of the same pairs.
        first: number of images, from the first one on, that perturbations are made on.
        held_out: number of images after them that they are measured on.
    """

    pixels: Tensor
    captions: list[str]
    first: int
    held_out: int

    def search(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images in [0, 1] to make perturbations on, and others to measure them on."""
        images = self.pixels[: self.first + self.held_out].to(device).float() / 255
        return images[: self.first], images[self.first :]


def read_images(config: MergeConfig, pairs: Pairs, canvas: Canvas, bad: BadRows, norms: bool) -> MergeImages:
    """Draw pairs and read their images.

    Where there are fewer than perturbations take, those to make them on and to measure them on get their shares.

    Args:
        config: of the command.
        pairs: clean ones.
        canvas: geometry of the images.
        bad: counter of unusable rows.
        norms: whether the models have batch norms.

    Raises:
        DataError: fewer than 32 usable images.
    """
    chosen = config.proxy
    wanted = max(chosen.images + chosen.held_out, config.norm_images if norms else 0)
    pixels, rows = draw_images(
        pairs, canvas, bad, count=wanted, seed=config.seed, purpose="merge", workers=config.workers
    )
    if len(pixels) < 2 * FEWEST:
        raise DataError(
            f"{len(pixels)} usable images are too few to merge on, which takes {2 * FEWEST} at least."
        )
    first = split_images(len(pixels), chosen.images, chosen.held_out)
    captions = [pairs.caption(row) for row in rows]
    held_out = min(chosen.held_out, len(pixels) - first)
    return MergeImages(pixels=pixels, captions=captions, first=first, held_out=held_out)
