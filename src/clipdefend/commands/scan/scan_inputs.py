"""What a scan reads: the suspect, its reference model, clean images and class names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdefend.canvas import Canvas
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.class_choice import choose_classes
from clipdefend.commands.shared.drawn_images import FEWEST, draw_images, split_images
from clipdefend.commands.shared.named_model import check_same_architecture, named_model
from clipdefend.config import FinetuneAttackConfig, ScanConfig, load_config
from clipdefend.data.bad import BadRows
from clipdefend.data.classes import load_templates
from clipdefend.data.pairs import Pairs
from clipdefend.errors import CheckpointError, ConfigError, DataError
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import default_weights, is_random, load_model
from clipdefend.runs import Context, Run

NONE = "none"


def find_source(config: ScanConfig, context: Context) -> Run | None:
    """The run whose model is scanned; None for a bare checkpoint."""
    if config.checkpoint is not None and context.source is None:
        return None
    return context.input(config)


def open_suspect(config: ScanConfig, source: Run | None, context: Context) -> ClipModel:
    """The model to scan."""
    if config.checkpoint is not None:
        return inputs.bare_model(config.checkpoint, config.model, source, config.seed, context)
    if source is None:
        raise ConfigError("There is nothing to scan: give a run with --from, or weights with --checkpoint.")
    return inputs.model_of(source)


def open_reference(
    config: ScanConfig, suspect: ClipModel, source: Run | None, context: Context
) -> tuple[str, ClipModel] | None:
    """The clean model that the suspect is compared with, and its name; None where there is none.

    Raises:
        ConfigError: it has another architecture than the suspect.
        CheckpointError: weights that are missing or do not fit.
    """
    if config.reference == NONE:
        return None
    if config.reference is not None:
        name = config.reference
        model, _ = named_model("--reference", name, config.model, config.seed, source, context)
    else:
        started = _starting_point(config, source, context)
        if started is None:
            context.console.warn(
                "No reference model: clean CLIP models have universal triggers too, so the size of this model's"
                " triggers says nothing. Give --reference MODEL."
            )
            return None
        name, model = started
    check_same_architecture(
        f"Reference {name}",
        suspect,
        model,
        "give a clean model of the same architecture, or --reference none",
    )
    return name, model


def _starting_point(config: ScanConfig, source: Run | None, context: Context) -> tuple[str, ClipModel] | None:
    """The weights that the attack started from, where they are clean and still there."""
    attack = source.find_ancestor("finetune-attack") if source and config.checkpoint is None else None
    if attack is None:
        return None
    chosen = load_config(FinetuneAttackConfig, recorded=attack.config).model
    name = chosen.name or "RN50"
    weights = chosen.pretrained or default_weights(name)
    if is_random(name, weights):
        return None
    try:
        model = load_model(name, weights)
    except CheckpointError as error:
        context.console.warn(f"The weights that the attack started from are not available: {error}")
        return None
    label = name if weights in (None, "", "none") else f"{name} {weights}"
    context.console.info(f"Reference: {label}, which the attack started from")
    return label, model


def open_pairs(config: ScanConfig, source: Run | None, context: Context) -> Pairs | None:
    """The clean images: those that a flag names, else those of the attack; None without any."""
    if config.data is not None:
        return inputs.open_data(config.data, config.columns, context)
    poison = source.find_ancestor("poison") if source and config.checkpoint is None else None
    return inputs.recorded_pairs(poison, context) if poison else None


@dataclass(frozen=True, kw_only=True)
class ScanImages:
    """Images in [0, 1], on the CPU.

    Attributes:
        search: to search on, shape (n, 3, size, size).
        held_out: to measure on, likewise.
        digest: SHA-256 of the first ones' bytes.
    """

    search: Tensor
    held_out: Tensor
    digest: str


def read_images(config: ScanConfig, pairs: Pairs, canvas: Canvas, bad: BadRows) -> ScanImages:
    """Draw images by the seed and read them.

    If there are fewer images than both sets need, each gets its share of them.

    Raises:
        DataError: there are fewer than 32 usable images, or all of them are equal.
    """
    chosen = config.search
    wanted = chosen.images + chosen.held_out
    pixels, _ = draw_images(
        pairs, canvas, bad, count=wanted, seed=config.seed, purpose="scan", workers=config.workers
    )
    if len(pixels) < 2 * FEWEST:
        raise DataError(
            f"{len(pixels)} usable images are too few for a scan, which needs at least {2 * FEWEST}: give more with"
            " --data, or leave it out for a test without images."
        )
    if torch.equal(pixels, pixels[:1].expand_as(pixels)):
        raise DataError(
            f"All {len(pixels)} images that were drawn are identical, so every model gives one answer for all: give"
            " other images with --data."
        )
    first = split_images(len(pixels), chosen.images, chosen.held_out)
    images = pixels.float() / 255
    digest = hashlib.sha256(pixels[:first].numpy().tobytes()).hexdigest()
    return ScanImages(search=images[:first], held_out=images[first:], digest=digest)


def class_names(config: ScanConfig, pairs: Pairs | None) -> list[str]:
    """Return the classes among which the target is sought."""
    return choose_classes(config.class_names, pairs)


def templates(config: ScanConfig) -> list[str]:
    """Return the prompts."""
    return load_templates(config.templates)
