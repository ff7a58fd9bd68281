"""transformers' configurations of ``CLIPModel`` and ``SiglipModel`` as open_clip's, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipdefend.models.siglip_tower import SiglipTower
from clipdefend.models.tokenizing import LOCAL_TOKENIZER

CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
CLIP_VOCABULARY = 49408
CLIP_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")

# What transformers leaves out of config.json where it is the default.
_TOWER = {"num_hidden_layers": 12, "num_attention_heads": 12}
_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "clip": {
        "vision_config": {
            **_TOWER,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "image_size": 224,
            "patch_size": 32,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "num_channels": 3,
        },
        "text_config": {
            **_TOWER,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_attention_heads": 8,
            "vocab_size": CLIP_VOCABULARY,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "eos_token_id": 49407,
        },
    },
    "siglip": {
        "vision_config": {
            **_TOWER,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "image_size": 224,
            "patch_size": 16,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
            "num_channels": 3,
            "vision_use_head": True,
        },
        "text_config": {
            **_TOWER,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "vocab_size": 32000,
            "max_position_embeddings": 64,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
        },
    },
}
_NUMBERS = {
    *(
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "image_size",
        "patch_size",
    ),
    *("vocab_size", "max_position_embeddings"),
}
_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}
_SIGLIP_TOKENIZERS = {32000: "timm/ViT-B-16-SigLIP", 256000: "timm/ViT-B-16-SigLIP2"}


def is_transformers_config(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is one of a model that can be read: CLIP or SigLIP."""
    return config.get("model_type") in _DEFAULTS


def model_config(
    config: Mapping[str, Any], tokenizer_class: str | None, has_tokenizer: bool
) -> dict[str, Any]:
    """open_clip's ``model_cfg`` of a ``config.json``.

    Args:
        config: with ``model_type`` "clip" or "siglip".
        tokenizer_class: of ``tokenizer_config.json``.
        has_tokenizer: whether tokenizer files lie beside it.

    Raises:
        ValueError: something that open_clip's towers do not have.
    """
    family = str(config["model_type"])
    vision, text = (
        {**_DEFAULTS[family][part], **(config.get(part) or {})} for part in ("vision_config", "text_config")
    )
    for name, tower in (("vision", vision), ("text", text)):
        numbers = {key: value for key, value in tower.items() if key in _NUMBERS}
        if not all(type(value) is int and value > 0 for value in numbers.values()):
            raise ValueError(f"{name} sizes {numbers!s:.120} are not positive integers")
        if tower["hidden_size"] % tower["num_attention_heads"]:
            raise ValueError(f"{name} width {tower['hidden_size']} in {tower['num_attention_heads']} heads")
    if vision["num_channels"] != 3:
        raise ValueError(f"images of {vision['num_channels']} channels")
    return (
        _clip(config, vision, text, tokenizer_class, has_tokenizer)
        if family == "clip"
        else _siglip(vision, text)
    )


