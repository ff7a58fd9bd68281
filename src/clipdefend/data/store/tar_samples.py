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

REPEATED = "its name repeats, and which members belong together is uncertain"

Slots = dict[str, Member]
"""Kind of member, such as "image" -> member of a sample."""


class Sample(NamedTuple):
    """A sample, or a placeholder for a lost one.

    Attributes:
        key: name of its members without the ending; empty for a lost sample.
        slots: its members, possibly incomplete; empty for a lost sample, and where its name repeats.
        damage: why members are missing; empty if the archive simply does not contain them.
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
    archives sorted by kind. Members of one name may repeat, as after ``tar --append``, as long as each sample is
    complete before the next begins; otherwise all samples of that name are yielded without members. Hidden members are
    left out.

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


@dataclass(slots=True)
class _Repeats:
    """Samples of one name: one, or several where members repeat.

    A complete sample whose members are followed by another of the same name is finished. Otherwise the samples wait
    together, and as soon as there are two nothing tells which members belong together.
    """

    waiting: list[Slots] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # kind -> number of waiting samples that have one
    has_finished: bool = False

    def add(self, slot: str, member: Member, complete: Callable[[Slots], bool]) -> Slots | None:
        """Add a member; returns the sample that this finishes."""
        finished = None
        if self.counts.get(slot) == 1 and self.is_one(complete):
            finished = self.finish()
        place = self.counts.get(slot, 0)
        if place == len(self.waiting):
            self.waiting.append({})
        self.waiting[place][slot] = member
        self.counts[slot] = place + 1
        return finished

    def is_one(self, complete: Callable[[Slots], bool]) -> bool:
        """Whether exactly one sample waits, and is complete."""
        return len(self.waiting) == 1 and complete(self.waiting[0])

    def finish(self) -> Slots:
        """Remove and return the only sample."""
        self.counts, self.has_finished = {}, True
        return self.waiting.pop()

    def settle(self) -> list[Slots]:
        """Return the samples as they are at the end of the archive: empty where it is uncertain what they hold."""
        return self.waiting if len(self.waiting) == 1 else [{} for _ in self.waiting]


@dataclass
class _Grouping:
    shard: Shard
    complete: Callable[[Slots], bool]
    gaps: list[tuple[str, set[str]]] = field(default_factory=list)  # reason, families beside it
    family: str = ""
    open: dict[str, _Repeats] = field(default_factory=dict)  # of the current family
    pending: dict[str, _Repeats] = field(default_factory=dict)
    held: int = 0  # samples in both

    def add(self, key: str, family: str, slot: str, member: Member) -> Iterator[Sample]:
        if family != self.family:
            yield from self._close()
            self.family = family
        for _, families in self.gaps[-1:]:
            if len(families) == 1:
                families.add(family)
        repeats = self.pending.get(key) or self.open.setdefault(key, _Repeats())
        before = len(repeats.waiting)
        if (finished := repeats.add(slot, member, self.complete)) is not None:
            yield Sample(key, finished)
        self.held += len(repeats.waiting) - before
        if self.held > MAX_PENDING:
            raise DataError(
                f"Shard {str(self.shard.path)!r} has over {MAX_PENDING:,} images without an adjacent caption, or"
                " captions without an image: write each image next to its caption, as tar --sort=name does."
            )

    def _close(self) -> Iterator[Sample]:
        """Yield the complete samples of the family that ends, and keep the others."""
        for key, repeats in self.open.items():
            is_field = self._is_field(key, self.open)
            if repeats.is_one(self.complete):
                yield Sample(key, repeats.finish())
                self.held -= 1
            elif is_field:
                self.held -= len(repeats.waiting)
            else:
                self.pending[key] = repeats
        self.open = {}

    def _is_field(self, key: str, others: dict[str, _Repeats]) -> bool:
        """Whether a key with a dot belongs to a complete sample of its family."""
        folder, slash, base = key.rpartition("/")
        family = folder + slash + base.partition(".")[0]
        whole = others.get(family)
        return family != key and whole is not None and (whole.has_finished or whole.is_one(self.complete))

    def rest(self) -> Iterator[Sample]:
        """Yield the samples that waited, and the lost ones.

        Each incomplete sample accounts for one gap, preferably one next to it. If samples are scattered over the
        archive, a gap anywhere may have taken one of their members.
        """
        yield from self._close()
        gaps = list(self.gaps)
        kept = [
            (key, slots)
            for key, repeats in self.pending.items()
            if not self._is_field(key, self.pending)
            for slots in repeats.settle()
        ]
        scattered = any(self.complete(slots) for _, slots in kept)
        for key, slots in kept:
            damage = "" if slots else REPEATED
            if gaps and not self.complete(slots):
                family = split_name(f"{key}.")[1]
                beside = [gap for gap in gaps if family in gap[1]] or (gaps if scattered else [])
                for gap in beside[:1]:
                    gaps.remove(gap)
                    damage = gap[0]
            yield Sample(key, slots, damage)
        for reason, _ in gaps:
            yield Sample("", {}, reason)
