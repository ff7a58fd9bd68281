"""``filter`` by two processes: the same table as by one, and one message for a mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipdefend.evaluation import pair_embeddings
from command_lines import EVAL, MODEL, TRAIN, Shell, write_data
from launched import end_of, launch

# Chunks of 16 pairs, so that both processes have some of 64.
SCRIPT = """
import sys

from clipdefend.__main__ import main
from clipdefend.evaluation import pair_embeddings

pair_embeddings.CHUNK = 16
sys.exit(main(sys.argv[1:]))
"""
FILTER = ("filter", "--scores", "dao,lorex,clipscore,loss", "--trusted", "pairs.csv", "--neighbours", 4, "--pool", 40,
          "--batch-size", 8, "--workers", 0, "--device", "cpu", "--keep", 0.8)  # fmt: skip


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell(tmp_path / "here")
    write_data(shell.folder)
    (shell.folder / "photos" / "040.jpg").write_bytes(b"no picture")
    for args in (
        (
            "poison",
            "--data",
            "pairs.csv",
            "--image-size",
            32,
            "--count",
            20,
            "--templates",
            "simple",
            "--max-bad",
            0.1,
        ),
        ("finetune-attack", *MODEL, *EVAL, *TRAIN, "--epochs", 1, "--max-bad", 0.1),
    ):
        done = shell(*args)
        assert done.code == 0, done.err
    monkeypatch.setattr(pair_embeddings, "CHUNK", 16)
    more = ("--max-bad", 0.1, "--no-keep-embeddings")
    alone = shell(*FILTER, *more, "--out", "alone")
    assert alone.code == 0, alone.err
    script = shell.folder / "small_chunks.py"
    script.write_text(SCRIPT)
    out, err, code = end_of(launch(shell, *FILTER, *more, "--out", "both", script=script))
    assert (out, code) == ("both/manifest.yaml\n", 0), err
    first, second = (pq.read_table(shell.folder / name / "rows.parquet") for name in ("alone", "both"))
    assert first.num_rows == 63
    assert first.equals(second)
    assert sorted(path.name for path in (shell.folder / "both").iterdir()) == [
        "curves.json",
        "manifest.yaml",
        "rows.parquet",
        "suspects.png",
    ]
    out, err, code = end_of(launch(shell, *FILTER, "--out", "wrong", script=script))  # a bad picture of 64
    assert code != 0
    assert out == ""
    assert set(re.findall(r"exitcode\s*: (-?\d+)", err)) == {"2"}
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert "1 of 64 rows cannot be used, more than --max-bad 0.01 allows" in line
    assert not (shell.folder / "wrong").exists()
