from __future__ import annotations

import pickle
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from clipdefend.augment.lexicon import load_lexicon
from clipdefend.augment.parsed_caption import ParsedCaption, Phrase, Relation, Triple
from clipdefend.augment.subcaptions import SubCaptioner
from clipdefend.draws import text_random
from clipdefend.errors import ConfigError
from subcaption_check import is_consistent

CAPTIONS = (
    "a photo of a red banana",
    "a small striped fish above a blue box",
    "there is a tiny green tree chasing a spotted cat",
    "a large black umbrella to the left of a yellow chair",
    "two red stars",
    "the spotted fish is pulling a white boat",
    "a picture of the purple key behind the small clock",
    "the hat circles three grey windmills",
    "A group of people with skis stand on a mountain.",
    "Two cats are outside and perched on someone's sneakers.",
    "there is a small pizza that is on a white plate",
    "The trees are covered with snow.",
    "A man and a woman ride horses.",
    "An old man sits on an orange bench",
    "A woman who is cooking in the kitchen.",
    "A line of small teddy bears are in front of several DVD cases.",
    "several children playing soccer in front of a red-brick house",
    "a brown and black cat laying on a laptop",
    "A boat pulled by two white horses",
    "",
    "wow, so very nice!",
)

ODD_ARTICLES = dict.fromkeys(
    ("x-ray", "herb", "hour", "hourly", "hourlong", "honest", "honorable", "honored"), "an"
)
ODD_ARTICLES |= dict.fromkeys(
    (
        *("uniform", "uniformed", "ukulele", "utensil", "unicorn", "unicycle", "universal", "unique", "used"),
        *("ubiquitous", "useless", "one-eyed"),
    ),
    "a",
)


@pytest.fixture(scope="module")
def captioner() -> SubCaptioner:
    return SubCaptioner()


@pytest.fixture(scope="module")
def parsed(captioner: SubCaptioner) -> list[ParsedCaption]:
    return list(captioner.parse(CAPTIONS))


def test_adjectives_are_kept_with_the_given_chance(
    captioner: SubCaptioner, parsed: list[ParsedCaption]
) -> None:
    none = SubCaptioner(keep_adjectives=0.0)
    assert none.draw(parsed[1], random.Random(0))[0].factual == "a fish above a box"
    draws = [captioner.draw(parsed[1], random.Random(seed))[0].factual for seed in range(400)]
    assert 0.4 < sum("striped" in factual for factual in draws) / 400 < 0.6
    assert set(draws) == {
        f"a {first}{second}fish above a {third}box"
        for first in ("", "small ") for second in ("", "striped ") for third in ("", "blue ")
    }  # fmt: skip


def test_article_is_sounded_anew_when_the_adjective_goes(captioner: SubCaptioner) -> None:
    found = next(captioner.parse(["An old man sits on an orange bench"]))
    assert SubCaptioner(keep_adjectives=0).draw(found, random.Random(1))[0].factual == "a man sits on a bench"


def test_captions_without_a_noun_give_nothing(captioner: SubCaptioner, parsed: list[ParsedCaption]) -> None:
    assert parsed[-2] == ParsedCaption("", (), None)
    assert captioner.draw(parsed[-1], random.Random(0)) == []
    assert captioner.draw(parsed[-2], random.Random(0)) == []


def test_counterfactuals_differ_in_what_they_say_and_keep_their_form(
    captioner: SubCaptioner, parsed: list[ParsedCaption]
) -> None:
    seen: Counter[str] = Counter()
    for i, entry in enumerate(parsed):
        for epoch in range(60):
            for sub in captioner.draw(entry, text_random(0, "subcaptions", epoch, i)):
                seen[sub.operation] += 1
                assert is_consistent(sub), sub
                assert " a a" not in sub.counterfactual
                for text in (sub.factual, sub.counterfactual):
                    assert_articles(text)
    assert set(seen) == {"adjective", "relation", "noun"}
    assert min(seen.values()) > 150


def assert_articles(text: str) -> None:
    """By the first letter, but for the words of the lexicons that are read otherwise."""
    words = text.split()
    for first, second in pairwise(words):
        if first in ("a", "an"):
            usual = "an" if second[0] in "aeiou" else "a"
            assert first == ODD_ARTICLES.get(second, usual), text


def test_operations_are_drawn_evenly_where_all_are_open(
    captioner: SubCaptioner, parsed: list[ParsedCaption]
) -> None:
    whole = SubCaptioner(keep_adjectives=1.0)
    drawn = Counter(whole.draw(parsed[1], random.Random(seed))[0].operation for seed in range(600))
    assert set(drawn) == {"adjective", "relation", "noun"}
    assert all(150 < count < 250 for count in drawn.values())


def test_fall_backs(captioner: SubCaptioner) -> None:
    bare = next(captioner.parse(["an apple"]))
    assert {captioner.draw(bare, random.Random(s))[0].operation for s in range(30)} == {"noun"}
    with_adjective = next(captioner.parse(["a red apple"]))
    whole = SubCaptioner(keep_adjectives=1.0)
    assert {whole.draw(with_adjective, random.Random(s))[0].operation for s in range(40)} == {
        "adjective",
        "noun",
    }
    only = SubCaptioner(operations=("relation",))
    assert only.draw(bare, random.Random(0)) == []


def phrase(noun: str, number: str = "singular", determiner: str = "a") -> Phrase:
    return Phrase(determiner, (), noun, number)  # type: ignore[arg-type]


