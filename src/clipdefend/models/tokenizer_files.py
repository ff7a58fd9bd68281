"""Tokenizers in the files that transformers reads them from."""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipdefend.models.clip import ClipModel
from clipdefend.runs.files import atomic_write

START, END = "<|startoftext|>", "<|endoftext|>"


def write_tokenizer(model: ClipModel, folder: Path) -> None:
    """Write the files of a model's tokenizer, so that transformers makes the same tokens.

    Args:
        model: its tokenizer is CLIP's, or one that transformers reads.
        folder: of transformers' layout.
    """
    tokenizer: Any = model.tokenizer
    length = int(model.architecture.model["text_cfg"].get("context_length", 77))
    if hasattr(tokenizer, "save_pretrained"):
        inner = copy.deepcopy(tokenizer.tokenizer)
        inner.model_max_length = length
        options: Mapping[str, Any] = model.architecture.model["text_cfg"].get("tokenizer_kwargs") or {}
        if options.get("clean") == "canonicalize":
            _canonicalize(inner)
        # Towers without a causal mask were trained on the padding, too: without a mask of it, as SiglipTokenizer does.
        inner.model_input_names = inner.init_kwargs["model_input_names"] = ["input_ids"]
        inner.save_pretrained(str(folder))
        return
    merges = [" ".join(pair) for pair, _ in sorted(tokenizer.bpe_ranks.items(), key=lambda item: item[1])]
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, **special}
    # open_clip calls its two special tokens, the last ones, otherwise than OpenAI and transformers do.
    words = {
        **dict(list(tokenizer.encoder.items())[:-2]),
        START: tokenizer.sot_token_id,
        END: tokenizer.eot_token_id,
    }
    atomic_write(folder / "vocab.json", json.dumps(words, ensure_ascii=False))
    atomic_write(folder / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")
    atomic_write(folder / "tokenizer_config.json", json.dumps(config, indent=2))
    atomic_write(folder / "special_tokens_map.json", json.dumps(special, indent=2))


def _canonicalize(tokenizer: Any) -> None:
    """Make a tokenizer do what open_clip does before it for SigLIP: no punctuation, lower case, single spaces."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # the slow SigLIP tokenizer does it by itself
        return
    from tokenizers import Regex, normalizers

    steps = [
        normalizers.Replace("_", " "),
        normalizers.Replace(Regex(f"[{''.join(chr(92) + sign for sign in string.punctuation)}]"), ""),
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    present = [backend.normalizer] if backend.normalizer is not None else []
    backend.normalizer = normalizers.Sequence([*steps, *present])
