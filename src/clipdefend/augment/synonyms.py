"""The synonym table, which EDA draws from and which keeps synonyms out of replacements."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from clipdefend.augment.inflect import stems
from clipdefend.errors import DataError

SYNONYMS_NAME = "synonyms.tsv.gz"
MAX_BYTES = 64 << 20


class Synonyms(Mapping[str, frozenset[str]]):
    """Maps one lower-case word to its synonyms, over all of its senses.

    A word that is not in the table is looked up by its stems, so that ``"dogs"`` finds the synonyms of ``"dog"``.
    Rows are split when they are first read: 45,000 words cost one dictionary of strings instead of as many sets.
    """

    def __init__(self, rows: Mapping[str, str]) -> None:
        self._rows = rows
        self._listed: dict[str, tuple[str, ...]] = {}
        self._of_phrases: dict[str, list[str]] | None = None

    def listed(self, word: str) -> tuple[str, ...]:
        """Return the synonyms of a word in alphabetical order, as seeded draws need them; empty if there are none."""
        found = self._listed.get(word)
        if found is None:
            found = self._listed[word] = self._find(word)
        return found

    def of_phrase(self, phrase: str) -> list[str]:
        """Return the words that have a phrase among their synonyms; the table has rows of single words only."""
        if self._of_phrases is None:
            self._of_phrases = {}
            for word, row in self._rows.items():
                for other in row.split("|") if " " in row else ():
                    if " " in other:
                        self._of_phrases.setdefault(other, []).append(word)
        return self._of_phrases.get(phrase, [])

    def _find(self, word: str) -> tuple[str, ...]:
        row = self._rows.get(word)
        if row is not None:
            return tuple(row.split("|"))
        joined = {s for stem in stems(word) if stem in self._rows for s in self._rows[stem].split("|")}
        return tuple(sorted(joined - {word}))

    def __getitem__(self, word: str) -> frozenset[str]:
        found = self.listed(word)
        if not found:
            raise KeyError(word)
        return frozenset(found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def read_synonyms(path: Path) -> Synonyms:
    """Read ``word<TAB>synonym|synonym`` lines, plain or gzip.

    Raises:
        DataError: the file cannot be read or is larger than 64 MB, or a line has no tab.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(MAX_BYTES + 1)
        data = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
        text = data.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            f"Synonym table {path} cannot be read ({error}); give word<TAB>synonym|synonym lines."
        ) from error
    if len(data) > MAX_BYTES:
        raise DataError(f"Synonym table {path} is over {MAX_BYTES >> 20} MB; shorten it.")
    rows: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        word, tab, joined = line.partition("\t")
        if not tab or not word or not joined:
            raise DataError(f"{path}, line {number}: {line[:60]!r} is not word<TAB>synonym|synonym; fix it.")
        rows[word] = joined
    return Synonyms(rows)


@functools.lru_cache(maxsize=1)
def shipped_synonyms() -> Synonyms:
    """Return the table made from WordNet, which is read once per process."""
    with resources.as_file(resources.files("clipdefend") / "assets" / "lexicons" / SYNONYMS_NAME) as path:
        return read_synonyms(path)
