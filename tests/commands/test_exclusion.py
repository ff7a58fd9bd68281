"""Rows that any run has flagged are left out, by number in the same pairs and by image in others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.exclusion import exclude_rows
from clipdefend.config import AugmentConfig, ColumnsConfig
from clipdefend.data.pairs import Pairs, open_pairs
from clipdefend.data.remaining_pairs import RemainingPairs
from clipdefend.errors import RunError
from clipdefend.runs import EXCLUDED, AugmentDetails, Context, Run, RunDir
from clipdefend.runs.flagged_rows import read_flagged, write_rows
from command_lines import EVAL, TRAIN, Shell
from poison_runs import rows_of


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(runs=tmp_path / "runs")


def judge(context: Context, pairs: Pairs, flagged: list[int], *parents: Run) -> Run:
    """A run that has judged all rows; its command stands for one that does so."""
    with RunDir.begin(context.runs, AugmentConfig(), "judge") as folder:
        ids = range(len(pairs) - 1, -1, -1)
        write_rows(folder.path, ids, [float(row) for row in ids], [row in flagged for row in ids])
        details = AugmentDetails(
            fingerprint=pairs.fingerprint, source=inputs.describe_source(pairs, ColumnsConfig())
        )
        return folder.finish(parents=parents, details=details)


def test_any_run_can_flag_rows(context: Context, table: Path) -> None:
    pairs = open_pairs(str(table), cache=context.runs / ".cache")
    run = judge(context, pairs, [7, 3, 39])
    found = exclude_rows(context, run.name, pairs)
    assert found.run.path == run.path
    assert found.rows.tolist() == [3, 7, 39]


def test_rows_are_found_by_their_images_in_other_pairs(context: Context, table: Path, tmp_path: Path) -> None:
    pairs = open_pairs(str(table), cache=context.runs / ".cache")
    run = judge(context, pairs, [3, 12, 20])
    lines = table.read_text().splitlines()
    part = tmp_path / "part.csv"
    part.write_text("\n".join([lines[0], *lines[11:]]))  # without the first ten rows
    assert exclude_rows(context, run.name, open_pairs(str(part), cache=tmp_path / "c")).rows.tolist() == [
        2,
        10,
    ]
    table.write_text("\n".join(lines[:-1]))
    with pytest.raises(RunError, match="which have changed since: its rows cannot be found here"):
        exclude_rows(context, run.name, open_pairs(str(part), cache=tmp_path / "c"))


def test_poisoned_pairs_keep_the_numbers_of_the_clean_ones_and_subsets_do_not(
    context: Context, table: Path, make: Any
) -> None:
    poison = make()
    clean = open_pairs(str(table), cache=context.runs / ".cache")
    poisoned = inputs.poisoned_pairs(poison, context)
    row = min(rows_of(poison))
    run = judge(context, poisoned, [row])
    assert exclude_rows(context, run.name, clean).rows.tolist() == [row]
    less = RemainingPairs(poisoned, np.arange(row))
    assert less.fingerprint.startswith(clean.fingerprint)
    assert exclude_rows(context, poison.name, RemainingPairs(clean, np.arange(row))).rows.tolist() == sorted(
        each - row for each in rows_of(poison)
    )
    assert exclude_rows(context, run.name, less).rows.tolist() == []  # row 0 is a poisoned image there


def test_the_nearest_ancestor_that_flagged_rows_is_taken(context: Context, table: Path, make: Any) -> None:
    poison = make()
    pairs = open_pairs(str(table), cache=context.runs / ".cache")
    judged = judge(context, pairs, [1], poison)
    assert exclude_rows(context, judged.name, pairs).run.path == judged.path
    with RunDir.begin(context.runs, AugmentConfig(), "none") as folder:
        below = folder.finish(parents=[poison])
    assert exclude_rows(context, below.name, pairs).run.path == poison.path
    with RunDir.begin(context.runs, AugmentConfig(), "none") as folder:
        without = folder.finish()
    with pytest.raises(RunError, match="has flagged no rows, and neither has any run that it was made from"):
        exclude_rows(context, without.name, pairs)


def test_the_run_is_recorded_as_a_parent_whose_trigger_is_another_runs(make: Any) -> None:
    first = make(count="15")
    second = make(exclude_manifest=first.name)
    (record,) = second.manifest["parents"]
    assert (record["sha256"], record["use"]) == (first.sha256, "excluded rows")
    assert [run.path for run in second.parents()] == [first.path]
    with RunDir.begin(first.path.parent, AugmentConfig(), "x") as folder:
        made = folder.finish(uses={EXCLUDED: first})
    assert made.find_ancestor("poison") is None
    assert inputs.find_attack(made) is None


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_a_damaged_table_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = write_rows(tmp_path, [0, 1], [0.5, 0.1], [True, False])
    assert read_flagged(path).tolist() == [0]
    if content is None:
        write_rows(tmp_path, [-1], [0.5], [True])
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"rows\.parquet (cannot be read|is damaged: it flags row -1)"):
        read_flagged(path)


def test_a_defence_records_it_too(chain: Shell) -> None:
    done = chain(
        *("defend", "--method", "ft", *EVAL, *TRAIN, "--epochs", 1, "--from", "002-finetune-attack-badnet"),
        *("--exclude-manifest", "001-poison-badnet", "--out", "without"),
    )
    assert done.code == 0, done.err
    parents = Run.open(chain.folder / "without").manifest["parents"]
    assert [(each["command"], each.get("use")) for each in parents] == [
        ("finetune-attack", None),
        ("poison", "excluded rows"),
    ]
    assert "Excluding the 20 rows that run 001-poison-badnet flagged" in done.err
