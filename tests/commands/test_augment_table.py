"""``augment``'s table read again: each counterfactual differs from its factual in the chosen part and no other."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipdefend.augment.subcaptions import SubCaption
from command_lines import EVAL, TRAIN, Outcome, Shell, write_pairs
from memory_pairs import noise
from subcaption_check import is_consistent

sys.path.append(str(Path(__file__).parents[1] / "augment"))
from real_captions import REAL

PARTS = ("factual", "counterfactual", "operation", "replaced", "replacement")


def check(shell: Shell, made: Outcome) -> Counter[str]:
    """Every row of a run's table; returns its operations."""
    assert made.code == 0, made.err
    with shell.inside():
        rows = pq.read_table(made.folder / "subcaptions.parquet").to_pylist()
        recorded = made.manifest["details"]["operations"]
    for row in rows:
        assert is_consistent(SubCaption(**{part: row[part] for part in PARTS})), row
    counts = Counter(row["operation"] for row in rows)
    assert counts == recorded
    return counts


def test_the_built_in_captions(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    made = shell("augment", "--n", 300, "--runs", tmp_path / "runs", "--out", tmp_path / "made")
    counts = check(shell, made)
    assert set(counts) == {"adjective", "relation", "noun"}
    assert sum(counts.values()) >= 297


@pytest.mark.parametrize("operation", ["noun", "adjective", "adjective,relation"])
def test_captions_as_people_write_them(tmp_path: Path, operation: str) -> None:
    noise(0).save(tmp_path / "photo.jpg")
    write_pairs(tmp_path / "real.csv", [("photo.jpg", caption) for row, caption in enumerate(REAL)])
    keys = ("--set", f"subcaptions.operations={operation}", "--set", "subcaptions.keep_adjectives=1")
    shell = Shell(tmp_path)
    made = shell(
        "augment",
        "--data",
        "real.csv",
        "--out",
        tmp_path / "made",
        "--relations",
        2,
        "--counterfactuals",
        3,
        *keys,
    )
    assert set(check(shell, made)) == set(operation.split(","))
    with shell.inside():
        details = made.manifest["details"]
    assert details["without_noun"]["count"] == 0
    assert (details["without_counterfactual"]["count"] > 0) == ("noun" not in operation)
    assert ("nothing that subcaptions.operations could replace" in made.err) == ("noun" not in operation)


def test_defend_draws_among_several_sub_captions(chain: Shell, tmp_path: Path) -> None:
    several = ("--relations", 2, "--counterfactuals", 3)
    source = ("--from", chain.folder / "runs" / "001-poison-badnet")
    made = chain("augment", *several, *source, "--out", tmp_path / "made")
    check(chain, made)
    ids = pq.read_table(tmp_path / "made" / "subcaptions.parquet").column("id").to_pylist()
    assert len(ids) > 2 * len(set(ids))
    victim = ("--from", chain.folder / "runs" / "002-finetune-attack-badnet")
    clean = chain(
        "defend",
        "--n-aug",
        20,
        *EVAL,
        *TRAIN,
        *victim,
        "--augment-from",
        tmp_path / "made",
        "--out",
        tmp_path / "clean",
    )
    assert clean.code == 0, clean.err
    with chain.inside():
        assert clean.manifest["details"]["subcaption_steps"] > 0
