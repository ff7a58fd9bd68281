"""Counts unusable rows, and stops when their share exceeds a limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from clipdefend.errors import DataError

MAX_EXAMPLES = 20


@dataclass
class BadRows:
    """Bad rows of one data set; each is counted once, however often it is encountered.

    Args:
        limit: largest allowed share of bad rows, 0 to 1.
        skipped: number of samples that did not become rows (see ``Pairs.skipped``), counted in addition.
    """

    limit: float = 0.01
    skipped: int = 0
    examples: list[str] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)

    @property
    def count(self) -> int:
        return self.skipped + len(self.rows)

    def add(self, row: int, reason: object) -> bool:
        """Count a row as bad.

        Args:
            row: number of the row.
            reason: why it is bad, as text or as the error itself.

        Returns:
            Whether the row had not been counted before.
        """
        if row in self.rows:
            return False
        self.rows.add(row)
        text = str(reason)
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(text if text.lower().startswith("row ") else f"Row {row}: {text}")
        return True

    def update(self, reasons: Iterable[tuple[int, object]]) -> None:
        """Count several rows, such as those that a worker encountered."""
        for row, reason in reasons:
            self.add(row, reason)

    def check(self, total: int) -> None:
        """Raise DataError if the bad rows exceed the limit.

        Args:
            total: number of rows of the data set (not only those read so far), without the skipped samples.

        Raises:
            DataError: there are more bad rows than ``limit`` allows; the message names the first.
        """
        everything = total + self.skipped
        if self.count > self.limit * everything:
            first = self.examples[0] if self.examples else "no example was kept"
            raise DataError(
                f"{self.count:,} of {everything:,} rows cannot be used, more than --max-bad {self.limit:g}"
                f" allows. The first: {first}. Fix the data or raise --max-bad."
            )

    def summary(self) -> dict[str, Any]:
        """Return the count and the first examples, for the manifest."""
        return {"count": self.count, "examples": list(self.examples)}
