"""The scene-graph parser and the spaCy pipeline behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clipdefend.augment.tree import Tree

Graph = dict[str, Any]

# Only tags and dependencies are read; names, lemmas and coarse tags would take half of the time.
_UNUSED = ("ner", "attribute_ruler", "lemmatizer")


def load_parsers(model: str) -> tuple[Any, Callable[[Tree], Graph]]:
    """Load spaCy and the scene-graph parser, which shares its model.

    SceneGraphParser runs spaCy itself, one sentence at a time, and applies its rules to what comes back. Here
    the two steps are separated: spaCy tags captions in batches, their trees are corrected, and the rules then get
    the finished tree, because the parser's own ``nlp`` is replaced by one that returns its argument.

    Args:
        model: name of the spaCy model.

    Returns:
        The spaCy pipeline, and a function from a tree to a dictionary of ``entities`` and ``relations``.
    """
    from sng_parser import Parser

    parser = Parser("spacy", model=model)
    backend = parser.unwrapped
    pipeline = backend.nlp
    for name in _UNUSED:
        pipeline.remove_pipe(name)
    backend.nlp = lambda tree: tree
    return pipeline, parser.parse
