"""Class names, templates and targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipdefend.data.class_names.imagenet import imagenet_classes, imagenet_templates
from clipdefend.data.classes import (
    fill,
    load_classes,
    load_templates,
    resolve_target,
)
from clipdefend.errors import DataError

CLEANCLIP = """
{
    # comments and trailing commas are fine
    "classes": ["tench", 'great white shark', "farm " "animal",],
    "templates": [
        lambda c: f'a photo of a {c}.',
        lambda name: "a {} thing".format(name),
        lambda c: 'the {0} here'.format(c),
        lambda c: 'the {c} there'.format(c=c),
        lambda c: 'one %s' % c,
        lambda c: "braces {like these} and " + c + ".",
        'already {} written',
        'in the other {c} way',
    ],
    "superclasses": {0: [1, 2]},
}
"""


def test_cleanclips_classes_py(tmp_path: Path) -> None:
    (tmp_path / "classes.py").write_text(CLEANCLIP)
    found = load_classes(tmp_path / "classes.py")
    assert found.classes == ["tench", "great white shark", "farm animal"]
    assert found.templates == [
        "a photo of a {}.",
        "a {} thing",
        "the {} here",
        "the {} there",
        "one {}",
        "braces {like these} and {}.",
        "already {} written",
        "in the other {} way",
    ]
    assert fill(found.templates[5], "tench") == "braces {like these} and tench."
    assert load_templates(tmp_path / "classes.py") == found.templates


def test_assignments_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text(
        "import os\nclasses = ('a', 'b')\ntemplates = [lambda c: f'{c}!']\nprint(classes)\n"
    )
    found = load_classes(tmp_path / "c.py")
    assert (found.classes, found.templates) == (["a", "b"], ["{}!"])


@pytest.mark.parametrize(
    "code",
    [
        "{'classes': ['a', open(MARK, 'w').name]}",
        "{'classes': open(MARK, 'w') and ['a']}",
        "{'classes': [c for c in open(MARK, 'w')]}",
        "{'classes': ['a'], 'templates': [lambda c: f\"{open(MARK, chr(119))} {c}\"]}",
        "{'classes': ['a'], 'templates': [lambda c: f'{c.__class__}']}",
        "{'classes': ['a'], 'templates': [lambda c: f'{c!r}']}",
        "{'classes': ['a'], 'templates': [lambda c: f'{c:>99999999}']}",
        "{'classes': ['a'], 'templates': [lambda c: '{0.__class__}'.format(c)]}",
        "{'classes': ['a'], 'templates': [lambda c: '{} {}'.format(c, open(MARK, 'w'))]}",
        "{'classes': ['a'], 'templates': [lambda c: '%s %s' % c]}",
        "{'classes': ['a'], 'templates': [lambda c: '%99999999s' % c]}",
        "{'classes': ['a'], 'templates': [lambda c: other + c]}",
        "{'classes': ['a'], 'templates': [lambda c: c * 99999999]}",
        "{'classes': ['a'], 'templates': [lambda c, d=open(MARK, 'w'): 'x']}",
        "{'classes': ['a'], 'templates': [open(MARK, 'w').write]}",
        "{'classes': ['a'], 'templates': [lambda c: " + "'a' + " * 3000 + "c]}",
        "open(MARK, 'w'); classes = list('ab')",
        "(lambda: open(MARK, 'w'))()",
        "import os; os.system('touch ' + MARK)",
        "classes = [" + "(" * 500,
        "classes = " + "-" * 50_000 + "1",
        "classes = [b'bytes']",
        "classes = [7]",
        "\0",
        "not python at all:",
    ],
)
def test_nothing_is_ever_evaluated(code: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "classes.py").write_text(code.replace("MARK", repr(str(mark))))
    deep = len(code) > 1000  # some versions of Python do not parse it in the first place
    words = "Write the templates with" if "'templates'" in code and not deep else "File '.*classes.py'"
    with pytest.raises(DataError, match=words) as caught:
        load_classes(tmp_path / "classes.py")
    assert not mark.exists()
    assert "\n" not in str(caught.value)


def test_json_and_text(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps(["red fox", "dog"]))
    (tmp_path / "both.json").write_text(json.dumps({"classes": ["a"], "templates": ["one {c}", "two {}"]}))
    (tmp_path / "names.txt").write_text("\ufeffred fox\n dog \n\n", encoding="utf-8")
    (tmp_path / "prompts.txt").write_text("a photo of {c}.\nart of the {}\n")
    assert load_classes(tmp_path / "list.json").classes == ["red fox", "dog"]
    assert load_classes(tmp_path / "both.json").templates == ["one {}", "two {}"]
    assert load_templates(tmp_path / "both.json") == ["one {}", "two {}"]
    assert load_classes(tmp_path / "names.txt").classes == ["red fox", "dog"]
    assert load_templates(tmp_path / "prompts.txt") == ["a photo of {}.", "art of the {}"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "one\n\nthree\n", "line 2 is empty"),
        ("a.txt", "", "no class names"),
        ("a.json", "[", "is not JSON"),
        ("a.json", "[1, 2]", "holds '1' where a name was expected"),
        ("a.json", '{"classes": "abc"}', "must be a list of texts"),
        ("a.json", "{}", "neither a list nor a dictionary"),
        ("a.json", '{"0": "a", "0": "b"}', "the same key twice"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.json", '["a", " "]', "class name 1 is empty"),
        ("a.txt", "x" * 2000, "longer than 1000"),
        ("a.py", "x = 1", "no class names"),
    ],
)
def test_wrong_class_files(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        load_classes(tmp_path / name)


def test_files_that_are_missing_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file not found"):
        load_classes(tmp_path / "absent.txt")
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="not UTF-8"):
        load_classes(tmp_path / "a.txt")
    with pytest.raises(
        DataError, match="neither a file nor one of the sets 'imagenet', 'simple' and 'builtin'"
    ):
        load_templates("imagnet")


@pytest.mark.parametrize("template", ["a photo", "a {x} photo", "a {0} photo", "{ }"])
def test_templates_need_a_place_for_the_name(template: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"fine {{}}\n{template}\n")
    with pytest.raises(DataError, match=r"template 2, .* must hold \{\} or \{c\}"):
        load_templates(tmp_path / "a.txt")


def test_named_sets() -> None:
    assert load_templates("simple") == ["a photo of a {}."]
    assert len(load_templates("imagenet")) == len(set(imagenet_templates())) == 80
    assert all(template.count("{}") == 1 for template in imagenet_templates())
    assert "itap of a {}." in imagenet_templates()
    assert imagenet_classes()[954] == "banana"
    assert len(load_classes("imagenet").classes or []) == 1000


CLASSES = ["tench", "Great White_Shark", "crane", "maillot", "crane", "7", "red  fox"]


@pytest.mark.parametrize(
    ("target", "index"),
    [
        ("tench", 0),
        ("TENCH", 0),
        ("great_white shark", 1),
        ("red fox", 6),
        (3, 3),
        ("3", 3),
        ("7", 5),
        (0, 0),
        ("0", 0),
    ],
)
def test_targets_by_name_or_index(target: str | int, index: int) -> None:
    assert resolve_target(CLASSES, target) == index


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("crane", r"names 2 of the 7 classes \(2, 4\): give the index"),
        ("tensh", "Did you mean 'tench'"),
        ("great", "not one of the 7 classes"),
        ("", "not one of the 7 classes"),
        (7, "index from 0 to 6"),
        ("99", "index from 0 to 6"),
        (-1, "index from 0 to 6"),
        ("-1", "not one of the 7 classes"),
        ("9" * 5000, "not one of the 7 classes"),
    ],
)
def test_targets_that_are_not_a_class(target: str | int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        resolve_target(CLASSES, target)
