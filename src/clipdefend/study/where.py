"""Settings of a study's step that hold only where other keys have certain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipdefend.components import all_parameters
from clipdefend.config import RunConfig, leaves, to_dict
from clipdefend.errors import ConfigError
from clipdefend.registry import nearest

_ABSENT = object()


@dataclass(frozen=True)
class Change:
    """A block with ``where``.

    Attributes:
        where: key of the run or of one of its inputs, or ``COMMAND.KEY`` -> the values that it may have.
        values: key -> its values in the runs that fit.
    """

    where: Mapping[str, tuple[Any, ...]]
    values: Mapping[str, tuple[Any, ...]]

    def holds(self, line: Sequence[RunConfig]) -> bool:
        """Whether all conditions hold.

        Args:
            line: the run's configuration, then its input's, and so on; the first that has a key decides.

        Raises:
            ConfigError: no configuration has the key of a condition.
        """
        return all(
            any(_same(_fact(key, line), value) for value in values) for key, values in self.where.items()
        )

    def __str__(self) -> str:
        return ", ".join(
            f"{key}: {values[0] if len(values) == 1 else list(values)}" for key, values in self.where.items()
        )


def _fact(key: str, line: Sequence[RunConfig]) -> Any:
    parameter = False
    for config in line:
        own = key.removeprefix(f"{config.command}.")
        value = _value(config, own)
        if value is not _ABSENT:
            return value
        head, _, name = own.partition(".")
        parameters = all_parameters(config, head) if name else None
        if parameters is not None:
            parameter = True
            if name in parameters:
                return parameters[name]
    if parameter:
        return _ABSENT  # this run's component lacks the parameter
    known = sorted({path for config in line for path in leaves(type(config))})
    raise ConfigError(f"where: {key!r} is not a key of this step or its inputs.{nearest(key, known)}")


def _value(config: RunConfig, key: str) -> Any:
    """The value of a dotted key; the name where it is a component such as an attack."""
    value: Any = to_dict(config)
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = value[part]
    return value["name"] if isinstance(value, dict) and isinstance(value.get("name"), str) else value


def _same(found: Any, wanted: Any) -> bool:
    """Equal values; YAML reads 1e-3 as text, so that texts of numbers are compared as numbers."""
    if found == wanted:
        return True
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return False
    try:
        return float(wanted) == float(found)
    except (TypeError, ValueError):
        return False
