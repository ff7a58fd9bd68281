"""Embeddings of some models for the maps of a report, from the weights of their runs; computed once and cached."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.canvas import Canvas
from clipdefend.commands.shared import inputs
from clipdefend.config import COMMANDS, ReportConfig, load_config
from clipdefend.data.classes import load_templates, resolve_target
from clipdefend.data.image_reader import read_canvases
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.draws import permutation
from clipdefend.errors import ClipDefendError, ConfigError
from clipdefend.evaluation.cache import Cache
from clipdefend.evaluation.class_texts import class_embeddings
from clipdefend.metrics import attacked
from clipdefend.models.clip import ClipModel
from clipdefend.report.maps import ModelEmbeddings
from clipdefend.report.rows import Row
from clipdefend.report.write import ReportData
from clipdefend.runs import Context, Run
from clipdefend.training.devices import make_accelerator

CACHE = "report"
BATCH = 64
"""Number of images that are encoded at once."""
TARGET_SHARE = 3
"""Number of images of other classes for each image of the target class."""


def embed_models(data: ReportData, config: ReportConfig, context: Context) -> list[ModelEmbeddings]:
    """Embed up to ``config.maps`` models: for each attack the victim and the defence with the lowest ASR.

    Models that cannot be embedded, for example because their weights are missing, are skipped with a warning.
    """
    found: list[ModelEmbeddings] = []
    drawn: set[tuple[str | None, ...]] = set()
    for row in _candidates(data):
        if len(found) == config.maps:
            break
        one = row.members[0]
        key = tuple(run.sha256 if run else None for run in (one.model, one.trigger_run))
        if key in drawn:  # for another table: a map does not depend on the setting of the evaluation
            continue
        drawn.add(key)
        try:
            found.append(_embed_row(row, config, context))
        except (ClipDefendError, OSError) as error:
            context.console.warn(f"No embedding map of {row.attack}, {row.defence}: {error}")
    return found


def _candidates(data: ReportData) -> Iterator[Row]:
    """Yield the victim and the best defence of each attack, as far as their weights and ASR are known."""
    for table in data.tables:
        for attack in table.attacks:
            rows = [row for row in table.of(attack) if _weights(row) is not None and "asr@1" in row.figures]
            victims = [row for row in rows if row.base == "none"]
            defences = [row for row in rows if row.is_defence]
            yield from victims[:1]
            yield from sorted(defences, key=lambda row: row.figures["asr@1"].value)[:1]


def _weights(row: Row) -> Run | None:
    """Return the run that holds the weights of a row's model; None for the clean model, whose weights no run holds."""
    return None if row.base == "clean model" else row.members[0].model


def _embed_row(row: Row, config: ReportConfig, context: Context) -> ModelEmbeddings:
    """Embed the model of a row. Raises ConfigError and other errors of ours where that is not possible."""
    run = _weights(row)
    attack = inputs.find_attack(row.members[0].trigger_run)
    if run is None or attack is None:
        raise ConfigError("its weights or its trigger are not known.")
    images = _labelled(run, row.members[0].run)
    target = resolve_target(images.classes, attack.target)
    order = permutation(len(images), config.seed, "map")
    other = attacked(images.labels[order], target)
    parts = order[other], order[~other]
    facts = {
        "of": "map",
        "model": run.sha256,
        "trigger": attack.run.sha256,
        "images": [images.identity(part[: config.map_images]) for part in parts],
        "classes": list(images.classes),
        "templates": list(images.templates or ()),
        "count": config.map_images,
    }

    def embed() -> dict[str, Tensor]:
        context.console.info(f"Embedding {config.map_images} images with {run.name}")
        model = inputs.model_of(run).to(make_accelerator(config.device).device).eval()
        return _embed(model, images, inputs.canvas_of(model, attack), attack, parts, config.map_images)

    found = Cache(context.runs / inputs.CACHE / CACHE).get(facts, embed)
    vectors = {name: tensor.numpy() for name, tensor in found.items()}
    return ModelEmbeddings(row.attack, row.defence, **vectors, classes=tuple(images.classes), target=target)


def _labelled(run: Run, evaluation: Run) -> LabelledImages:
    """Open the labelled images that a model was evaluated on during training, else those of its evaluation."""
    evaluated = [load_config(COMMANDS[each.command], recorded=each.config) for each in (run, evaluation)]
    chosen = next((each.eval for each in evaluated if each.eval.data is not None), None)  # type: ignore[attr-defined]
    if chosen is None:
        raise ConfigError("it was not evaluated on labelled images.")
    return open_labelled(
        chosen.data,
        class_names=chosen.class_names,
        templates=chosen.templates,
        root=Path(chosen.root) if chosen.root else None,
        split=chosen.split,
    )


@torch.no_grad()
def _embed(
    model: ClipModel,
    images: LabelledImages,
    canvas: Canvas,
    attack: inputs.AttackRecord,
    order: tuple[NDArray[np.int64], NDArray[np.int64]],
    count: int,
) -> dict[str, Tensor]:
    """Encode images and class texts.

    Args:
        model: in evaluation mode.
        images: labelled images.
        canvas: their geometry.
        attack: trigger and target.
        order: rows of images of other classes, and of the target class.
        count: number of images of other classes; unusable ones are replaced by the next in the order.

    Returns:
        Unit vectors (n, d), by the names of the fields of ``ModelEmbeddings``.
    """
    rows, clean = _pixels(images, canvas, order[0], count)
    _, own = _pixels(images, canvas, order[1], max(1, count // TARGET_SHARE))
    triggered = attack.trigger(clean, rows)
    found = {
        name: torch.cat([model.encode_image(part.to(model.device)) for part in torch.split(pixels, BATCH)])
        for name, pixels in (("clean", clean), ("triggered", triggered), ("target_images", own))
    }
    found["texts"] = class_embeddings(model, images.classes, images.templates or load_templates("imagenet"))
    return {name: vectors.float() for name, vectors in found.items()}


def _pixels(
    images: LabelledImages, canvas: Canvas, order: NDArray[np.int64], count: int
) -> tuple[list[int], Tensor]:
    """Return rows and pixels of the first usable images of an order: float in [0, 1], shape (n, 3, h, w)."""
    found = dict(islice(read_canvases(images, order, canvas), count))
    if not found:
        raise ConfigError(f"none of the images of {images.spec} can be read.")
    return list(found), torch.stack(list(found.values())).float() / 255
