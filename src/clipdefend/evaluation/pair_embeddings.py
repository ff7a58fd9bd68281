"""Embeds image-caption pairs once, chunk by chunk, in several processes, and caches the embeddings on disk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.data.bad import BadRows
from clipdefend.data.pairs import NO_CAPTION, Pairs
from clipdefend.distributed import collectives
from clipdefend.errors import DataError
from clipdefend.evaluation.cache import Cache, model_digest
from clipdefend.evaluation.encoding import Encoded, Reading, Report, encode
from clipdefend.models.clip import ClipModel, evaluating

CHUNK = 4096
"""Minimum number of pairs per file; the actual number is a multiple of the batch size."""
GROUP = 64
"""Number of chunks that are embedded with one loader."""
MET_BEFORE = "could not be used when the pairs were embedded"


@dataclass(frozen=True)
class Chunk:
    """Embeddings of the usable pairs of a chunk, on the CPU.

    Attributes:
        number: number of the chunk, from 0.
        rows: the usable rows, ascending, int64, shape (n,).
        image: outputs of the image tower, not normalised, float32, shape (n, d).
        text: unit vectors of the captions, float32, shape (n, d); None if they were not requested.
    """

    number: int
    rows: Tensor
    image: Tensor
    text: Tensor | None


@dataclass(kw_only=True)
class PairEmbeddings:
    """Embeds rows of pairs by one model.

    Of w processes, each embeds every w-th chunk; all of them must have access to the folder of the cache.

    Attributes:
        model: the model, on its device.
        pairs: the pairs.
        rows: rows to embed, ascending; a range for all rows, which takes no memory.
        reading: how to read images; its batch size also applies to captions.
        cache: cache of the chunks.
        texts: whether to embed captions.
        bad: counter of unusable rows.
    """

    model: ClipModel
    pairs: Pairs
    rows: NDArray[np.int64] | range
    reading: Reading
    cache: Cache
    texts: bool
    bad: BadRows
    _digest: str = field(init=False, repr=False)
    _known: dict[int, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._digest = model_digest(self.model)

    @cached_property
    def size(self) -> int:
        """Number of pairs per chunk."""
        return self.reading.batch_size * math.ceil(CHUNK / self.reading.batch_size)

    @property
    def count(self) -> int:
        """Number of chunks."""
        return math.ceil(len(self.rows) / self.size)

    @property
    def own(self) -> range:
        """The chunks of this process."""
        return range(collectives.rank(), self.count, collectives.world())

    def make(self, report: Report | None = None) -> None:
        """Embed the missing chunks of this process, then wait for the other processes.

        Args:
            report: called with the number of pairs of each batch.

        Raises:
            DataError: there are too many unusable rows, or embeddings are not finite.
            OSError: the disk is full.
        """
        missing = []
        for number in self.own:
            found = self._find(number)
            if found is None:
                missing.append(number)
                continue
            self._count_missing(number, found)
            if report:
                report(len(self._rows(number)))
        with evaluating(self.model), torch.no_grad():
            for chunk in self._in_groups(missing, report):
                if collectives.world() == 1:  # of several processes all have to meet it together, below
                    self.bad.check(len(self.pairs))
                kept = {"rows": chunk.rows, "image": chunk.image}
                self.cache.put(
                    self._facts(chunk.number), kept | ({} if chunk.text is None else {"text": chunk.text})
                )
        for met, examples in collectives.all_gather_object([sorted(self.bad.rows), self.bad.examples]):
            self.bad.rows.update(met)
            self.bad.examples += [text for text in examples if text not in self.bad.examples]
        self.bad.check(len(self.pairs))

    def chunks(self, numbers: Sequence[int] | None = None) -> Iterator[Chunk]:
        """Yield chunks that have been embedded; by default those of this process."""
        for number in self.own if numbers is None else numbers:
            found = self._find(number)
            if found is None:
                raise DataError(
                    f"The embeddings in {str(self.cache.folder)!r} were deleted while they were in use: run again."
                )
            yield Chunk(number, found["rows"], found["image"], found.get("text"))

    def remove(self) -> None:
        """Remove the files of this process."""
        for number in self.own:
            self.cache.path(self._facts(number)).unlink(missing_ok=True)

    def _in_groups(self, numbers: Sequence[int], report: Report | None) -> Iterator[Chunk]:
        """Embed chunks in groups: workers are started once per group, and only its rows are in memory."""
        for start in range(0, len(numbers), GROUP):
            yield from self._embed_chunks(numbers[start : start + GROUP], report)

    def _embed_chunks(self, numbers: Sequence[int], report: Report | None) -> Iterator[Chunk]:
        """Embed several chunks with one loader, so that its workers are started once."""
        todo = np.concatenate([self._rows(number) for number in numbers])
        waiting = list(numbers)
        parts: list[tuple[NDArray[np.int64], Tensor, Tensor | None]] = []
        for part in encode(self.model, self.pairs, todo, self.reading, self.bad):
            while len(waiting) > 1 and part.rows[0] > self._rows(waiting[0])[-1]:
                yield self._join(waiting.pop(0), parts)
                parts = []
            parts.append(self._with_texts(part))
            if report:
                report(len(part.rows))
        for number in waiting:
            yield self._join(number, parts)
            parts = []

    def _with_texts(self, part: Encoded) -> tuple[NDArray[np.int64], Tensor, Tensor | None]:
        """Return the rows and embeddings of a batch without unusable captions."""
        rows, image = part.rows, part.clean.float().cpu()
        text = None
        if self.texts:
            captions = self.pairs.captions(rows.tolist())
            self.bad.update(
                (row, NO_CAPTION) for row, caption in zip(rows.tolist(), captions, strict=True) if not caption
            )
            kept = np.array([bool(caption) for caption in captions])
            rows, image = rows[kept], image[torch.from_numpy(kept)]
            if not len(rows):
                return rows, image, image[:, :0]
            tokens = self.model.tokenize([caption for caption in captions if caption])
            text = self.model.encode_text(tokens.to(self.model.device)).float().cpu()
        for vectors in (image, text):
            if vectors is not None and not torch.isfinite(vectors).all():
                raise DataError(
                    f"The model's embeddings are not finite, as those of row {rows[0]:,}: take other weights."
                )
        return rows, image, text

    def _join(self, number: int, parts: list[tuple[NDArray[np.int64], Tensor, Tensor | None]]) -> Chunk:
        parts = [part for part in parts if len(part[0])]
        if not parts:
            nothing = torch.empty(0, 0)
            return Chunk(number, torch.empty(0, dtype=torch.int64), nothing, nothing if self.texts else None)
        rows, image, text = zip(*parts, strict=True)
        texts = torch.cat([each for each in text if each is not None]) if self.texts else None
        return Chunk(number, torch.from_numpy(np.concatenate(rows)), torch.cat(image), texts)

    def _rows(self, number: int) -> NDArray[np.int64]:
        part = self.rows[number * self.size : (number + 1) * self.size]
        return np.arange(part.start, part.stop) if isinstance(part, range) else part

    def _find(self, number: int) -> dict[str, Tensor] | None:
        return self.cache.find(self._facts(number))

    def _count_missing(self, number: int, found: dict[str, Tensor]) -> None:
        missing = np.setdiff1d(self._rows(number), found["rows"].numpy())
        self.bad.update((int(row), MET_BEFORE) for row in missing)

    def _facts(self, number: int) -> dict[str, Any]:
        """Return everything that a chunk depends on; the images are checked for changes once."""
        if number in self._known:
            return self._known[number]
        canvas, rows = self.reading.canvas, self._rows(number)
        return self._known.setdefault(
            number,
            {
                "of": "pair embeddings",
                "model": self._digest,
                "pairs": self.pairs.fingerprint,
                "rows": hashlib.sha256(np.ascontiguousarray(rows, "<i8").tobytes()).hexdigest(),
                "images": self.pairs.image_digest(rows.tolist()),
                "canvas": [canvas.size, canvas.mode, canvas.interpolation],
                "texts": self.texts,
                "device": self.model.device.type,
            },
        )
