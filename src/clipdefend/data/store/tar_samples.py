"""Groups the members of a tar archive into samples by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from clipdefend.data.store.shards import Shard
from clipdefend.data.store.tar import Gap, Member, members
from clipdefend.data.visibility import is_visible_path
from clipdefend.errors import DataError

MAX_PENDING = 1_000_000
"""Maximum number of incomplete samples of a shard that are held in memory."""

Slots = dict[str, Member]
"""Kind of member, such as "image" -> member of a sample."""


class Sample(NamedTuple):
    """A sample, or a placeholder for a lost one.

    Attributes:
        key: name of its members without the ending; empty for a lost sample.
        slots: its members, possibly incomplete.
        damage: damage of the archive that explains missing members; empty if there is none.
    """

    key: str
    slots: Slots
    damage: str = ""


def samples(
    shard: Shard, slot_of: Callable[[str], str | None], complete: Callable[[Slots], bool]
) -> Iterator[Sample]:
    """Group the members of a tar by name.

    The key is the name up to its last dot. As in webdataset, names that agree up to the first dot form a family: if
    a sample has the family's name as its key, a member such as ``KEY.seg.png`` is another field of that sample, not
    a separate one.

    A complete sample with adjacent members is yielded as soon as the next family begins. All others wait for more
    members anywhere in the shard and are yielded at its end, in the order of their first members, which also covers
    archives sorted by kind. A member that a sample already has starts a new sample. Hidden members are left out.

    Each gap of the archive is reported once, with an incomplete sample next to it or else as a lost sample, so that
    losses are counted.

    Args:
        shard: the open shard.
        slot_of: file name ending (lower case, after the last dot) -> slot such as "image"; None ignores the member.
        complete: whether slots make a complete sample.

    Raises:
        DataError: the file is not a tar, or more than MAX_PENDING samples are incomplete.
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
    """Split a member's name into key, family and lower-case ending; all are empty if key or ending is missing."""
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
        """Yield the complete samples of the family that ends, and keep the others."""
        for key, slots in self.open.items():
            if self.complete(slots):
                yield Sample(key, slots)
            elif slots and not self._is_field(key, self.open):
                self.pending[key] = slots
        self.open = {}
        if len(self.pending) > MAX_PENDING:
            raise DataError(
                f"Shard {str(self.shard.path)!r} has over {MAX_PENDING:,} images without an adjacent caption, or"
                " captions without an image: write each image next to its caption, as tar --sort=name does."
            )

    def _is_field(self, key: str, others: dict[str, Slots]) -> bool:
        """Whether a key with a dot belongs to a complete sample of its family."""
        folder, slash, base = key.rpartition("/")
        family = folder + slash + base.partition(".")[0]
        return family != key and self.complete(others.get(family, {}))

    def rest(self) -> Iterator[Sample]:
        """Yield the samples that waited, and the lost ones.

        Each incomplete sample accounts for one gap, preferably one next to it. If samples are scattered over the
        archive, a gap anywhere may have taken one of their members.
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
