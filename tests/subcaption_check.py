"""A check that a counterfactual differs from its factual by its operation and by nothing else."""

from __future__ import annotations

from clipdefend.augment.subcaptions import JOINT, SubCaption


def is_consistent(sub: SubCaption) -> bool:
    """Return whether the recorded replacements turn the factual into the counterfactual.

    The replaced parts occur in the order given and do not overlap. "a" and "an" count as the same word, because
    the article changes with the word that follows it.
    """
    old, new = sub.replaced.split(JOINT), sub.replacement.split(JOINT)
    if len(old) != len(new) or any(left == right for left, right in zip(old, new, strict=True)):
        return False
    pairs = [(left.split(), right.split()) for left, right in zip(old, new, strict=True)]
    return _reaches(_words(sub.factual), _words(sub.counterfactual), pairs)


def _words(text: str) -> list[str]:
    return ["a" if word == "an" else word for word in text.split()]


def _reaches(source: list[str], target: list[str], pairs: list[tuple[list[str], list[str]]]) -> bool:
    """Whether ``target`` is ``source`` with the pairs replaced, trying every place of the first pair."""
    if not pairs:
        return source == target
    (old, new), rest = pairs[0], pairs[1:]
    old, new = ["a" if w == "an" else w for w in old], ["a" if w == "an" else w for w in new]
    for start in range(len(source) - len(old) + 1):
        if source[:start] != target[:start]:
            return False
        end = start + len(old)
        fits = source[start:end] == old and target[start : start + len(new)] == new
        if fits and _reaches(source[end:], target[start + len(new) :], rest):
            return True
    return False
