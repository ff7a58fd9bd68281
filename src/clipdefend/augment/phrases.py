"""Turn a caption's scene graph into phrases and triples."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from clipdefend.augment.grammar import words
from clipdefend.augment.inflect import is_mass, plural, singular
from clipdefend.augment.normalize import normalize_tree
from clipdefend.augment.parsed_caption import Number, ParsedCaption, Phrase, Relation, Triple
from clipdefend.augment.relation import read_relation
from clipdefend.augment.scene_graph import Graph
from clipdefend.augment.tree import PRONOUN, Token, Tree

_LEAD = re.compile(
    r"\s*(?:(?:there (?:is|are)|this is|here is|it is|these are) )?"
    r"(?:(?:an?|the|some|two|three|several|many|one) )?"
    r"(?:(?:black and white|black & white|close up|[a-z-]+) )?"
    r"(?:close[ -]?ups?|photos?|photographs?|pictures?|images?|pics?|shots?|snapshots?|views?|portraits?)"
    r"(?: (?:photos?|photographs?|pictures?|images?|shots?|views?|portraits?))?"
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
MOST = 8  # triples kept per caption
_MODIFIERS = frozenset(("amod", "compound", "nmod"))
_JOINED, _FIXED = words("joined adjectives"), words("fixed compounds")
_ARTICLES = frozenset(("a", "an", "the"))
_SURE = words("sure adjectives")
_LOOSE_TAGS = frozenset(("NN", "JJ", "RB", "RP", "VBN", "VBG"))


def strip_lead(caption: str) -> str:
    """Remove "a picture of" and similar leads: captions are about what is shown, and leads confuse parsers."""
    seen = _ONE_CAN_SEE.match(caption)
    if seen:
        return seen.group(1)
    lead = _LEAD.match(caption)
    return caption[lead.end() :] if lead else caption


def read_scene(caption: str, text: str, doc: Any, parse: Callable[[Tree], Graph]) -> ParsedCaption:
    """Read the phrases and triples of one parsed caption.

    Args:
        caption: the text as given, which is kept in the result.
        text: the text that was parsed: the caption without its lead.
        doc: spaCy's document of ``text``.
        parse: the scene-graph parser from ``load_parsers``.
    """
    tree = Tree(doc, text)
    normalize_tree(tree)
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
    if main is not None and main.number == "mass" and not triples and not is_mass(main.noun):
        main = main._replace(number="singular")  # a key word has no article in any case
    return ParsedCaption(caption, triples, main)


def _weakness(subject: Phrase, relation: Relation, thing: Phrase) -> int:
    """Rank a triple for the choice of the main one: verbs come first, "of" and vague places last."""
    rank = {"preposition": 2, "past": 1, "participle": 1}.get(relation.form, 0)
    if relation.text == "of":
        rank = 4
    elif relation.text in ("is", "are", "with"):
        rank = 3
    if thing.noun in _VAGUE or subject.noun in _VAGUE:
        rank += 4
    return rank


def read_phrase(tree: Tree, root: Token) -> Phrase | None:
    """Read the noun phrase of a root; None if the root is not a noun that can be shown (pronouns, signs)."""
    determiners: list[str] = []
    adjectives: list[str] = []
    parts: list[str] = []
    possessor = described = False
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
            if dep == "amod" and child.text in _SURE:
                _read_adjective(tree, child, root, adjectives, parts, determiners)
            elif _is_other_thing(child):
                determiners, adjectives = _after_and(child)
            elif child.tag_[:2] in ("NN", "FW") or dep == "compound":
                described = described or any(below.dep_ == "amod" for below in child.children)
                if child.tag_ != "NNS" or root.tag_ != "NNS" or singular(child.text) == child.text:
                    parts.extend(
                        _compound(tree, child, adjectives)
                    )  # but not "sweaters shirts", which lacks a comma
            elif described and not tree.hyphenated:
                return None  # "a little boy french fries" is two phrases taken for one
            else:
                _read_adjective(tree, child, root, adjectives, parts, determiners)
    # A hyphenated word occurs once for each of its parts.
    parts = list(dict.fromkeys((*parts, _glue(tree, root))))
    noun = " ".join(parts)
    if not _is_word(noun) or root.text in _NOT_NOUNS or {"each", "other"} <= set(determiners):
        return None
    determiners = ["the"] if possessor else _agreeing(tree, root, determiners)
    return Phrase(
        " ".join(dict.fromkeys(determiners)),
        tuple(a for a in dict.fromkeys(adjectives) if a not in parts),
        noun,
        _number(root, noun, determiners),
    )


def _is_word(text: str) -> bool:
    return (text.isascii() and text.isalpha()) or _WORD.fullmatch(text) is not None


def _is_other_thing(part: Token) -> bool:
    """Return whether a modifier is a separate thing, as in "a laptop and three cellphones"."""
    return part.dep_ == "nmod" and any(c.dep_ == "conj" and c.tag_ in ("CD", "JJ") for c in part.children)


def _after_and(part: Token) -> tuple[list[str], list[str]]:
    """Return the determiners and adjectives that belong to the noun after such a thing."""
    own = [child for child in part.children if child.dep_ == "conj"]
    return [c.text for c in own if c.tag_ == "CD"], [c.text for c in own if c.tag_ == "JJ"]


def _read_adjective(
    tree: Tree, token: Token, root: Token, adjectives: list[str], parts: list[str], determiners: list[str]
) -> None:
    """Add an adjective, and those coordinated with it, to the list it belongs to; "black and white" is one."""
    chain = _joined_adjectives(token, root)
    texts = [_adjective_text(tree, word) for word in chain]
    together = _coordinated(chain, texts)
    if together:
        adjectives.append(together)
        return
    for word, text in zip(chain, texts, strict=True):
        if text in _NOT_ADJECTIVES:
            determiners.append(text)
        elif text in _JOINED:
            # "medium sized", "nice looking": neither half means the same without the other.
            before = tree.tokens[word.i - 1].text if word.i else ""
            if before in adjectives:
                adjectives.remove(before)
                adjectives.append(f"{before} {text}")
        elif f"{text} {root.text}" in _FIXED or f"{text} {singular(root.text)}" in _FIXED:
            parts.append(text)  # a hot dog is not a dog
        elif _is_word(text) and text != "upside":  # which is read together with "down"
            if parts and word.i and tree.tokens[word.i - 1].text == parts[-1]:
                text = f"{parts.pop()} {text}"  # "baby blue cabinets"
            adjectives.append(text)


def _joined_adjectives(token: Token, root: Token) -> list[Token]:
    """Return an adjective and those coordinated with it, in their order: "red, white and blue"."""
    chain = [token]
    for word in chain:
        chain += [child for child in word.children if child.dep_ == "conj" and child.i < root.i]
    return sorted(chain, key=lambda word: word.i)


def _coordinated(chain: list[Token], texts: list[str]) -> str | None:
    """Join adjectives around "and" into one; None if there is no "and" or a word is not a full adjective."""
    if not any(child.text == "and" for word in chain for child in word.children):
        return None
    if not all(_is_word(text) and text not in _NOT_ADJECTIVES and text not in _JOINED for text in texts):
        return None
    links = [" " if word.i == last.i + 1 else " and " for last, word in pairwise(chain)]
    return texts[0] + "".join(link + text for link, text in zip(links, texts[1:], strict=True))


def _adjective_text(tree: Tree, word: Token) -> str:
    """Return an adjective with the words before it that belong to it: "snow covered", "upside down"."""
    text = _glue(tree, word)
    before = tree.tokens[word.i - 1] if word.i else word
    if text == "down" and before.text == "upside":
        return "upside down"
    measure = before.dep_ == "npadvmod" and before.head is word and text not in _JOINED
    if measure and before.tag_[:2] == "NN" and not tree.hyphenated:
        count = [child.text for child in before.children if child.dep_ == "nummod"]
        return " ".join((*count, before.text, text))
    return text


def _agreeing(tree: Tree, root: Token, determiners: list[str]) -> list[str]:
    """Keep the determiners that agree with the noun, so that mistakes of the caption are not repeated."""
    if not determiners:
        determiners = _lost_article(tree, root)
    if not determiners:
        return determiners
    text = root.text
    if root.tag_ == "NNS" and singular(text) != text:
        return [word for word in determiners if word not in _ONE]
    if root.tag_ == "NN" and text not in _PLURAL_ONLY and plural(text) != text and singular(text) == text:
        determiners = [word for word in determiners if word not in _SEVERAL]
    return ["a"] if determiners == ["an"] else determiners


def _lost_article(tree: Tree, root: Token) -> list[str]:
    """Find an article that the parser attached elsewhere, as in "an upside down umbrella"."""
    for token in reversed(tree.tokens[max(0, root.i - 4) : root.i]):
        if token.text in _ARTICLES:
            return [token.text]
        if token.tag_ not in _LOOSE_TAGS or token.head.i > root.i:
            return []
        if token.tag_ in ("NN", "VBG", "VBN") and token.head.i <= token.i:
            return []  # "a man preparing food": the article belongs to the man
    return []


def _compound(tree: Tree, token: Token, adjectives: list[str]) -> list[str]:
    """Return the words of a compound; colours and sizes of its first part ("a white wood fence") go to the noun."""
    before: list[str] = []
    for child in token.children:
        if child.i >= token.i or child.dep_ not in _MODIFIERS:
            continue
        if child.dep_ == "amod" and child.text in _SURE and not child.children:
            adjectives.append(child.text)
        else:
            before += _compound(tree, child, adjectives)
    return [*before, _glue(tree, token)]


def _glue(tree: Tree, token: Token) -> str:
    """Return a word with what hyphens or slashes join to it ("black-and-white")."""
    if not tree.hyphenated:
        return token.text
    tokens, glued = tree.tokens, tree.glued
    start = end = token.i
    while start > 1 and glued[start - 1] and tokens[start - 1].text in ("-", "/") and glued[start - 2]:
        start -= 2
    while end + 2 < len(tokens) and glued[end] and tokens[end + 1].text in ("-", "/") and glued[end + 1]:
        end += 2
    return token.text if start == end else "".join(t.text for t in tokens[start : end + 1])


def _number(root: Token, noun: str, determiners: list[str]) -> Number:
    if not _ONE.isdisjoint(determiners):
        return "singular"
    if not _SEVERAL.isdisjoint(determiners) or root.tag_ in ("NNS", "NNPS"):
        return "plural"
    if root.text in _PLURAL_ONLY:
        return "plural"
    # Without a determiner only an uncountable noun can replace it.
    return "mass" if not determiners or is_mass(noun) else "singular"
