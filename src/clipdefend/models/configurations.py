"""Configurations of models: read from names, folders and JSON files of unknown origin."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipdefend.canvas import RESAMPLING
from clipdefend.errors import CheckpointError
from clipdefend.models.clip import OPENAI_MEAN, OPENAI_STD, Architecture
from clipdefend.models.tokenizing import has_tokenizer
from clipdefend.models.transformers_config import (
    CONFIG_FILE,
    PREPROCESSOR_FILE,
    is_transformers_config,
    model_config,
    preprocess_config,
    read_json,
)
from clipdefend.registry import nearest

CONFIG_NAME = "open_clip_config.json"
TINY = Path(__file__).parents[1] / "assets" / "tiny"
MAX_CONFIG_BYTES = 1 << 20
MAX_IMAGE_SIZE = 4096
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")

# What a damaged or hostile configuration makes its readers raise.
_FAULTS = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    ArithmeticError,
    RecursionError,
    OSError,
)


def read_architecture(name: str) -> Architecture:
    """The configuration of a model by name, folder or JSON file.

    Args:
        name: as ``load_model`` takes it, without "auto" and the hub.

    Raises:
        CheckpointError: unknown, missing, or not a configuration.
    """
    folder = TINY if name == "tiny" else model_folder(name)
    if folder is not None:
        return read_folder(folder)
    if name.endswith(".json"):
        return read_config(Path(name))
    import open_clip

    known = open_clip.list_models()
    clean = name.replace("/", "-")
    if clean not in known:
        raise CheckpointError(
            f"Unknown model {name!r}.{nearest(clean, known)} Give a name of open_clip's ({len(known)} known, such as"
            " RN50 or ViT-B-32), 'tiny', 'auto', a folder, or a .json configuration."
        )
    return Architecture(copy.deepcopy(open_clip.get_model_config(clean)), _usual_preprocessing(clean))


def model_folder(name: str) -> Path | None:
    """The folder that a name stands for: "local-dir:DIR", or one with a configuration; None for other names."""
    if name.startswith("local-dir:"):
        return Path(name.removeprefix("local-dir:"))
    path = Path(name)
    return path if config_of(path) is not None else None


def config_of(folder: Path) -> Path | None:
    """The file with a folder's configuration, open_clip's or transformers', or None."""
    for name in (CONFIG_NAME, CONFIG_FILE):
        if (folder / name).is_file():
            return folder / name
    return None


def read_folder(folder: Path) -> Architecture:
    """The configuration in a folder of open_clip's or transformers' layout. Raises CheckpointError."""
    path = config_of(folder)
    if path is None:
        raise CheckpointError(
            f"Model configuration not found: {folder} has neither {CONFIG_NAME} nor {CONFIG_FILE}."
        )
    return read_config(path) if path.name == CONFIG_NAME else _read_transformers(folder)


def read_config(path: Path) -> Architecture:
    """A configuration of open_clip's: its ``open_clip_config.json``, or the ``model_cfg`` alone.

    Raises:
        CheckpointError: missing, too large, or not a configuration.
    """
    if not path.is_file():
        raise CheckpointError(f"Model configuration {path} not found.")
    try:
        config = read_json(path, MAX_CONFIG_BYTES)
        model = config.get("model_cfg", config)
        architecture = Architecture(model, dict(config.get("preprocess_cfg") or {}), path.parent)
        _check(architecture)
        return architecture
    except _FAULTS as error:
        raise CheckpointError(
            f"{path} is not a model configuration of open_clip's: {_reason(error)}."
        ) from error


def _read_transformers(folder: Path) -> Architecture:
    path = folder / CONFIG_FILE
    try:
        config = read_json(path, MAX_CONFIG_BYTES)
        if not is_transformers_config(config):
            kind = config.get("model_type") or (config.get("architectures") or ["unknown"])[0]
            raise CheckpointError(
                f"{path} is of a model of type {str(kind)[:40]!r}; of transformers' models CLIP and SigLIP are read."
            )
        tokenizer = read_json(folder / "tokenizer_config.json", MAX_CONFIG_BYTES).get("tokenizer_class")
        model = model_config(config, tokenizer, has_tokenizer(folder))
        record = read_json(folder / PREPROCESSOR_FILE, MAX_CONFIG_BYTES)
        architecture = Architecture(model, preprocess_config(record) if record else {}, folder)
        _check(architecture)
        return architecture
    except _FAULTS as error:
        raise CheckpointError(f"{path} cannot be mapped to open_clip's towers: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    return f"{error!s:.200}" if not isinstance(error, KeyError) else f"{error!s:.80} is missing"


def _check(architecture: Architecture) -> None:
    """Raise ValueError, TypeError or KeyError for halves that are not there, and sizes that cannot be."""
    model: Mapping[str, Any] = architecture.model
    if not all(isinstance(model[key], dict) for key in ("vision_cfg", "text_cfg")):
        raise TypeError("vision_cfg and text_cfg must be mappings")
    size = model["vision_cfg"].get("image_size")
    if isinstance(size, list) and len(set(size)) != 1:
        raise ValueError(f"image_size is {size}, not a square")
    if not 1 <= architecture.image_size <= MAX_IMAGE_SIZE:
        raise ValueError(f"image_size is {architecture.image_size}, not 1 to {MAX_IMAGE_SIZE}")
    if architecture.interpolation not in RESAMPLING:
        raise ValueError(
            f"interpolation {architecture.interpolation!r} is not one of {', '.join(RESAMPLING)}"
        )


def _usual_preprocessing(name: str) -> dict[str, Any]:
    """Preprocessing that all published weights of a model share, where it is not OpenAI's; else nothing.

    SigLIP's and MobileCLIP2's weights were trained with another mean and deviation than CLIP's, which their files
    do not say.
    """
    import open_clip

    found: list[dict[str, Any]] = []
    for tag in open_clip.list_pretrained_tags_by_model(name):
        known = open_clip.get_pretrained_cfg(name, tag)
        found.append({key: known[key] for key in PREPROCESSING if known.get(key) is not None})
    usual = {"mean": OPENAI_MEAN, "std": OPENAI_STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    agreed = found[0] if found and all(each == found[0] for each in found) else {}
    changed = any(tuple_of(value) != tuple_of(usual[key]) for key, value in agreed.items())
    return (
        {key: list(value) if isinstance(value, tuple) else value for key, value in agreed.items()}
        if changed
        else {}
    )


def tuple_of(value: Any) -> Any:
    """A list as a tuple, so that both compare."""
    return tuple(value) if isinstance(value, list) else value
