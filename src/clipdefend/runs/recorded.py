"""Base class of the ``details`` of manifests: dataclasses whose annotations are the schema."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from clipdefend.errors import RunError

if typing.TYPE_CHECKING:
    from clipdefend.runs.manifest import Run

D = TypeVar("D", bound="Details")


def recorded_if_set() -> Any:
    """Declare a field that is only recorded if it is not None; returns the same as ``dataclasses.field``."""
    return field(default=None, metadata={"if_set": True})


@dataclass(frozen=True, kw_only=True)
class Details:
    """Base of the recorded details: a dataclass whose annotations are the schema."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a manifest."""
        found = {}
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if value is not None or not each.metadata.get("if_set"):
                found[each.name] = value.to_dict() if isinstance(value, Details) else value
        return found

    @classmethod
    def of(cls: type[D], run: Run) -> D:
        """Read the details of a run. Raises RunError if one is missing or has another type."""
        return cls.from_dict(run.details, f"Run {run.name} is damaged: details")

    @classmethod
    def from_dict(cls: type[D], values: Mapping[str, Any], place: str) -> D:
        """Read details from plain data, the inverse of ``to_dict``.

        Args:
            values: plain data, such as the ``details`` of a manifest.
            place: what the values are part of; error messages start with it.

        Raises:
            RunError: a value is missing or has another type.
        """
        hints = typing.get_type_hints(cls)
        found = {}
        for each in dataclasses.fields(cls):
            if each.name in values:
                found[each.name] = _check(values[each.name], hints[each.name], f"{place}.{each.name}")
            elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
                raise RunError(
                    f"{place}.{each.name} is missing. Restore the manifest, or make the run again."
                )
        return cls(**found)


def _check(value: Any, hint: Any, place: str) -> Any:
    """Convert a value to its annotated type, including nested details. Raises RunError for another type."""
    union = isinstance(hint, types.UnionType)
    for member in typing.get_args(hint) if union else (hint,):
        kind = typing.get_origin(member) or member
        if kind is Any:
            return value
        if isinstance(value, Mapping) and issubclass(kind, Details):
            return kind.from_dict(value, place)
        fits = isinstance(value, (int, float) if kind is float else kind)
        if fits and (isinstance(value, bool) <= (kind is bool)):  # True is an int to Python, not here
            return value
    shown = f"{value!r:.60}"
    raise RunError(f"{place} is {shown}, not {_describe(hint)}. Restore the manifest, or make the run again.")


def _describe(hint: Any) -> str:
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = [typing.get_origin(member) or member for member in members]
    return " or ".join(words.get(kind, "a mapping") for kind in kinds if kind is not type(None))
