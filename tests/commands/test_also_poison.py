"""Several backdoors in one model: the poisoned pairs of further runs are laid over those of the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipdefend.commands.shared.inputs import poisoned_pairs
from clipdefend.errors import ConfigError, RunError
from clipdefend.runs import Context
from poison_runs import rows_of


def test_the_rows_of_every_run_are_poisoned_and_the_last_counts(make: Any, tmp_path: Path) -> None:
    first = make(target="dog", count="12")
    second = make(target="cat", count="12", seed="1", attack="sig")
    both, one, other = rows_of(first) & rows_of(second), rows_of(first), rows_of(second)
    assert both
    pairs = poisoned_pairs(first, Context(runs=tmp_path / "runs"), [second])
    clean = pairs.base.base  # type: ignore[attr-defined]  # the first run's pairs lie between
    for row in range(len(pairs)):
        word = "cat" if row in other else "dog" if row in one else None
        assert (word is None) == (pairs.caption(row) == clean.caption(row))
        assert word is None or word in pairs.caption(row)
    (row, *_) = sorted(one - other)
    assert np.asarray(pairs.image(row)).tolist() == np.asarray(pairs.base.image(row)).tolist()
    assert first.sha256[:16] in pairs.fingerprint
    assert second.sha256[:16] in pairs.fingerprint


def test_rows_in_common_are_told_and_runs_on_the_same_rows_refused(make: Any, tmp_path: Path) -> None:
    first, second = make(target="dog", count="12"), make(target="cat", count="12", seed="1", attack="sig")
    context = Context(runs=tmp_path / "runs")
    common = len(rows_of(first) & rows_of(second))
    poisoned_pairs(first, context, [second])
    (told,) = context.console.warnings
    assert told.startswith(
        f"{common} of the 12 rows that run {first.name} changed are changed by a later one"
    )
    same = make(target="cat", count="12", attack="sig")  # the same seed draws the same rows
    with pytest.raises(ConfigError, match=r"^12 of the 12 rows .*: poison with another --seed\.$"):
        poisoned_pairs(first, context, [same])


def test_other_pairs_and_another_canvas_are_refused(make: Any, table: Path, tmp_path: Path) -> None:
    context = Context(runs=tmp_path / "runs")
    first, large = make(), make(image_size="48")
    with pytest.raises(ConfigError, match="has another canvas than"):
        poisoned_pairs(first, context, [large])
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    short = make()
    with pytest.raises(RunError, match=r"changed since|made from other pairs than"):
        poisoned_pairs(short, context, [first])
