"""Count rows that cannot be used, and stop when they are more than a share of all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from clipdefend.errors import DataError

MAX_EXAMPLES = 20


@dataclass
class BadRows:
    """Bad rows of one data set: each row is counted once, however often it is met.

    Args:
        limit: largest allowed share of bad rows, 0 to 1.
        skipped: samples that never became rows (see ``Pairs.skipped``), counted on top of the rows.
    """

    limit: float = 0.01
    skipped: int = 0
    examples: list[str] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)

    @property
    def count(self) -> int:
        return self.skipped + len(self.rows)

    def add(self, row: int, reason: object) -> bool:
        """Count ``row`` as bad; True when it was not counted before. ``reason`` is text or the error
        itself.
        """
        if row in self.rows:
            return False
        self.rows.add(row)
        text = str(reason)
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(text if text.lower().startswith("row ") else f"Row {row}: {text}")
        return True

    def update(self, reasons: Iterable[tuple[int, object]]) -> None:
        """Count many rows, such as those that a worker has met."""
        for row, reason in reasons:
            self.add(row, reason)

    def check(self, total: int) -> None:
        """Raise when the bad rows exceed the limit.

        Args:
            total: rows of the data set (not only those met so far), without the skipped samples.

        Raises:
            DataError: more bad rows than ``limit`` allows; names the first.
        """
        everything = total + self.skipped
        if self.count > self.limit * everything:
            first = self.examples[0] if self.examples else "no example was kept"
            raise DataError(
                f"{self.count:,} of {everything:,} rows cannot be used, more than --max-bad {self.limit:g}"
                f" allows. The first: {first}. Fix the data or raise --max-bad."
            )

    def summary(self) -> dict[str, Any]:
        """Count and first examples, for the manifest."""
        return {"count": self.count, "examples": list(self.examples)}
