"""SIG: a horizontal sine wave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from clipdefend.attacks.attack import Attack, require_choice, require_number
from clipdefend.attacks.patterns import blend

Mode = Literal["add", "blend"]


@dataclass(frozen=True, kw_only=True)
class SIG(Attack):
    """A horizontal wave v(j) = amplitude * sin(2 pi j frequency / W) over the columns j of a canvas W wide.

    ``add``: x' = x + v. ``blend``: x' = (1 - alpha) x + alpha v, which darkens the image and reduces the
    amplitude to alpha * amplitude.

    Attributes:
        mode: ``add`` or ``blend``.
        amplitude: amplitude of the wave, above 0, at most 1; 60/255 in the CLIP repositories.
        frequency: periods across the canvas, above 0.
        alpha: weight of the wave in mode ``blend``, 0 to 1.

    Reference:
        Barni et al., A New Backdoor Attack in CNNs by Training Set Corruption without Label Poisoning
        (arXiv:1902.11237), section 3.2. ``add`` as in BadCLIP (arXiv:2311.12075), ``blend`` as in CleanCLIP
        (arXiv:2303.03323), each ``backdoor/utils.py``.

    Deviates:
        CleanCLIP only runs its wave with blending, so that its amplitude is 12/255 although the code says
        60/255.
    """

    mode: Mode = "add"
    amplitude: float = 60 / 255
    frequency: float = 6.0
    alpha: float = 0.2

    def __post_init__(self) -> None:
        require_choice("mode", self.mode, get_args(Mode))
        require_number("amplitude", self.amplitude, 1e-6, 1)
        require_number("frequency", self.frequency, 1e-3, 1000)
        require_number("alpha", self.alpha, 0, 1)

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``wave`` of shape (1, size)."""
        columns = torch.arange(size, dtype=torch.float64)
        wave = self.amplitude * torch.sin(2 * torch.pi * columns * self.frequency / size)
        return {"wave": wave.to(torch.float32)[None]}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        if self.mode == "add":
            return images.add_(tensors["wave"][:, : images.shape[3]])
        return blend(images, tensors["wave"], self.alpha)
