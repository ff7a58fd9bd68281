"""From a caption's scene graph to phrases and triples."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from clipdefend.augment.grammar import irregular_verbs, words
from clipdefend.augment.inflect import is_mass, singular, verb_base, verb_form
from clipdefend.augment.mend import mend
from clipdefend.augment.parsed import Number, Parsed, Phrase, Relation, RelationForm, Triple
from clipdefend.augment.tree import PRONOUN, Token, Tree

_LEAD = re.compile(
    r"\s*(?:(?:there (?:is|are)|this is|here is|it is|these are) )?"
    r"(?:(?:an?|the|some|two|three|several|many|one) )?"
    r"(?:(?:black and white|black & white|close up|[a-z-]+) )?"
    r"(?:close[ -]?ups?|photos?|photographs?|pictures?|images?|pics?|shots?|snapshots?|views?)"
    r"(?: (?:photos?|photographs?|pictures?|images?|shots?|views?))?"
    r" (?:of|showing|shows|depicting|featuring) (?=\w)",
    re.IGNORECASE,
)
_ONE_CAN_SEE = re.compile(r"\s*(?:one|you|we) can see (.*?)(?: here)?\s*$", re.IGNORECASE)
_WORD = re.compile(r"[a-z][a-z'\u2019-]*(?:[ /-][a-z0-9'\u2019-]+)*")
_NOT_ADJECTIVES, _NOT_NOUNS, _VAGUE = words("not adjectives"), words("not nouns"), words("vague nouns")
_MEDIA = words("media")
_ONE, _SEVERAL, _PLURAL_ONLY = (
    words("singular determiners"),
    words("plural determiners"),
    words("plural only"),
)
_KNOWN_VERBS = frozenset(irregular_verbs())
MOST = 8  # triples kept of a caption
_MODIFIERS = frozenset(("amod", "compound", "nmod"))
Graph = dict[str, Any]


def strip_lead(caption: str) -> str:
    """Cut "a picture of" and its like off: what is shown is meant, and parsers trip over the rest."""
    seen = _ONE_CAN_SEE.match(caption)
    if seen:
        return seen.group(1)
    lead = _LEAD.match(caption)
    return caption[lead.end() :] if lead else caption


def make_parser() -> Callable[[Tree], Graph]:
    """Scene-graph parser that takes a ready tree in place of a sentence.

    Deviates: SceneGraphParser 0.1.0 runs spaCy itself, one sentence at a time. Its parse only needs an object
        with a document's attributes from ``nlp``, so ``nlp`` is made to hand through what it is given.
    """
    import sng_parser
    import sng_parser.backends

    backend = sng_parser.Parser._backend_registry["spacy"]
    instance = object.__new__(backend)
    instance.nlp = lambda tree: tree
    parse: Callable[[Tree], Graph] = instance.parse
    return parse


def read_scene(caption: str, doc: Any, parse: Callable[[Tree], Graph]) -> Parsed:
    """Phrases and triples of one parsed caption.

    Args:
        caption: as given, kept in the result.
        doc: spaCy document of the caption, its lead stripped.
        parse: from ``make_parser``.
    """
    tree = Tree(doc)
    mend(tree)
    graph = parse(tree)
    roots = [tree.tokens[entity["span_bounds"][1] - 1] for entity in graph["entities"]]
    phrases: dict[int, Phrase | None] = {}

    def phrase(i: int) -> Phrase | None:
        if i not in phrases:
            phrases[i] = None if roots[i].lemma_ == PRONOUN else read_phrase(tree, roots[i])
        return phrases[i]

    found: dict[tuple[str, str, str], tuple[tuple[int, int], Triple]] = {}
    for edge in graph["relations"]:
        subject, thing = phrase(edge["subject"]), phrase(edge["object"])
        if subject is None or thing is None or edge["subject"] == edge["object"]:
            continue
        start, end = roots[edge["subject"]], roots[edge["object"]]
        relation = read_relation(start, end, subject.number)
        shown_in = relation is not None and relation.text == "in" and thing.noun in _MEDIA
        if relation is not None and not (shown_in and not thing.adjectives):  # "a dog in this picture"
            key = (subject.noun, relation.text, thing.noun)
            rank = (_weakness(subject, relation, thing), start.i + end.i)
            found.setdefault(key, (rank, Triple(subject, relation, thing)))
    triples = tuple(triple for _, triple in sorted(found.values(), key=lambda pair: pair[0])[:MOST])
    order = sorted(range(len(roots)), key=lambda i: (roots[i].dep_ not in ("ROOT", "nsubj", "attr"), i))
    main = triples[0].subject if triples else next((p for i in order if (p := phrase(i)) is not None), None)
    tree.clear()
    return Parsed(caption, triples, main)


def _weakness(subject: Phrase, relation: Relation, thing: Phrase) -> int:
    """How far a triple is from being the main one: verbs first, "of" and vague places last."""
    rank = {"preposition": 2, "past": 1, "participle": 1}.get(relation.form, 0)
    if relation.text == "of":
        rank = 4
    elif relation.text in ("is", "are", "with"):
        rank = 3
    if thing.noun in _VAGUE or subject.noun in _VAGUE:
        rank += 4
    return rank


def read_phrase(tree: Tree, root: Token) -> Phrase | None:
    """Noun phrase of a root, or None when the root is no noun that can be shown (pronouns, signs)."""
    determiners: list[str] = []
    adjectives: dict[str, None] = {}
    parts: list[str] = []
    possessor = False
    for child in root.children:
        if child.i >= root.i or child.i in tree.dropped:
            continue
        dep = child.dep_
        counting = dep in ("det", "nummod", "predet")
        if counting and determiners[:1] in (["a"], ["an"]):
            parts.append(child.text)  # "a four engine airplane", "a no parking sign"
        elif counting or (dep == "poss" and child.tag_ == "PRP$"):
            determiners.append(_glue(tree, child))
        elif dep == "poss":
            possessor = True
        elif dep in _MODIFIERS:
            if child.tag_[:2] in ("NN", "FW") or dep == "compound":
                parts.extend(_compound(tree, child))
                continue
            for word in (child, *(c for c in child.children if c.dep_ == "conj" and c.i < root.i)):
                text = _glue(tree, word)
                if text in _NOT_ADJECTIVES:
                    determiners.append(text)
                elif _WORD.fullmatch(text):
                    adjectives[text] = None
    # A word joined by hyphens comes once for each of its parts.
    parts = list(dict.fromkeys((*parts, _glue(tree, root))))
    noun = " ".join(parts)
    if not _WORD.fullmatch(noun) or root.text in _NOT_NOUNS or {"each", "other"} <= set(determiners):
        return None
    if possessor:
        determiners = ["the"]
    elif not determiners:
        determiners = _lost_article(tree, root)
    if determiners in (["a"], ["an"]):
        # "a flying kites" is the writer's mistake and must not become ours.
        determiners = [] if root.tag_ == "NNS" and singular(root.text) != root.text else ["a"]
    determiner = " ".join(dict.fromkeys(determiners))
    return Phrase(
        determiner, tuple(a for a in adjectives if a not in parts), noun, _number(root, noun, determiners)
    )


def _lost_article(tree: Tree, root: Token) -> list[str]:
    """Article that hangs elsewhere, as in "an upside down umbrella"."""
    for token in reversed(tree.tokens[max(0, root.i - 4) : root.i]):
        if token.text in ("a", "an", "the"):
            return [token.text]
        if token.tag_ not in ("NN", "JJ", "RB", "RP", "VBN", "VBG") or token.head.i > root.i:
            return []
    return []


def _compound(tree: Tree, token: Token) -> list[str]:
    before = [word for child in token.children if child.i < token.i and child.dep_ in _MODIFIERS
              for word in _compound(tree, child)]  # fmt: skip
    return [*before, _glue(tree, token)]


def _glue(tree: Tree, token: Token) -> str:
    """A word with what is joined to it by hyphens or slashes ("black-and-white")."""
    tokens, glued = tree.tokens, tree.glued
    start = end = token.i
    while start > 1 and glued[start - 1] and tokens[start - 1].text in ("-", "/") and glued[start - 2]:
        start -= 2
    while end + 2 < len(tokens) and glued[end] and tokens[end + 1].text in ("-", "/") and glued[end + 1]:
        end += 2
    return token.text if start == end else "".join(t.text for t in tokens[start : end + 1])


def _number(root: Token, noun: str, determiners: list[str]) -> Number:
    if any(word in _ONE for word in determiners):
        return "singular"
    if any(word in _SEVERAL for word in determiners) or root.tag_ in ("NNS", "NNPS"):
        return "plural"
    if root.text in _PLURAL_ONLY:
        return "plural"
    return "mass" if is_mass(noun) else "singular"


def read_relation(subject: Token, thing: Token, number: Number) -> Relation | None:
    """Words between subject and object as they stand in the tree, without auxiliaries.

    Args:
        subject, thing: roots of the two phrases.
        number: of the subject phrase, with which a finite verb has to agree.

    Returns:
        None when the verb is negated or nothing is left.
    """
    top = thing
    while top.dep_ == "conj" and top.head is not top:
        top = top.head
    above = top.head
    prepositions: list[Token] = []
    if top.dep_ == "pobj":
        while above.tag_ in ("IN", "TO", "RP") and len(prepositions) < 3:
            prepositions.insert(0, above)
            above = above.head
        if above.tag_[:2] in ("JJ", "RB"):
            prepositions.insert(0, above)
            above = above.head
    elif top.dep_ not in ("dobj", "attr"):
        return None
    tail = [p.text for p in prepositions if p.i < thing.i]
    reversed_order = thing.i < subject.i
    if above.pos_ != "VERB" or reversed_order:
        return _preposition(tail)
    if any(child.dep_ == "neg" for child in above.children):
        return None
    is_be = above.text in ("is", "are", "was", "were", "be", "being", "been", "'s", "am")
    has_object = any(child.dep_ == "dobj" for child in above.children)
    if is_be and not tail:
        return Relation("are", "base", "be", "") if number == "plural" else Relation("is", "s", "be", "")
    if is_be or (tail and has_object):
        return _preposition(tail)
    return _verbal(above, tail, number, bool(prepositions))


def _preposition(tail: list[str]) -> Relation | None:
    text = " ".join(tail)
    return Relation(text, "preposition", "", text) if text else None


def _verbal(verb: Token, tail: list[str], number: Number, oblique: bool) -> Relation:
    particles = [child.text for child in verb.children if child.dep_ == "prt"]
    chain: list[str] = []
    while verb.dep_ == "xcomp" and verb.head.pos_ == "VERB" and len(chain) < 4:
        # "trying to catch": the first verb carries the form.
        helpers = [c for c in verb.children if c.tag_ == "TO" or c.text == "be"]
        chain[:0] = [c.text for c in helpers if c.i < verb.i] + [verb.text]
        verb = verb.head
    form = _form(verb, oblique)
    word = verb.text
    if form in ("s", "base"):
        base = verb_base(word, _KNOWN_VERBS) if verb.tag_ == "VBZ" else word
        form = "base" if number == "plural" else "s"
        word = verb_form(base, form)
    elif form == "past" and verb.tag_ == "VBN":
        # Only irregular verbs tell the two forms apart.
        base = verb_base(word, _KNOWN_VERBS)
        word = verb_form(base, "past") if base in _KNOWN_VERBS else word
    return Relation(" ".join((word, *chain, *particles, *tail)), form, word, " ".join(tail))


def _form(verb: Token, oblique: bool) -> RelationForm:
    tag = verb.tag_
    if tag == "VBG":
        return "ing"
    if tag in ("VBZ", "VBP", "VB"):
        return "s"
    if tag == "VBN":
        perfect = any(child.text in ("has", "have", "had") for child in verb.children if child.dep_ == "aux")
        return "past" if perfect or not oblique else "participle"
    return "participle" if verb.dep_ == "acl" and oblique else "past"
