"""Factual and counterfactual sub-captions, the text side of CleanerCLIP."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clipdefend.augment.eda import Eda
from clipdefend.augment.inflect import article
from clipdefend.augment.lexicon import Lexicon, load_lexicon
from clipdefend.augment.parsed_caption import ParsedCaption, Phrase, Relation
from clipdefend.augment.reader import read_captions
from clipdefend.augment.replace import Replacer
from clipdefend.errors import ConfigError
from clipdefend.registry import nearest

SOURCES = ("scene-graph", "eda", "spans")
OPERATIONS = ("adjective", "relation", "noun")
JOINT = " | "


@dataclass(frozen=True)
class SubCaption:
    """A factual sub-caption and one of its counterfactuals.

    Attributes:
        factual: a statement that the caption makes.
        counterfactual: the same statement with a part replaced.
        operation: "adjective", "relation" or "noun"; "eda" or "spans" for those sources.
        replaced: the parts of the factual that were replaced, in order of appearance and joined by ``" | "``;
            the whole factual for "eda" and "spans".
        replacement: their replacements, joined in the same way.
    """

    factual: str
    counterfactual: str
    operation: str
    replaced: str
    replacement: str


class Scene(NamedTuple):
    """One phrase, or two phrases and the relation between them."""

    phrases: tuple[Phrase, ...]
    relation: Relation | None

    def text(self) -> str:
        """Return the sub-caption; a key word alone has no determiner."""
        if self.relation is None:
            return phrase_text(self.phrases[0], bare=True)
        subject, thing = self.phrases
        return f"{phrase_text(subject)} {self.relation.text} {phrase_text(thing)}"


def phrase_text(phrase: Phrase, bare: bool = False) -> str:
    """Write a phrase: determiner, adjectives and noun, with "a" or "an" as the next word requires.

    Args:
        bare: leave the determiner out.
    """
    body = " ".join((*phrase.adjectives, phrase.noun))
    if bare or not phrase.determiner:
        return body
    determiner = article(body) if phrase.determiner == "a" else phrase.determiner
    return f"{determiner} {body}"


class SubCaptioner:
    """Parses captions once and draws sub-captions from them as often as wanted.

    Args:
        lexicon: replacement terms; by default the shipped ones.
        source: "scene-graph" as in the paper. For comparison, "eda" makes the factual from an EDA variant of the
            caption and the counterfactual from one of another caption, and "spans" does so from spans.
        keep_adjectives: probability of keeping each adjective in the factual, in [0, 1].
        relations: number of relations of a caption that get sub-captions, the main one first; at least 1.
        counterfactuals: number of counterfactuals for each factual; at least 1.
        operations: the operations to draw from, of "adjective", "relation" and "noun".
        others: captions from which "eda" and "spans" take their counterfactuals; any sequence.

    Reference: CleanerCLIP (arXiv:2409.17601), section 3.2; spans: DeCLUTR (arXiv:2006.03659), section 3.2.
    Deviates: the paper's template has no articles; here the caption's own are kept, because CLIP was trained
        with them, as "a" or "an" by the word that follows. Auxiliaries are left out ("is holding" becomes
        "holding").

    Raises:
        ConfigError: an unknown source or operation, or a number out of range.
    """

    def __init__(
        self,
        *,
        lexicon: Lexicon | None = None,
        source: str = "scene-graph",
        keep_adjectives: float = 0.5,
        relations: int = 1,
        counterfactuals: int = 1,
        operations: Sequence[str] = OPERATIONS,
        others: Sequence[str] = (),
    ) -> None:
        if source not in SOURCES:
            raise ConfigError(
                f"Unknown source {source!r}.{nearest(source, list(SOURCES))} Available: {', '.join(SOURCES)}."
            )
        for name in operations:
            if name not in OPERATIONS:
                raise ConfigError(f"Unknown operation {name!r}. Available: {', '.join(OPERATIONS)}.")
        if not operations:
            raise ConfigError(f"operations is empty; give some of {', '.join(OPERATIONS)}.")
        if not 0 <= keep_adjectives <= 1:
            raise ConfigError(f"keep_adjectives={keep_adjectives} is not within [0, 1].")
        for name, number in (("relations", relations), ("counterfactuals", counterfactuals)):
            if number < 1:
                raise ConfigError(f"{name}={number} is below 1; give a whole number of at least 1.")
        self.source = source
        self.keep_adjectives = keep_adjectives
        self.relations = relations
        self.counterfactuals = counterfactuals
        self.operations = tuple(operations)
        self.others = others
        self._eda = Eda()
        self._replacer = Replacer(lexicon if lexicon is not None else load_lexicon())

    def parse(
        self, captions: Iterable[str], batch_size: int = 256, processes: int = 1
    ) -> Iterator[ParsedCaption]:
        """Parse captions in order, with one result for each, in bounded memory.

        Args:
            captions: any iterable, read as needed.
            batch_size: number of captions that are parsed together.
            processes: number of worker processes; a script that passes more than one needs a ``__main__`` guard.
        """
        if self.source != "scene-graph":
            return (ParsedCaption(caption, (), None) for caption in captions)
        return read_captions(captions, batch_size, processes)

    def draw(self, parsed: ParsedCaption, rng: random.Random) -> list[SubCaption]:
        """Draw sub-captions of a parsed caption.

        Args:
            parsed: from ``parse``.
            rng: equal states give equal sub-captions.

        Returns:
            ``counterfactuals`` for each of up to ``relations`` factuals; an empty list for a caption without a
            noun.
        """
        if self.source != "scene-graph":
            return self._draw_from_others(parsed.caption, rng)
        found = []
        scenes = [Scene((t.subject, t.object), t.relation) for t in parsed.triples[: self.relations]]
        if not scenes and parsed.key is not None:
            scenes = [Scene((parsed.key,), None)]
        for scene in scenes:
            factual = Scene(tuple(self._thin(phrase, rng) for phrase in scene.phrases), scene.relation)
            seen: set[str] = set()
            for _ in range(self.counterfactuals):
                drawn = self._counterfactual(factual, rng, seen)
                if drawn is not None:
                    seen.add(drawn.counterfactual)
                    found.append(drawn)
        return found

    def _thin(self, phrase: Phrase, rng: random.Random) -> Phrase:
        if not phrase.adjectives:
            return phrase
        kept = tuple(adjective for adjective in phrase.adjectives if rng.random() < self.keep_adjectives)
        return Phrase(phrase.determiner, kept, phrase.noun, phrase.number)

    def _counterfactual(self, factual: Scene, rng: random.Random, seen: set[str]) -> SubCaption | None:
        """Apply a random operation that the factual allows; another one if the lexicon has no replacement for it."""
        operations = {"adjective": self._adjectives, "relation": self._relation, "noun": self._nouns}
        for _ in range(8):
            left = [name for name in self.operations if name != "relation" or factual.relation]
            if not any(phrase.adjectives for phrase in factual.phrases) and "adjective" in left:
                left.remove("adjective")
            while left:
                operation = left.pop(int(rng.random() * len(left)))
                changed = operations[operation](factual, rng)
                if changed is not None:
                    scene, old, new = changed
                    text = scene.text()
                    if text not in seen:
                        return SubCaption(factual.text(), text, operation, JOINT.join(old), JOINT.join(new))
                    break
        return None

    def _adjectives(self, scene: Scene, rng: random.Random) -> tuple[Scene, list[str], list[str]] | None:
        old = [adjective for phrase in scene.phrases for adjective in phrase.adjectives]
        new: list[str] = []
        for adjective in old:
            found = self._replacer.adjective(adjective, [*old, *new], rng)
            if found is None:
                return None
            new.append(found)
        left = iter(new)
        phrases = tuple(
            Phrase(p.determiner, tuple(next(left) for _ in p.adjectives), p.noun, p.number)
            for p in scene.phrases
        )
        return Scene(phrases, scene.relation), old, new

    def _relation(self, scene: Scene, rng: random.Random) -> tuple[Scene, list[str], list[str]] | None:
        if scene.relation is None:
            return None
        several = scene.phrases[1].number == "plural"
        found = self._replacer.relation(scene.relation, rng, several=several)
        if found is None:
            return None
        return Scene(scene.phrases, scene.relation._replace(text=found)), [scene.relation.text], [found]

    def _nouns(self, scene: Scene, rng: random.Random) -> tuple[Scene, list[str], list[str]] | None:
        old = [phrase.noun for phrase in scene.phrases]
        new: list[str] = []
        for phrase in scene.phrases:
            found = self._replacer.noun(phrase.noun, phrase.number, [*old, *new], rng)
            if found is None:
                return None
            new.append(found)
        phrases = tuple(
            Phrase(p.determiner, p.adjectives, noun, p.number)
            for p, noun in zip(scene.phrases, new, strict=True)
        )
        return Scene(phrases, scene.relation), old, new

    def _draw_from_others(self, caption: str, rng: random.Random) -> list[SubCaption]:
        if not self.others:
            raise ConfigError(
                f"source {self.source!r} takes its counterfactuals from other captions; pass them as others."
            )
        if not any(character.isalnum() for character in caption):
            return []
        make = self._eda if self.source == "eda" else span
        factual = make(caption, rng)
        found = []
        for _ in range(self.counterfactuals):
            for _ in range(20):
                other = self.others[int(rng.random() * len(self.others))]
                text = make(other, rng)
                if other != caption and text.strip() and text != factual:
                    found.append(SubCaption(factual, text, self.source, factual, text))
                    break
        return found


def span(caption: str, rng: random.Random) -> str:
    """Draw a span of a caption's words, at least two if there are two; long spans are the likeliest.

    Reference: DeCLUTR (arXiv:2006.03659), section 3.2: lengths from a Beta(4, 2) distribution.
    """
    parts = caption.split()
    shortest = min(2, len(parts))
    length = shortest + int(rng.betavariate(4, 2) * (len(parts) - shortest + 1))
    length = min(length, len(parts))
    start = int(rng.random() * (len(parts) - length + 1))
    return " ".join(parts[start : start + length])
