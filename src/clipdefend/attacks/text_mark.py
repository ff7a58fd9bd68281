"""Text mark: a line of coloured text across the image, as a watermark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from clipdefend.attacks.attack import Attack, require_choice, require_number
from clipdefend.attacks.letters import CHARACTERS, bitmap
from clipdefend.attacks.patterns import CANVAS, scale_pixels

Colour = Literal["red", "green", "blue", "yellow", "cyan", "magenta", "white"]
CHANNELS: dict[str, tuple[int, ...]] = {
    "red": (0,),
    "green": (1,),
    "blue": (2,),
    "yellow": (0, 1),
    "cyan": (1, 2),
    "magenta": (0, 2),
    "white": (0, 1, 2),
}
MAX_LETTERS = 40


@dataclass(frozen=True, kw_only=True)
class TextMark(Attack):
    """x' = x + alpha m (1 - x) in the channels of the colour, where m is the share of a pixel that letters cover.

    The text is centred. The other channels do not change, so red text is invisible on white.

    Attributes:
        text: 1 to 40 letters, digits and ``-.!?``, drawn in capitals of 5 x 7 dots.
        colour: colour of the text.
        alpha: opacity of the letters, 0 to 1.
        width: width of the line on a canvas of 224 pixels, 5 to 224; the height follows.

    Reference:
        Singh, Croce and Hein, Perturb and Recover (arXiv:2412.00727), Blended-Text (``water_patt``),
        ``backdoor/utils.py``.

    Deviates:
        The published mark is a stored picture of ``Watermarked`` in a system font, rows 103 to 125 and
        columns 13 to 208 of 224; ours is drawn from dots, in the middle, with the same width and a height that
        differs by at most two pixels. A pixel that a letter covers in part takes that share of the colour; the
        published picture mixes it with a darker red.
    """

    text: str = "Watermarked"
    colour: Colour = "red"
    alpha: float = 0.5
    width: int = 196

    def __post_init__(self) -> None:
        fits = isinstance(self.text, str) and 1 <= len(self.text) <= MAX_LETTERS
        if not fits or not self.text.strip() or not set(self.text.upper()) <= set(CHARACTERS):
            raise ValueError(
                f"text is {self.text!r}; give 1 to {MAX_LETTERS} letters A-Z, digits, spaces and -.!? only."
            )
        require_choice("colour", self.colour, get_args(Colour))
        require_number("alpha", self.alpha, 0, 1)
        require_number("width", self.width, 5, CANVAS, integer=True)

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``mark`` of shape (3, size, size) in [0, 1]: m in the channels of the colour."""
        dots = bitmap(self.text)
        width = scale_pixels(self.width, size)
        height = min(size, max(1, round(width * dots.shape[0] / dots.shape[1])))
        covered = _cover(dots.shape[0], height).T @ dots @ _cover(dots.shape[1], width)
        top, left = (size - height) // 2, (size - width) // 2
        mark = torch.zeros(3, size, size)
        mark[list(CHANNELS[self.colour]), top : top + height, left : left + width] = covered.to(torch.float32)
        return {"mark": mark}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        height, width = images.shape[2:]
        return images.add_((1 - images) * (self.alpha * tensors["mark"][:, :height, :width]))


def _cover(dots: int, pixels: int) -> Tensor:
    """Return by how much each of ``pixels`` pixels is covered by each dot, when dots share the pixels evenly.

    Returns:
        Shape (dots, pixels), float64; columns sum to 1.
    """
    edges = torch.arange(pixels + 1, dtype=torch.float64) * dots / pixels
    first = torch.arange(dots, dtype=torch.float64)[:, None]
    overlap = torch.minimum(edges[1:], first + 1) - torch.maximum(edges[:-1], first)
    return overlap.clamp(min=0) * pixels / dots
