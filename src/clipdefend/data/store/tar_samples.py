"""Members of a tar archive grouped into samples by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from clipdefend.data.store.shards import Shard
from clipdefend.data.store.tar import Gap, Member, members
from clipdefend.data.visibility import is_visible_path
from clipdefend.errors import DataError

MAX_PENDING = 1_000_000
"""Samples of one shard that are remembered while their other members are looked for."""

Slots = dict[str, Member]
"""Members of a sample by what they are, such as "image"."""


class Sample(NamedTuple):
    """A sample, or the place of one that is lost.

    Attributes:
        key: name of its members without the ending; empty for a lost one.
        slots: its members, which may be incomplete.
        damage: what in the archive explains that members are missing, or an empty text.
    """

    key: str
    slots: Slots
    damage: str = ""


def samples(
    shard: Shard, slot_of: Callable[[str], str | None], complete: Callable[[Slots], bool]
) -> Iterator[Sample]:
    """Group the members of a tar by name.

    The key is the name up to its last dot. As in webdataset the name up to the first dot makes a family: where a
    sample has that very key, a member such as ``KEY.seg.png`` is a further field of it and no sample of its own.

    A complete sample whose members stand together is yielded as soon as another family begins. All others wait for
    further members anywhere in the shard and come at its end, in the order of their first members; so do archives
    that are made kind by kind. A member that a sample has already begins a new sample. Hidden members are left out.

    Each gap of the archive is told once: with an incomplete sample beside it, or else as a sample of its own, so that
    what is lost is counted.

    Args:
        shard: opened.
        slot_of: from an ending (lower case, after the last dot) to a slot such as "image"; None: ignored.
        complete: whether the slots make a sample.

    Raises:
        DataError: no tar, or more than MAX_PENDING samples that wait.
    """
    grouping = _Grouping(shard, complete)
    for member in members(shard):
        if isinstance(member, Gap):
            grouping.gaps.append((member.reason, {grouping.family}))
            continue
        key, family, ending = split_name(member.name)
        slot = slot_of(ending) if key else None
        if slot is not None and is_visible_path(member.name):
            yield from grouping.add(key, family, slot, member)
    yield from grouping.rest()


def split_name(name: str) -> tuple[str, str, str]:
    """Key, family and lower-case ending of a member's name; empty where it has no key or no ending."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.rpartition(".")
    first = stem.partition(".")[0]
    return (folder + slash + stem, folder + slash + first, ending.lower()) if first else ("", "", "")


@dataclass
class _Grouping:
    shard: Shard
    complete: Callable[[Slots], bool]
    gaps: list[tuple[str, set[str]]] = field(default_factory=list)  # reason, families beside it
    family: str = ""
    open: dict[str, Slots] = field(default_factory=dict)  # of the current family
    pending: dict[str, Slots] = field(default_factory=dict)

    def add(self, key: str, family: str, slot: str, member: Member) -> Iterator[Sample]:
        if family != self.family:
            yield from self._close()
            self.family = family
        for _, families in self.gaps[-1:]:
            if len(families) == 1:
                families.add(family)
        slots = self.pending.get(key) or self.open.setdefault(key, {})
        if slot in slots:
            yield Sample(key, dict(slots))
            slots.clear()
        slots[slot] = member

    def _close(self) -> Iterator[Sample]:
        """Yield what is complete of the family that ends, and keep the rest."""
        for key, slots in self.open.items():
            if self.complete(slots):
                yield Sample(key, slots)
            elif slots and not self._is_field(key, self.open):
                self.pending[key] = slots
        self.open = {}
        if len(self.pending) > MAX_PENDING:
            raise DataError(
                f"Shard {str(self.shard.path)!r} has over {MAX_PENDING:,} images without a caption beside them, or the"
                " reverse: write each image next to its caption, as tar --sort=name does."
            )

    def _is_field(self, key: str, others: dict[str, Slots]) -> bool:
        """Whether a key with a dot belongs to a complete sample of its family."""
        folder, slash, base = key.rpartition("/")
        family = folder + slash + base.partition(".")[0]
        return family != key and self.complete(others.get(family, {}))

    def rest(self) -> Iterator[Sample]:
        """What waited, and what is lost. Each incomplete sample explains one gap: one beside it where there is one.

        Where members of a sample lie far apart, the gap that took one may be anywhere.
        """
        yield from self._close()
        gaps = list(self.gaps)
        scattered = any(map(self.complete, self.pending.values()))
        for key, slots in self.pending.items():
            if not slots or self._is_field(key, self.pending):
                continue
            damage = ""
            if gaps and not self.complete(slots):
                family = split_name(f"{key}.")[1]
                beside = [gap for gap in gaps if family in gap[1]] or (gaps if scattered else [])
                for gap in beside[:1]:
                    gaps.remove(gap)
                    damage = gap[0]
            yield Sample(key, slots, damage)
        for reason, _ in gaps:
            yield Sample("", {}, reason)
