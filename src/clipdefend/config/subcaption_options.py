"""How sub-captions are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clipdefend.config.fields import COUNT, SHARE, Config, option


@dataclass(frozen=True, kw_only=True)
class SubcaptionConfig(Config):
    """How factual and counterfactual sub-captions are made."""

    lexicon: str | None = option(
        None,
        "--lexicon",
        "Folder with word lists: nouns, adjectives, relations.",
        metavar="DIR",
        shown="the built-in lists",
    )
    source: Literal["scene-graph", "eda", "spans"] = option(
        "scene-graph", "--source", "What sub-captions are made from; eda and spans are ablations."
    )
    relations: int = option(1, "--relations", "Number of relations to use from each caption.", range=COUNT)
    counterfactuals: int = option(
        1, "--counterfactuals", "Number of counterfactuals for each factual sub-caption.", range=COUNT
    )
    keep_adjectives: float = option(
        0.5, "Probability of keeping each adjective in a factual sub-caption.", range=SHARE
    )
    operations: tuple[Literal["adjective", "relation", "noun"], ...] = option(
        ("adjective", "relation", "noun"), "What a counterfactual may replace; one is chosen at random."
    )
