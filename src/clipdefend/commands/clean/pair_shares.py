"""How ``clean`` divides the clean pairs: for canaries to poison, to check, and to train on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipdefend.config import CleanConfig
from clipdefend.data.pairs import Pairs
from clipdefend.draws import permutation
from clipdefend.errors import DataError
from clipdefend.runs import MANIFEST, Context, PairsDetails, PairsSource, RunDir
from clipdefend.runs.flagged_rows import write_rows

PLANT, CHECK, TRAIN, COPY = "plant", "check", "train", "copy"
LEAST_POISONED = 4
"""Poisoned pairs that a canary needs at least; far more are needed for it to be learned."""
LEAST_TRAINED = 16


@dataclass(frozen=True, kw_only=True)
class PairShares:
    """Rows of the clean pairs, ascending.

    Attributes:
        plant: those among which canaries poison some.
        check: those that accuracy is measured on; empty where there are labelled images.
        train: those that candidates train on.
    """

    plant: NDArray[np.int64]
    check: NDArray[np.int64]
    train: NDArray[np.int64]

    @property
    def rows(self) -> Mapping[str, NDArray[np.int64]]:
        return {PLANT: self.plant, CHECK: self.check, TRAIN: self.train, COPY: self.copy}

    @property
    def copy(self) -> NDArray[np.int64]:
        """Rows that the copy with the canaries is trained on: all but those of ``check``.

        With ``plant`` alone, planting costs the copy accuracy that candidates then win back from the others.
        """
        return np.union1d(self.plant, self.train)


def divide_pairs(config: CleanConfig, size: int, *, labelled: bool) -> PairShares:
    """Draw the shares by the seed.

    Args:
        config: of the command.
        size: number of pairs.
        labelled: whether accuracy is measured on labelled images, so that no pairs are needed for it.

    Raises:
        DataError: there are too few pairs.
    """
    order = permutation(size, config.seed, "clean-shares")[: config.num_samples]
    planted = round(config.canaries.share * len(order))
    checked = 0 if labelled else min(config.check_pairs, (len(order) - planted) // 2)
    trained = len(order) - planted - checked
    poisoned = round(config.canaries.rate * planted)
    if poisoned < LEAST_POISONED or trained < LEAST_TRAINED:
        raise DataError(
            f"{len(order):,} pairs are too few: {planted:,} for canaries, of which each poisons {poisoned:,}"
            f" (at least {LEAST_POISONED}), and {trained:,} to train on (at least {LEAST_TRAINED}). Give more pairs"
            " with --data, or raise --canary-rate."
        )
    parts = np.split(order, [planted, planted + checked])
    plant, check, train = (np.sort(part) for part in parts)
    return PairShares(plant=plant, check=check, train=train)


def write_shares(
    shares: PairShares, config: CleanConfig, context: Context, steps: Path, pairs: Pairs, source: PairsSource
) -> dict[str, Path]:
    """Write a run folder for each share whose table flags all rows but its own, for ``--exclude-manifest``.

    Returns:
        Name of the share -> its folder, absolute; without empty shares.
    """
    found = {}
    alone = replace(config, train=replace(config.train, resume=None))  # a run of its own, not the resumed one
    for name, rows in shares.rows.items():
        if not len(rows):
            continue
        place = found[name] = steps / f"rows-{name}"
        if (place / MANIFEST).is_file():
            continue
        shutil.rmtree(place, ignore_errors=True)  # begun and killed
        with RunDir.begin(steps, alone, name, out=place) as folder:
            flagged = np.ones(len(pairs), np.bool_)
            flagged[rows] = False
            write_rows(folder.path, np.arange(len(pairs)), flagged.astype(float), flagged)
            folder.finish(details=PairsDetails(fingerprint=pairs.fingerprint, source=source))
    return found
