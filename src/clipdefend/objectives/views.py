"""The views of a pair: one table of all kinds of images and captions that a term can request.

A view is one version of a pair's image or caption. Terms name the views they compare, the loader makes them and the
model embeds them. Adding a view takes one entry in ``IMAGE_VIEWS`` or ``TEXT_VIEWS`` and nothing else.

Views belong to one of two batches: ``main``, the pairs of a step, or ``subset``, the sub-captioned samples, which
only some steps have.

Seed rule: all randomness of a view comes from ``View.seed``, a pure function of (seed, view, epoch, row).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from PIL import Image
from torch import Tensor

from clipdefend.augment.eda import Eda
from clipdefend.draws import draw_seed
from clipdefend.errors import ConfigError
from clipdefend.objectives.image_changes import (
    add_noise_and_erase,
    auto_augment,
    pixels_of,
    strong_augment,
)

BatchName = Literal["main", "subset"]


class SubCaptionPair(Protocol):
    """Factual and counterfactual sub-caption of a row."""

    @property
    def factual(self) -> str: ...
    @property
    def counterfactual(self) -> str: ...


@dataclass(frozen=True)
class Pair:
    """Input from which the loader makes views.

    Attributes:
        picture: the image on the canvas, RGB.
        caption: the whole caption.
        subcaptions: sub-captions, for views of the ``subset`` batch.
    """

    picture: Image.Image
    caption: str
    subcaptions: SubCaptionPair | None = None


@dataclass(frozen=True, kw_only=True)
class View:
    """Base class of views.

    Attributes:
        name: name by which terms refer to it, unique among the image views and among the caption views. It is part
            of the seed, so renaming a view changes its random draws.
        summary: one line for people.
        batch: the batch that it belongs to.
    """

    name: str
    summary: str
    batch: BatchName = "main"

    def seed(self, seed: int, epoch: int, row: int) -> int:
        """Return the seed of everything random in this view of a row.

        Args:
            seed: seed of the run.
            epoch: epoch, counted from 0 over the whole run.
            row: id of the row.
        """
        return draw_seed(seed, self.name, epoch, row)


@dataclass(frozen=True, kw_only=True)
class ImageView(View):
    """An image that the loader's workers make.

    Attributes:
        make: (pair, seed) -> uint8 pixels, shape (3, h, w).
    """

    make: Callable[[Pair, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class TextView(View):
    """A caption that the loader's workers make.

    Attributes:
        make: (pair, seed) -> text.
    """

    make: Callable[[Pair, int], str]


@dataclass(frozen=True, kw_only=True)
class DeviceBatch:
    """Input of a ``DeviceView``: a micro-batch of one process.

    Attributes:
        model: the model before the step, in evaluation mode, so that each row is treated independently; a
            ``clipdefend.models.clip.ClipModel`` without wrappers. Take gradients with ``torch.autograd.grad``,
            never with ``backward``, which would reach the weights.
        images: the base view as float in [0, 1], shape (n, 3, h, w).
        tokens: the caption view, shape (n, context length).
        rows: ids of the rows, shape (n,).
        seeds: ``View.seed`` of each row.
        extra: data that the defence provides for these rows, see ``Embeddings.extra``.
    """

    model: Any  # models stand on the same level as objectives
    images: Tensor
    tokens: Tensor
    rows: Tensor
    seeds: Sequence[int]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DeviceView(View):
    """An image that the current model makes on the device, such as an adversarial one.

    It is made once per step for each micro-batch, before any forward pass, so that a step in micro-batches uses the
    same pixels in both of its passes. If ``make`` treats each row independently, any split of the batch over
    micro-batches and processes gives the same pixels.

    Attributes:
        make: batch -> float pixels in [0, 1], shape (n, 3, h, w). A leaf that requires gradients has those of the loss
            after the step; other graphs are cut.
        base: loaded image view to start from.
        text: loaded caption view to use.
    """

    make: Callable[[DeviceBatch], Tensor]
    base: str = "clean"
    text: str = "clean"


def clean(pair: Pair, seed: int) -> Tensor:
    """Return the canvas unchanged."""
    return pixels_of(pair.picture)


def augmented(pair: Pair, seed: int) -> Tensor:
    """Return the canvas after ``auto_augment``."""
    return auto_augment(pair.picture, seed)


def perturbed(pair: Pair, seed: int) -> Tensor:
    """Return the canvas after ``add_noise_and_erase``."""
    return add_noise_and_erase(pair.picture, seed)


def strong(pair: Pair, seed: int) -> Tensor:
    """Return the canvas after ``strong_augment``."""
    return strong_augment(pair.picture, seed)


def universal(given: DeviceBatch) -> Tensor:
    """The image under a perturbation that the defence hands out, see ``clipdefend.defences.unlearn``."""
    if "universal" not in given.extra:
        raise ConfigError("The image view 'universal' is made by --method unlearn alone: leave it out.")
    made: Tensor = given.extra["universal"](given.images, given.seeds)
    return made


def whole_caption(pair: Pair, seed: int) -> str:
    """Return the caption unchanged."""
    return pair.caption


def eda(pair: Pair, seed: int) -> str:
    """Return the caption after one draw of EDA, see ``clipdefend.augment.eda``."""
    return Eda()(pair.caption, random.Random(seed))


def factual(pair: Pair, seed: int) -> str:
    """Return the factual sub-caption."""
    return _subcaptions(pair).factual


def counterfactual(pair: Pair, seed: int) -> str:
    """Return the counterfactual sub-caption."""
    return _subcaptions(pair).counterfactual


def _subcaptions(pair: Pair) -> SubCaptionPair:
    if pair.subcaptions is None:
        raise ValueError("the pair has no sub-captions; only rows of the sub-caption batch have them")
    return pair.subcaptions


def _by_name(*views: Any) -> dict[str, Any]:
    return {view.name: view for view in views}


# The order is that of the views in a stacked forward pass, so changing it changes batch-norm statistics by rounding.
IMAGE_VIEWS: dict[str, ImageView | DeviceView] = _by_name(
    ImageView(name="clean", summary="the image", make=clean),
    ImageView(name="augmented", summary="AutoAugment, ImageNet policy", make=augmented),
    ImageView(name="perturbed", summary="PAR's noise and erasing", make=perturbed),
    ImageView(name="strong", summary="crop, flip, colours and blur", make=strong),
    ImageView(name="strong2", summary="a second draw of `strong`", make=strong),
    DeviceView(name="universal", summary="under a universal perturbation of `unlearn`", make=universal),
    ImageView(name="subset", summary="the image of a sub-captioned sample", make=clean, batch="subset"),
)
TEXT_VIEWS: dict[str, TextView] = _by_name(
    TextView(name="clean", summary="the caption", make=whole_caption),
    TextView(name="eda", summary="EDA's variant of the caption", make=eda),
    TextView(name="eda2", summary="a second draw of EDA", make=eda),
    TextView(name="factual", summary="a factual sub-caption", make=factual, batch="subset"),
    TextView(
        name="counterfactual", summary="a counterfactual sub-caption", make=counterfactual, batch="subset"
    ),
    TextView(
        name="caption",
        summary="the whole caption of a sub-captioned sample",
        make=whole_caption,
        batch="subset",
    ),
)


def names_of(views: Mapping[str, View], batch: BatchName) -> tuple[str, ...]:
    """Return the names of the views of a batch, in the table's order."""
    return tuple(name for name, view in views.items() if view.batch == batch)


def check_view(
    field_name: str, value: str, views: Mapping[str, View], *, without: tuple[str, ...] = ()
) -> None:
    """Raise ValueError unless a term's field names a view of the main batch.

    Args:
        field_name: name of the field.
        value: its value.
        views: ``IMAGE_VIEWS`` or ``TEXT_VIEWS``.
        without: views that the field does not accept.
    """
    allowed = [name for name in names_of(views, "main") if name not in without]
    if value not in allowed:
        raise ValueError(f"{field_name} is {value!r}; it must be one of: {', '.join(allowed)}")
