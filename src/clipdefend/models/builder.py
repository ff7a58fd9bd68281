"""Models with random weights, from configurations."""

from __future__ import annotations

import copy

import torch
from torch import nn

from clipdefend.draws import draw_seed
from clipdefend.errors import CheckpointError
from clipdefend.models.clip import Architecture, ClipModel
from clipdefend.models.tokenizing import make_tokenizer


def build_model(architecture: Architecture, *, seed: int = 0) -> ClipModel:
    """Model with random weights drawn from ``seed``. Raises CheckpointError for an impossible configuration."""
    from open_clip import CLIP, CoCa, CustomTextCLIP

    config = copy.deepcopy(architecture.model)
    text = config["text_cfg"]
    custom = config.pop("custom_text", False) or "hf_model_name" in text
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False  # the checkpoint brings the weights: nothing is fetched
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    kind = CoCa if "multimodal_cfg" in config else CustomTextCLIP if custom else CLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw_seed(seed, "init"))
        try:
            return wrap(kind(**config), architecture)
        except Exception as error:  # whatever it is, it is the configuration that makes open_clip raise it
            raise CheckpointError(f"The model configuration cannot be built: {error!s:.200}.") from error


def wrap(clip: nn.Module, architecture: Architecture) -> ClipModel:
    return ClipModel(
        clip.to(memory_format=torch.channels_last),
        architecture,
        make_tokenizer(architecture.model["text_cfg"]),
    )
