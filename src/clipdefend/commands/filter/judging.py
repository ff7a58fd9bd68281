"""Computes scores from embeddings, chunk by chunk, shared between the processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.detection import PAIR_SCORES
from clipdefend.detection.pair_score import Basis, Embedded, Judge, NeighbourScore, PairScore
from clipdefend.distributed import collectives
from clipdefend.errors import DataError
from clipdefend.evaluation.pair_embeddings import Chunk, PairEmbeddings

Floats = NDArray[np.float64]
ALIKE = 1e-5
"""Relative difference of embeddings that rounding can explain, as for an image in batches of different sizes."""
SINGLE = ("mps",)
"""Devices without float64, for which scores are computed on the CPU."""


def build_scores(names: Sequence[str], neighbours: int) -> dict[str, PairScore]:
    """Build scores by name, each once. Raises ConfigError for an unknown name."""
    found: dict[str, PairScore] = {}
    for name in dict.fromkeys(names):
        near = issubclass(PAIR_SCORES.get(name), NeighbourScore)
        found[name] = PAIR_SCORES.build(name, {"k": neighbours} if near else {})
    return found


@dataclass(frozen=True, kw_only=True)
class Judging:
    """Scores of all pairs.

    Attributes:
        scores: scores by name.
        suspect: embeddings from the model that was trained on the pairs.
        clean: embeddings from a clean model; None without one.
        trusted: embeddings of trusted pairs; None without them.
        drawn: rows of the basis in the order of the draw, the references first.
        references: number of references among them.
        scale: the suspect's logit scale.
    """

    scores: Mapping[str, PairScore]
    suspect: PairEmbeddings
    clean: PairEmbeddings | None
    trusted: PairEmbeddings | None
    drawn: NDArray[np.int64]
    references: int
    scale: float

    @property
    def device(self) -> torch.device:
        """Device on which scores are computed."""
        device = self.suspect.model.device
        return torch.device("cpu") if device.type in SINGLE else device

    def judge(self, spool: Spool) -> dict[str, Any]:
        """Write the scores of this process's chunks.

        Returns:
            Facts about the preparation of each score, and the number of references.

        Raises:
            DataError: there are too few references, or all of them are alike.
        """
        basis = self._basis()
        prepared = {name: score.prepare(basis) for name, score in self.scores.items()}
        judges = {name: each.judge for name, each in prepared.items()}
        for chunk in self.suspect.chunks():
            spool.write(chunk.number, chunk.rows, self._scored(chunk, judges))
        collectives.all_gather_object(None)  # all have written
        facts = {name: dict(each.facts) for name, each in prepared.items()}
        return {"scores": facts, "references": len(basis.references)}

    def _scored(self, chunk: Chunk, judges: Mapping[str, Judge]) -> Floats:
        if not len(chunk.rows):
            return np.empty((0, len(judges)))
        pairs = self._embedded(chunk)
        found = torch.stack([judge(pairs) for judge in judges.values()], dim=1)
        return found.cpu().numpy()

    def _embedded(self, chunk: Chunk) -> Embedded:
        clean: dict[str, Tensor | None] = {}
        if self.clean is not None:
            other = next(self.clean.chunks([chunk.number]))
            if not torch.equal(other.rows, chunk.rows):
                raise DataError("Other images could be read than a moment ago: check the disk and run again.")
            clean = {"clean_image": other.image.to(self.device), "clean_text": _on(other.text, self.device)}
        return Embedded(
            rows=chunk.rows.to(self.device),
            image=chunk.image.to(self.device),
            text=_on(chunk.text, self.device),
            **clean,
        )

    def _basis(self) -> Basis:
        """Gather the embeddings of the drawn pairs from all processes, in the order of the draw."""
        rows, image, text = _gather(self.suspect, self.drawn, self.references)
        if not len(rows) or (image - image[0]).abs().max() <= ALIKE * image.abs().max():
            raise DataError(
                f"All {len(rows):,} pairs that were drawn have the same embedding, so none stands out: check the"
                " images and the model."
            )
        count = int(np.isin(self.drawn[: self.references], rows.numpy()).sum())
        least = max(score.least_references for score in self.scores.values())
        if count < least:
            raise DataError(
                f"There are only {count} usable pairs to compare with, but {least - 1} neighbours need {least}: lower"
                " --neighbours, or raise --pool."
            )
        trusted = None
        if self.trusted is not None:
            _, trusted, _ = _gather(self.trusted, np.asarray(self.trusted.rows), 0)
            trusted = trusted.to(self.device)
        references = Embedded(
            rows=rows[:count].to(self.device),
            image=image[:count].to(self.device),
            text=None if text is None else text[:count].to(self.device),
        )
        return Basis(references=references, sample=image.to(self.device), trusted=trusted, scale=self.scale)


def _on(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)


def _gather(
    embeddings: PairEmbeddings, wanted: NDArray[np.int64], texts: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return rows, images and the first texts of those wanted rows that can be used, in order and on every process.

    Each process fills in what its chunks hold; the sum is exact, since all others have zeros there.
    """
    order, texts = np.argsort(wanted), min(texts, len(wanted))
    there, image, text = torch.zeros(len(wanted)), None, None
    for chunk in embeddings.chunks():
        rows = chunk.rows.numpy()
        if not len(rows):
            continue
        near = np.searchsorted(wanted[order], rows).clip(max=len(wanted) - 1)
        found = wanted[order][near] == rows
        places = torch.from_numpy(order[near[found]])
        if image is None:
            image = torch.zeros(len(wanted), chunk.image.shape[1])
            text = None if chunk.text is None else torch.zeros(texts, chunk.text.shape[1])
        there[places] = 1
        image[places] = chunk.image[torch.from_numpy(found)]
        if text is not None and chunk.text is not None:
            first = places < texts
            text[places[first]] = chunk.text[torch.from_numpy(found)][first]
    sizes = [
        each for each in collectives.all_gather_object(None if image is None else image.shape[1]) if each
    ]
    width = sizes[0] if sizes else 0
    image = torch.zeros(len(wanted), width) if image is None else image
    if embeddings.texts and text is None:
        text = torch.zeros(texts, width)
    device = embeddings.model.device
    shared = [there, image, *([text] if text is not None else [])]
    there, image, *rest = (collectives.all_reduce_(each.to(device)).cpu() for each in shared)
    kept = there > 0
    rows_kept = torch.from_numpy(wanted)[kept]
    return rows_kept, image[kept], rest[0][kept[:texts]] if rest else None


@dataclass(frozen=True)
class Spool:
    """Scores on disk, one file per chunk, so that no process holds them all.

    Attributes:
        folder: removed at the end.
        count: number of chunks.
    """

    folder: Path
    count: int

    def write(self, number: int, rows: Tensor, scores: Floats) -> None:
        """Write the scores of a chunk, shape (n, scores)."""
        if scores.size and not np.isfinite(scores).all():
            raise DataError(f"Scores of rows from {int(rows[0]):,} on are not finite: use other weights.")
        self.folder.mkdir(exist_ok=True)
        np.save(self.folder / f"{number}.npy", np.column_stack([rows.numpy().view(np.float64), scores]))

    def parts(self) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Yield rows and scores of all chunks in order."""
        for number in range(self.count):
            table = np.load(self.folder / f"{number}.npy", allow_pickle=False)
            yield np.ascontiguousarray(table[:, 0]).view(np.int64), table[:, 1:]

    def column(self, place: int) -> Iterator[Floats]:
        """Yield one score of all chunks in order."""
        for _, scores in self.parts():
            yield np.ascontiguousarray(scores[:, place])

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.folder, ignore_errors=True)
