"""Defences by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipdefend.defences import DEFENCES
from clipdefend.defences.composed_defence import ComposedDefence
from clipdefend.defences.defence import Defence
from clipdefend.defences.terms_defence import TermsDefence
from clipdefend.errors import ConfigError
from clipdefend.objectives import METHODS
from clipdefend.objectives.objective import build_objective
from clipdefend.registry import nearest


def build_defence(
    method: str,
    terms: Mapping[str, Mapping[str, Any]] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Defence:
    """Make the defence that ``--method`` names.

    Args:
        method: a name in ``METHODS`` or ``DEFENCES``.
        terms: changes to the terms of a method, or of the method that a ``ComposedDefence`` trains with, as in
            ``build_objective``.
        parameters: parameters of a registered defence, named as its fields.

    Raises:
        ConfigError: a name, parameter or term is unknown, a value is refused, or the changes are of the wrong kind.
    """
    if method in DEFENCES.names():
        if terms and issubclass(DEFENCES.get(method), ComposedDefence):
            return DEFENCES.build(method, {**(parameters or {}), "terms": terms})
        if terms:
            raise ConfigError(
                f"Defence {method!r} has no terms to change, but terms.{next(iter(terms))} was given: its parameters"
                " are set by --set defence.KEY=VALUE."
            )
        return DEFENCES.build(method, parameters)
    if method not in METHODS:
        known = [*METHODS, *DEFENCES.names()]
        raise ConfigError(
            f"Unknown method {method!r}.{nearest(method, known)} Available: {', '.join(known)}."
        )
    if parameters:
        raise ConfigError(
            f"Method {method!r} has no parameters of its own, but defence.{next(iter(parameters))} was given: change"
            " its terms by --set terms.NAME.weight=2."
        )
    return TermsDefence(objective=build_objective(method, terms))
