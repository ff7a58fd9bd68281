"""Inputs of ``filter``: a model, the pairs that it was trained on, and which of them are known to be poisoned."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipdefend.canvas import Canvas
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.named_model import check_same_architecture, named_model
from clipdefend.config import FilterConfig, offering
from clipdefend.data.pairs import Pairs
from clipdefend.draws import draw_seed
from clipdefend.errors import ConfigError
from clipdefend.models.clip import ClipModel
from clipdefend.poisoning import CHUNK_ROWS, POISONED, PoisonedPairs, read_changed_rows
from clipdefend.runs import Context, Run, find_run

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """What a poison run records about its rows: those with the trigger, and those with the noise trigger."""

    run: Run
    poisoned: Rows
    cross: Rows


@dataclass(frozen=True)
class Judged:
    """The inputs of a filter run.

    Attributes:
        source: the input run; None if a checkpoint and pairs are given instead.
        model, pairs, canvas: the suspect, the pairs that it was trained on, and the geometry of its images.
        truth: the poisoned rows; None if they are not known.
    """

    source: Run | None
    model: ClipModel
    pairs: Pairs
    canvas: Canvas
    truth: Truth | None


def open_judged(config: FilterConfig, context: Context) -> Judged:
    """Open the inputs.

    Raises:
        ConfigError: neither a run nor a checkpoint names the model, or nothing names the pairs.
    """
    source = _source(config, context)
    if config.checkpoint is not None:
        start = source if source is not None and source.kind.model else None
        model = inputs.bare_model(config.checkpoint, config.model, start, config.seed, context)
    elif source is not None and source.kind.model:
        model = inputs.model_of(source)
    else:
        raise ConfigError(
            "The pairs are judged by a model that was trained on them: give a finetune-attack run with --from, or"
            " weights with --checkpoint."
        )
    attack = inputs.find_attack(source) if config.data is None else None
    truth = None
    if config.data is not None:
        pairs = inputs.open_data(config.data, config.columns, context)
    elif attack is not None:
        opened = inputs.poisoned_pairs(attack.run, context)
        pairs, truth = opened, _truth(attack.run, opened)
    else:
        raise ConfigError("A checkpoint alone does not say which pairs to judge: give --data.")
    return Judged(source, model, pairs, inputs.canvas_of(model, attack, config.canvas), truth)


def _source(config: FilterConfig, context: Context) -> Run | None:
    """Return the input run: the one named, otherwise the newest that provides what no flag gives."""
    if context.source is not None:
        return context.input(config)
    if config.checkpoint is not None and config.data is not None:
        return None
    if config.checkpoint is not None:
        raise ConfigError(
            "It is unknown which pairs to judge: give --data, or the poison run that made them with --from."
        )
    kinds = [kind for kind in config.sources if kind in offering("model")]
    return find_run(context.runs, kinds, None, say=context.console.info)


def _truth(poison: Run, pairs: PoisonedPairs) -> Truth:
    ids, roles = read_changed_rows(poison.output(poison.kind.rows), ["id", "role"])
    marked = np.array([role == POISONED for role in roles], np.bool_)
    rows = np.array(ids, np.int64)
    return Truth(poison, np.sort(rows[marked]), np.sort(rows[~marked]))


def open_reference(config: FilterConfig, judged: Judged, context: Context) -> ClipModel | None:
    """The clean model that ``--reference`` names; None without one.

    Raises:
        ConfigError: it has another architecture than the suspect, which sees the same images.
        CheckpointError: it cannot be loaded.
    """
    if config.reference is None:
        return None
    name = config.reference
    model, _ = named_model("--reference", name, config.model, config.seed, judged.source, context)
    remedy = "give a clean model of the same architecture"
    check_same_architecture(f"Reference {name}", judged.model, model, remedy)
    return model


def draw_rows(pairs: Pairs, seed: int, count: int) -> Rows:
    """Draw rows by their content, so that neither their order nor their number in the source matters.

    Args:
        pairs: the pairs to draw from.
        seed: seed of the draw.
        count: number of rows; all rows if there are fewer.

    Returns:
        Rows in the order of the draw: a smaller draw with the same seed is the beginning of a larger one.
    """

    def drawn() -> Iterator[tuple[int, int]]:
        for start in range(0, len(pairs), CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, len(pairs))
            captions = pairs.captions(range(start, stop))
            for row, ref, caption in zip(
                range(start, stop), pairs.image_refs(start, stop), captions, strict=True
            ):
                yield draw_seed(seed, "filter", ref, caption), row

    return np.array([row for _, row in heapq.nsmallest(count, drawn())], np.int64)
