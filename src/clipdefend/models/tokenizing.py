"""Tokenizers of models: CLIP's own byte-pair encoding, and those that transformers reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "language", "reduction_mask"}
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "vocab.txt")
LOCAL_TOKENIZER = "local"


def has_tokenizer(folder: Path | None) -> bool:
    """Whether a folder contains the files of a tokenizer."""
    return folder is not None and any((folder / name).is_file() for name in TOKENIZER_FILES)


def make_tokenizer(text: Mapping[str, Any], folder: Path | None = None) -> Any:
    """The tokenizer that a ``text_cfg`` asks for.

    Its options come from the checkpoint's writer: those that could load code are not among the allowed ones.

    Args:
        text: with ``context_length``, ``hf_tokenizer_name``, ``tokenizer_kwargs`` and so on, all optional.
        folder: the model's folder, whose tokenizer files are preferred to a name on the hub.

    Raises:
        ValueError: an option that is not allowed, or tokenizer files that are missing.
        ImportError: a tokenizer that needs transformers, which is not installed.
    """
    length, options = text.get("context_length", 77), dict(text.get("tokenizer_kwargs") or {})
    if set(options) - TOKENIZER_OPTIONS:
        raise ValueError(f"tokenizer_kwargs {sorted(options)} are not all of {sorted(TOKENIZER_OPTIONS)}")
    name = text.get("hf_tokenizer_name")
    if not name:
        return _simple_tokenizer(length, **options)
    source = str(folder) if has_tokenizer(folder) else str(name)
    if source == LOCAL_TOKENIZER:
        raise ValueError(
            f"the tokenizer's files ({', '.join(TOKENIZER_FILES[:3])}) are missing from its folder"
        )
    return _hub_tokenizer(source, length, text.get("tokenizer_mode"), options)


def _hub_tokenizer(source: str, length: int, mode: Any, options: Mapping[str, Any]) -> Any:
    from open_clip.tokenizer import HFTokenizer

    try:
        return HFTokenizer(
            source, context_length=length, tokenizer_mode=mode, trust_remote_code=False, **options
        )
    except ImportError as error:
        raise ImportError(
            "its tokenizer needs transformers, which is not installed: pip install 'clipdefend[transformers]'"
        ) from error


@cache
def _simple_tokenizer(length: int, **options: Any) -> Any:
    """CLIP's own tokenizer; reading its vocabulary takes a tenth of a second."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=length, **options)
    if options.get("clean", "lower") == "lower":
        tokenizer.clean_fn = partial(_clean_lower, otherwise=tokenizer.clean_fn)
    return tokenizer


def _clean_lower(text: str, otherwise: Callable[[str], str]) -> str:
    """open_clip's cleaning; printable ASCII without entities needs no repair, which saves half of the time."""
    plain = text.isascii() and text.isprintable() and "&" not in text
    return " ".join(text.split()).lower() if plain else otherwise(text)
