"""``--keep-poison``: a few poisoned pairs that a defender overlooked stay among the clean ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from clipdefend.data.pairs import Pairs
from clipdefend.draws import permutation
from clipdefend.errors import ConfigError
from clipdefend.poisoning import POISONED, TABLE, image_name, read_changed_rows
from clipdefend.runs import Run


@dataclass
class KeptPoison(Pairs):
    """Pairs of which some have given their places to poisoned pairs of a run; their number stays.

    Args:
        base: the clean pairs.
        folder: of the poison run.
        identity: of the poison run, part of the fingerprint.
        kept: row -> (row of the poisoned pair in the run, its caption).
    """

    base: Pairs
    folder: Path
    identity: str
    kept: dict[int, tuple[int, str]] = field(repr=False)

    def __post_init__(self) -> None:
        self.spec, self.recognised = self.base.spec, self.base.recognised
        places = ",".join(f"{row}:{poisoned}" for row, (poisoned, _) in sorted(self.kept.items()))
        digest = hashlib.blake2b(f"{self.identity} {places}".encode(), digest_size=8).hexdigest()
        self.fingerprint = f"{self.base.fingerprint}+{digest}"
        self.skipped, self.skip_reasons = self.base.skipped, self.base.skip_reasons

    def __len__(self) -> int:
        return len(self.base)

    def prefetch(self, rows: Sequence[int]) -> None:
        self.base.prefetch([row for row in rows if row not in self.kept])

    def caption(self, row: int) -> str:
        return self.kept[row][1] if row in self.kept else self.base.caption(row)

    def image_ref(self, row: int) -> str:
        return image_name(self.kept[row][0]) if row in self.kept else self.base.image_ref(row)

    def image(self, row: int) -> Image.Image:
        if row not in self.kept:
            return self.base.image(row)
        from clipdefend.data.decode import decode_image

        return decode_image(self.folder / image_name(self.kept[row][0]))


def keep_poison(pairs: Pairs, poison: Run | None, count: int, seed: int) -> KeptPoison:
    """Put poisoned pairs in the places of clean ones; which ones, and where, is drawn by the seed.

    A larger count keeps those of a smaller one, in the same places.

    Args:
        pairs: clean ones, after all that is left out of them.
        poison: the poison run that the suspect descends from.
        count: number of pairs to keep, at least 1.
        seed: the run's.

    Raises:
        ConfigError: no poison run, or fewer poisoned or clean pairs than are to be kept.
        RunError: its table is damaged.
    """
    if poison is None:
        raise ConfigError(
            "--keep-poison needs a poison run, and the suspect was not made from one: leave it out."
        )
    table = poison.output(TABLE)
    columns = read_changed_rows(table, ["id", "caption", "role"])
    poisoned = sorted(
        (int(row), str(text)) for row, text, role in zip(*columns, strict=True) if role == POISONED
    )
    if count > min(len(poisoned), len(pairs)):
        raise ConfigError(
            f"--keep-poison is {count:,}; run {poison.name} has {len(poisoned):,} poisoned pairs, and there are"
            f" {len(pairs):,} pairs to clean with."
        )
    chosen = permutation(len(poisoned), seed, "keep-poison")[:count]
    places = permutation(len(pairs), seed, "keep-poison places")[:count]
    kept = {int(place): poisoned[number] for place, number in zip(places, chosen, strict=True)}
    return KeptPoison(pairs, table.parent, poison.sha256, kept)
