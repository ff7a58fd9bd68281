"""Class names, prompt templates and targets; files are parsed and never evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipdefend.data.class_names.class_file import ClassFile
from clipdefend.data.class_names.imagenet import imagenet_classes, imagenet_index, imagenet_templates, is_wnid
from clipdefend.data.class_names.name_lists import (
    FORMS,
    Unclear,
    from_value,
    load_json,
    parse_lines,
    parse_literal,
)
from clipdefend.data.class_names.python_source import PLACEHOLDER, parse_python
from clipdefend.data.folders import read_text
from clipdefend.errors import DataError
from clipdefend.registry import nearest

MAX_FILE_BYTES = 16 * 2**20
MAX_LENGTH = 1000
SIMPLE_TEMPLATES = ("a photo of a {}.",)
_VARIABLE = "{c}"


def fill(template: str, name: str) -> str:
    """Return a class prompt: the template with every ``{}`` replaced by the class name, other braces untouched."""
    return template.replace(PLACEHOLDER, name)


def load_classes(source: str | Path) -> ClassFile:
    """Load class names from ``imagenet`` (open_clip's 1,000) or a file, with the file's templates if it has any.

    A file is a Python file like CleanCLIP's ``classes.py`` (see ``parse_python``), JSON or text in one of the forms of
    ``class_names.name_lists``; JSON may be an object with ``classes`` and perhaps ``templates``.

    Raises:
        DataError: the file is missing, contains no names, or is in an ambiguous form.
    """
    if str(source) == "imagenet":
        ids = list(imagenet_index())
        return ClassFile(imagenet_classes(), imagenet_templates(), "open_clip's names for ImageNet", ids)
    path = Path(source)
    found = _parse(path, "classes")
    if not found.classes:
        raise DataError(f"File {str(path)!r} has no class names: give {FORMS}.")
    templates = found.templates and _templates(found.templates, str(path))
    names = _names(found.classes, path)
    reading = f"class names from {path.name}: {found.reading}, {_ends(names)}"
    return ClassFile(names, templates, reading, found.keys)


def _ends(names: Sequence[str]) -> str:
    shown = f"{names[0][:40]!r} to {names[-1][:40]!r}"
    lists = sum(", " in name for name in names)
    return shown + (f" ({lists} are lists of synonyms, which stay whole in the prompts)" if lists else "")


def by_index(known: ClassFile, spec: str) -> list[str]:
    """Return class names for data whose labels are indices.

    Raises:
        DataError: the file identifies classes by ids whose order may differ from that of the indices.
    """
    keys = known.keys
    if keys is not None and not (all(map(is_wnid, keys)) and list(keys) == sorted(keys)):
        raise DataError(
            f"The labels of {spec!r} are indices, but the {known.reading or 'class names'} go by"
            f" {'WordNet ids' if is_wnid(keys[0]) else 'folders'} that are not in the order of their indices:"
            " give one name a line, in the order of the indices."
        )
    return known.classes or []


def load_templates(source: str | Path) -> list[str]:
    """Load templates with ``{}`` from a file or a named set: ``imagenet`` (CLIP's 80), ``simple``, ``builtin``.

    Raises:
        DataError: the name is unknown, the file is missing, or a template has neither ``{}`` nor ``{c}``.
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


def resolve_target(classes: Sequence[str], target: str | int) -> int:
    """Find the index of the target class, given by name (in any case, with ``_`` or blanks) or by index.

    Digits are taken for a name if a class has that name, and for an index otherwise.

    Raises:
        DataError: no class or more than one has this name.
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
                f"Target {target!r} is not one of the {len(classes)} classes.{hint}"
                f" Give a class name or an index from 0 to {len(classes) - 1}."
            )
        target = int(target)
    if not 0 <= target < len(classes):
        raise DataError(
            f"Target {target} is not a class: give a name or an index from 0 to {len(classes) - 1}."
        )
    return target


def same_names(classes: Sequence[str]) -> dict[str, list[int]]:
    """Return the names that several classes share -> the indices of these classes."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(classes):
        places.setdefault(name, []).append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def same_number(given: Sequence[str], own: Sequence[str], spec: str) -> list[str]:
    """Return the given names after checking that the source has as many classes. Raises DataError otherwise."""
    if len(given) != len(own):
        raise DataError(f"{len(given)} class names were given for {spec!r}, which has {len(own)} classes.")
    return list(given)


def plain_name(name: str) -> str:
    """Normalise a name for comparisons: lower case, ``_`` as a blank, single blanks."""
    return " ".join(name.replace("_", " ").casefold().split())


def _parse(path: Path, what: str) -> ClassFile:
    text = read_text(path, MAX_FILE_BYTES)
    if path.suffix == ".py":
        return parse_python(text, path)
    try:
        if path.suffix == ".json":
            return _parse_json(text, path, what)
        if what == "classes" and text.strip()[:1] in ("{", "["):
            return parse_literal(text)
        lines = [line.strip() for line in text.rstrip().splitlines()]
        while lines and not lines[0]:
            del lines[0]
        if "" in lines:
            raise DataError(
                f"File {str(path)!r}, line {lines.index('') + 1} is empty: write one of the {what} on each line."
            )
        return parse_lines(lines) if what == "classes" and lines else ClassFile(None, lines)
    except Unclear as error:
        raise DataError(f"File {str(path)!r} is not a list of class names: {error}. Give {FORMS}.") from error


def _parse_json(text: str, path: Path, what: str) -> ClassFile:
    try:
        record = load_json(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"File {str(path)!r} is not JSON: {str(error)[:120]}.") from error
    if what == "classes" and not (isinstance(record, dict) and {"classes", "templates"} & record.keys()):
        return from_value(record)
    if not isinstance(record, dict):
        record = {what: record}
    lists: list[list[str] | None] = []
    for key in ("classes", "templates"):
        values = record.get(key)
        if values is not None and not (isinstance(values, list) and all(isinstance(v, str) for v in values)):
            raise DataError(f"File {str(path)!r}: {key!r} must be a list of texts.")
        lists.append(values)
    return ClassFile(lists[0], lists[1], "a list of names")


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
