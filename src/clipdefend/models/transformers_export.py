"""transformers' configurations of open_clip's models: ``config.json`` and ``preprocessor_config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import nn

from clipdefend.errors import CheckpointError
from clipdefend.models.clip import ClipModel
from clipdefend.models.transformers_config import CLIP_VOCABULARY

RESAMPLING_CODES = {"nearest": 0, "bilinear": 2, "bicubic": 3}

# Settings of open_clip that have a counterpart; any other must be at its default.
_VISION = {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "patch_dropout"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "pad_id", "eos_id"}
_TOKENIZER = {"hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs"}
_BOTH = {"act_kwargs", "norm_kwargs", "output_tokens"}
_SIGLIP_TEXT = {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}


def transformers_config(model: ClipModel) -> dict[str, Any]:
    """The ``config.json`` with which transformers computes the same features.

    Args:
        model: any model of open_clip's.

    Raises:
        CheckpointError: an architecture that ``CLIPModel`` and ``SiglipModel`` cannot express, by name.
    """
    config = model.architecture.model
    vision = config["vision_cfg"]
    if isinstance(vision.get("layers"), (list, tuple)):
        raise _refusal(
            "a ModifiedResNet image tower (RN50, tiny and their like): CLIPModel has transformers only"
        )
    if "multimodal_cfg" in config:
        raise _refusal("CoCa's text decoder")
    if "hf_model_name" in config["text_cfg"]:
        raise _refusal(f"the text tower {config['text_cfg']['hf_model_name']!s:.60}")
    if "timm_model_name" in vision:
        if "_siglip_" not in vision["timm_model_name"] or vision.get("timm_pool") != "map":
            raise _refusal(f"the image tower {vision['timm_model_name']!s:.60}")
        return _siglip(model)
    return _clip(config)


def preprocessor_config(model: ClipModel) -> dict[str, Any]:
    """The ``preprocessor_config.json`` that resizes, crops and normalises as the model's own preprocessing."""
    size = model.image_size
    squash = model.architecture.preprocess.get("resize_mode") == "squash"
    square = {"height": size, "width": size}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": square if squash else {"shortest_edge": size},
        "resample": RESAMPLING_CODES[model.architecture.interpolation],
        "do_center_crop": not squash,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [round(value, 8) for value in model.mean.flatten().tolist()],
        "image_std": [round(value, 8) for value in model.std.flatten().tolist()],
    }


def _refusal(what: str) -> CheckpointError:
    return CheckpointError(
        f"--format transformers has no counterpart of {what}. Use --format open_clip or --format state-dict."
    )


def _clip(config: Mapping[str, Any]) -> dict[str, Any]:
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    vision = _settings("vision_cfg", CLIPVisionCfg, config["vision_cfg"], _VISION | _BOTH, {})
    pooled = config["text_cfg"].get("pool_type") == "eos"
    expected = {"pool_type": "eos"} if pooled else {}
    text = _settings("text_cfg", CLIPTextCfg, config["text_cfg"], _TEXT | _TOKENIZER | _BOTH, expected)
    if config.get("init_logit_bias") is not None:
        raise _refusal("a bias of the logits in a model of CLIP's towers")
    options = {
        key: value
        for key, value in (text["tokenizer_kwargs"] or {}).items()
        if (key, value) != ("clean", "lower")
    }
    if options and not text["hf_tokenizer_name"]:
        raise _refusal(f"CLIP's tokenizer with {options!s:.60}")
    activation = _activation(vision, config), _activation(text, config)
    end = text["eos_id"] if pooled else text["vocab_size"] - 1
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "torch_dtype": "float32",
        "projection_dim": config["embed_dim"],
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": vision["width"],
            "intermediate_size": int(vision["width"] * vision["mlp_ratio"]),
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // vision["head_width"],
            "image_size": _side(vision["image_size"]),
            "patch_size": _side(vision["patch_size"]),
            "projection_dim": config["embed_dim"],
            "hidden_act": activation[0],
            "layer_norm_eps": (vision["norm_kwargs"] or {}).get("eps", 1e-5),
        },
        "text_config": {
            "model_type": "clip_text_model",
            **_text_sizes(text),
            "projection_dim": config["embed_dim"],
            "hidden_act": activation[1],
            "layer_norm_eps": (text["norm_kwargs"] or {}).get("eps", 1e-5),
            **({"bos_token_id": 49406, "pad_token_id": end} if text["vocab_size"] == CLIP_VOCABULARY else {}),
            "eos_token_id": end,
        },
    }


