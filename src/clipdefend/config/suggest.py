"""Suggests the key that somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def siblings(known: Iterable[str], section: str) -> str:
    """The names of the keys of one section, as a list for people."""
    start = f"{section}."
    return ", ".join(path.removeprefix(start) for path in known if path.startswith(start))


def suggest(known: Iterable[str], path: str) -> str:
    """Name the nearest key: in the same section, by its whole path, by its last part alone, or a section.

    Returns:
        Such as " Did you mean 'train.lr'?", or the keys that there are.
    """
    paths = list(known)
    section, dot, last = path.rpartition(".")
    within = [other for other in paths if dot and other.startswith(f"{section}.")]
    names = {other.rpartition(".")[2]: other for other in reversed(within or paths)}
    sections = list(dict.fromkeys(other.split(".")[0] for other in paths))
    if not within:
        names.update({other: other for other in [*paths, *sections]})
    word = last if within or last in names else path
    close = difflib.get_close_matches(word, list(names), n=1)
    if close:
        return f" Did you mean {names[close[0]]!r}?"
    return f" Its keys: {siblings(paths, section) if within else ', '.join(sections)}."
