"""Converts what was typed, or read from YAML, to the type that a field declares."""

from __future__ import annotations

import contextlib
import math
import types
import typing
from typing import Any, Literal, Union

from clipdefend.errors import ConfigError
from clipdefend.registry import nearest

MAX_INT = 2**63 - 1
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_NULL = ("null", "~", "")


class _MisfitError(Exception):
    """A value does not fit a type; the caller words the message."""


def coerce(value: object, annotation: Any, where: str) -> Any:
    """Convert a string or a YAML value.

    Args:
        value: what was given; a string is read as the field's type, so that "1e-5" is a number.
        annotation: int, float, bool, str, Literal, a tuple of any number of those, a dict, or a union of them
            with None.
        where: the flag or key, for the message.

    Raises:
        ConfigError: the value does not fit.
    """
    try:
        return _convert(value, annotation)
    except _MisfitError:
        hint = ""
        allowed = [str(choice) for choice in choices(annotation)]
        if allowed and isinstance(value, str):
            hint = nearest(value, allowed)
        elif str in members(annotation) and isinstance(value, int | float):
            hint = " Put it in quotes."
        raise ConfigError(f"{where} is {_short(value)}; it takes {describe(annotation)}.{hint}") from None


def describe(annotation: Any) -> str:
    """Describe in words what a type takes, such as "a whole number or 'all'"."""
    parts = []
    for member in members(annotation):
        if member is type(None):
            parts.append("null")
        elif typing.get_origin(member) is Literal:
            parts.append(" or ".join(repr(choice) for choice in typing.get_args(member)))
        elif typing.get_origin(member) is tuple:
            parts.append(_describe_several(typing.get_args(member)[0]))
        elif typing.get_origin(member) is dict:
            parts.append("a mapping")
        else:
            words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
            parts.append(words[member])
    return " or ".join(part for part in parts if part != "null" or len(parts) == 1)


def _describe_several(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return f"one or more of {', '.join(typing.get_args(kind))}, separated by commas"
    return "names, separated by commas" if kind is str else "whole numbers, as in 1,3,5"


def _convert(value: object, annotation: Any) -> Any:
    kinds = members(annotation)
    if type(None) in kinds and (value is None or (isinstance(value, str) and _is_null(value, kinds))):
        return None
    for member in kinds:
        if member is not type(None):
            try:
                return _convert_one(value, member)
            except _MisfitError:
                continue
    raise _MisfitError


def _is_null(text: str, kinds: tuple[Any, ...]) -> bool:
    # Text options take "none" literally: --pretrained none means random weights.
    return text.lower() in _NULL or (str not in kinds and text.lower() == "none")


def _convert_one(value: object, kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is Literal:
        return _literal(value, typing.get_args(kind))
    if origin is tuple:
        return _several(value, typing.get_args(kind)[0])
    if origin is dict:
        return _mapping(value)
    if kind is bool:
        return _bool(value)
    if kind is int:
        return _int(value)
    if kind is float:
        return _float(value)
    return _text(value)


def _literal(value: object, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if value == choice and not isinstance(value, bool):
            return choice
    raise _MisfitError


def _several(value: object, kind: Any) -> tuple[Any, ...]:
    items: object = value
    if isinstance(value, str):
        items = [part for part in value.replace(" ", ",").split(",") if part]
    elif isinstance(value, int):
        items = [value]
    if not isinstance(items, list | tuple) or not items:
        raise _MisfitError
    return tuple(_convert_one(item, kind) for item in items)


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _MisfitError
    return value


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    raise _MisfitError


def _int(value: object) -> int:
    number: float = _float(value)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # "1e3" is a whole number too
            number = int(value)
    elif isinstance(value, int):
        number = value
    if number != int(number) or abs(number) > MAX_INT:
        raise _MisfitError
    return int(number)


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _MisfitError
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _MisfitError from None
    if not math.isfinite(number):
        raise _MisfitError
    return number


def _text(value: object) -> str:
    # A bare 012 in YAML is the number ten; only a quoted one keeps what was typed.
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise _MisfitError


def members(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def choices(annotation: Any) -> list[Any]:
    """The values that a type names, its own or those of a tuple's items; empty where it takes any."""
    kinds = [
        typing.get_args(member)[0] if typing.get_origin(member) is tuple else member
        for member in members(annotation)
    ]
    return [
        choice for kind in kinds if typing.get_origin(kind) is Literal for choice in typing.get_args(kind)
    ]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
