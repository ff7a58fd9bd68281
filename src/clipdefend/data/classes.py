"""Class names and prompt templates: from JSON, text or CleanCLIP's ``classes.py``, parsed and never
evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from clipdefend.data.class_names.python_source import PLACEHOLDER, ClassFile, parse_python
from clipdefend.data.folders import read_text
from clipdefend.errors import DataError
from clipdefend.registry import nearest

MAX_FILE_BYTES = 16 * 2**20
MAX_LENGTH = 1000
SIMPLE_TEMPLATES = ("a photo of a {}.",)
_VARIABLE = "{c}"


def fill(template: str, name: str) -> str:
    """Prompt of a class: the template with every ``{}`` replaced by the class name, other braces
    untouched.
    """
    return template.replace(PLACEHOLDER, name)


def load_classes(source: str | Path) -> ClassFile:
    """Class names from ``imagenet`` (open_clip's 1,000) or a file, whose templates come along where it has
    them.

    A file is JSON (a list of names, or an object with ``classes`` and perhaps ``templates``), text with one
    name a line, or a Python file like CleanCLIP's ``classes.py`` (see ``parse_python``).

    Raises:
        DataError: missing, not parsed, or no names in it.
    """
    if str(source) == "imagenet":
        return ClassFile(imagenet_classes(), imagenet_templates())
    path = Path(source)
    found = _parse(path, "classes")
    if not found.classes:
        raise DataError(
            f"File {str(path)!r} has no class names: give a JSON list, or text with one name a line."
        )
    return ClassFile(_names(found.classes, path), found.templates and _templates(found.templates, str(path)))


def load_templates(source: str | Path) -> list[str]:
    """Templates with ``{}`` from a file as above or a named set: ``imagenet`` (CLIP's 80), ``simple``, ``builtin``.

    Raises:
        DataError: unknown name, missing file, or a template without ``{}`` or ``{c}``.
    """
    if str(source) == "imagenet":
        return imagenet_templates()
    if str(source) == "simple":
        return list(SIMPLE_TEMPLATES)
    if str(source) == "builtin":
        from clipdefend import world

        return list(world.TEMPLATES)
    path = Path(source)
    if not path.exists():
        raise DataError(
            f"Templates {str(source)!r} are neither a file nor one of the sets 'imagenet', 'simple' and 'builtin'."
        )
    found = _parse(path, "templates")
    if not found.templates:
        raise DataError(
            f"File {str(path)!r} has no templates: give a JSON list, or text with one template a line."
        )
    return _templates(found.templates, str(path))


def imagenet_classes() -> list[str]:
    """open_clip's names of the 1,000 ImageNet classes, in the order of the sorted WordNet ids."""
    from open_clip import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


def imagenet_templates() -> list[str]:
    """The 80 prompt templates of CLIP for ImageNet, with ``{}``."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return [template(PLACEHOLDER) for template in OPENAI_IMAGENET_TEMPLATES]


def resolve_target(classes: Sequence[str], target: str | int) -> int:
    """Index of the target class, given by name (any letter case, ``_`` as a blank) or by index.

    A text of digits is a name where a class is called so, else an index.

    Raises:
        DataError: no such class, or a name that several classes have.
    """
    if isinstance(target, str):
        wanted = plain_name(target)
        places = [place for place, name in enumerate(classes) if plain_name(name) == wanted]
        if len(places) == 1:
            return places[0]
        if places:
            raise DataError(
                f"Target {target!r} names {len(places)} of the {len(classes)} classes"
                f" ({', '.join(map(str, places[:20]))}): give the index of the one that is meant."
            )
        if not (target.isascii() and target.isdigit() and len(target) < 10):
            hint = nearest(wanted, list(dict.fromkeys(map(plain_name, classes))))
            raise DataError(
                f"Target {target!r} is none of the {len(classes)} classes.{hint}"
                f" Give a class name or an index from 0 to {len(classes) - 1}."
            )
        target = int(target)
    if not 0 <= target < len(classes):
        raise DataError(f"Target {target} is no class: give a name or an index from 0 to {len(classes) - 1}.")
    return target


def same_names(classes: Sequence[str]) -> dict[str, list[int]]:
    """Names that several classes have, each with their indices."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(classes):
        places.setdefault(name, []).append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def same_number(given: Sequence[str], own: Sequence[str], spec: str) -> list[str]:
    """The given names, when they are as many as the source's own. Raises DataError otherwise."""
    if len(given) != len(own):
        raise DataError(f"{len(given)} class names were given for {spec!r}, which has {len(own)} classes.")
    return list(given)


def plain_name(name: str) -> str:
    """Name for comparisons: lower case, single blanks, none of them ``_``."""
    return " ".join(name.replace("_", " ").casefold().split())


def _parse(path: Path, what: str) -> ClassFile:
    text = read_text(path, MAX_FILE_BYTES)
    if path.suffix == ".py":
        return parse_python(text, path)
    if path.suffix == ".json":
        return _parse_json(text, path, what)
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if "" in lines:
        raise DataError(
            f"File {str(path)!r}, line {lines.index('') + 1} is empty: write one of the {what} on each line."
        )
    return ClassFile(lines, None) if what == "classes" else ClassFile(None, lines)


def _parse_json(text: str, path: Path, what: str) -> ClassFile:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"File {str(path)!r} is not JSON: {str(error)[:120]}.") from error
    if not isinstance(record, dict):
        record = {what: record}
    lists: list[list[str] | None] = []
    for key in ("classes", "templates"):
        values = record.get(key)
        if values is not None and not (isinstance(values, list) and all(isinstance(v, str) for v in values)):
            raise DataError(f"File {str(path)!r}: {key!r} must be a list of texts.")
        lists.append(values)
    return ClassFile(*lists)


def _names(names: Sequence[str], path: Path) -> list[str]:
    clean = [name.strip() for name in names]
    for place, name in enumerate(clean):
        if not name or len(name) > MAX_LENGTH:
            raise DataError(
                f"File {str(path)!r}: class name {place} is empty or longer than {MAX_LENGTH} characters."
            )
    return clean


def _templates(templates: Sequence[str], where: str) -> list[str]:
    clean = []
    for number, template in enumerate(templates, 1):
        text = template.replace(_VARIABLE, PLACEHOLDER)
        if PLACEHOLDER not in text or len(text) > MAX_LENGTH:
            raise DataError(
                f"File {where!r}: template {number}, {template[:80]!r}, must hold {{}} or {{c}} where the"
                f" class name goes and be at most {MAX_LENGTH} characters long."
            )
        clean.append(text)
    return clean
