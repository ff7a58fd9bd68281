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
        "Folder of nouns, adjectives, relations.",
        metavar="DIR",
        shown="the shipped one",
    )
    source: Literal["scene-graph", "eda", "spans"] = option(
        "scene-graph", "--source", "What sub-captions are made from; the latter two are ablations."
    )
    relations: int = option(1, "--relations", "Relations taken from a caption.", range=COUNT)
    counterfactuals: int = option(1, "--counterfactuals", "Counterfactuals to a factual.", range=COUNT)
    keep_adjectives: float = option(
        0.5, "Chance of each adjective to stay in a factual sub-caption.", range=SHARE
    )
    operations: tuple[Literal["adjective", "relation", "noun"], ...] = option(
        ("adjective", "relation", "noun"), "What a counterfactual may replace; one is drawn at random."
    )