def _siglip(model: ClipModel) -> dict[str, Any]:
    from open_clip.model import CLIPTextCfg

    config = model.architecture.model
    text = _settings("text_cfg", CLIPTextCfg, config["text_cfg"], _TEXT | _TOKENIZER | _BOTH, _SIGLIP_TEXT)
    trunk: Any = model.clip.get_submodule("visual.trunk")
    block, patches = trunk.blocks[0], trunk.patch_embed
    if config["vision_cfg"].get("timm_proj") not in ("", "none") or config["embed_dim"] != trunk.embed_dim:
        raise _refusal("a projection behind SigLIP's image tower")
    if getattr(model.clip, "logit_bias", None) is None:
        raise _refusal("SigLIP's towers without a bias of the logits")
    return {
        "architectures": ["SiglipModel"],
        "model_type": "siglip",
        "torch_dtype": "float32",
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": trunk.embed_dim,
            "intermediate_size": block.mlp.fc1.out_features,
            "num_hidden_layers": len(trunk.blocks),
            "num_attention_heads": block.attn.num_heads,
            "image_size": _side(patches.img_size),
            "patch_size": _side(patches.patch_size),
            "hidden_act": _gelu(block.mlp.act),
            "layer_norm_eps": trunk.norm.eps,
        },
        "text_config": {
            "model_type": "siglip_text_model",
            **_text_sizes(text),
            "projection_size": config["embed_dim"],
            "hidden_act": _activation(text, config),
            "layer_norm_eps": (text["norm_kwargs"] or {}).get("eps", 1e-5),
        },
    }


def _text_sizes(text: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "vocab_size": text["vocab_size"],
        "max_position_embeddings": text["context_length"],
        "hidden_size": text["width"],
        "intermediate_size": int(text["width"] * text["mlp_ratio"]),
        "num_hidden_layers": text["layers"],
        "num_attention_heads": text["heads"],
    }


def _settings(
    name: str, cls: Any, given: Mapping[str, Any], allowed: set[str], expected: Mapping[str, Any]
) -> dict[str, Any]:
    """All settings of a tower with open_clip's defaults. Raises CheckpointError for one without a counterpart."""
    defaults = {field.name: field.default for field in fields(cls)}
    settings = {**defaults, **given}
    for key, default in defaults.items():
        if key not in allowed and settings[key] != expected.get(key, default):
            raise _refusal(f"{name}.{key} = {settings[key]!s:.60} in such a model")
    return settings


def _activation(tower: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    options = dict(tower["act_kwargs"] or {})
    approximate = options.pop("approximate", "none")
    if options or approximate not in ("none", "tanh"):
        raise _refusal(f"act_kwargs {tower['act_kwargs']!s:.60}")
    if config.get("quick_gelu"):
        return "quick_gelu"
    return "gelu_pytorch_tanh" if approximate == "tanh" else "gelu"


def _gelu(layer: nn.Module) -> str:
    """transformers' name of an activation of timm's."""
    kind, approximate = type(layer).__name__, getattr(layer, "approximate", "none")
    if kind not in ("GELU", "GELUTanh", "GeluTanh"):
        raise _refusal(f"the activation {kind}")
    return "gelu_pytorch_tanh" if approximate == "tanh" or kind != "GELU" else "gelu"


def _side(size: Any) -> int:
    """The side of a square that is given as one number or as two."""
    sides = {int(each) for each in size} if isinstance(size, (list, tuple)) else {int(size)}
    if len(sides) != 1:
        raise _refusal(f"a size of {size}")
    return sides.pop()
