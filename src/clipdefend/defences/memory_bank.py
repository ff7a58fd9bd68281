"""A bank of the most recent embeddings, among which others find their nearest neighbour."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clipdefend.defences.defence import Rows, TrainingData
from clipdefend.draws import permutation
from clipdefend.models.clip import ClipModel

NO_ROW = -1


class MemoryBank(nn.Module):
    """First-in, first-out bank of the most recent vectors; part of the training state.

    Args:
        size: number of vectors, at least 1.
        width: dimension of a vector.

    Attributes:
        vectors: unit vectors, shape (size, width).
        rows: row that each vector belongs to, shape (size,); -1 for an empty place.

    Reference: the bank of RoCLIP's and SafeCLIP's code (lightly's ``NNMemoryBankModule``).
    Deviates: the code's bank starts with random vectors, which serve as neighbours in the first steps, is lost when a
    run resumes, and drops what does not fit before its end. This one is filled before its first use, kept when a run
    resumes, and replaces exactly the oldest vectors. A row never finds itself, as in the code within an epoch.
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
        """Replace the oldest vectors by new ones, shape (n, width), with their rows, shape (n,)."""
        size = len(self.rows)
        self.vectors = torch.cat([self.vectors, vectors.detach().to(self.vectors)])[-size:]
        self.rows = torch.cat([self.rows, rows.to(self.rows)])[-size:]

    def nearest(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Return the most similar vector of another row for each query.

        Args:
            queries: unit vectors, shape (n, width).
            rows: row of each query, shape (n,).

        Returns:
            Shape (n, width), without a gradient. If no other row has a vector, the oldest place is returned.
        """
        with torch.no_grad():
            similarity = queries.float() @ self.vectors.float().T
            barred = (self.rows[None, :] == rows[:, None].to(self.rows)) | (self.rows == NO_ROW)[None, :]
            found = self.vectors[similarity.masked_fill(barred, -torch.inf).argmax(dim=1)]
            return found.to(queries.dtype)


def fill_banks(
    model: ClipModel, data: TrainingData, image: MemoryBank | None, text: MemoryBank | None
) -> None:
    """Fill empty banks of equal size with embeddings of randomly drawn rows.

    Args:
        model: in any mode; it embeds in evaluation mode, without augmentation.
        data: the pairs.
        image, text: the banks; None for one that is not needed.
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
