"""A bank of the embeddings of the last rows, in which others look for their nearest neighbour."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clipdefend.defences.defence import Rows, TrainingData
from clipdefend.draws import permutation
from clipdefend.models.clip import ClipModel

NO_ROW = -1


class MemoryBank(nn.Module):
    """The last vectors that were put in, first in, first out; a part of the training state.

    Args:
        size: number of vectors, at least 1.
        width: of a vector.

    Attributes:
        vectors: unit vectors, shape (size, width).
        rows: the row that each came from, shape (size,); -1 for a place that is empty.

    Reference: the bank of RoCLIP's and SafeCLIP's code (lightly's ``NNMemoryBankModule``).
    Deviates: the code's bank begins with random vectors, which are the neighbours of the first steps, is lost when a
    run resumes, and drops what does not fit before its end. This one is filled before its first use, is kept, and
    replaces exactly the oldest vectors. A row never finds itself, as in the code within an epoch.
    """

    vectors: Tensor
    rows: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, width))
        self.register_buffer("rows", torch.full((size,), NO_ROW))

    @property
    def is_empty(self) -> bool:
        return bool((self.rows == NO_ROW).all())

    def put(self, vectors: Tensor, rows: Tensor) -> None:
        """Put in vectors, shape (n, width), and their rows, shape (n,), in place of the oldest."""
        size = len(self.rows)
        self.vectors = torch.cat([self.vectors, vectors.detach().to(self.vectors)])[-size:]
        self.rows = torch.cat([self.rows, rows.to(self.rows)])[-size:]

    def nearest(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Return the most similar vector of another row for each query.

        Args:
            queries: unit vectors, shape (n, width).
            rows: the rows that they belong to, shape (n,).

        Returns:
            Shape (n, width), without a gradient. A query with no vector of another row finds the oldest place.
        """
        with torch.no_grad():
            similarity = queries.float() @ self.vectors.float().T
            barred = (self.rows[None, :] == rows[:, None].to(self.rows)) | (self.rows == NO_ROW)[None, :]
            found = self.vectors[similarity.masked_fill(barred, -torch.inf).argmax(dim=1)]
            return found.to(queries.dtype)


def fill_banks(
    model: ClipModel, data: TrainingData, image: MemoryBank | None, text: MemoryBank | None
) -> None:
    """Fill empty banks of equal size with the embeddings of rows that the seed draws.

    Args:
        model: in any mode; embeds in evaluation mode, without augmentation.
        data: the pairs.
        image, text: the banks; None: not needed.
    """
    banks = [bank for bank in (image, text) if bank is not None and bank.is_empty]
    if not banks:
        return
    drawn: Rows = permutation(len(data.pairs), data.seed, "memory-bank")[: len(banks[0].rows)]
    vectors = dict(zip(("image", "text"), data.embed(model, drawn), strict=True))
    rows = torch.from_numpy(drawn)
    for name, bank in (("image", image), ("text", text)):
        if bank is not None and bank.is_empty:
            bank.put(vectors[name], rows)
