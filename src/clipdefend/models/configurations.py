"""Configurations of models: read from names, folders and JSON files of unknown origin."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from clipdefend.canvas import RESAMPLING
from clipdefend.errors import CheckpointError
from clipdefend.models.clip import Architecture
from clipdefend.registry import nearest

CONFIG_NAME = "open_clip_config.json"
TINY = Path(__file__).parents[1] / "assets" / "tiny"
MAX_CONFIG_BYTES = 1 << 20
MAX_IMAGE_SIZE = 4096


def read_architecture(name: str) -> Architecture:
    """Configuration of a model by name, folder or JSON file (see ``load_model``)."""
    folder = TINY if name == "tiny" else model_folder(name)
    if folder is not None:
        return read_config(folder / CONFIG_NAME)
    if name.endswith(".json"):
        return read_config(Path(name))
    import open_clip

    known = open_clip.list_models()
    clean = name.replace("/", "-")
    if clean not in known:
        raise CheckpointError(
            f"Unknown model {name!r}.{nearest(clean, known)} Give a name of open_clip's ({len(known)} known, such as"
            " RN50 or ViT-B-32), 'tiny', 'local-dir:DIR', or a .json configuration."
        )
    return Architecture(copy.deepcopy(open_clip.get_model_config(clean)))


def read_config(path: Path) -> Architecture:
    if not path.is_file():
        raise CheckpointError(f"Model configuration {path} not found.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise CheckpointError(f"Model configuration {path} is larger than {MAX_CONFIG_BYTES} bytes.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model = config.get("model_cfg", config)
        if not all(isinstance(model[key], dict) for key in ("vision_cfg", "text_cfg")):
            raise TypeError("vision_cfg and text_cfg must be mappings")
        architecture = Architecture(model, dict(config.get("preprocess_cfg") or {}))
        size = model["vision_cfg"].get("image_size")
        if isinstance(size, list) and len(set(size)) != 1:
            raise ValueError(f"image_size is {size}, no square")
        if not 1 <= architecture.image_size <= MAX_IMAGE_SIZE:
            raise ValueError(f"image_size is {architecture.image_size}, not 1 to {MAX_IMAGE_SIZE}")
        if architecture.interpolation not in RESAMPLING:
            raise ValueError(
                f"interpolation {architecture.interpolation!r} is none of {', '.join(RESAMPLING)}"
            )
        return architecture
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path} is no model configuration of open_clip's: {error!s:.200}.") from error


def model_folder(name: str) -> Path | None:
    if name.startswith("local-dir:"):
        return Path(name.removeprefix("local-dir:"))
    path = Path(name)
    return path if (path / CONFIG_NAME).is_file() else None
