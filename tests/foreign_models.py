"""Small models as other libraries make and write them: transformers' CLIP and SigLIP, OpenAI's TorchScript."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast, SiglipConfig, SiglipModel

from clipdefend.models.clip import Architecture

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VOCABULARY = "<pad> <s> </s> <unk> a the red black cat dog banana photo of this is chair small on"
WORDS = VOCABULARY.split(" ")


def clip_config(**changes: Any) -> CLIPConfig:
    """A CLIP with images of 32 pixels, texts of 16 tokens and CLIP's own vocabulary; ``text_``, ``vision_`` change."""
    return CLIPConfig(**_parts({"vocab_size": 49408, "eos_token_id": 49407}, changes), projection_dim=48)


def siglip_config(**changes: Any) -> SiglipConfig:
    """A SigLIP of the same sizes with a vocabulary of its own."""
    return SiglipConfig(**_parts({"vocab_size": len(WORDS), "pad_token_id": 0}, changes))


def _parts(text: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    own = {
        part: {key.removeprefix(part): value for key, value in changes.items() if key.startswith(part)}
        for part in ("text_", "vision_")
    }
    return {
        "text_config": {**SIZES, "max_position_embeddings": 16, **text, **own["text_"]},
        "vision_config": {**SIZES, "image_size": 32, "patch_size": 8, **own["vision_"]},
    }


def write_transformers(folder: Path, config: Any, *, seed: int = 0, **options: Any) -> Any:
    """A model of transformers with random weights, written by it; its norms and biases are random, too."""
    torch.manual_seed(seed)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = (CLIPModel if config.model_type == "clip" else SiglipModel)(config)
    model.train(False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 and parameter.numel() > 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, **options)
    if config.model_type == "siglip":
        write_tokenizer(folder)
        record = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
        record |= {"size": {"height": 32, "width": 32}, "image_processor_type": "SiglipImageProcessor"}
        (folder / "preprocessor_config.json").write_text(json.dumps(record))
    return model


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of whole words, as transformers writes it."""
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(folder)


def openai_architecture(kind: str) -> Architecture:
    """A small model of OpenAI's code: heads of 64, QuickGELU."""
    resnet = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 64, "patch_size": None}
    vit = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
    return Architecture(
        {
            "embed_dim": 32,
            "quick_gelu": True,
            "vision_cfg": vit if kind == "ViT" else resnet,
            "text_cfg": text,
        }
    )


def write_torchscript(path: Path, clip: Any, *, half: bool = True) -> None:
    """An archive with the layout of OpenAI's: traced, sizes as buffers, most weights in half precision."""
    size = clip.visual.image_size
    side = size[0] if isinstance(size, tuple) else size
    for name, number in (("input_resolution", side), ("context_length", 77), ("vocab_size", 49408)):
        if hasattr(clip, name):
            delattr(clip, name)
        clip.register_buffer(name, torch.tensor(number))
    mask = clip.attn_mask  # of OpenAI's code an attribute, which tracing makes a constant
    del clip.attn_mask
    clip.attn_mask = mask
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.rand(1, 3, side, side), torch.randint(0, 49408, (1, 77)))
        traced = torch.jit.trace(clip, example, strict=False, check_trace=False)
        if half:
            traced.half()
        torch.jit.save(traced, path)
