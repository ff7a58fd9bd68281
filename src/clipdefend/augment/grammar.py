"""Word lists that inflection, EDA and sub-captions share, read once per process."""

from __future__ import annotations

import functools
from importlib import resources


def asset_text(name: str) -> str:
    """Read a text file of ``clipdefend/assets/lexicons``."""
    return (resources.files("clipdefend") / "assets" / "lexicons" / name).read_text("utf-8")


@functools.lru_cache(maxsize=1)
def _sections() -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in asset_text("grammar.txt").splitlines():
        if line.startswith("["):
            current = sections.setdefault(line[1:-1], [])
        elif not line.startswith("#"):
            current.extend(line.split())
    return sections


@functools.cache
def words(section: str) -> frozenset[str]:
    """Return the words of a section of ``grammar.txt``, where ``_`` stands for a space within a term."""
    return frozenset(word.replace("_", " ") for word in _sections()[section])


@functools.cache
def pairs(section: str) -> dict[str, str]:
    """Return the ``left=right`` entries of a section as a dictionary, in the order of the file."""
    return dict(entry.replace("_", " ").split("=") for entry in _sections()[section])


@functools.lru_cache(maxsize=1)
def irregular_verbs() -> dict[str, tuple[str, str]]:
    """Map the base form of each irregular verb to its past form and past participle."""
    rows = (line.split("\t") for line in asset_text("irregular_verbs.tsv").splitlines())
    return {base: (past, participle) for base, past, participle in rows}
