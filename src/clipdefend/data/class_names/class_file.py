"""What a file of class names and templates holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClassFile:
    """Class names and templates; None for what a file does not have.

    Args:
        classes: names in the order of their labels.
        templates: prompts with ``{}``.
        reading: how the file was understood, for people.
        keys: for each class the id that the file gives it (a WordNet id, a folder), where it gives one.
    """

    classes: list[str] | None
    templates: list[str] | None = None
    reading: str = ""
    keys: Sequence[str] | None = None
