"""The scene-graph parser, handed ready trees."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from clipdefend.augment.tree import Tree

Graph = dict[str, Any]


def make_parser() -> Callable[[Tree], Graph]:
    """Scene-graph parser that takes a ready tree in place of a sentence.

    Deviates: SceneGraphParser 0.1.0 runs spaCy itself, one sentence at a time. Its parse only needs an object
        with a document's attributes from ``nlp``, so ``nlp`` is made to hand through what it is given. The
        same code runs with three other globals, which leave the entities' places and the relations as they
        are: flat relations are copied as dictionaries, phrasal verbs and prepositions are looked up in their
        sets, and no entity is looked up among the scenes, a type that nobody reads.
    """
    import sng_parser
    import sng_parser.backends
    from sng_parser import database

    backend = sng_parser.Parser._backend_registry["spacy"]
    instance = object.__new__(backend)
    instance.nlp = lambda tree: tree
    lists = types.SimpleNamespace(
        is_phrasal_verb=database.load_list("phrasal-verbs.txt").__contains__,
        is_phrasal_prep=database.load_list("phrasal-preps.txt").__contains__,
        is_scene_noun=lambda noun: False,
    )
    names = {**backend.parse.__globals__, "deepcopy": dict, "database": lists}
    parse = types.FunctionType(backend.parse.__code__, names, argdefs=backend.parse.__defaults__)

    def parse_tree(tree: Tree) -> Graph:
        graph: Graph = parse(instance, tree)
        return graph

    return parse_tree
