"""Weights of unknown origin, by open_clip's names, and into models: what does not fit is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from clipdefend.errors import CheckpointError
from clipdefend.models.checkpoint_files import first_line, read_file
from clipdefend.models.clip import ClipModel
from clipdefend.models.transformers_names import from_transformers, is_transformers

# Entries of OpenAI's archives that are not weights; nothing but OpenAI's code writes them.
OPENAI_ENTRIES = {"input_resolution", "context_length", "vocab_size"}
# Buffers that some versions save and that follow from the configuration.
DERIVED = ("attn_mask", "position_ids")
# Keys that training programs put around the weights, in the order of preference.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "weights",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
)
MOST_WRAPPERS = 8
# What torch.compile, DDP, FSDP and activation checkpointing put into names, at any place.
NAME_PARTS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
ANCHOR = "logit_scale"

Layout = Literal["openai", "cleanclip", "transformers", "open_clip"]


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a checkpoint under the names that open_clip gives them.

    Attributes:
        path: the file, or the folder.
        tensors: name -> tensor, in the file's data types.
        layout: "openai" where OpenAI's own code wrote it, "cleanclip" where its layout is that of CleanCLIP's
            training, which old versions of open_clip share.
        notes: sentences for people on what was read and what was left out.
    """

    path: Path
    tensors: dict[str, Tensor]
    layout: Layout
    notes: list[str] = field(default_factory=list)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors of a checkpoint of any layout.

    Takes bare state dicts; training checkpoints of open_clip, CleanCLIP, BadCLIP, Lightning and others, with the
    prefixes of wrappers in any order and number; OpenAI's TorchScript archives; transformers' folders and shards.

    Args:
        path: a file, or a folder that contains weights with a usual name.

    Raises:
        CheckpointError: missing, damaged, or holding anything but tensors and plain values.
    """
    whole = read_file(path)
    notes: list[str] = []
    state = _unwrap(whole, path, notes)
    tensors = {_shorten(str(k)): v for k, v in state.items() if isinstance(v, Tensor)}
    tensors = _without_prefix(tensors, path, notes)
    odd = [
        k
        for k, v in tensors.items()
        if v.layout != torch.strided or v.is_meta or v.is_quantized or v.is_complex()
    ]
    if odd:
        raise CheckpointError(f"Checkpoint {path} contains a tensor without plain numbers, {odd[0]}.")
    layout: Layout = "open_clip"
    if OPENAI_ENTRIES & tensors.keys():
        layout = "openai"
    elif is_transformers(tensors):
        layout = "transformers"
    elif _is_cleanclip(whole):
        layout = "cleanclip"
    kept = {
        k: v for k, v in tensors.items() if k not in OPENAI_ENTRIES and k.rpartition(".")[2] not in DERIVED
    }
    if layout == "transformers":
        kept = from_transformers(kept, path)
    return Checkpoint(path, kept, layout, notes)


def load_weights(model: ClipModel, path: Path) -> None:
    """Load a checkpoint into a model, strictly. Raises CheckpointError naming what does not fit."""
    load_checkpoint(model, read_checkpoint(path))


def load_checkpoint(model: ClipModel, checkpoint: Checkpoint) -> None:
    """Load tensors into a model, strictly, widened to the model's data types.

    Args:
        model: what is odd about the weights is added to its ``remarks`` and ``notes``.
        checkpoint: by ``read_checkpoint``.

    Raises:
        CheckpointError: tensors that are missing, unknown, of another shape or not finite, by name.
    """
    own = model.clip.state_dict()
    state = _fit_text_tower(_expand_rows(checkpoint.tensors, own), own)
    _check_fit(state, own, checkpoint.path, model.image_size)
    broken = [k for k, v in state.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    if broken:
        raise CheckpointError(
            f"Checkpoint {checkpoint.path} has values that are not finite, such as in {broken[0]}."
        )
    model.clip.load_state_dict({k: v.reshape(own[k].shape) for k, v in state.items()})
    model.notes.extend(checkpoint.notes)
    if checkpoint.layout == "cleanclip" and not model.architecture.model.get("quick_gelu"):
        model.remarks.append(
            f"{checkpoint.path} is laid out as CleanCLIP's code writes it, whose models use QuickGELU, and the model"
            " that it was loaded into does not: if it is theirs, name that model, as in --model RN50-quickgelu."
        )


def _unwrap(whole: Mapping[Any, Any], path: Path, notes: list[str]) -> Mapping[Any, Any]:
    """Return the state dict from under the keys that a training program wrapped it in."""
    state = whole
    for _ in range(MOST_WRAPPERS):
        inner = [key for key in WRAPPERS if isinstance(state.get(key), Mapping) and state[key]]
        if not inner and any(isinstance(value, Tensor) for value in state.values()):
            return state
        if not inner:
            keys = ", ".join(map(str, list(state)[:8]))
            raise CheckpointError(
                f"Checkpoint {path} contains no state dict{f'; its keys are {keys}' if keys else ''}. Give a file with"
                f" tensors by name, bare or under one of {', '.join(WRAPPERS)}."
            )
        if len(inner) > 1:
            notes.append(f"{path}: the weights under {inner[0]!r} were read, not those under {inner[1]!r}.")
        state = state[inner[0]]
    raise CheckpointError(
        f"Checkpoint {path} wraps its weights more than {MOST_WRAPPERS} times, or in themselves."
    )


def _shorten(key: str) -> str:
    for part in NAME_PARTS:
        key = key.replace(part, "")
    return key


def _without_prefix(tensors: dict[str, Tensor], path: Path, notes: list[str]) -> dict[str, Tensor]:
    """Names without the prefix that all of the model's share, found by the name of its scale."""
    prefixes = [key.removesuffix(ANCHOR) for key in tensors if key == ANCHOR or key.endswith(f".{ANCHOR}")]
    if not prefixes:
        return {key.removeprefix("module."): value for key, value in tensors.items()}
    count = {prefix: sum(key.startswith(prefix) for key in tensors) for prefix in prefixes}
    prefix = min(prefixes, key=lambda each: ("ema" in each or "teacher" in each, -count[each], each))
    inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    outside = [key for key in tensors if not key.startswith(prefix)]
    if outside:
        notes.append(
            f"{path}: the tensors under {prefix!r} were read; {len(outside)} others, such as {outside[0]}, were not."
        )
    return inside


