"""BadRows: counted once, limited by share, named."""

from __future__ import annotations

import pytest

from clipdefend.data.bad import BadRows
from clipdefend.data.decode import ImageError
from clipdefend.errors import DataError


def test_a_row_counts_once_however_often_it_is_met() -> None:
    bad = BadRows()
    assert bad.add(7, "file not found")
    assert not bad.add(7, "file not found")
    bad.update([(7, "again"), (8, ImageError("Row 8 of x.csv, image 'a': truncated"))])
    assert bad.summary() == {
        "count": 2,
        "examples": ["Row 7: file not found", "Row 8 of x.csv, image 'a': truncated"],
    }


def test_the_limit_is_a_share_of_all_rows() -> None:
    bad = BadRows(limit=0.01)
    bad.add(3, "truncated")
    bad.check(100)  # 1 of 100 is 1 %, not above it
    with pytest.raises(DataError, match=r"1 of 99 rows .* --max-bad 0.01 .* Row 3: truncated"):
        bad.check(99)


def test_skipped_samples_count_on_both_sides() -> None:
    bad = BadRows(limit=0.5, skipped=5, examples=["00000.tar/7: has no image"])
    bad.check(5)  # 5 of 10
    bad.add(0, "empty")
    with pytest.raises(DataError, match="6 of 10 rows"):
        bad.check(5)


def test_examples_are_the_first_twenty() -> None:
    bad = BadRows(limit=1.0)
    for row in range(30):
        bad.add(row, "x")
    assert bad.summary()["count"] == 30
    assert bad.summary()["examples"] == [f"Row {row}: x" for row in range(20)]


def test_a_limit_of_zero_stops_at_the_first() -> None:
    bad = BadRows(limit=0)
    bad.check(10)
    bad.add(1, "x")
    with pytest.raises(DataError):
        bad.check(1_000_000)
