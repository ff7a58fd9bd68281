"""Lazy registries: names are known without importing what they name."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from clipdefend.errors import ConfigError

T = TypeVar("T")


def nearest(word: str, allowed: list[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest allowed word, or an empty string."""
    close = difflib.get_close_matches(word, allowed, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


class Registry(Generic[T]):
    """Names of components, each a frozen keyword-only dataclass named by ``"module:Class"``.

    Args:
        kind: what the components are called in messages, such as ``"attack"``.
        targets: name -> ``"package.module:Class"``.
    """

    def __init__(self, kind: str, targets: Mapping[str, str]) -> None:
        self.kind = kind
        self._targets = dict(targets)

    def names(self) -> list[str]:
        return list(self._targets)

    def add(self, name: str, target: str) -> None:
        """Register a component, for programs and tests that bring their own."""
        self._targets[name] = target

    def check(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Raise ConfigError for what ``build`` refuses; a known name without parameters imports nothing."""
        self._check_name(name)
        if parameters:
            self.build(name, parameters)

    def get(self, name: str) -> type[T]:
        """Import and return the class. Raises ConfigError for an unknown name."""
        self._check_name(name)
        module, _, attribute = self._targets[name].partition(":")
        component: type[T] = getattr(importlib.import_module(module), attribute)
        return component

    def defaults(self, name: str) -> dict[str, Any]:
        """Parameter -> its default, of those that ``build`` takes. Raises ConfigError for an unknown name."""
        fields = [field for field in dataclasses.fields(self.get(name)) if field.init]  # type: ignore[arg-type]
        made = {f.name: f.default_factory() for f in fields if f.default_factory is not dataclasses.MISSING}
        return {field.name: made.get(field.name, field.default) for field in fields}

    def build(self, name: str, parameters: Mapping[str, Any] | None = None) -> T:
        """Construct the component; its dataclass fields are the schema.

        Raises:
            ConfigError: unknown name or parameter, or a value that the component refuses.
        """
        component = self.get(name)
        given = dict(parameters or {})
        allowed = [f.name for f in dataclasses.fields(component) if f.init]  # type: ignore[arg-type]
        for key in given:
            if key not in allowed:
                raise ConfigError(
                    f"{self.kind} {name!r} has no parameter {key!r}.{nearest(key, allowed)}"
                    f" It takes: {', '.join(allowed) or 'none'}."
                )
        try:
            return component(**given)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.kind} {name!r}: {error}") from error

    def _check_name(self, name: str) -> None:
        if name not in self._targets:
            raise ConfigError(
                f"Unknown {self.kind} {name!r}.{nearest(name, self.names())} Available: {', '.join(self.names())}."
            )