def _is_cleanclip(whole: Mapping[Any, Any]) -> bool:
    """Whether a file is laid out as CleanCLIP's training writes it (open_clip's today has no "module.")."""
    state = whole.get("state_dict")
    return (
        {"epoch", "name", "optimizer"} <= whole.keys()
        and isinstance(state, Mapping)
        and all(str(key).startswith("module.") for key in state)
    )


def _fit_text_tower(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move the text tower to where the model has it: beside the image tower, or under ``text.``."""
    if "text.ln_final.weight" in own and "ln_final.weight" in state:
        apart = ("visual.", ANCHOR, "logit_bias", "text.")
        return {key if key.startswith(apart) else f"text.{key}": value for key, value in state.items()}
    if "ln_final.weight" in own and "text.ln_final.weight" in state:
        return {key.removeprefix("text."): value for key, value in state.items()}
    return state


def _check_fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path, image_size: int) -> None:
    """Raise CheckpointError unless names and shapes are the model's; a scale may be () or (1,)."""
    missing = [k for k in own if k not in state]
    extra = [k for k in state if k not in own]
    wrong = [k for k in own if k in state and _shape(own[k]) != _shape(state[k])]
    if not (missing or extra or wrong):
        return
    parts = [
        f"{len(names)} {what} (such as {names[0]})"
        for names, what in ((missing, "missing"), (extra, "unknown"), (wrong, "of another shape"))
        if names
    ]
    hint = "Check --model, or let --model auto find it."
    if not missing and not extra and all("visual" in k and "pos" in k for k in wrong):
        hint = f"The weights are of another image size than the model's {image_size} pixels: name the model of theirs."
    raise CheckpointError(f"Checkpoint {path} does not fit the model: tensors {', '.join(parts)}. {hint}")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape) if tensor.numel() > 1 or tensor.ndim > 1 else ()


def _expand_rows(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fill in the token embedding of ``tiny``, whose file leaves out the rows that are zero."""
    if "token_embedding.rows" not in state:
        return state
    rest = {k: v for k, v in state.items() if not k.startswith("token_embedding.")}
    try:
        full = torch.zeros_like(own["token_embedding.weight"])
        full[state["token_embedding.ids"]] = state["token_embedding.rows"].to(full.dtype)
    except (KeyError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"The token embedding does not fit the model: {first_line(error)}.") from error
    return {**rest, "token_embedding.weight": full}
