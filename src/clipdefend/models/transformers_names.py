"""Tensors of transformers' ``CLIPModel`` and ``SiglipModel`` by open_clip's names, and back.

One table of names serves both directions. Two things differ beside names: open_clip keeps queries, keys and values
of an attention in one tensor, and its projections of CLIP are transposed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from clipdefend.errors import CheckpointError

# Whole names, or parts of them that end with a dot: open_clip's, then transformers'.
_CLIP = {
    "visual.conv1.": "vision_model.embeddings.patch_embedding.",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.proj": "visual_projection.weight",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.": "text_model.final_layer_norm.",
    "text_projection": "text_projection.weight",
}
_SIGLIP = {
    "visual.trunk.patch_embed.proj.": "vision_model.embeddings.patch_embedding.",
    "visual.trunk.pos_embed": "vision_model.embeddings.position_embedding.weight",
    "visual.trunk.norm.": "vision_model.post_layernorm.",
    "visual.trunk.attn_pool.latent": "vision_model.head.probe",
    "visual.trunk.attn_pool.proj.": "vision_model.head.attention.out_proj.",
    "visual.trunk.attn_pool.norm.": "vision_model.head.layernorm.",
    "visual.trunk.attn_pool.mlp.": "vision_model.head.mlp.",
    "text.token_embedding.": "text_model.embeddings.token_embedding.",
    "text.positional_embedding": "text_model.embeddings.position_embedding.weight",
    "text.ln_final.": "text_model.final_layer_norm.",
    "text.text_projection.": "text_model.head.",
}
_SCALES = {"logit_scale": "logit_scale", "logit_bias": "logit_bias"}
_TRANSPOSED = {"visual.proj", "text_projection"}

# Of a layer, after its number; the attention's input is joined and split apart from the table.
_LAYERS = {"visual.transformer.resblocks.": "vision_model", "transformer.resblocks.": "text_model"}
_SIGLIP_LAYERS = {"visual.trunk.blocks.": "vision_model", "text.transformer.resblocks.": "text_model"}
_RESBLOCK = {
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.out_proj.": "self_attn.out_proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
_TIMM_BLOCK = {
    "norm1.": "layer_norm1.",
    "norm2.": "layer_norm2.",
    "attn.proj.": "self_attn.out_proj.",
    "mlp.fc1.": "mlp.fc1.",
    "mlp.fc2.": "mlp.fc2.",
}
_POOL = "visual.trunk.attn_pool."
_HEAD = "vision_model.head.attention.in_proj_"
_LAYER = re.compile(r"(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.+)")


def is_transformers(tensors: Mapping[str, object]) -> bool:
    """Whether names are those of transformers' models."""
    return any(key.startswith(("vision_model.", "text_model.")) for key in tensors)


def from_transformers(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Give tensors of ``CLIPModel`` or ``SiglipModel`` the names and shapes of open_clip's.

    Args:
        tensors: by transformers' names.
        path: named in errors.

    Returns:
        By open_clip's names: the text tower of CLIP beside the image tower, SigLIP's under ``text.``. A tensor
        without a counterpart keeps its name.

    Raises:
        CheckpointError: an attention without one of its queries, keys and values.
    """
    siglip = _is_siglip(tensors)
    table = {new: old for old, new in {**(_SIGLIP if siglip else _CLIP), **_SCALES}.items()}
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        layer = _LAYER.fullmatch(key)
        if layer is not None:
            _take_layer(layer, tensors, siglip, found, path)
        elif siglip and key.startswith(_HEAD):
            query, rest = value[: len(value) // 3], value[len(value) // 3 :]
            kind = key.removeprefix(_HEAD)
            found |= {f"{_POOL}q.{kind}": query, f"{_POOL}kv.{kind}": rest}
        else:
            name = _translate(key, table) or key
            found[name] = _reshape(name, value)
    return found


def to_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors of open_clip's names those of ``CLIPModel`` or ``SiglipModel``: the inverse of the above.

    Raises:
        KeyError: a tensor that has no counterpart there, by name.
    """
    siglip = any(key.startswith("visual.trunk.") for key in tensors)
    table = {**(_SIGLIP if siglip else _CLIP), **_SCALES}
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        prefix = next(
            (each for each in (_SIGLIP_LAYERS if siglip else _LAYERS) if key.startswith(each)), None
        )
        if prefix is not None:
            found |= _give_layer(key, prefix, value, siglip)
        elif siglip and key.startswith(f"{_POOL}q."):
            kind = key.removeprefix(f"{_POOL}q.")
            found[f"{_HEAD}{kind}"] = torch.cat([value, tensors[f"{_POOL}kv.{kind}"]])
        elif not (siglip and key.startswith(f"{_POOL}kv.")):
            name = _translate(key, table)
            if name is None:
                raise KeyError(key)
            found[name] = _restore(key, value)
    return found


def _is_siglip(tensors: Mapping[str, object]) -> bool:
    return any(key.startswith(("vision_model.head.", "text_model.head.")) for key in tensors)


def _translate(key: str, table: Mapping[str, str]) -> str | None:
    for one, other in table.items():
        if key == one or (one.endswith(".") and key.startswith(one)):
            return other + key.removeprefix(one)
    return None


def _reshape(name: str, value: Tensor) -> Tensor:
    if name in _TRANSPOSED:
        return value.T
    if name == "visual.trunk.pos_embed":
        return value[None]
    return value.reshape(()) if name in _SCALES and value.numel() == 1 else value


def _restore(name: str, value: Tensor) -> Tensor:
    if name in _TRANSPOSED:
        return value.T
    return value[0] if name == "visual.trunk.pos_embed" else value


def _take_layer(
    match: re.Match[str], tensors: Mapping[str, Tensor], siglip: bool, found: dict[str, Tensor], path: Path
) -> None:
    tower, number, rest = match.groups()
    timm = siglip and tower == "vision_model"
    layers = {new: old for old, new in (_SIGLIP_LAYERS if siglip else _LAYERS).items()}
    place = f"{layers[tower]}{number}."
    if not re.match(r"self_attn\.[qkv]_proj\.", rest):
        table = {new: old for old, new in (_TIMM_BLOCK if timm else _RESBLOCK).items()}
        found[place + (_translate(rest, table) or rest)] = tensors[match.group()]
        return
    kind = rest.rpartition(".")[2]
    names = [f"{tower}.encoder.layers.{number}.self_attn.{part}_proj.{kind}" for part in "qkv"]
    lost = [name for name in names if name not in tensors]
    if lost:
        raise CheckpointError(f"Checkpoint {path} lacks {lost[0]}.")
    name = f"attn.qkv.{kind}" if timm else f"attn.in_proj_{kind}"
    if place + name not in found:
        found[place + name] = torch.cat([tensors[name] for name in names])


def _give_layer(key: str, prefix: str, value: Tensor, siglip: bool) -> dict[str, Tensor]:
    tower = (_SIGLIP_LAYERS if siglip else _LAYERS)[prefix]
    number, _, rest = key.removeprefix(prefix).partition(".")
    place = f"{tower}.encoder.layers.{number}."
    joined = re.fullmatch(r"attn\.(?:qkv\.|in_proj_)(weight|bias)", rest)
    if joined:
        parts = zip("qkv", value.chunk(3), strict=True)
        return {f"{place}self_attn.{part}_proj.{joined.group(1)}": tensor for part, tensor in parts}
    name = _translate(rest, _TIMM_BLOCK if prefix.startswith("visual.trunk") else _RESBLOCK)
    if name is None:
        raise KeyError(key)
    return {place + name: value}
