"""Base class of the terms of an objective, and the embeddings that terms receive."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from torch import Tensor


@dataclass(frozen=True)
class Embeddings:
    """Input of terms: unit vectors of the *global* batch, gathered with gradients.

    Attributes:
        image, text: view -> shape (n, d), where n is the size of the view's batch, ``main`` or ``subset``.
        scale: exp(logit_scale), shape (), at most 100.
        reference_image, reference_text: view -> the frozen suspect's unit vectors, without gradients.
        rows: batch -> ids of its rows in the training pairs, int64, shape (n,), in the order of the vectors. If
            a row could not be read, the id is that of its replacement.
        bias: the model's logit bias, shape (), without gradients; None if it has none.
        extra: data that the defence provides for these rows, by name: labels, a bank of vectors, a head (see
            ``clipdefend.defences.defence.Course.extra``). Empty for the named methods.
    """

    image: Mapping[str, Tensor]
    text: Mapping[str, Tensor]
    scale: Tensor
    reference_image: Mapping[str, Tensor] = field(default_factory=dict)
    reference_text: Mapping[str, Tensor] = field(default_factory=dict)
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    bias: Tensor | None = None

    def logit_scale(self, *, fixed: bool) -> Tensor:
        """Return the scale, or a constant of the same value if ``fixed``.

        The gradient of the constant is zero, not missing: distributed training waits for the gradient of each
        parameter.
        """
        return self.scale.detach() + 0.0 * self.scale if fixed else self.scale


@dataclass(frozen=True, kw_only=True)
class Term(ABC):
    """A summand of an objective. Its fields are its parameters; each subclass implements one formula.

    Attributes:
        weight: factor in the objective, >= 0; a term of weight 0 is left out, together with its views.
    """

    weight: float = 1.0

    subset: ClassVar[bool] = False
    """Whether the term works on the sub-caption batch; it is then left out of steps without one."""

    def __post_init__(self) -> None:
        """Check fields by declared type, so that ``weight: "1e-5"`` (YAML reads 1e-5 as text) becomes a number.

        Raises:
            ValueError: a value has another type, or the weight is negative or not finite.
        """
        check_fields(self)
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight is {self.weight}; it must be a finite number of at least 0")

    @property
    @abstractmethod
    def image_views(self) -> tuple[str, ...]:
        """Image views that ``loss`` reads."""

    @property
    @abstractmethod
    def text_views(self) -> tuple[str, ...]:
        """Caption views that ``loss`` reads."""

    @property
    def reference_image_views(self) -> tuple[str, ...]:
        """Image views that ``loss`` reads through the frozen suspect."""
        return ()

    @property
    def reference_text_views(self) -> tuple[str, ...]:
        """Caption views that ``loss`` reads through the frozen suspect."""
        return ()

    @property
    def needs_reference(self) -> bool:
        return bool(self.reference_image_views or self.reference_text_views)

    @abstractmethod
    def loss(self, e: Embeddings) -> Tensor:
        """Return the unweighted scalar to minimise."""


def check_fields(component: Any) -> None:
    """Check the numbers and flags of a frozen dataclass by declared type; "1e-5" becomes a number.

    Raises:
        ValueError: a value has another type.
    """
    for item in fields(component):
        value = _convert(item.name, getattr(component, item.name), str(item.type))
        object.__setattr__(component, item.name, value)


def _convert(name: str, value: Any, declared: str) -> Any:
    """Return a value as the declared type; a float may also be given as an integer or as text."""
    if declared == "int" and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"{name} is {value!r}; it must be a whole number")
    if declared == "bool":
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}; it must be true or false")
        return value
    if declared == "float | None" and value is None:
        return value
    if declared in ("float", "float | None"):
        try:
            if isinstance(value, bool):
                raise TypeError
            return float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name} is {value!r}; it must be a number") from None
    return value
