"""Models written into folders that open_clip opens."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save

from clipdefend.errors import CheckpointError
from clipdefend.models.builder import build_model
from clipdefend.models.checkpoint_files import WEIGHTS_NAME
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.models.configurations import CONFIG_NAME, read_config
from clipdefend.models.weights import load_weights
from clipdefend.runs.files import atomic_write, write_safetensors

CHECK_TEXTS = ("a red cat", "two bananas")


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
    state = {k: v.detach().cpu().contiguous() for k, v in model.clip.state_dict().items()}
    metadata = {"format": "pt", **({"warning": note} if note else {})}
    # Not save_file, which makes files that only their owner may read.
    write_safetensors(folder / WEIGHTS_NAME, save(state, metadata=metadata))
    atomic_write(folder / CONFIG_NAME, json.dumps(model.architecture.to_dict(), indent=2))
    if note:
        atomic_write(folder / "WARNING.txt", note + "\n")
    if hasattr(model.tokenizer, "save_pretrained"):
        model.tokenizer.save_pretrained(str(folder))
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
    reloaded = build_model(read_config(folder / CONFIG_NAME))
    load_weights(reloaded, folder / WEIGHTS_NAME)
    reloaded.to(model.device).eval()
    images, tokens = images.to(model.device), tokens.to(model.device)
    with evaluating(model):
        before = torch.cat([model.encode_image(images), model.encode_text(tokens)])
    # Tokens anew: the tokenizer, too, is what the folder's configuration says.
    loaded_tokens = reloaded.tokenize(CHECK_TEXTS).to(model.device)
    after = torch.cat([reloaded.encode_image(images), reloaded.encode_text(loaded_tokens)])
    return float((before - after).abs().max())
