"""The weighted sum of terms that a method minimises, and the views that the terms compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from clipdefend.errors import ConfigError
from clipdefend.objectives import METHODS, TERMS
from clipdefend.objectives.term import Embeddings, Term
from clipdefend.objectives.views import IMAGE_VIEWS, TEXT_VIEWS, BatchName, DeviceView, View, names_of
from clipdefend.registry import nearest


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms.

    Attributes:
        terms: name -> term, without terms of weight 0.
    """

    terms: Mapping[str, Term]

    @property
    def image_views(self) -> tuple[str, ...]:
        """Image views of the main batch that the model embeds, each once, in the order of ``IMAGE_VIEWS``."""
        return _union(IMAGE_VIEWS, (term.image_views for term in self._of(subset=False)))

    @property
    def text_views(self) -> tuple[str, ...]:
        """Caption views of the main batch that the model embeds."""
        return _union(TEXT_VIEWS, (term.text_views for term in self._of(subset=False)))

    @property
    def subset_image_views(self) -> tuple[str, ...]:
        """Image views of the sub-caption batch."""
        return _union(IMAGE_VIEWS, (term.image_views for term in self._of(subset=True)))

    @property
    def subset_text_views(self) -> tuple[str, ...]:
        """Caption views of the sub-caption batch."""
        return _union(TEXT_VIEWS, (term.text_views for term in self._of(subset=True)))

    @property
    def device_views(self) -> tuple[DeviceView, ...]:
        """The image views that are made on the device from the current model."""
        found = (IMAGE_VIEWS[name] for name in self.image_views)
        return tuple(view for view in found if isinstance(view, DeviceView))

    @property
    def loaded_image_views(self) -> tuple[str, ...]:
        """Image views that the loader makes: to be embedded, or as the base of a device view."""
        made = [name for name in self.image_views if not isinstance(IMAGE_VIEWS[name], DeviceView)]
        return _union(IMAGE_VIEWS, [tuple(made), tuple(view.base for view in self.device_views)])

    @property
    def loaded_text_views(self) -> tuple[str, ...]:
        """Caption views that the loader makes: to be embedded, or for a device view to read."""
        return _union(TEXT_VIEWS, [self.text_views, tuple(view.text for view in self.device_views)])

    @property
    def reference_image_views(self) -> tuple[str, ...]:
        """Image views that the frozen suspect embeds as well."""
        return _union(IMAGE_VIEWS, (term.reference_image_views for term in self.terms.values()))

    @property
    def reference_text_views(self) -> tuple[str, ...]:
        """Caption views that the frozen suspect embeds as well."""
        return _union(TEXT_VIEWS, (term.reference_text_views for term in self.terms.values()))

    @property
    def needs_reference(self) -> bool:
        return any(term.needs_reference for term in self.terms.values())

    @property
    def has_subset(self) -> bool:
        """Whether a term works on the sub-caption batch."""
        return any(term.subset for term in self.terms.values())

    def loss(self, e: Embeddings) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the total loss and its parts.

        Terms on a batch, main or sub-caption, that is missing altogether are left out.

        Returns:
            The weighted sum, a scalar with a graph; and term name -> detached unweighted value.

        Raises:
            ValueError: a batch lacks a view that a term needs, or no term has a batch.
        """
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        for name, value in self.values(e):
            parts[name] = value.detach()
            weighted = self.terms[name].weight * value
            total = weighted if total is None else total + weighted
        if total is None:
            raise ValueError(f"none of the terms {', '.join(self.terms)} has a batch in this step")
        return total, parts

    def values(self, e: Embeddings) -> Iterator[tuple[str, Tensor]]:
        """Yield name and unweighted value, with a graph, of each term that has a batch, computed one at a time.

        Raises:
            ValueError: a batch lacks a view that a term needs.
        """
        for name, term in self.terms.items():
            if _has_batch(e, subset=term.subset):
                _check_views(name, term, e)
                yield name, term.loss(e)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return term name -> all parameters, as a manifest records them."""
        return {name: asdict(term) for name, term in self.terms.items()}

    def __str__(self) -> str:
        """Return the formula with weights, such as ``mmcl + 2 ssl``."""
        return " + ".join(
            name if term.weight == 1 else f"{term.weight:g} {name}" for name, term in self.terms.items()
        )

    def _of(self, *, subset: bool) -> Iterator[Term]:
        return (term for term in self.terms.values() if term.subset is subset)


def build_objective(method: str, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Objective:
    """Build a method's objective, optionally with changed parameters and additional terms.

    Args:
        method: a key of ``METHODS``.
        overrides: term name -> parameters, which override those of the method; other terms are added after the
            method's. A weight of 0 removes a term.

    Raises:
        ConfigError: a method, term or parameter is unknown, a term refuses a value, or no term is left.
    """
    if method not in METHODS:
        raise ConfigError(
            f"Unknown method {method!r}.{nearest(method, list(METHODS))} Available: {', '.join(METHODS)}."
        )
    parameters = {name: dict(given) for name, given in METHODS[method].terms.items()}
    for name, given in (overrides or {}).items():
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"Term {name!r} is given as {given!r}; name its parameters, such as {name}.weight."
            )
        parameters[name] = parameters.get(name, {}) | dict(given)
    built = {name: TERMS.build(name, given) for name, given in parameters.items()}
    terms = {name: term for name, term in built.items() if term.weight > 0}
    if not terms:
        raise ConfigError(f"Method {method!r} has no term left: {', '.join(built)} all have weight 0.")
    return Objective(terms)


def _union(table: Mapping[str, View], views: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    wanted = {view for group in views for view in group}
    return tuple(view for view in table if view in wanted)


def _has_batch(e: Embeddings, *, subset: bool) -> bool:
    batch: BatchName = "subset" if subset else "main"
    images, texts = names_of(IMAGE_VIEWS, batch), names_of(TEXT_VIEWS, batch)
    return any(view in e.image for view in images) or any(view in e.text for view in texts)


def _check_views(name: str, term: Term, e: Embeddings) -> None:
    for kind, needed, given in (
        ("image", term.image_views, e.image),
        ("text", term.text_views, e.text),
        ("reference image", term.reference_image_views, e.reference_image),
        ("reference text", term.reference_text_views, e.reference_text),
    ):
        missing = [view for view in needed if view not in given]
        if missing:
            raise ValueError(f"term {name!r} needs the {kind} view {missing[0]!r}; given: {', '.join(given)}")
