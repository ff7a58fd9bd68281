"""Gives a defence access to the clean pairs: their number, and their embeddings by the current model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from clipdefend.canvas import Canvas
from clipdefend.config import TrainConfig
from clipdefend.data.pairs import Pairs
from clipdefend.data.workers import batches_of, leave_to_parent
from clipdefend.defences.defence import Rows
from clipdefend.distributed import collectives
from clipdefend.distributed.gather import gather
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.objectives.objective import build_objective
from clipdefend.training.plan import PlannedRow
from clipdefend.training.samples import Sample, Views, collate

BATCH = 64
"""Pairs per forward pass; constant, so that the configured batch size does not change a single bit."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Implements ``clipdefend.defences.defence.TrainingData``.

    Attributes:
        pairs, canvas, config, seed: those of the job.
        workers: number of processes that read images.
        accelerator: provides autocast.
    """

    pairs: Pairs
    canvas: Canvas
    config: TrainConfig
    seed: int
    workers: int
    accelerator: Any

    @torch.no_grad()
    def embed(
        self, model: ClipModel, rows: Rows | None = None, canvas: Canvas | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the unit vectors of images and captions, shape (n, d) each; see ``TrainingData.embed``."""
        wanted = np.arange(len(self.pairs)) if rows is None else rows
        rank, world = collectives.rank(), collectives.world()
        # The exchange needs the same number of rows in each process; rows repeated for that are removed again.
        own = np.resize(wanted, -(-len(wanted) // world) * world)[rank::world]
        images, texts = [], []
        with evaluating(model), self.accelerator.autocast():
            for batch in self._batches(model, own, canvas or self.canvas):
                images.append(model.encode_image(batch.images["clean"].to(model.device)).float())
                texts.append(model.encode_text(batch.tokens["clean"].to(model.device)).float())
        image, text = gather(torch.cat(images)), gather(torch.cat(texts))
        return image[: len(wanted)], text[: len(wanted)]

    def _batches(self, model: ClipModel, rows: Rows, canvas: Canvas) -> Any:
        views = Views(
            pairs=self.pairs,
            canvas=canvas,
            tokenize=model.tokenizer,
            objective=build_objective("ft"),
            seed=self.seed,
        )
        parts = [
            [PlannedRow(int(row), subset=False) for row in rows[start : start + BATCH]]
            for start in range(0, len(rows), BATCH)
        ]
        loader: DataLoader[Sample] = DataLoader(
            views,
            batch_sampler=parts,
            collate_fn=collate,
            num_workers=self.workers,
            worker_init_fn=leave_to_parent,
        )
        return batches_of(loader)
