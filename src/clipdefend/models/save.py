"""Models written into folders that open_clip, transformers and plain PyTorch open."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from clipdefend.errors import CheckpointError
from clipdefend.models.builder import build_model
from clipdefend.models.checkpoint_files import STATE_DICT_NAME, WEIGHTS_NAME
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.models.configurations import CONFIG_NAME, read_folder
from clipdefend.models.tokenizer_files import write_tokenizer
from clipdefend.models.transformers_config import CONFIG_FILE, PREPROCESSOR_FILE
from clipdefend.models.transformers_export import preprocessor_config, transformers_config
from clipdefend.models.transformers_names import to_transformers
from clipdefend.models.weights import load_weights
from clipdefend.runs.files import atomic_write, write_safetensors

CHECK_TEXTS = ("a red cat", "two bananas")
WARNING = "WARNING.txt"


def save_model(model: ClipModel, folder: Path, *, note: str | None = None) -> None:
    """Write ``folder`` in open_clip's ``local-dir:`` layout and check that it loads to equal features.

    Args:
        model: on any device.
        folder: made where needed.
        note: warning to go with the weights, in ``WARNING.txt`` and in the metadata of the weights.

    Raises:
        CheckpointError: the folder does not reproduce the model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Not save_file, which makes files that only their owner may read.
    write_safetensors(folder / WEIGHTS_NAME, save(_tensors(model), metadata=_metadata(note)))
    atomic_write(folder / CONFIG_NAME, json.dumps(model.architecture.to_dict(), indent=2))
    _write_note(folder, note)
    if hasattr(model.tokenizer, "save_pretrained"):
        model.tokenizer.save_pretrained(str(folder))
    _check_folder(model, folder)


def save_transformers(model: ClipModel, folder: Path, *, note: str | None = None) -> None:
    """Write ``folder`` so that ``CLIPModel`` or ``SiglipModel.from_pretrained`` opens it; otherwise as ``save_model``.

    Raises:
        CheckpointError: an architecture that these cannot express, or a folder that does not reproduce the model.
    """
    config = transformers_config(model)
    state = _tensors(model)
    if config["model_type"] == "clip":
        state = {key.removeprefix("text."): value for key, value in state.items()}
    else:
        state |= {key: state[key].reshape(1) for key in ("logit_scale", "logit_bias")}
    tensors = {key: value.contiguous() for key, value in to_transformers(state).items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", save(tensors, metadata=_metadata(note)))
    atomic_write(folder / CONFIG_FILE, json.dumps(config, indent=2))
    atomic_write(folder / PREPROCESSOR_FILE, json.dumps(preprocessor_config(model), indent=2))
    write_tokenizer(model, folder)
    _write_note(folder, note)
    _check_folder(model, folder)


def save_state_dict(model: ClipModel, folder: Path, *, note: str | None = None) -> None:
    """Write ``folder`` with a bare state dict for ``torch.load`` and the configuration; otherwise as ``save_model``."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(_tensors(model), buffer)
    atomic_write(folder / STATE_DICT_NAME, buffer.getvalue())
    atomic_write(folder / CONFIG_NAME, json.dumps(model.architecture.to_dict(), indent=2))
    _write_note(folder, note)
    if hasattr(model.tokenizer, "save_pretrained"):
        model.tokenizer.save_pretrained(str(folder))
    _check_folder(model, folder)


def _tensors(model: ClipModel) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in model.clip.state_dict().items()}


def _metadata(note: str | None) -> dict[str, str]:
    return {"format": "pt", **({"warning": note} if note else {})}


def _write_note(folder: Path, note: str | None) -> None:
    if note:
        atomic_write(folder / WARNING, note + "\n")


def _check_folder(model: ClipModel, folder: Path) -> None:
    """Raise CheckpointError unless a folder loads to the model's features."""
    difference = _reload_difference(model, folder)
    if not difference <= 1e-4:
        raise CheckpointError(
            f"Weights saved to {folder} load to other features (difference {difference:.2g})."
        )


@torch.no_grad()
def _reload_difference(model: ClipModel, folder: Path) -> float:
    """Largest difference between features of 8 images and of some texts before saving and after loading."""
    size = model.image_size
    images = torch.linspace(0, 1, 8 * 3 * size * size).view(8, 3, size, size)
    tokens = model.tokenize(CHECK_TEXTS)
    reloaded = build_model(read_folder(folder))
    load_weights(reloaded, folder)
    reloaded.to(model.device).eval()
    images, tokens = images.to(model.device), tokens.to(model.device)
    with evaluating(model):
        before = torch.cat([model.encode_image(images), model.encode_text(tokens)])
    # Tokens anew: the tokenizer, too, is what the folder's configuration says.
    loaded_tokens = reloaded.tokenize(CHECK_TEXTS).to(model.device)
    after = torch.cat([reloaded.encode_image(images), reloaded.encode_text(loaded_tokens)])
    return float((before - after).abs().max())
