"""Models from names, files and folders.

A checkpoint under suspicion is untrusted input: nothing but tensors is ever read from it, and whatever is
missing, of another shape or not finite is an error. There is no silent fallback to other weights.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path

from clipdefend.errors import CheckpointError
from clipdefend.models.builder import build_model, wrap
from clipdefend.models.checkpoint_files import WEIGHTS_NAME, first_line, weights_in
from clipdefend.models.clip import Architecture, ClipModel
from clipdefend.models.configurations import (
    CONFIG_NAME,
    PREPROCESSING,
    TINY,
    config_of,
    model_folder,
    read_architecture,
)
from clipdefend.models.deduce import deduce_architecture
from clipdefend.models.weights import Checkpoint, load_checkpoint, read_checkpoint
from clipdefend.registry import nearest

AUTO = "auto"


def load_model(name: str, pretrained: str | None, *, seed: int = 0) -> ClipModel:
    """Build a model and load its weights, on the CPU in float32.

    Args:
        name: "tiny"; a name of open_clip's ("RN50", "ViT-B/32"); "local-dir:DIR" or a folder in open_clip's or
            transformers' layout; a ``.json`` file with a model configuration; "hf-hub:ORG/REPO"; or "auto", which
            deduces the architecture from the weights.
        pretrained: a tag of open_clip's, a weights file or a folder with one, "builtin" for tiny's own weights,
            or None or "none" for random weights drawn from ``seed``. A folder brings its own weights when None.
        seed: of random weights.

    Returns:
        The model; its ``notes`` say what was recognised and assumed, its ``remarks`` what is odd.

    Raises:
        CheckpointError: unknown name or tag, missing file, unsafe pickle, wrong keys or shapes, or, with "auto",
            weights that fit no architecture or several.
    """
    if pretrained in (None, "", "none"):
        pretrained = None
    if name == AUTO:
        return _load_deduced(pretrained)
    folder = model_folder(name)
    if name.startswith("hf-hub:"):
        return _from_open_clip(name, None)
    architecture = read_architecture(name)
    if name not in ("tiny",) and folder is None and not name.endswith(".json"):
        name = name.replace("/", "-")
        if pretrained is not None and not Path(pretrained).exists():
            return _from_open_clip(name, pretrained)
    weights = _weights_file(name, folder, pretrained)
    if weights is None:
        return _noted(build_model(architecture, seed=seed), name)
    checkpoint = read_checkpoint(weights)
    return _noted(_load(architecture, checkpoint, seed), name)


def default_weights(name: str) -> str:
    """The ``pretrained`` of a model for which none is given.

    It is "builtin" for tiny; "none" for a folder and for the hub, which come with weights, and for a bare
    configuration, for which there are none; else "openai".
    """
    if name == "tiny":
        return "builtin"
    bare = (
        name == AUTO or name.startswith("hf-hub:") or name.endswith(".json") or model_folder(name) is not None
    )
    return "none" if bare else "openai"


def is_random(name: str, pretrained: str | None) -> bool:
    """Whether ``load_model`` draws random weights."""
    own = name == AUTO or name.startswith("hf-hub:") or model_folder(name) is not None
    return pretrained in (None, "", "none") and not own


def is_local(name: str, pretrained: str | None) -> bool:
    """Whether ``load_model`` finds trained weights on this machine, so that nothing is downloaded."""
    if name.startswith("hf-hub:") or is_random(name, pretrained):
        return False
    if pretrained in (None, "", "none"):
        return model_folder(name) is not None
    return (name == "tiny" and pretrained == "builtin") or Path(str(pretrained)).exists()


def _load_deduced(pretrained: str | None) -> ClipModel:
    """A model of the architecture that its weights tell."""
    if pretrained is None or not Path(pretrained).exists():
        raise CheckpointError(
            f"--model {AUTO} deduces the architecture from weights, and {pretrained or 'none'!r} is not a file or a"
            " folder. Give one, or name the model."
        )
    path = Path(pretrained)
    folder = path if path.is_dir() else path.parent
    if config_of(folder) is not None and (path.is_dir() or weights_in(folder) == path):
        model = _load(read_architecture(f"local-dir:{folder}"), read_checkpoint(path), 0)
        model.notes.append(f"Model: as {config_of(folder)} says")
        return model
    checkpoint = read_checkpoint(path)
    architecture, shown = deduce_architecture(checkpoint)
    model = _load(architecture, checkpoint, 0)
    model.notes.append(f"Model: {shown}, deduced from {path}")
    return _noted(model, shown)


def _load(architecture: Architecture, checkpoint: Checkpoint, seed: int) -> ClipModel:
    """The model of an architecture with a checkpoint's weights, with QuickGELU where OpenAI's code wrote them."""
    quick = checkpoint.layout == "openai" and not architecture.model.get("quick_gelu")
    if quick:
        architecture = replace(architecture, model={**architecture.model, "quick_gelu": True})
    model = build_model(architecture, seed=seed)
    load_checkpoint(model, checkpoint)
    if quick:
        model.notes.append(f"{checkpoint.path} is in the format of OpenAI's code: the model takes QuickGELU")
    return model


def _noted(model: ClipModel, name: str) -> ClipModel:
    """The model, with a note on whose mean and deviation it takes where its configuration says none."""
    if name.endswith(".json") and not {"mean", "std"} <= model.architecture.preprocess.keys():
        model.notes.append(
            f"{name} has no preprocess_cfg with mean and std: images are normalised by OpenAI's"
            f" ({', '.join(f'{value:.3f}' for value in model.mean.flatten().tolist())};"
            f" {', '.join(f'{value:.3f}' for value in model.std.flatten().tolist())})"
        )
    return model


def _weights_file(name: str, folder: Path | None, pretrained: str | None) -> Path | None:
    if pretrained == "builtin" and name == "tiny":
        return TINY / "tiny.safetensors"
    if pretrained is not None:
        path = Path(pretrained)
        if not path.is_file() and weights_in(path) is None:
            none = "random weights" if folder is None else "the folder's own"
            raise CheckpointError(
                f"Pretrained weights {pretrained!r} not found: give a file, a tag of open_clip's for a model"
                f" of its own, 'builtin' with --model tiny, or 'none' for {none}."
            )
        return path
    if folder is None:
        return None
    found = weights_in(folder)
    if found is None:
        wanted = f"{CONFIG_NAME} but no {WEIGHTS_NAME}" if (folder / CONFIG_NAME).is_file() else "no weights"
        raise CheckpointError(f"Folder {folder} has {wanted}.")
    return found


def _from_open_clip(name: str, tag: str | None) -> ClipModel:
    """Models whose weights open_clip fetches: a tag of a built-in name, or a repository of the hub."""
    import open_clip
    from open_clip.factory import _get_hf_config

    logging.getLogger("huggingface_hub").propagate = False  # it shows its warnings itself

    known = open_clip.get_pretrained_cfg(name, tag) if tag else {}
    if tag and not known:
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise CheckpointError(
            f"Pretrained weights {tag!r} are neither a file nor a tag of {name}'s.{nearest(tag, tags)} It has:"
            f" {', '.join(tags) or 'none'}. Give one of them, a file, or 'none' for random weights."
        )
    # OpenAI's weights and others were trained with QuickGELU, which their models' own names do not say.
    quick = {"quick_gelu": True} if known.get("quick_gelu") else {}
    try:
        clip = open_clip.create_model(
            name, tag, require_pretrained=True, weights_only=True, force_quick_gelu=bool(quick)
        )
        if tag:
            model = copy.deepcopy(open_clip.get_model_config(name)) | quick
            architecture = Architecture(model, {key: known[key] for key in PREPROCESSING if key in known})
        else:
            config = _get_hf_config(name.removeprefix("hf-hub:"))
            architecture = Architecture(config["model_cfg"], config.get("preprocess_cfg", {}))
        return wrap(clip, architecture)
    except Exception as error:  # open_clip raises whatever its downloaders raise
        raise CheckpointError(
            f"Weights {f'{tag!r} ' if tag else ''}of {name} are not available: {first_line(error)}. Give a file with"
            " --pretrained FILE, or 'none' for random weights."
        ) from error