def test_no_replacement_left_means_no_counterfactual(tmp_path: Path) -> None:
    for kind, term in (("nouns", "dog"), ("adjectives", "big"), ("relations", "chase")):
        (tmp_path / f"{kind}.txt").write_text(term, encoding="utf-8")
    captioner = SubCaptioner(lexicon=load_lexicon(tmp_path), keep_adjectives=1.0)
    entry = ParsedCaption("", (Triple(phrase("dogs", "plural", "two")._replace(adjectives=("large",)),
                               Relation("chasing", "ing", "chasing", ""), phrase("dog")),), phrase("dog"))  # fmt: skip
    assert captioner.draw(entry, random.Random(0)) == []


def test_several_relations_and_counterfactuals(captioner: SubCaptioner) -> None:
    entry = next(captioner.parse(["a girl standing in a forest holding a black umbrella"]))
    many = SubCaptioner(relations=2, counterfactuals=3).draw(entry, random.Random(5))
    assert len(many) == 6
    assert len({sub.factual for sub in many}) == 2
    assert len({sub.counterfactual for sub in many}) == 6
    assert all(is_consistent(sub) for sub in many)


def test_equal_draws_whatever_batch_order_and_processes(
    captioner: SubCaptioner, parsed: list[ParsedCaption]
) -> None:
    assert list(captioner.parse(CAPTIONS, batch_size=1)) == parsed
    backwards = list(captioner.parse(reversed(CAPTIONS), batch_size=3))
    assert backwards[::-1] == parsed
    first = [captioner.draw(p, text_random(7, "s", 0, i)) for i, p in enumerate(parsed)]
    later = [captioner.draw(p, text_random(7, "s", 0, i)) for i, p in reversed(list(enumerate(parsed)))]
    assert later[::-1] == first


@pytest.mark.slow
def test_equal_results_from_several_processes(captioner: SubCaptioner, parsed: list[ParsedCaption]) -> None:
    assert list(captioner.parse(CAPTIONS, processes=2)) == parsed


@pytest.mark.slow
def test_results_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    script = (
        "from clipdefend.augment.subcaptions import SubCaptioner\n"
        "from clipdefend.draws import text_random\n"
        "s = SubCaptioner()\n"
        "for i, p in enumerate(s.parse(['a red car near an old house', 'two dogs'])):\n"
        "    for e in range(20): print(s.draw(p, text_random(1, e, i)))\n"
    )
    outputs = set()
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": ":".join(sys.path)}
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1
    assert "SubCaption" in outputs.pop()


def test_parsing_streams(captioner: SubCaptioner) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "a dog on a sofa"

    stream = captioner.parse(endless())
    assert next(stream).triples[0].relation.text == "on"


def test_captioner_pickles(captioner: SubCaptioner, parsed: list[ParsedCaption]) -> None:
    copy = pickle.loads(pickle.dumps(captioner))
    assert copy.draw(parsed[1], random.Random(3)) == captioner.draw(parsed[1], random.Random(3))


def test_parsed_is_small_and_picklable(parsed: list[ParsedCaption]) -> None:
    assert pickle.loads(pickle.dumps(parsed)) == parsed
    assert max(len(pickle.dumps(entry)) for entry in parsed) < 1000


def test_long_and_odd_captions_do_not_stop_it(captioner: SubCaptioner) -> None:
    odd = [
        "word " * 5000,
        "\n\t a \x00 dog \n on a\ttable ",
        "猫 と 犬",
        "!!!",
        "https://x.y/z?a=b",
        "a" * 3000,
    ]
    found = list(captioner.parse(odd))
    assert [p.caption for p in found] == odd
    assert found[1].triples


@pytest.mark.parametrize("source", ["eda", "spans"])
def test_other_sources(source: str) -> None:
    others = ["a red car near an old house", "two dogs run", "a photo of a cat"]
    captioner = SubCaptioner(source=source, others=others, counterfactuals=2)
    entries = list(captioner.parse(["a red car near an old house", "..."]))
    assert captioner.draw(entries[1], random.Random(0)) == []
    for seed in range(40):
        subs = captioner.draw(entries[0], random.Random(seed))
        assert len(subs) == 2
        for sub in subs:
            assert sub.operation == source
            assert (sub.replaced, sub.replacement) == (sub.factual, sub.counterfactual)
            assert is_consistent(sub)
            if source == "spans":
                assert sub.factual in others[0]
                assert len(sub.factual.split()) >= 2
                assert any(sub.counterfactual in other for other in others[1:])


def test_other_sources_need_other_captions() -> None:
    captioner = SubCaptioner(source="spans")
    with pytest.raises(ConfigError, match="pass them as others"):
        captioner.draw(ParsedCaption("a dog", (), None), random.Random(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "span"}, r"'span'.*Did you mean 'spans'"),
        ({"operations": ("verb",)}, "Unknown operation 'verb'"),
        ({"operations": ()}, "operations is empty"),
        ({"keep_adjectives": 1.5}, r"keep_adjectives=1\.5"),
        ({"relations": 0}, "relations=0"),
        ({"counterfactuals": -1}, "counterfactuals=-1"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SubCaptioner(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"processes": 0}])
def test_parse_options_are_checked(captioner: SubCaptioner, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))}=0"):
        captioner.parse(["a dog"], **options)


def test_package_import_is_cheap() -> None:
    code = (
        "import sys, clipdefend.augment\n"
        "print(sorted({'spacy', 'nltk', 'sng_parser', 'torch', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
