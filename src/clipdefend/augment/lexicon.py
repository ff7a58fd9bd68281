"""Lexicons of replacement terms (nouns, adjectives, relations), shipped with the package or given by the user."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from clipdefend.augment.grammar import asset_text
from clipdefend.augment.synonyms import Synonyms, shipped_synonyms
from clipdefend.errors import DataError

KINDS = ("nouns", "adjectives", "relations")
MAX_BYTES = 16 << 20
MAX_TERM = 60
_LETTERS = re.compile(r"[^\W\d_]+(?:[ '-][^\W\d_]+)*")


class Term(NamedTuple):
    """One replacement term.

    Attributes:
        term: a noun in the singular, an adjective, a preposition, or a verb in the base form with the preposition
            that it needs.
        source: "wordnet" or "written" in the shipped files, "user" in a user's file without this column.
        band: "common", "medium" or "rare"; empty in a user's file without this column.
    """

    term: str
    source: str
    band: str


@dataclass(frozen=True)
class Lexicon:
    """Replacement terms by kind.

    Attributes:
        synonyms: words that mean the same and so are never used as replacements of each other.
    """

    nouns: Sequence[Term]
    adjectives: Sequence[Term]
    relations: Sequence[Term]
    synonyms: Synonyms = field(repr=False)


def _read_rows(text: str, name: str) -> tuple[Term, ...]:
    """Parse ``term[<TAB>source[<TAB>band]]`` lines; blank lines, ``#`` lines and a header are skipped."""
    terms: dict[str, Term] = {}
    for number, line in enumerate(text.splitlines(), 1):
        row = line.strip()
        if not row or row.startswith("#"):
            continue
        columns = [column.strip() for column in row.split("\t")]
        term = " ".join(columns[0].lower().split())
        if number == 1 and term == "term":
            continue
        if (
            len(columns) > 3
            or len(term) > MAX_TERM
            or not all(c.isalpha() or c in " -'" for c in term)
            or not term
        ):
            raise DataError(
                f"{name}, line {number}: {row[:70]!r} is not a term of letters, spaces, - and ' (at most"
                f" {MAX_TERM} characters), alone or followed by tab-separated source and band; fix or remove the line."
            )
        source, band = [*columns[1:], "user", ""][:2] if len(columns) < 2 else [*columns[1:], ""][:2]
        terms.setdefault(term, Term(term, source, band))
    if not terms:
        raise DataError(f"{name} contains no terms; give one per line.")
    return tuple(terms.values())


def _read_file(path: Path) -> tuple[Term, ...]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise DataError(f"Lexicon file {path} is over {MAX_BYTES >> 20} MB; shorten it.")
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"Lexicon file {path} cannot be read ({error}); give UTF-8 text with one term per line."
        ) from error
    return _read_rows(text, str(path))


@functools.lru_cache(maxsize=1)
def _shipped() -> Lexicon:
    nouns, adjectives, relations = (_read_rows(asset_text(f"{kind}.tsv"), f"{kind}.tsv") for kind in KINDS)
    return Lexicon(nouns, adjectives, relations, shipped_synonyms())


def load_lexicon(folder: Path | None = None) -> Lexicon:
    """Load the shipped lexicon, or a user's.

    Args:
        folder: contains any of ``nouns``, ``adjectives``, ``relations`` as ``.tsv`` (term, source, band) or
            ``.txt`` (one term per line). The shipped list is used for a missing one.

    Raises:
        DataError: the folder is missing or contains none of the files or both forms of one list, or a line is
            not a term.
    """
    if folder is None:
        return _shipped()
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"Lexicon folder {folder} does not exist; give a folder with {', '.join(KINDS)} as .tsv or .txt."
        )
    found: dict[str, Sequence[Term]] = {}
    for kind in KINDS:
        paths = [path for path in (folder / f"{kind}.tsv", folder / f"{kind}.txt") if path.is_file()]
        if len(paths) > 1:
            raise DataError(
                f"Lexicon folder {folder} contains both {kind}.tsv and {kind}.txt; keep one of them."
            )
        if paths:
            found[kind] = _read_file(paths[0])
    if not found:
        raise DataError(
            f"Lexicon folder {folder} contains none of {', '.join(KINDS)} as .tsv or .txt; add one of them."
        )
    shipped = _shipped()
    nouns, adjectives, relations = (found.get(kind, getattr(shipped, kind)) for kind in KINDS)
    return Lexicon(nouns, adjectives, relations, shipped.synonyms)
