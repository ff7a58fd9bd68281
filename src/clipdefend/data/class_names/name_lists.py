"""Parsers for common formats of class lists. Ambiguous files are refused.

Each form must fit the whole file: a list of which some lines are numbered and others are not is an error, since either
reading would give some images the wrong class.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from clipdefend.data.class_names.class_file import ClassFile
from clipdefend.data.class_names.imagenet import imagenet_classes, imagenet_index, is_wnid

_NUMBERED = re.compile(r"(\d{1,7})(?:\s*[:,;\t=]\s*|[.)]\s+)(.*\S)")
_NUMBERED_BY_BLANK = re.compile(r"(\d{1,7})\s+(.*\S)")
_NUMBER_LAST = re.compile(r"(\S.*?)\s*[:,;\t=]\s*(\d{1,7})")
_WITH_WNID = re.compile(r"(n\d{8})(?:\s*[:,;=]\s*|\s+)(.*\S)")
_ILSVRC_NUMBER = re.compile(r"(\d{1,4})\s+(.*\S)")
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*,?""")
_HEADER = frozenset(
    [
        "index",
        "idx",
        "id",
        "label",
        "class",
        "name",
        "classname",
        "class_name",
        "class_id",
        "classid",
        "number",
        "category",
    ]
)
FORMS = (
    "one name a line; lines such as '0: name' or 'n01440764 name'; a list; or an object or dictionary of index: name,"
    " name: index, index: [WordNet id, name] or folder: name"
)


class Unclear(Exception):  # noqa: N818  (becomes a DataError that names the file)
    """A list is ambiguous or in an unknown format."""


def parse_lines(lines: Sequence[str]) -> ClassFile:
    """Parse non-blank lines. Raises Unclear."""
    readers: list[Callable[[Sequence[str]], ClassFile | None]] = [
        _read_quoted,
        _with_wnids,
        _read_numbered,
        _number_last,
    ]
    for read in readers:
        if found := read(lines):
            return found
    return ClassFile(list(lines), reading="one name a line")


def parse_literal(text: str) -> ClassFile:
    """Parse a list or dictionary in Python's notation, or JSON in a text file. Raises Unclear."""
    try:
        return from_value(ast.literal_eval(text))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        try:
            return from_value(load_json(text))
        except (ValueError, RecursionError) as error:
            raise Unclear("it begins like a list or a dictionary, but is none that can be read") from error


def load_json(text: str) -> Any:
    """Parse JSON, refusing duplicate keys. Raises ValueError, Unclear or RecursionError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) != len(pairs):
            raise Unclear("an object in it has the same key twice")
        return record

    return json.loads(text, object_pairs_hook=unique)


def from_value(value: Any) -> ClassFile:
    """Interpret a parsed list or dictionary. Raises Unclear."""
    if isinstance(value, (list, tuple)):
        return _from_list(list(value))
    if not isinstance(value, dict) or not value:
        raise Unclear("it holds neither a list nor a dictionary of names")
    keys, values = list(value), list(value.values())
    numbers = [_integer(key) for key in keys]
    if all(number is not None for number in numbers):
        order, start = _order([number for number in numbers if number is not None])
        found = _from_list([values[place] for place in order])
        return ClassFile(found.classes, reading=f"a dictionary of index: name, from {start}", keys=found.keys)
    if all(isinstance(number, int) and not isinstance(number, bool) for number in values):
        order, start = _order(values)
        return ClassFile(
            _texts([keys[at] for at in order]), reading=f"a dictionary of name: index, from {start}"
        )
    if all(isinstance(text, str) for text in [*keys, *values]):
        kind = "WordNet id" if all(map(is_wnid, keys)) else "folder"
        return ClassFile(values, reading=f"a dictionary of {kind}: name", keys=keys)
    raise Unclear("its dictionary has neither an index for every name nor a name for every folder")


def _from_list(values: list[Any]) -> ClassFile:
    """Interpret a list of names, of (WordNet id, name) pairs, or of objects with an index and a name."""
    if values and all(isinstance(value, (list, tuple)) and len(value) == 2 for value in values):
        keys, names = _texts([key for key, _ in values]), _texts([name for _, name in values])
        if all(map(is_wnid, keys)):
            return ClassFile(names, reading="a list of [WordNet id, name]", keys=keys)
    if values and all(isinstance(value, dict) and isinstance(value.get("name"), str) for value in values):
        numbers = [next((v[key] for key in ("index", "id", "label") if key in v), None) for v in values]
        if not all(isinstance(number, int) for number in numbers):
            raise Unclear("its objects have names, but not all of them an index")
        order, start = _order([int(number or 0) for number in numbers])
        return ClassFile([values[at]["name"] for at in order], reading=f"objects with an index from {start}")
    return ClassFile(_texts(values), reading="a list of names")


def _read_quoted(lines: Sequence[str]) -> ClassFile | None:
    """Parse lines such as ``"name",``, optionally between brackets."""
    inside = [line for line in lines if line not in ("[", "]", "(", ")", "],", "{", "}")]
    matches = [_QUOTED.fullmatch(line) for line in inside]
    if not any(matches):
        return None
    if not all(matches):
        odd = next(line for line, match in zip(inside, matches, strict=True) if match is None)
        if sum(map(bool, matches)) * 2 < len(lines):
            return None  # a few names that are in quotation marks themselves
        raise Unclear(f"most of its names are in quotation marks, but not {odd[:60]!r}")
    return ClassFile([_strip_quotes(line) for line in inside], reading="names in quotation marks, one a line")


def _strip_quotes(text: str) -> str:
    """Strip quotation marks and the comma after them from a name."""
    match = _QUOTED.fullmatch(text.strip())
    inner = text if match is None else match[1] if match[1] is not None else match[2]
    return re.sub(r"\\(.)", r"\1", inner) if match else inner


def _with_wnids(lines: Sequence[str]) -> ClassFile | None:
    """Parse ``n01440764 name``, or ids alone, which get ImageNet's names."""
    if not any(is_wnid(line[:9]) for line in lines):
        return None
    if all(map(is_wnid, lines)):
        index = imagenet_index()
        if unknown := [line for line in lines if line not in index]:
            raise Unclear(f"it holds WordNet ids without names, and {unknown[0]} is none of ImageNet's 1,000")
        names = imagenet_classes()
        return ClassFile(
            [names[index[line]] for line in lines], reading="WordNet ids alone", keys=list(lines)
        )
    matches = [_WITH_WNID.fullmatch(line) for line in lines]
    if not all(matches):
        odd = next(line for line, match in zip(lines, matches, strict=True) if match is None)
        raise Unclear(f"some of its lines begin with a WordNet id and a name, but not {odd[:60]!r}")
    keys, names = [m[1] for m in matches if m], [_strip_quotes(m[2]) for m in matches if m]
    reading = "a WordNet id and a name a line"
    numbers = [_ILSVRC_NUMBER.fullmatch(name) for name in names]
    if all(numbers):
        names, reading = [m[2] for m in numbers if m], "a WordNet id, a number (left aside) and a name a line"
    return ClassFile(names, reading=reading, keys=keys)


