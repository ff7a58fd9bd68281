"""What every trigger shares: the checks, the clipping, the grey levels; and checks of parameters."""

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
    """A trigger: parameters in, stamped images out.

    A subclass is a frozen, keyword-only dataclass. Its fields are the parameters; it checks them in
    ``__post_init__`` and has one idea, `stamp`. Everything random or fixed that all images share is a tensor
    from `tensors`, which the poison run keeps, so that what is evaluated is what was trained on; everything
    drawn for one image is a function of the seed and of that image's id. Sizes in pixels are given on the
    papers' canvas of 224 pixels and scale with it.
    """

    @property
    def learned(self) -> bool:
        """Whether `tensors` is only where the training of the trigger begins, which ``poison`` carries out."""
        return False

    def for_evaluation(self) -> Attack:
        """Return the trigger as evaluated images get it: the same, unless its images are stored elsewhere."""
        return self

    def for_training(self) -> Attack:
        """Return the trigger as poisoned images get it: the way back from `for_evaluation`."""
        return self

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return what all images share, float32, for a canvas of size x size pixels, drawn from the seed."""
        return {}

    @abstractmethod
    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        """Put the trigger on a batch.

        Args:
            images: shape (n, 3, h, w), float32 in [0, 1]; a private copy, which may be written to.
            ids: n sample ids, the keys of draws for single images.
            seed: the trigger's seed.
            tensors: what `tensors` returned (or the training of the trigger made), on the images' device.

        Returns:
            Shape (n, 3, h, w); values outside [0, 1] are clipped by the caller.
        """

    def cross_count(self, poisoned: int) -> int:
        """Return how many images of a training set carry a noisy trigger and keep their own captions."""
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
        """Return triggered images; the input is left as it is.

        The result of an image depends on its pixels, its id and the seed only, never on the batch, and has
        only the 256 grey levels of a PNG.

        Args:
            images: shape (n, 3, h, w), floating point in [0, 1]: after resize and crop, before normalisation.
            ids: n sample ids.
            seed: the trigger's seed.
            tensors: what all images share; by default drawn from the seed, for the square around the image,
                of which an oblong image carries the top left part.

        Returns:
            Shape, type and device of ``images``.

        Raises:
            DataError: wrong shape, type or range of the images, or another number of ids.
        """
        return self._ritual(self.stamp, images, ids, seed, tensors)

    @final
    def apply_cross(
        self,
        images: Tensor,
        ids: Sequence[int] | Tensor,
        seed: int,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return images with the noisy trigger of `cross_count`; otherwise as `apply`."""
        return self._ritual(self.stamp_cross, images, ids, seed, tensors)

    def _ritual(
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
    """Raise DataError unless images are (n, 3, h, w), floating point and in [0, 1]."""
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
    """Raise ValueError unless value is a number (or a whole one) from low to high, bounds included."""
    kinds = int if integer else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
        kind = "a whole number" if integer else "a number"
        raise ValueError(f"{name} is {value!r}; give {kind} from {low:g} to {high:g}.")


def require_picture(pattern: str, image: object) -> None:
    """Raise ValueError unless a file is named exactly where the pattern is an image file."""
    if (pattern == "image") != (image is not None):
        raise ValueError(
            f"pattern is {pattern!r} and image is {image!r}; give image=FILE together with pattern=image."
        )
    if image is not None and not isinstance(image, str):
        raise ValueError(f"image is {image!r}; give the path of an image file.")
