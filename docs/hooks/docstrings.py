"""Google-style docstrings of registered components, as Markdown."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from typing import Any, NamedTuple

from griffe import Docstring, DocstringSectionAttributes
from markdown_text import code, literal, table

# Reference and Deviates are free text that ends a docstring, on the same line or indented below.
_NOTE = re.compile(r"^(Reference|Deviates|Reference and deviation):\s*", re.MULTILINE)


class Parts(NamedTuple):
    """A docstring: its text, attribute name -> description, and heading -> text of its notes."""

    text: str
    attributes: dict[str, str]
    notes: dict[str, str]


def split(component: type) -> Parts:
    """Read a class's docstring."""
    body, *notes = _NOTE.split(inspect.cleandoc(component.__doc__ or ""))
    sections = Docstring(body.rstrip()).parse("google", warnings=False)
    text = "\n\n".join(section.value for section in sections if section.kind.value == "text")
    attributes: dict[str, str] = {}
    for section in sections:
        if isinstance(section, DocstringSectionAttributes):
            for entry in section.value:
                # One line may describe several: "tau, width: ...".
                for name in entry.name.split(","):
                    attributes[name.strip()] = entry.description
    found = {heading: inspect.cleandoc(value) for heading, value in zip(notes[::2], notes[1::2], strict=True)}
    return Parts(text, attributes, found)


def parameters(component: Any, described: dict[str, str]) -> str:
    """Table of a dataclass's fields: name, type, default, description."""
    hints = typing.get_type_hints(component)
    rows = [
        (code(field.name), kind(hints[field.name]), code(_default(field)), described.get(field.name, ""))
        for field in dataclasses.fields(component)
        if field.init
    ]
    return table(
        ("Parameter", "Type", "Default", "Meaning"), [[*row[:3], " ".join(row[3].split())] for row in rows]
    )


def section(name: str, component: Any, summary: str = "") -> str:
    """Heading, text, parameters and notes of a component."""
    parts = split(component)
    lines = [f"## {name}", "", literal(summary) if summary else parts.text, ""]
    if any(field.init for field in dataclasses.fields(component)):
        lines += [parameters(component, parts.attributes), ""]
    for heading, text in parts.notes.items():
        lines += [f"**{heading}.** {' '.join(text.split())}", ""]
    return "\n".join(lines)


def kind(annotation: Any) -> str:
    """A type as people write it: choices by comma, else ``float | None``."""
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(code(choice) for choice in typing.get_args(annotation))
    return code(
        annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
    )


def _default(field: dataclasses.Field[Any]) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return "required"
