"""Captioned photos and class names, and what the frozen part of the image tower makes of the photos."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES
from torch import Tensor
from towers import front

from clipdefend.canvas import Canvas
from clipdefend.data.image_reader import Images, read_canvases
from clipdefend.data.pairs import Pairs
from clipdefend.draws import permutation
from clipdefend.models.clip import ClipModel

CLASSES: Sequence[str] = IMAGENET_CLASSNAMES
TEMPLATES = [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
BATCH = 64


@dataclass(frozen=True)
class Photos:
    """Captioned photos.

    Attributes:
        rows: for each photo its row numbers in the pairs, one for each caption.
        training, held_out: numbers of photos.
    """

    pairs: Pairs
    rows: list[list[int]]
    training: list[int]
    held_out: list[int]

    @classmethod
    def of(cls, pairs: Pairs, held_out: int) -> Photos:
        """Group the rows of each photo, and put ``held_out`` photos aside, drawn by their number."""
        grouped: dict[str, list[int]] = {}
        for row, ref in enumerate(pairs.image_refs(0, len(pairs))):
            grouped.setdefault(ref, []).append(row)
        order = permutation(len(grouped), 0, "photo_clip", "held out").tolist()
        return cls(pairs, list(grouped.values()), sorted(order[held_out:]), sorted(order[:held_out]))

    def write(self, folder: Path, attack: int, clean: int) -> None:
        """Write ``attack.csv``, ``clean.csv`` and ``held-out.csv``: no photo in two of them, one caption each.

        Args:
            folder: to write into.
            attack, clean: numbers of training photos, drawn at random.
        """
        drawn = permutation(len(self.training), 0, "photo_clip", "attack").tolist()
        parts = {"attack": drawn[:attack], "clean": drawn[attack : attack + clean]}
        tables = {name: sorted(self.training[i] for i in part) for name, part in parts.items()}
        for name, numbers in {**tables, "held-out": self.held_out}.items():
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(["image", "caption"])
                rows = [self.rows[number][0] for number in numbers]
                table.writerows([self.pairs.image_ref(row), self.pairs.caption(row)] for row in rows)


@torch.no_grad()
def encode_front(model: ClipModel, images: Images, rows: Sequence[int]) -> Tensor:
    """Maps behind the frozen stages (n, channels, h, w), of all ``rows`` in their order.

    Raises:
        ValueError: an image that cannot be read.
    """
    trunk: Any = model.clip.visual.trunk
    made = [pixels for _, pixels in read_canvases(images, rows, Canvas(model.image_size))]
    if len(made) != len(rows):
        raise ValueError(f"{len(rows) - len(made)} of {len(rows)} images cannot be read")
    maps = []
    for batch in torch.stack(made).split(BATCH):
        pixels = ((batch.float() / 255 - model.mean) / model.std).contiguous(
            memory_format=torch.channels_last
        )
        maps.append(front(trunk, pixels))
    return torch.cat(maps)