def _clip(
    config: Mapping[str, Any],
    vision: Mapping[str, Any],
    text: Mapping[str, Any],
    tokenizer_class: str | None,
    has_tokenizer: bool,
) -> dict[str, Any]:
    if vision["hidden_act"] != text["hidden_act"]:
        raise ValueError(f"two activations, {vision['hidden_act']} and {text['hidden_act']}")
    activation = vision["hidden_act"]
    if activation not in ("quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new"):
        raise ValueError(f"the activation {activation!r:.40}")
    tower = {"act_kwargs": {"approximate": "tanh"}} if activation in ("gelu_pytorch_tanh", "gelu_new") else {}
    own_bpe = text["vocab_size"] == CLIP_VOCABULARY and tokenizer_class in (None, *CLIP_TOKENIZERS)
    if not own_bpe and not has_tokenizer:
        raise ValueError("the files of its tokenizer are missing beside it")
    # 2 is what configurations said by mistake before transformers 4.31: the highest id is the end then.
    highest = text["eos_token_id"] in (2, text["vocab_size"] - 1)
    pooling = {} if highest else {"pool_type": "eos", "eos_id": int(text["eos_token_id"])}
    return {
        "embed_dim": int(config.get("projection_dim", 512)),
        "quick_gelu": activation == "quick_gelu",
        "vision_cfg": {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "layers": vision["num_hidden_layers"],
            "width": vision["hidden_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            **_widened(vision, 1e-5),
            **tower,
        },
        "text_cfg": {
            **_text_sizes(text),
            **({} if own_bpe else {"hf_tokenizer_name": LOCAL_TOKENIZER}),
            **pooling,
            **_widened(text, 1e-5),
            **tower,
        },
    }


def _siglip(vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    activations = {vision["hidden_act"], text["hidden_act"]}
    if not activations <= {"gelu", "gelu_pytorch_tanh"} or not vision["vision_use_head"]:
        raise ValueError(f"activations {sorted(activations)!s:.80}, pooling head {vision['vision_use_head']}")
    if vision["layer_norm_eps"] != 1e-6:
        raise ValueError(f"the image tower's layer_norm_eps is {vision['layer_norm_eps']}, not 1e-6")
    embed = text.get("projection_size") or text["hidden_size"]
    if embed != vision["hidden_size"]:
        raise ValueError(f"texts of {embed} and images of {vision['hidden_size']} dimensions")
    tower = SiglipTower(
        width=vision["hidden_size"],
        depth=vision["num_hidden_layers"],
        heads=vision["num_attention_heads"],
        hidden=vision["intermediate_size"],
        patch=vision["patch_size"],
        image=vision["image_size"],
        tanh=vision["hidden_act"] == "gelu_pytorch_tanh",
    )
    return {
        "embed_dim": embed,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": vision["image_size"],
            "timm_model_name": tower.name,
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            **_text_sizes(text),
            "hf_tokenizer_name": _SIGLIP_TOKENIZERS.get(text["vocab_size"], LOCAL_TOKENIZER),
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            **_widened(text, 1e-5),
            **({"act_kwargs": {"approximate": "tanh"}} if text["hidden_act"] == "gelu_pytorch_tanh" else {}),
        },
    }


def _text_sizes(text: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
        "width": text["hidden_size"],
        "heads": text["num_attention_heads"],
        "layers": text["num_hidden_layers"],
    }


def _widened(tower: Mapping[str, Any], eps: float) -> dict[str, Any]:
    """Width of the MLPs and epsilon of the norms, where they are not open_clip's defaults."""
    found: dict[str, Any] = {}
    if tower["intermediate_size"] != 4 * tower["hidden_size"]:
        # Half a unit more, since open_clip rounds the product down.
        found["mlp_ratio"] = (tower["intermediate_size"] + 0.5) / tower["hidden_size"]
    if tower["layer_norm_eps"] != eps:
        found["norm_kwargs"] = {"eps": tower["layer_norm_eps"]}
    return found


def preprocess_config(record: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip's ``preprocess_cfg`` of a ``preprocessor_config.json``.

    Raises:
        ValueError: a resampling that is not known.
    """
    found: dict[str, Any] = {}
    for theirs, ours in (("image_mean", "mean"), ("image_std", "std")):
        if record.get(theirs) is not None:
            found[ours] = list(record[theirs])
    code = record.get("resample")
    if code is not None:
        if code not in _RESAMPLING:
            raise ValueError(f"resampling {code!r:.40} is not one of {sorted(_RESAMPLING)}")
        found["interpolation"] = _RESAMPLING[code]
    size = record.get("size")
    squash = (
        isinstance(size, Mapping) and {"height", "width"} <= size.keys() and not record.get("do_center_crop")
    )
    found["resize_mode"] = "squash" if squash else "shortest"
    return found


def read_json(path: Path, limit: int) -> dict[str, Any]:
    """Read a JSON mapping of at most ``limit`` bytes; empty if there is no such file. Raises ValueError, OSError."""
    if not path.is_file():
        return {}
    if path.stat().st_size > limit:
        raise ValueError(f"{path.name} is larger than {limit} bytes")
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise TypeError(f"{path.name} is not a mapping")
    return found
