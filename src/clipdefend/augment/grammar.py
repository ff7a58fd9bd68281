"""The shipped word lists behind inflection, EDA and sub-captions, read once per process."""

from __future__ import annotations

import functools
from importlib import resources


def asset_text(name: str) -> str:
    """Text of a file that ships in ``clipdefend/assets/lexicons``."""
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
    """Words of a section of ``grammar.txt``; ``_`` stands for a blank within a term."""
    return frozenset(word.replace("_", " ") for word in _sections()[section])


@functools.cache
def pairs(section: str) -> dict[str, str]:
    """``left=right`` entries of a section, in the order of the file."""
    return dict(entry.replace("_", " ").split("=") for entry in _sections()[section])


@functools.lru_cache(maxsize=1)
def irregular_verbs() -> dict[str, tuple[str, str]]:
    """Base form -> (past, past participle)."""
    rows = (line.split("\t") for line in asset_text("irregular_verbs.tsv").splitlines())
    return {base: (past, participle) for base, past, participle in rows}
