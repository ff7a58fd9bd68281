"""Base class of attacks: checks its input, clips and rounds its output; and checks of parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from clipdefend.errors import DataError

LEVELS = 255
"""An image of 8 bits a channel holds the values 0, 1/255, ..., 1."""

Stamp = Callable[[Tensor, Sequence[int], int, Mapping[str, Tensor]], Tensor]


class Attack(ABC):
    """A trigger, which turns clean images into triggered ones.

    A subclass is a frozen, keyword-only dataclass whose fields are the trigger's parameters. It checks them in
    ``__post_init__`` and implements one method, `stamp`. What all images share, random or fixed, is a tensor
    from `tensors`; the poison run stores it, so that evaluation uses the trigger that was trained on. What
    differs between images is a function of the seed and the image's id. Sizes in pixels refer to the papers'
    canvas of 224 pixels and scale with the canvas.
    """

    @property
    def learned(self) -> bool:
        """Whether ``poison`` optimises the trigger; `tensors` then only returns its initial value."""
        return False

    def for_evaluation(self) -> Attack:
        """Return the variant for evaluation; only attacks that read stored images have a different one."""
        return self

    def for_training(self) -> Attack:
        """Return the variant for poisoning, the inverse of `for_evaluation`."""
        return self

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return the tensors that all images share.

        Args:
            size: side of the canvas in pixels.
            seed: seed of everything random.

        Returns:
            Name -> tensor, float32, on the CPU; empty if images share nothing.
        """
        return {}

    @abstractmethod
    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        """Put the trigger on a batch.

        Args:
            images: shape (n, 3, h, w), float32 in [0, 1]; a private copy that may be modified in place.
            ids: n sample ids, the keys of draws for single images.
            seed: the trigger's seed.
            tensors: the trigger's tensors, as `tensors` returned or ``poison`` learned them, on the images'
                device.

        Returns:
            Shape (n, 3, h, w); the caller clips values outside [0, 1].
        """

    def cross_count(self, poisoned: int) -> int:
        """Return the number of images that get a noisy trigger but keep their captions.

        Args:
            poisoned: number of poisoned images.
        """
        return 0

    def stamp_cross(
        self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Put the noisy trigger of `cross_count` on a batch, as `stamp` does; most triggers have none."""
        return images

    @final
    def apply(
        self,
        images: Tensor,
        ids: Sequence[int] | Tensor,
        seed: int,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Put the trigger on images; the input is not modified.

        A triggered image depends only on its pixels, its id and the seed, never on the rest of the batch, and
        its values are the 256 grey levels of a PNG.

        Args:
            images: shape (n, 3, h, w), floating point in [0, 1]: after resize and crop, before normalisation.
            ids: n sample ids.
            seed: the trigger's seed.
            tensors: the trigger's tensors; drawn from the seed by default, for the square around the image,
                of which an oblong image gets the top left part.

        Returns:
            Triggered images, of the shape, type and device of ``images``.

        Raises:
            DataError: the images have the wrong shape, type or range, or the number of ids differs.
        """
        return self._apply_checked(self.stamp, images, ids, seed, tensors)

    @final
    def apply_cross(
        self,
        images: Tensor,
        ids: Sequence[int] | Tensor,
        seed: int,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Put the noisy trigger of `cross_count` on images; otherwise like `apply`."""
        return self._apply_checked(self.stamp_cross, images, ids, seed, tensors)

    def _apply_checked(
        self,
        stamp: Stamp,
        images: Tensor,
        ids: Sequence[int] | Tensor,
        seed: int,
        tensors: Mapping[str, Tensor] | None,
    ) -> Tensor:
        check_images(images)
        keys = [int(key) for key in (ids.tolist() if isinstance(ids, Tensor) else ids)]
        if len(keys) != len(images):
            raise DataError(f"{len(keys)} ids for {len(images)} images: give one id for each image.")
        if not keys:
            return images.clone()
        if tensors is None:
            tensors = self.tensors(max(images.shape[2:]), seed)
        shared = {name: tensor.to(images.device) for name, tensor in tensors.items()}
        with torch.no_grad():
            copy = images.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
            return quantise(stamp(copy, keys, seed, shared)).to(images.dtype)


def quantise(images: Tensor) -> Tensor:
    """Clip to [0, 1] and round to the nearest of the 256 grey levels, bit-equal to what a PNG gives back."""
    return images.clamp(0, 1).mul(LEVELS).round().div(LEVELS)


def check_images(images: Tensor) -> None:
    """Raise DataError unless images have shape (n, 3, h, w) and floating-point values in [0, 1]."""
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise DataError(
            f"Images of shape {tuple(images.shape)} cannot be triggered: give RGB, shape (n, 3, h, w)."
        )
    if not images.is_floating_point():
        raise DataError(f"Images of type {images.dtype} cannot be triggered: give floating point in [0, 1].")
    if images.numel():
        low, high = (float(bound) for bound in torch.aminmax(images))
        if not (low >= 0 and high <= 1):
            raise DataError(
                f"Images with values from {low:g} to {high:g} cannot be triggered: give values in [0, 1],"
                " before normalisation."
            )


def require_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise ValueError unless value is one of the allowed words."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(allowed)}.")


def require_number(name: str, value: object, low: float, high: float, *, integer: bool = False) -> None:
    """Raise ValueError unless value is a number, or an integer, from low to high inclusive."""
    kinds = int if integer else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
        kind = "a whole number" if integer else "a number"
        raise ValueError(f"{name} is {value!r}; give {kind} from {low:g} to {high:g}.")


def require_picture(pattern: str, image: object) -> None:
    """Raise ValueError unless an image file is given exactly when the pattern is ``image``."""
    if (pattern == "image") != (image is not None):
        raise ValueError(
            f"pattern is {pattern!r} and image is {image!r}; give image=FILE together with pattern=image."
        )
    if image is not None and not isinstance(image, str):
        raise ValueError(f"image is {image!r}; give the path of an image file.")
