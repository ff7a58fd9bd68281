"""Models from names, files and folders.

A checkpoint under suspicion is untrusted input: nothing but tensors is ever read from it, and whatever is
missing, of another shape or not finite is an error. There is no silent fall-back to other weights.
"""

from __future__ import annotations

import copy
from pathlib import Path

from clipdefend.errors import CheckpointError
from clipdefend.models.builder import build_model, wrap
from clipdefend.models.clip import Architecture, ClipModel
from clipdefend.models.configurations import CONFIG_NAME, TINY, model_folder, read_architecture
from clipdefend.models.weights import WEIGHTS_NAME, first_line, load_weights
from clipdefend.registry import nearest


def load_model(name: str, pretrained: str | None, *, seed: int = 0) -> ClipModel:
    """Build a model and load its weights, on the CPU in float32.

    Args:
        name: "tiny"; a name of open_clip's ("RN50", "ViT-B/32"); "local-dir:DIR" or a folder with
            ``open_clip_config.json``; a ``.json`` file with a model configuration; "hf-hub:ORG/REPO".
        pretrained: a tag of open_clip's, a weights file (.safetensors, .pt), "builtin" for tiny's own weights,
            or None or "none" for random weights drawn from ``seed``. A folder brings its own weights when None.
        seed: of random weights.

    Raises:
        CheckpointError: unknown name or tag, missing file, unsafe pickle, wrong keys or shapes.
    """
    if pretrained in (None, "", "none"):
        pretrained = None
    folder = model_folder(name)
    if name.startswith("hf-hub:"):
        return _from_open_clip(name, None)
    architecture = read_architecture(name)
    if name not in ("tiny",) and folder is None and not name.endswith(".json"):
        name = name.replace("/", "-")
        if pretrained is not None and not Path(pretrained).is_file():
            return _from_open_clip(name, pretrained)
    model = build_model(architecture, seed=seed)
    weights = _weights_file(name, folder, pretrained)
    if weights is not None:
        load_weights(model, weights)
    return model


def default_weights(name: str) -> str:
    """The ``pretrained`` of a model for which none is given.

    It is "builtin" for tiny; "none" for a folder and for the hub, which bring weights of their own, and for a bare
    configuration, for which there are none; else "openai".
    """
    if name == "tiny":
        return "builtin"
    bare = name.startswith("hf-hub:") or name.endswith(".json") or model_folder(name) is not None
    return "none" if bare else "openai"


def is_random(name: str, pretrained: str | None) -> bool:
    """Whether ``load_model`` draws random weights."""
    own = name.startswith("hf-hub:") or model_folder(name) is not None
    return pretrained in (None, "", "none") and not own


def _weights_file(name: str, folder: Path | None, pretrained: str | None) -> Path | None:
    if pretrained == "builtin" and name == "tiny":
        return TINY / "tiny.safetensors"
    if pretrained is not None:
        if not Path(pretrained).is_file():
            none = "random weights" if folder is None else "the folder's own"
            raise CheckpointError(
                f"Pretrained weights {pretrained!r} not found: give a file, a tag of open_clip's for a model"
                f" of its own, 'builtin' with --model tiny, or 'none' for {none}."
            )
        return Path(pretrained)
    if folder is None:
        return None
    found = sorted(p for p in folder.iterdir() if p.name in (WEIGHTS_NAME, "open_clip_pytorch_model.bin"))
    if not found:
        raise CheckpointError(f"Folder {folder} has {CONFIG_NAME} but no {WEIGHTS_NAME}.")
    return found[0]


def _from_open_clip(name: str, tag: str | None) -> ClipModel:
    """Models whose weights open_clip fetches: a tag of a built-in name, or a repository of the hub."""
    import open_clip
    from open_clip.factory import _get_hf_config

    known = open_clip.get_pretrained_cfg(name, tag) if tag else {}
    if tag and not known:
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise CheckpointError(
            f"Pretrained weights {tag!r} are no file and no tag of {name}'s.{nearest(tag, tags)} It has:"
            f" {', '.join(tags) or 'none'}. Give one of them, a file, or 'none' for random weights."
        )
    # OpenAI's weights and others were trained with QuickGELU, which their models' own names do not say.
    quick = {"quick_gelu": True} if known.get("quick_gelu") else {}
    try:
        clip = open_clip.create_model(
            name, tag, require_pretrained=True, weights_only=True, force_quick_gelu=bool(quick)
        )
        if tag:
            keys = ("mean", "std", "interpolation", "resize_mode")
            model = copy.deepcopy(open_clip.get_model_config(name)) | quick
            architecture = Architecture(model, {key: known[key] for key in keys if key in known})
        else:
            config = _get_hf_config(name.removeprefix("hf-hub:"))
            architecture = Architecture(config["model_cfg"], config.get("preprocess_cfg", {}))
        return wrap(clip, architecture)
    except Exception as error:  # open_clip raises whatever its downloaders raise
        raise CheckpointError(
            f"Weights {tag or ''!r} of {name} cannot be had: {first_line(error)}. Give a file with --pretrained"
            " FILE, or 'none' for random weights."
        ) from error
