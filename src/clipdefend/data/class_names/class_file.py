"""Contents of a file of class names and templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClassFile:
    """Class names and templates; None if the file does not contain them.

    Args:
        classes: names in the order of their labels.
        templates: prompts with ``{}``.
        reading: how the file was interpreted, for people.
        keys: the id that the file gives each class (a WordNet id, a folder), if it does.
    """

    classes: list[str] | None
    templates: list[str] | None = None
    reading: str = ""
    keys: Sequence[str] | None = None
