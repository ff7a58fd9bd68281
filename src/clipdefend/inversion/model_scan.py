"""Searches for triggers of a model and measures them on images that the search has not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipdefend.attacks.trigger import Trigger
from clipdefend.intervals import wilson_interval
from clipdefend.inversion import FAMILIES
from clipdefend.inversion.collapse import collapse
from clipdefend.inversion.concentration import concentrate, library_triggers
from clipdefend.inversion.family import Family
from clipdefend.inversion.trigger_search import Search, SearchSettings, embed, search
from clipdefend.models.clip import ClipModel

NEAREST = 3
"""Number of classes named as suspected targets."""

Keep = Callable[[Mapping[str, Any], Callable[[], dict[str, Tensor]]], dict[str, Tensor]]
"""Returns the tensors that were computed before from the same facts, or computes them: `Cache.get`."""


@dataclass(frozen=True, kw_only=True)
class FoundTrigger:
    """The smallest trigger of a family, and its effect on held-out images.

    Attributes:
        family: name of the family.
        unit: unit of the sizes.
        trigger: as an attack of the registry.
        size: see `Family.measure`.
        reached: whether a search reached the goal; otherwise the size is that of an unsuccessful trigger.
        sizes: size found by each restart; None for one that did not reach the goal.
        goal: mean cosine to be reached on the images of the search.
        collapse, clean_collapse: mean cosine of the held-out images with and without the trigger.
        nearest: indices of the classes nearest to the mean embedding with the trigger, the suspected target first.
        asr: share of the held-out images that the trigger sends to the suspected target, not counting images that go
            there without it.
        asr_count: number of images counted.
        curve: learning curve of the search that found the trigger.
    """

    family: str
    unit: str
    trigger: Trigger
    size: float
    reached: bool
    sizes: list[float | None]
    goal: float
    collapse: float
    clean_collapse: float
    nearest: list[int]
    asr: float
    asr_count: int
    curve: list[dict[str, float]]

    @property
    def asr_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of ``asr``; NaN if no image counts."""
        return wilson_interval(round(self.asr * self.asr_count), self.asr_count)

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return plain values for the manifest, with classes by name."""
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("trigger", "nearest")
        }
        return {**plain, "nearest": [classes[index] for index in self.nearest]}


@dataclass(kw_only=True)
class ModelScan:
    """The stages of scanning one model.

    Args:
        model: frozen and in evaluation mode, on its device.
        texts: class texts, unit vectors, shape (classes, d).
        images: images to search on, in [0, 1], shape (n, 3, h, w), on the CPU.
        held_out: images to measure on, of the same form.
        settings: settings of the searches.
        restarts: number of searches per family.
        keep: cache of the searches.
        facts: what cached searches depend on besides the settings, such as digests of model and images.
    """

    model: ClipModel
    texts: Tensor
    images: Tensor
    held_out: Tensor
    settings: SearchSettings
    restarts: int
    keep: Keep = lambda facts, make: make()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._clean = embed(self.model, self.held_out, self.settings)

    def find(self, name: str, report: Callable[[int], None] | None = None) -> FoundTrigger:
        """Search for triggers of a family.

        Args:
            name: name of the family in `FAMILIES`.
            report: called with the number of steps just finished.
        """
        family = FAMILIES.build(name)
        searches = [self._search(name, family, restart, report) for restart in range(self.restarts)]
        best = min(searches, key=lambda each: (not each.reached, each.size))
        trigger = family.to_trigger(best.parameters, self.images.shape[-1])
        return self._measure(name, family, trigger, best, searches)

    def library(self) -> list[dict[str, Any]]:
        """Apply every known trigger that needs no training.

        Returns:
            For each trigger: its name, the index of the class to which most images go, and the share of images of other
            classes that it sends there.
        """
        found = []
        before = self._cosines(self._clean)
        for name, trigger in library_triggers(self.held_out.shape[-1]):
            after = self._cosines(self._embed_triggered(trigger))
            concentration = concentrate(before, after)
            found.append({"name": name, "target": concentration.target, "share": concentration.share})
        return found

    def _search(
        self, name: str, family: Family, restart: int, report: Callable[[int], None] | None
    ) -> Search:
        images = self.images.to(self.model.device)
        facts = {
            "of": "trigger search",
            "family": [name, repr(family)],
            "settings": repr(self.settings),
            "restart": restart,
            "device": self.model.device.type,
            **self.facts,
        }
        steps = 0

        def count(done: int) -> None:
            nonlocal steps
            steps += done
            if report:
                report(done)

        def make() -> dict[str, Tensor]:
            return _to_tensors(search(self.model, images, family, self.settings, restart, count))

        found = _from_tensors(self.keep(facts, make))
        if report and steps == 0:  # it came from the cache
            report(self.settings.steps)
        return found

    def _measure(
        self, name: str, family: Family, trigger: Trigger, best: Search, searches: Sequence[Search]
    ) -> FoundTrigger:
        triggered = self._embed_triggered(trigger)
        direction = torch.nn.functional.normalize(triggered.mean(dim=0), dim=0)
        nearest = (self.texts @ direction).topk(min(NEAREST, len(self.texts))).indices.tolist()
        hits = concentrate(self._cosines(self._clean), self._cosines(triggered), nearest[0])
        return FoundTrigger(
            family=name,
            unit=family.unit,
            trigger=trigger,
            size=best.size,
            reached=best.reached,
            sizes=[each.size if each.reached else None for each in searches],
            goal=best.goal,
            collapse=float(collapse(triggered)),
            clean_collapse=float(collapse(self._clean)),
            nearest=nearest,
            asr=hits.share,
            asr_count=hits.count,
            curve=best.curve,
        )

    def _embed_triggered(self, trigger: Trigger) -> Tensor:
        return embed(self.model, trigger(self.held_out, range(len(self.held_out))), self.settings)

    def _cosines(self, embeddings: Tensor) -> Tensor:
        return embeddings @ self.texts.T


_CURVE = ("step", "collapse", "size", "weight")


def _to_tensors(found: Search) -> dict[str, Tensor]:
    """Return a search as tensors in float64 and float32, which a safetensors file stores exactly."""
    curve = [[point[key] for key in _CURVE] for point in found.curve]
    figures = [found.size, float(found.reached), found.goal]
    return {
        "curve": torch.tensor(curve, dtype=torch.float64),
        "figures": torch.tensor(figures, dtype=torch.float64),
        **{f"parameter {name}": tensor for name, tensor in found.parameters.items()},
    }


def _from_tensors(kept: Mapping[str, Tensor]) -> Search:
    size, reached, goal = kept["figures"].tolist()
    return Search(
        parameters={
            name.removeprefix("parameter "): tensor
            for name, tensor in kept.items()
            if name.startswith("parameter ")
        },
        size=size,
        reached=bool(reached),
        goal=goal,
        curve=[dict(zip(_CURVE, point, strict=True)) for point in kept["curve"].tolist()],
    )
