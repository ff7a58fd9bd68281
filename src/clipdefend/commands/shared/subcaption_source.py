"""Sub-captions of an epoch, from an augment run or generated on demand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clipdefend.augment.lexicon import load_lexicon
from clipdefend.augment.subcaptions import SubCaption, SubCaptioner
from clipdefend.config import DefendConfig, SubcaptionConfig
from clipdefend.data.pairs import Pairs
from clipdefend.distributed import launch
from clipdefend.draws import permutation, text_random
from clipdefend.errors import DataError, RunError
from clipdefend.objectives.views import SubCaptionPair
from clipdefend.runs import AugmentDetails, Context, Run, find_augment, find_run

TABLE = "subcaptions.parquet"
OTHERS = 4096  # captions that EDA and spans take counterfactuals from

Chosen = tuple[NDArray[np.int64], Mapping[int, SubCaptionPair]]


def make_captioner(config: SubcaptionConfig, pairs: Pairs) -> SubCaptioner:
    """The maker of sub-captions that a configuration asks for; EDA and spans contrast with other captions."""
    others = [] if config.source == "scene-graph" else pairs.captions(range(min(OTHERS, len(pairs))))
    return SubCaptioner(
        lexicon=load_lexicon(Path(config.lexicon) if config.lexicon else None),
        source=config.source,
        relations=config.relations,
        counterfactuals=config.counterfactuals,
        keep_adjectives=config.keep_adjectives,
        operations=config.operations,
        others=others,
    )


@dataclass
class GeneratedSubcaptions:
    """Sub-captions that are generated afresh for every epoch.

    Attributes:
        pairs: the pairs whose captions are used.
        captioner: generates sub-captions.
        n_aug: number of rows per epoch.
        seed: seed of rows and replacements.
        seconds: time spent generating them so far.
    """

    pairs: Pairs
    captioner: SubCaptioner
    n_aug: int
    seed: int
    seconds: float = 0.0

    @property
    def per_epoch(self) -> int:
        return min(self.n_aug, len(self.pairs))

    def draw(self, epoch: int) -> Chosen:
        """Draw rows in random order until enough of them have a sub-caption; rows repeat if there are too few.

        Raises:
            DataError: no caption has a sub-caption.
        """
        start = time.perf_counter()
        order = permutation(len(self.pairs), self.seed, "subset", epoch)
        rows: list[int] = []
        made: dict[int, SubCaptionPair] = {}
        for first in range(0, len(order), self.per_epoch):
            part = [int(row) for row in order[first : first + self.per_epoch]]
            parsed = self.captioner.parse(self.pairs.captions(part))
            for row, graph in zip(part, parsed, strict=True):
                rng = text_random(self.seed, "subcaption", epoch, row)
                drawn = self.captioner.draw(graph, rng)
                if drawn and len(rows) < self.per_epoch:
                    rows.append(row)
                    made[row] = rng.choice(drawn)
            if len(rows) == self.per_epoch:
                break
        if not rows:
            raise DataError(
                f"No caption of {self.pairs.spec!r} has a sub-caption: choose a --method without."
            )
        self.seconds += time.perf_counter() - start
        return np.resize(np.array(rows, dtype=np.int64), self.per_epoch), made


@dataclass
class RecordedSubcaptions:
    """Sub-captions of an augment run; where a row has several, each epoch draws one.

    Attributes:
        table: columns id, factual, counterfactual and more, ascending by id.
        n_aug: number of rows per epoch.
        seed: seed of the draws.
        seconds: time spent drawing so far.
    """

    table: pa.Table = field(repr=False)
    n_aug: int
    seed: int
    seconds: float = 0.0

    def __post_init__(self) -> None:
        ids = self.table.column("id").to_numpy()
        self._rows, self._first, self._count = np.unique(ids, return_index=True, return_counts=True)

    @property
    def per_epoch(self) -> int:
        return min(self.n_aug, len(self._rows))

    def draw(self, epoch: int) -> Chosen:
        start = time.perf_counter()
        order = permutation(len(self._rows), self.seed, "subset", epoch)[: self.per_epoch]
        rows = self._rows[order].astype(np.int64)
        picks = [
            int(self._first[at])
            + text_random(self.seed, "subcaption", epoch, int(row)).randrange(self._count[at])
            for at, row in zip(order, rows, strict=True)
        ]
        columns = ("factual", "counterfactual", "operation", "replaced", "replacement")
        taken = self.table.take(pa.array(picks)).select(columns).to_pylist()
        self.seconds += time.perf_counter() - start
        return rows, {int(row): SubCaption(**record) for row, record in zip(rows, taken, strict=True)}


def open_subcaptions(
    config: DefendConfig, pairs: Pairs, context: Context
) -> tuple[GeneratedSubcaptions | RecordedSubcaptions, Run | None]:
    """Sub-captions from the augment run that is named, else the newest of the same pairs, else made here.

    Raises:
        RunError: the named run is of other pairs, or damaged.
    """
    augment = _augment_run(config, pairs, context)
    if augment is None:
        context.console.info("Sub-captions: made for each epoch")
        return GeneratedSubcaptions(
            pairs, make_captioner(config.subcaptions, pairs), config.n_aug, config.seed
        ), None
    context.console.info(f"Sub-captions: {augment.path}")
    source = RecordedSubcaptions(_read(augment), config.n_aug, config.seed)
    if source.per_epoch < config.n_aug:
        context.console.warn(
            f"--n-aug {config.n_aug} is more than the {source.per_epoch} captions with sub-captions: all are used."
        )
    return source, augment


def _augment_run(config: DefendConfig, pairs: Pairs, context: Context) -> Run | None:
    if config.augment_from is None:
        return _newest_augment(context, pairs.fingerprint)
    run = find_run(context.runs, ("augment",), config.augment_from)
    if AugmentDetails.of(run).fingerprint != pairs.fingerprint:
        raise RunError(
            f"Augment run {run.name} was made from other pairs: make one with --data {pairs.spec}."
        )
    return run


def _newest_augment(context: Context, fingerprint: str) -> Run | None:
    def find() -> str | None:
        found = find_augment(context.runs, fingerprint)
        return str(found.path) if found else None

    path = launch.current().from_main(find)
    return Run.open(path) if path else None


def _read(run: Run) -> pa.Table:
    path = run.output(TABLE)
    try:
        table = pq.read_table(path, memory_map=True)
        if not len(table):
            raise RunError(f"Augment run {run.name} contains no sub-caption.")
        return table.sort_by("id")
    except (OSError, KeyError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read: {error!s:.160}.") from error