def _read_numbered(lines: Sequence[str]) -> ClassFile | None:
    """Parse ``0: name``, ``0,name`` or ``0 name``, optionally after a header such as ``index,name``."""
    header = {word.strip().lower() for word in re.split(r"[,;\t: ]", lines[0])} <= _HEADER
    rows = lines[1:] if header and len(lines) > 1 else lines
    matches = [_NUMBERED.fullmatch(line) for line in rows]
    by_blank = not any(matches)
    if by_blank:
        matches = [_NUMBERED_BY_BLANK.fullmatch(line) for line in rows]
    if not all(matches) or len(rows) < 2:
        if by_blank or sum(map(bool, matches)) * 2 < len(rows):
            return None  # names that begin with a number, such as "2 door car"
        odd = next(line for line, match in zip(rows, matches, strict=True) if match is None)
        raise Unclear(f"most of its lines are numbered, but not {odd[:60]!r}")
    try:
        order, start = _order([int(match[1]) for match in matches if match])
    except Unclear:
        if by_blank:
            return None
        raise
    names = [_strip_quotes(match[2]) for match in matches if match]
    names = [names[at] for at in order]
    inner = _with_wnids(names)
    reading = f"numbered lines, from {start}" + (f", each with {inner.reading}" if inner else "")
    return ClassFile(inner.classes if inner else names, reading=reading, keys=inner.keys if inner else None)


def _number_last(lines: Sequence[str]) -> ClassFile | None:
    """Parse ``name,0``."""
    matches = [_NUMBER_LAST.fullmatch(line) for line in lines]
    if not all(matches) or len(lines) < 2:
        return None
    order, start = _order([int(match[2]) for match in matches if match])
    names = [_strip_quotes(match[1]) for match in matches if match]
    return ClassFile([names[at] for at in order], reading=f"lines with their number at the end, from {start}")


def _order(numbers: Sequence[int]) -> tuple[list[int], int]:
    """Return the positions that sort the numbers, and the first number; Unclear unless they count from 0 or 1."""
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    first = numbers[order[0]]
    if first not in (0, 1) or [numbers[at] for at in order] != list(range(first, first + len(numbers))):
        raise Unclear(f"its {len(numbers)} numbers do not count from 0 or 1 without a gap, each of them once")
    return order, first


def _integer(key: Any) -> int | None:
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    return int(key) if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 8 else None


def _texts(values: Sequence[Any]) -> list[str]:
    for value in values:
        if not isinstance(value, str):
            raise Unclear(f"it holds {str(value)[:60]!r} where a name was expected")
    return list(values)
