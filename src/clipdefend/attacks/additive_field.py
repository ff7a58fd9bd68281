"""A bounded field that is added to every image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from clipdefend.attacks.attack import Attack, require_number
from clipdefend.attacks.patterns import signs


@dataclass(frozen=True, kw_only=True)
class AdditiveField(Attack):
    """x' = clip(x + d), with one field d for all images, bounded by ``bound``.

    ``scan`` writes the fields that it finds in this form. By default the seed draws each value of the field
    from -bound and +bound.

    Attributes:
        bound: largest absolute change of a value, above 0, at most 1.

    Reference:
        Moosavi-Dezfooli et al., Universal Adversarial Perturbations, CVPR 2017 (arXiv:1610.08401), section 2.
    """

    bound: float = 16 / 255

    def __post_init__(self) -> None:
        require_number("bound", self.bound, 1e-6, 1)

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``field`` of shape (3, size, size), within the bound."""
        return {"field": self.bound * signs((3, size, size), seed, "additive-field")}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        height, width = images.shape[2:]
        return images.add_(tensors["field"][:, :height, :width].clamp(-self.bound, self.bound))
