"""What was typed, taken apart and not yet understood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Request:
    """A parsed command line.

    Attributes:
        command: the command, or ``doctor``.
        inputs: positional arguments: at most one input run, or any number where the command reads many.
        invocation: field of the command's ``Invocation`` -> value, for the flags that were given.
        flags: dotted path of the configuration -> text or bool, for the flags that were given.
    """

    command: str
    inputs: tuple[str, ...]
    invocation: dict[str, Any]
    flags: dict[str, Any]
