"""Models that a flag names beside the input model: by a run, a file, a folder, a tag or ``builtin``."""

from __future__ import annotations

import hashlib
from pathlib import Path

from clipdefend.commands.shared import inputs
from clipdefend.config import FinetuneAttackConfig, ModelConfig, load_config
from clipdefend.errors import ConfigError
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model
from clipdefend.runs import MANIFEST, Context, Run
from clipdefend.runs.find import locate

WHOLE = ("local-dir:", "hf-hub:")
"""How names begin that bring architecture and weights."""


def named_model(
    flag: str, given: str, model: ModelConfig, seed: int, source: Run | None, context: Context
) -> tuple[ClipModel, Run | None]:
    """Load the model that a flag names.

    Args:
        flag: for the message.
        given: its value.
        model: names the architecture of a file or a tag.
        seed: of the weights that a file then replaces.
        source: the input run, whose architecture a file is of where ``model`` names none.
        context: of the command.

    Returns:
        The model, and the run that it is from, if it is from one.

    Raises:
        ConfigError: a tag without a model's name.
        CheckpointError: weights that are missing or do not fit.
    """
    place = locate(context.runs, given)
    if place.name == MANIFEST or (place / MANIFEST).is_file():
        run = Run.open(place)
        return inputs.model_of(run), run
    if given.startswith(WHOLE):
        return load_model(given, None), None
    if Path(given).exists():
        return inputs.bare_model(given, model, source, seed, context), None
    name = model.name or _attack_model(source)
    if name is None:
        raise ConfigError(
            f"{flag} {given!r} is not a file or a run, and as a tag it needs the model's name: give --model."
        )
    return load_model(name, given), None


def _attack_model(source: Run | None) -> str | None:
    """The name of the model that the attack behind a run started from."""
    attack = source.find_ancestor("finetune-attack") if source else None
    return load_config(FinetuneAttackConfig, recorded=attack.config).model.name if attack else None


def check_same_architecture(role: str, suspect: ClipModel, other: ClipModel, remedy: str) -> None:
    """Raise ConfigError unless two models have the same architecture.

    Args:
        role: what the other model is, with its name, at the beginning of the message.
        suspect: the input model.
        other: the other one.
        remedy: what to do, at the end of the message.
    """
    own, theirs = (_describe(each) for each in (suspect, other))
    if own != theirs:
        raise ConfigError(
            f"{role} has another architecture than the suspect ({theirs} against {own}): {remedy}."
        )


def _describe(model: ClipModel) -> str:
    """The architecture in a form that can be compared and shown."""
    config = model.architecture.model
    vision = {k: v for k, v in config.get("vision_cfg", {}).items() if v is not None}
    text = {k: v for k, v in config.get("text_cfg", {}).items() if v is not None}
    shown = ", ".join(
        f"{key} {vision[key]}" for key in ("layers", "width", "patch_size", "image_size") if key in vision
    )
    rest = hashlib.sha256(repr(sorted([*vision.items(), *text.items()], key=str)).encode()).hexdigest()[:6]
    return f"{shown}, embedding {config.get('embed_dim')}, configuration {rest}"
