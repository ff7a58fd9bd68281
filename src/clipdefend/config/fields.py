"""Declares configurations: one line for each field holds its default, its flags, its range and its help."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clipdefend.config.coerce import members
from clipdefend.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Range:
    """Allowed numbers: ``low <= x`` or ``above < x``, and ``x <= high`` or ``x < below``."""

    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None

    def __contains__(self, number: float) -> bool:
        return not (
            (self.low is not None and number < self.low)
            or (self.above is not None and number <= self.above)
            or (self.high is not None and number > self.high)
            or (self.below is not None and number >= self.below)
        )

    def __str__(self) -> str:
        parts = [
            text.format(limit)
            for text, limit in (
                ("at least {:g}", self.low),
                ("above {:g}", self.above),
                ("at most {:g}", self.high),
                ("below {:g}", self.below),
            )
            if limit is not None
        ]
        return " and ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What ``option`` stores besides a field's default."""

    flags: tuple[str, ...] = ()
    help: str = ""
    range: Range = Range()
    shown: str | None = None
    metavar: str | None = None
    group: str | None = None
    writes: str | None = None


COUNT = Range(low=1)
NATURAL = Range(low=0)
POSITIVE = Range(above=0)
SHARE = Range(low=0, high=1)


def option(
    default: Any,
    *texts: str,
    range: Range | None = None,
    factory: Callable[[], Any] | None = None,
    shown: str | None = None,
    metavar: str | None = None,
    group: str | None = None,
    writes: str | None = None,
) -> Any:
    """Declare a field; returns what ``dataclasses.field`` does, hence Any.

    Args:
        default: default value; ignored with ``factory``.
        *texts: the flags, the main one first, or none where only files and ``--set`` set it; then the help.
        range: allowed numbers.
        factory: makes a default that is mutable or depends on the machine.
        shown: default as the help shows it, where the value itself would mislead.
        metavar: placeholder for the value in the help, such as ``FILE``.
        group: heading in the help, where it is not that of the class.
        writes: the key of a free mapping, such as ``attack.precomputed``, that the flag is another name for; the
            field itself is never set.
    """
    spec = Spec(
        flags=texts[:-1],
        help=texts[-1],
        range=range or Range(),
        shown=shown,
        metavar=metavar,
        group=group,
        writes=writes,
    )
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata={"spec": spec})
    return dataclasses.field(default=default, init=writes is None, metadata={"spec": spec})


def nested(
    factory: Callable[[], Any], group: str, *, flags: Mapping[str, tuple[str, ...]] | None = None
) -> Any:
    """Declare a nested configuration whose fields become flags of the command too.

    Args:
        factory: its class, or a function that makes it with different defaults.
        group: heading of its flags in the help.
        flags: field name -> flags that replace those of the nested class in this command.
    """
    return dataclasses.field(default_factory=factory, metadata={"group": group, "flags": dict(flags or {})})


class Config:
    """Base of every configuration: a frozen keyword-only dataclass that checks its own values."""

    def __post_init__(self) -> None:
        for leaf in own_leaves(self):
            leaf.check(leaf.default, f"{type(self).__name__}.{leaf.path}")


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One settable value of a configuration class, with the default of that class."""

    path: str
    annotation: Any
    default: Any
    group: str
    spec: Spec

    @property
    def is_mapping(self) -> bool:
        """True for free mappings such as ``attack``, whose keys others validate."""
        return typing.get_origin(self.annotation) is dict

    @property
    def metavar(self) -> str:
        """Placeholder for the value in the help: ``FILE``, ``train|eval``, ``N`` and so on."""
        return self.spec.metavar or "|".join(
            text for member in members(self.annotation) for text in _metavars(member)
        )

    def check(self, value: object, where: str) -> None:
        """Raise ConfigError when a number, or one of several, is out of range."""
        for number in value if isinstance(value, tuple) else (value,):
            if (
                isinstance(number, int | float)
                and not isinstance(number, bool)
                and number not in self.spec.range
            ):
                raise ConfigError(f"{where} is {number!r}; it must be {self.spec.range}.")


def own_leaves(config: Config) -> Iterator[Leaf]:
    """The fields of one configuration object that are not nested configurations."""
    hints = _hints(type(config))
    for field in dataclasses.fields(config):  # type: ignore[arg-type]  # Config itself is not a dataclass
        if "spec" in field.metadata:
            yield Leaf(
                path=field.name,
                annotation=hints[field.name],
                default=getattr(config, field.name),
                group=field.metadata["spec"].group or getattr(config, "group", ""),
                spec=field.metadata["spec"],
            )


def leaves(cls: type[Config]) -> Mapping[str, Leaf]:
    """Dotted path -> leaf, in the order of declaration, nested fields in their parent's place."""
    if cls not in _LEAVES:
        _LEAVES[cls] = _find_leaves(cls)
    return _LEAVES[cls]


def _find_leaves(cls: type[Config]) -> dict[str, Leaf]:
    found: dict[str, Leaf] = {}
    config = cls()
    own = {leaf.path: leaf for leaf in own_leaves(config)}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        if field.name in own:
            found[field.name] = own[field.name]
            continue
        replaced = field.metadata["flags"]
        for leaf in own_leaves(getattr(config, field.name)):
            spec = leaf.spec
            if leaf.path in replaced:
                spec = dataclasses.replace(spec, flags=replaced[leaf.path])
            path = f"{field.name}.{leaf.path}"
            found[path] = dataclasses.replace(leaf, path=path, group=field.metadata["group"], spec=spec)
    return found


def _metavars(member: Any) -> list[str]:
    if typing.get_origin(member) is typing.Literal:
        return [str(choice) for choice in typing.get_args(member)]
    if typing.get_origin(member) is tuple:
        return ["N,N" if int in typing.get_args(member) else "NAME,NAME"]
    return {int: ["N"], float: ["X"], str: ["TEXT"]}.get(member, [])


def _hints(cls: type[Config]) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


# Both are derived from the classes alone, once each.
_LEAVES: dict[type[Config], dict[str, Leaf]] = {}
_HINTS: dict[type[Config], dict[str, Any]] = {}
