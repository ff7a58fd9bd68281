"""EDA (easy data augmentation), the text augmentation of CleanCLIP."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from clipdefend.augment import grammar
from clipdefend.augment.synonyms import shipped_synonyms

_JOINED = re.compile("['\u2019]+")
_OTHER = re.compile("[^a-z]+")


@dataclass(frozen=True, kw_only=True)
class Eda:
    """Augment a caption by synonym replacement, random insertion, random swap or random deletion.

    Attributes:
        alpha: share of the words that replacement, insertion and swap change, in [0, 1]; at least one word.
        deletion: probability of deleting each word, in [0, 1].

    Reference: Wei & Zou, "EDA: Easy Data Augmentation", EMNLP 2019 (arXiv:1901.11196); CleanCLIP
        (arXiv:2303.03323), ``utils/eda.py``.
    Deviates: CleanCLIP makes all four variants from a global generator when the data set is built, and keeps
        one; here each call draws one variant from the caller's generator. Captions without a letter are
        returned unchanged, where the original raises IndexError.
    """

    alpha: float = 0.1
    deletion: float = 0.1

    def __post_init__(self) -> None:
        for name in ("alpha", "deletion"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not within [0, 1].")

    def __call__(self, caption: str, rng: random.Random) -> str:
        """Augment one caption.

        Args:
            caption: any text.
            rng: equal states give equal results.

        Returns:
            A lower-case variant without digits and punctuation; empty only for an empty caption.
        """
        words = _OTHER.sub(" ", _JOINED.sub("", caption.lower())).split()
        if not words:
            return caption
        chance = rng.random
        count = max(1, int(self.alpha * len(words)))
        operation = int(chance() * 4)
        if operation == 0:
            words = replace_synonyms(words, count, rng)
        elif operation == 1:
            words = insert_synonyms(words, count, rng)
        elif operation == 2:
            words = swap(words, count, rng)
        else:
            words = delete(words, self.deletion, rng)
        return " ".join(words)


def replace_synonyms(words: list[str], count: int, rng: random.Random) -> list[str]:
    """Replace up to ``count`` different words other than stop words, wherever they occur, by a random synonym."""
    table = shipped_synonyms()
    stop_words = grammar.words("stop words")
    left = [word for word in dict.fromkeys(words) if word not in stop_words]
    while left and count:
        # Drawing words one at a time costs less than shuffling all of them.
        chosen = left.pop(int(rng.random() * len(left)))
        found = table.listed(chosen)
        if found:
            other = found[int(rng.random() * len(found))]
            words = [other if word == chosen else word for word in words]
            count -= 1
    return words


def insert_synonyms(words: list[str], count: int, rng: random.Random) -> list[str]:
    """Insert ``count`` synonyms of random words at random positions, after at most ten tries to find one each."""
    table = shipped_synonyms()
    words = list(words)
    for _ in range(count):
        for _ in range(10):
            found = table.listed(words[int(rng.random() * len(words))])
            if found:
                words.insert(int(rng.random() * len(words)), found[int(rng.random() * len(found))])
                break
    return words


def swap(words: list[str], count: int, rng: random.Random) -> list[str]:
    """Swap the words at two different positions ``count`` times; a single word is left alone."""
    words = list(words)
    size = len(words)
    if size < 2:
        return words
    for _ in range(count):
        first = int(rng.random() * size)
        second = (first + 1 + int(rng.random() * (size - 1))) % size
        words[first], words[second] = words[second], words[first]
    return words


def delete(words: list[str], chance: float, rng: random.Random) -> list[str]:
    """Delete each word with probability ``chance``; one random word is kept where all would go."""
    draw = rng.random
    kept = [word for word in words if draw() >= chance]
    return kept or [words[int(draw() * len(words))]]
