"""Build the lexicons and the synonym table that ship with clipdefend, from WordNet and the lists in this folder.

    python examples/build_lexicons.py WORDNET_DICT_FOLDER [--out FOLDER]

It needs ``pip install 'clipdefend[lexicons]'`` and the ``dict`` folder of WordNet 3.0, such as ``/usr/share/wordnet``
of the Debian package ``wordnet-base``. Equal inputs give equal bytes.

Each lexicon holds 3,000 terms. Up to 1,000 are handwritten and come from ``lexicon_words``, one term of each topic in
turn. The others come from WordNet: the most frequent words of its tagged texts ("common"), other words that were tagged
at least once ("medium"), and untagged words that are close to known ones ("rare").
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WORDS = HERE / "lexicon_words"
OUT = HERE.parent / "src" / "clipdefend" / "assets" / "lexicons"
SIZE, WRITTEN = 3000, 1000
BANDS = ("common", "medium", "rare")
# WordNet's lexicographer files in the order of their numbers, which Debian's package leaves out.
LEXNAMES = (
    "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact",
    "noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling",
    "noun.food", "noun.group", "noun.location", "noun.motive", "noun.object", "noun.person",
    "noun.phenomenon", "noun.plant", "noun.possession", "noun.process", "noun.quantity", "noun.relation",
    "noun.shape", "noun.state", "noun.substance", "noun.time", "verb.body", "verb.change", "verb.cognition",
    "verb.communication", "verb.competition", "verb.consumption", "verb.contact", "verb.creation",
    "verb.emotion", "verb.motion", "verb.perception", "verb.possession", "verb.social", "verb.stative",
    "verb.weather", "adj.ppl",
)  # fmt: skip
# Terms of each kind, by lexicographer file: (common, medium, rare).
NOUN_QUOTAS = {
    "noun.artifact": (175, 620, 400), "noun.animal": (20, 120, 60), "noun.object": (24, 70, 16),
    "noun.person": (85, 130, 0), "noun.plant": (10, 56, 20), "noun.food": (12, 60, 36), "noun.body": (26, 22, 0),
    "noun.shape": (4, 14, 4), "noun.phenomenon": (3, 6, 2),
}  # fmt: skip
ADJECTIVE_QUOTAS = {"adj": (430, 1150, 420)}
VERB_QUOTAS = {
    "verb.contact": (75, 260, 210), "verb.motion": (50, 140, 90), "verb.change": (55, 200, 130),
    "verb.creation": (25, 80, 60), "verb.perception": (20, 40, 14), "verb.consumption": (12, 24, 20),
    "verb.competition": (12, 36, 16), "verb.body": (5, 16, 14), "verb.possession": (35, 75, 20),
    "verb.social": (45, 95, 0), "verb.communication": (30, 75, 0), "verb.stative": (8, 20, 0),
    "verb.emotion": (8, 25, 0), "verb.weather": (1, 2, 0),
}  # fmt: skip
PARTICLES = frozenset(
    ["up", "down", "off", "out", "over", "away", "back", "apart", "around", "aside", "together"]
)
NUMERAL = re.compile(r"\b(?:ordinal|cardinal|more than|coming next|quantif|number)\b")
UNFIT_USAGE = ("slur", "disparage", "obscen", "vulgar", "slang", "ethnic", "trademark", "archaism")
UNFIT_NAME = re.compile(r"f[u]ck|sh[i]t|p[i]ss|bugg[e]r|whor[e]|bitc[h]|sl[u]t\b")
UNFIT_GLOSS = re.compile(
    r"offensive|derogat|vulgar|slur\b|sexual|genital|obscen|disparag|prostitut|prejudic|excret|\bdrug|narcotic|"
    r"ethnic|nazi|slave|racial|intercourse|penis|vagina|\banus|corpse|tortur|suicid|murder|execution|insult|"
    r"\bblack person|negro|racist|homosexual|prostitute|insane|mental|breast|semen|copulat|masturbat|nude\b|naked|"
    r"feces|urin|defecat|lewd|erotic|contracept|archaic|obsolete|dialect|trade name|genus|family of",
    re.IGNORECASE,
)


def read_wordnet(folder: Path) -> Any:
    """Open a copy of WordNet through NLTK, with the list of lexicographer files added where it is missing."""
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Reader(WordNetCorpusReader):
        def map_wn(self, version: str = "wordnet") -> None:
            """Only other languages need the map between versions of WordNet."""

    copy = Path(tempfile.mkdtemp())
    for path in sorted(folder.iterdir()):
        if path.is_file():
            shutil.copy(path, copy)
    if not (copy / "lexnames").exists():
        lines = (f"{number:02d}\t{name}\t1\n" for number, name in enumerate(LEXNAMES))
        (copy / "lexnames").write_text("".join(lines), encoding="utf-8")
    nltk.data.path.append(str(copy))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Reader(str(copy), None)


def synonym_table(wordnet: Any) -> str:
    """Return a line ``word<TAB>synonym|synonym`` for every lower-case word that shares a synset with another."""
    table: dict[str, set[str]] = {}
    for synset in wordnet.all_synsets():
        names = synset.lemma_names()
        clean = [" ".join(re.sub(r"[^a-z ]", "", re.sub(r"[-_]", " ", n.lower())).split()) for n in names]
        for name in names:
            if re.fullmatch("[a-z]+", name):
                table.setdefault(name, set()).update(other for other in clean if other and other != name)
    return "".join(f"{word}\t{'|'.join(sorted(found))}\n" for word, found in sorted(table.items()) if found)


def fits(name: str, lemma: Any, synset: Any, unfit: frozenset[str]) -> bool:
    """Tell whether a lemma is a plain lower-case term of one or two words, and not offensive."""
    if not re.fullmatch("[a-z]+(?:[_-][a-z]+)?", name) or not 3 <= len(name) <= 18 or lemma.name() != name:
        return False
    if name.replace("_", " ") in unfit or UNFIT_NAME.search(name):
        return False
    if any(other[0].isupper() for other in synset.lemma_names()) or synset.instance_hypernyms():
        return False
    usage = (domain.name().lower() for domain in (*synset.usage_domains(), *lemma.usage_domains()))
    return not any(word in name for name in usage for word in UNFIT_USAGE) and not UNFIT_GLOSS.search(
        synset.definition()
    )


def is_noun(wordnet: Any, lemma: Any, synset: Any, known: frozenset[str], mass: frozenset[str]) -> bool:
    """Tell whether a noun names one visible thing, and not a substance, several things or a technical term."""
    name = lemma.name()
    above = {s.name() for path in synset.hypernym_paths() for s in path}
    if above & {"substance.n.01", "substance.n.07", "drug.n.01", "process.n.06"} and name not in mass:
        return False
    if name.endswith("s") and not name.endswith(("ss", "us", "is")):
        return False
    if lemma.count():
        return True
    parts = name.split("_")
    if synset.topic_domains() or len(parts) == 2:
        return len(parts) == 2 and all(part in known for part in parts)
    return len(name) <= 9 and len(wordnet.synsets(name)) > 1


def is_adjective(wordnet: Any, lemma: Any, synset: Any, known: frozenset[str], mass: frozenset[str]) -> bool:
    """Tell whether an adjective is descriptive and can precede a noun; rare ones must be close to a common one."""
    name, count = lemma.name(), lemma.count()
    if (
        lemma.syntactic_marker()
        or "_" in name
        or synset.lexname() == "adj.pert"
        or NUMERAL.search(synset.definition())
    ):
        return False
    if count >= 8:
        return True
    if re.match("non|anti|semi|un|in|im|il|ir|dis|mis|self-", name):
        return False
    if count or synset.pos() != "s":
        return count > 0
    return len(name) <= 8 and any(
        other.count() > 2 for near in synset.similar_tos() for other in near.lemmas()
    )


def is_verb(wordnet: Any, lemma: Any, synset: Any, known: frozenset[str], mass: frozenset[str]) -> bool:
    """Tell whether a verb takes an object; rare ones must be kinds of a common one."""
    name = lemma.name()
    _, _, second = name.partition("_")
    if not {8, 9, 11} & set(lemma.frame_ids()) or "-" in name or (second and second not in PARTICLES):
        return False
    if lemma.count():
        return True
    if len(name) > 8 or second or re.search("i[sz]e$|ify$|ate$|^(?:re|de|dis|mis|un|over|out)", name):
        return False
    return any(other.count() > 2 for above in synset.hypernyms() for other in above.lemmas())


KINDS = {
    "nouns": ("n", is_noun, NOUN_QUOTAS),
    "adjectives": ("a", is_adjective, ADJECTIVE_QUOTAS),
    "relations": ("v", is_verb, VERB_QUOTAS),
}


def pick(wordnet: Any, kind: str, unfit: frozenset[str], mass: frozenset[str]) -> list[tuple[str, str]]:
    """Return (term, band) of one kind, the most frequent of each file first.

    Files and bands are interleaved in proportion to their quotas, so that the list can be cut anywhere.
    """
    part, test, quotas = KINDS[kind]
    known = frozenset(
        name
        for name in wordnet.all_lemma_names()
        if "_" not in name and any(lemma.count() > 1 for lemma in wordnet.lemmas(name))
    )
    pools: dict[tuple[str, int], list[tuple[int, bytes, str]]] = {}
    for name in sorted(set(wordnet.all_lemma_names(part))):
        lemma = wordnet.lemmas(name, part)[0]
        synset = lemma.synset()
        file = synset.lexname() if part != "a" else "adj"
        if file in quotas and fits(name, lemma, synset, unfit) and test(wordnet, lemma, synset, known, mass):
            count = lemma.count()
            band = 0 if count >= 8 else 1 if count else 2
            order = hashlib.blake2b(name.encode(), digest_size=8).digest()
            pools.setdefault((file, band), []).append((-count if band == 0 else 0, order, name))
    ranked = []
    for (file, band), pool in sorted(pools.items()):
        quota = quotas[file][band]
        for place, (_, _, name) in enumerate(sorted(pool)):
            if quota:
                ranked.append((place / quota, name.replace("_", " "), BANDS[band]))
    return [(name, band) for _, name, band in sorted(ranked)]


def read_handwritten(kind: str) -> Iterator[tuple[str, str]]:
    """Yield (term, band) of the handwritten list, one of each topic in turn."""
    topics = []
    for line in (WORDS / f"{kind}.txt").read_text("utf-8").splitlines():
        match = re.match(r"\[(\w+)\] [^:]+: (.+)", line)
        if match:
            topics.append([(term.strip(), match.group(1)) for term in match.group(2).split(",")])
    return (pair for pair in chain.from_iterable(zip_longest(*topics)) if pair is not None)


def squeeze(term: str) -> str:
    """Return a term without blanks and hyphens, by which "tail gate" and "tailgate" are one word."""
    return re.sub("[ -]", "", term)


def read_words(path: Path, section: str | None = None) -> frozenset[str]:
    """Return the words of a list, or of one section of it."""
    text = re.sub("(?m)^#.*$", "", path.read_text("utf-8"))
    if section is not None:
        text = text.split(f"[{section}]")[1].split("\n[")[0]
    return frozenset(word.replace("_", " ") for word in text.split())


def build_rows(wordnet: Any, kind: str, mass: frozenset[str]) -> list[tuple[str, str, str]]:
    """Return term, source and band of each term of a lexicon, common terms first."""
    found: dict[str, tuple[str, str]] = {}
    for term, band in read_handwritten(kind):
        if len(found) < WRITTEN:
            found.setdefault(term, ("written", band))
    unfit = read_words(WORDS / "dropped.txt")
    spelt = {squeeze(term) for term, _ in read_handwritten(kind)}
    for term, band in pick(wordnet, kind, unfit, mass):
        if len(found) < SIZE and squeeze(term) not in spelt:
            spelt.add(squeeze(term))
            found[term] = ("wordnet", band)
    order = sorted(found, key=lambda term: (BANDS.index(found[term][1]), found[term][0], term))
    return [(term, *found[term]) for term in order]


def write(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wordnet", type=Path, help="folder with data.noun, index.noun and so on")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write the tables to")
    args = parser.parse_args()
    wordnet = read_wordnet(args.wordnet)
    mass = read_words(OUT / "grammar.txt", "mass nouns")
    write(args.out / "synonyms.tsv.gz", gzip.compress(synonym_table(wordnet).encode(), 9, mtime=0))
    for kind in KINDS:
        table = [("term", "source", "band"), *build_rows(wordnet, kind, mass)]
        write(args.out / f"{kind}.tsv", "".join("\t".join(row) + "\n" for row in table).encode())
        print(f"{kind}: {len(table) - 1} terms")


if __name__ == "__main__":
    main()
