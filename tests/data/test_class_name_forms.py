"""Files of class names in common formats: unambiguous ones are read, the others are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipdefend.data.classes import by_index, load_classes
from clipdefend.errors import DataError

THREE = ["tench", "great white shark", "jack-o'-lantern"]
IDS = ["n01440764", "n01484850", "n03590841"]


@pytest.mark.parametrize(
    ("name", "text", "reading"),
    [
        ("plain.txt", "tench\ngreat white shark\njack-o'-lantern\n", "one name a line"),
        ("colon.txt", "0: tench\n1: great white shark\n2: jack-o'-lantern", "numbered lines, from 0"),
        ("shuffled.txt", "2: jack-o'-lantern\n0: tench\n1: great white shark", "numbered lines, from 0"),
        ("one.txt", "1. tench\n2. great white shark\n3. jack-o'-lantern", "numbered lines, from 1"),
        ("blank.txt", "0 tench\n1 great white shark\n2 jack-o'-lantern", "numbered lines, from 0"),
        ("tab.txt", "0\ttench\n1\tgreat white shark\n2\tjack-o'-lantern", "numbered lines, from 0"),
        ("t.csv", "index,name\n0,tench\n1,great white shark\n2,jack-o'-lantern", "numbered lines, from 0"),
        ("last.txt", "tench,0\ngreat white shark,1\njack-o'-lantern,2", "number at the end, from 0"),
        ("quoted.txt", "\"tench\",\n'great white shark',\n'jack-o\\'-lantern'", "in quotation marks"),
        ("brackets.txt", '[\n"tench",\n"great white shark",\n"jack-o\'-lantern",\n]', "a list of names"),
        ("printed.txt", str(dict(enumerate(THREE))), "a dictionary of index: name, from 0"),
        (
            "reverse.txt",
            str({name: at for at, name in enumerate(THREE)}),
            "a dictionary of name: index, from 0",
        ),
        ("list.json", json.dumps(THREE), "a list of names"),
        ("index.json", json.dumps(dict(enumerate(THREE))), "a dictionary of index: name, from 0"),
        (
            "to_idx.json",
            json.dumps({name: at for at, name in reversed(list(enumerate(THREE)))}),
            "name: index",
        ),
        (
            "coco.json",
            json.dumps([{"id": at, "name": n} for at, n in enumerate(THREE, 1)]),
            "an index from 1",
        ),
        (
            "wnid.txt",
            "".join(f"{key} {name}\n" for key, name in zip(IDS, THREE, strict=True)),
            "a WordNet id and a name",
        ),
        (
            "map.txt",
            "".join(f"{key} {9 - at} {THREE[at]}\n" for at, key in enumerate(IDS)),
            "a number (left aside)",
        ),
        (
            "class_index.json",
            json.dumps({at: [IDS[at], THREE[at]] for at in range(3)}),
            "index: name, from 0",
        ),
        ("by_id.json", json.dumps(dict(zip(IDS, THREE, strict=True))), "a dictionary of WordNet id: name"),
        (
            "pairs.json",
            json.dumps([list(pair) for pair in zip(IDS, THREE, strict=True)]),
            "[WordNet id, name]",
        ),
    ],
)
def test_forms_that_are_certain(name: str, text: str, reading: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    found = load_classes(tmp_path / name)
    assert found.classes == THREE
    assert by_index(found, "labels.csv") == THREE
    assert reading in found.reading
    assert f"class names from {name}: " in found.reading
    assert "'tench' to " in found.reading


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gap.txt", "0: a\n2: b\n", "do not count from 0 or 1"),
        ("twice.txt", "0: a\n0: b\n", "do not count from 0 or 1"),
        ("from5.txt", "5: a\n6: b\n", "do not count from 0 or 1"),
        ("some.txt", "0: a\n1: b\nc\n", "most of its lines are numbered, but not 'c'"),
        ("ids.txt", "n01440764 tench\nshark\n", "but not 'shark'"),
        ("unknown.txt", "n00000001\nn01440764\n", "n00000001 is none of ImageNet's"),
        ("quoted.txt", "'a',\n'b',\nc\n", "but not 'c'"),
        ("broken.txt", "{0: 'a', 1: open('x')}", "none that can be read"),
        ("mixed.json", '{"0": "a", "b": 1}', "neither an index for every name"),
        ("gap.json", '{"0": "a", "2": "b"}', "do not count from 0 or 1"),
        ("objects.json", '[{"name": "a"}, {"name": "b", "id": 1}]', "not all of them an index"),
    ],
)
def test_forms_that_are_not_certain(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        load_classes(tmp_path / name)
    assert "one name a line" in str(caught.value)


def test_names_that_look_like_other_forms(tmp_path: Path) -> None:
    names = ["2 door car", "747", "4 x 4", "a: b", "tench, Tinca tinca", '"so called"']
    (tmp_path / "a.txt").write_text("\n".join(names))
    found = load_classes(tmp_path / "a.txt")
    assert found.classes == names
    assert "1 are lists of synonyms, which stay whole" in found.reading


def test_ids_alone_and_ids_in_another_order(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("n01484850\nn01440764\n")
    found = load_classes(tmp_path / "ids.txt")
    assert (found.classes, found.keys) == (["great white shark", "tench"], ["n01484850", "n01440764"])
    with pytest.raises(DataError, match="WordNet ids that are not in the order of their indices"):
        by_index(found, "labels.csv")
