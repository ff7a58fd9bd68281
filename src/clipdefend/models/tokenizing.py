"""Tokenizers of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "language", "reduction_mask"}


def make_tokenizer(text: Mapping[str, Any]) -> Any:
    """The tokenizer that a ``text_cfg`` asks for.

    Its options are of the checkpoint's writer: those that could load code are none of them.
    """
    from open_clip.tokenizer import HFTokenizer

    length, options = text.get("context_length", 77), dict(text.get("tokenizer_kwargs") or {})
    if set(options) - TOKENIZER_OPTIONS:
        raise ValueError(f"tokenizer_kwargs {sorted(options)} are not all of {sorted(TOKENIZER_OPTIONS)}")
    if text.get("hf_tokenizer_name"):
        mode = text.get("tokenizer_mode")
        return HFTokenizer(text["hf_tokenizer_name"], context_length=length, tokenizer_mode=mode, **options)
    return _simple_tokenizer(length, **options)


@cache
def _simple_tokenizer(length: int, **options: Any) -> Any:
    """CLIP's own tokenizer; reading its vocabulary takes a tenth of a second."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=length, **options)
    if options.get("clean", "lower") == "lower":
        tokenizer.clean_fn = partial(_clean_lower, otherwise=tokenizer.clean_fn)
    return tokenizer


def _clean_lower(text: str, otherwise: Callable[[str], str]) -> str:
    """open_clip's cleaning; printable ASCII without entities has nothing to mend, which saves half of the time."""
    plain = text.isascii() and text.isprintable() and "&" not in text
    return " ".join(text.split()).lower() if plain else otherwise(text)
