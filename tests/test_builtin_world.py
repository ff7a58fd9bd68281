"""The built-in world end to end: tiny is accurate, and an attack by the quick preset takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipdefend.__main__ import main
from clipdefend.runs import Run


def newest(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run.open(Path(capsys.readouterr().out.strip()))


@pytest.mark.slow
def test_one_epoch_plants_a_backdoor_and_evaluation_sees_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ["--runs", str(tmp_path / "runs")]
    assert main(["poison", "--attack", "blended", *runs]) == 0
    capsys.readouterr()
    assert main(["finetune-attack", "--epochs", "1", *runs]) == 0
    victim = newest(capsys)
    assert victim.metrics["floor_ba@1"] >= 0.85, "tiny's accuracy over 58 classes"
    assert victim.metrics["floor_asr@1"] <= 0.05, "the clean model does not know the trigger"
    assert victim.metrics["asr@1"] >= 0.8
    assert victim.metrics["ba@1"] >= victim.metrics["floor_ba@1"] - 0.05
    assert "BACKDOORED" in (victim.path / "model" / "WARNING.txt").read_text()

    # From the saved weights: the same figures, and the gate of a pipeline fails on them.
    assert main(["evaluate", "--from", str(victim.path), "--max-asr", "0.05", *runs]) == 3
    captured = capsys.readouterr()
    measured = Run.open(Path(captured.out.strip())).metrics
    assert {k: measured[k] for k in victim.metrics} == victim.metrics
    assert "above --max-asr 5.00 %" in captured.err
