"""Weights files of unknown origin: nothing but tensors is read, and what does not fit is an error."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from clipdefend.errors import CheckpointError
from clipdefend.models.clip import ClipModel

# Entries of OpenAI's archives that are no weights.
NO_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}
WEIGHTS_NAME = "open_clip_model.safetensors"
WRAPPERS = ("module.", "_orig_mod.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint: .safetensors, or a pickle opened with ``weights_only=True``.

    Takes bare state dicts and training checkpoints with "state_dict" or "model" (open_clip, CleanCLIP,
    BadCLIP), with or without the prefixes "module." and "_orig_mod.".

    Raises:
        CheckpointError: missing, damaged, or holding anything but tensors and plain values.
    """
    return _read_state(path)[0]


def _read_state(path: Path) -> tuple[dict[str, Tensor], bool]:
    """The tensors, and whether they are in the format of OpenAI's code or of one that was made from it."""
    if not path.is_file():
        raise CheckpointError(f"Checkpoint {path} not found.")
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            _check_archive(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged and hostile files make the unpickler raise nearly everything
        raise CheckpointError(
            f"Checkpoint {path} is damaged or holds more than tensors, so it was not opened: {first_line(error)}."
            " Convert it to .safetensors with the program that wrote it."
        ) from error
    whole = state
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"Checkpoint {path} holds no state dict.")
    tensors = {_unwrapped(str(k)): v for k, v in state.items() if isinstance(v, Tensor)}
    odd = [k for k, v in tensors.items() if v.layout != torch.strided or v.is_meta or v.is_quantized]
    if odd:
        raise CheckpointError(f"Checkpoint {path} holds a tensor without plain numbers, {odd[0]}.")
    theirs = bool(NO_WEIGHTS & tensors.keys()) or _is_cleanclip(whole)
    return {k: v for k, v in tensors.items() if k not in NO_WEIGHTS}, theirs


def _check_archive(path: Path) -> None:
    """Raise ValueError for an archive that unpacks to more than its size: torch compresses nothing, a trap does."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > path.stat().st_size:
        raise ValueError(f"an archive that unpacks to {unpacked:,} bytes, more than it has")


def _is_cleanclip(whole: dict[str, Any]) -> bool:
    """Whether a file is laid out as CleanCLIP's training writes it (open_clip's today has no "module.")."""
    state = whole.get("state_dict")
    return (
        {"epoch", "name", "optimizer"} <= whole.keys()
        and isinstance(state, dict)
        and all(str(key).startswith("module.") for key in state)
    )


def first_line(error: Exception) -> str:
    """First line of an error's message, at most 160 characters; its type where it has none."""
    return f"{str(error).strip().splitlines()[0]:.160}" if str(error).strip() else type(error).__name__


def _unwrapped(key: str) -> str:
    for prefix in WRAPPERS:
        key = key.removeprefix(prefix)
    return key


def load_weights(model: ClipModel, path: Path) -> None:
    """Load a checkpoint into a model, strictly. Raises CheckpointError naming what does not fit."""
    found, theirs = _read_state(path)
    state = _expand_rows(found, model.clip.state_dict())
    own = model.clip.state_dict()
    missing = [k for k in own if k not in state]
    extra = [k for k in state if k not in own]
    wrong = [k for k in own if k in state and own[k].shape != state[k].shape]
    if missing or extra or wrong:
        parts = [
            f"{len(names)} {what} (such as {names[0]})"
            for names, what in ((missing, "missing"), (extra, "unknown"), (wrong, "of another shape"))
            if names
        ]
        raise CheckpointError(
            f"Checkpoint {path} does not fit the model: tensors {', '.join(parts)}. Check --model."
        )
    broken = [k for k, v in state.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    if broken:
        raise CheckpointError(f"Checkpoint {path} has values that are not finite, such as in {broken[0]}.")
    model.clip.load_state_dict(state)
    if theirs and not model.architecture.model.get("quick_gelu"):
        model.remarks.append(
            f"{path} is in the format of OpenAI's and CleanCLIP's code, whose models use QuickGELU, and the model that"
            " it was loaded into does not: if it is theirs, name that model, as in --model RN50-quickgelu."
        )


def _expand_rows(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fill in the token embedding of ``tiny``, whose file leaves out the rows that are zero."""
    if "token_embedding.rows" not in state:
        return state
    try:
        full = torch.zeros_like(own["token_embedding.weight"])
        full[state.pop("token_embedding.ids")] = state.pop("token_embedding.rows").to(full.dtype)
    except (KeyError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"The token embedding does not fit the model: {first_line(error)}.") from error
    return {**state, "token_embedding.weight": full}
