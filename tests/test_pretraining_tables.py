"""``examples/pretraining_tables.py``: its figures by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipdefend.errors import RunError
from clipdefend.report.collect import Epoch
from example_modules import load_example
from report_runs import Lab, shares


@pytest.fixture(scope="module")
def tables() -> Any:
    return load_example("pretraining_tables")


def run_of(*figures: tuple[float, float]) -> list[Epoch]:
    """BA@1 and ASR@1 of the victim and of each epoch."""
    return [Epoch(number, {"ba@1": ba, "asr@1": asr}) for number, (ba, asr) in enumerate(figures)]


RUNS = [
    run_of((0.60, 0.99), (0.50, 0.30), (0.55, 0.60)),
    run_of((0.60, 0.99), (0.30, 0.02), (0.45, 0.08)),
]


def test_the_best_accuracy_under_a_bound(tables: Any) -> None:
    assert tables.best_at(RUNS, 0.05) == pytest.approx((30.0, 30.0))
    assert tables.best_at(RUNS, 0.1) == pytest.approx((45.0, 15.0))
    assert tables.best_at(RUNS, 0.5) == pytest.approx((50.0, 10.0))
    assert tables.best_at(RUNS, 0.01) is None


def test_the_lowest_asr_at_a_loss_of_accuracy(tables: Any) -> None:
    assert tables.lowest_asr(RUNS, 0.05) == pytest.approx(60)
    assert tables.lowest_asr(RUNS, 0.10) == pytest.approx(30)  # a loss of the bound itself is allowed
    assert tables.lowest_asr(RUNS, 0.15) == pytest.approx(8)
    assert tables.lowest_asr(RUNS, 0.01) is None  # the victim itself is not a candidate


def test_differences_are_made_within_a_seed(tables: Any) -> None:
    better = [run_of((0.50, 0.99), (0.45, 0.05))]
    cleaned = {
        ("MMCL", "SSL"): {1: better, 2: better, 3: better},
        ("MMCL+SSL", "SSL"): {1: RUNS, 2: better},
        ("MMCL+SSL", "MMCL"): {1: RUNS},
    }
    found = tables.compare(cleaned, lambda runs: tables.best_at(runs, 0.1)[1])
    assert found == {"SSL": [pytest.approx(10.0), pytest.approx(0.0)], "MMCL": []}
    # What one of the two victims does not reach is no difference, and is counted as missing.
    assert tables.compare(cleaned, tables.loss_at(0.03)) == {"SSL": [None, None], "MMCL": []}


def test_spreads_and_intervals(tables: Any) -> None:
    assert tables.spread([1.0, 3.0, 5.0]) == "3.0 ± 2.0"
    assert tables.spread([1.0, None, 5.0]) == "3.0 ± 2.8 (2 of 3)"
    assert tables.spread([None]) == "-"
    # 4.303 is the 97.5 % point of t with two degrees of freedom: 4.303 * 2 / sqrt(3) = 4.97
    assert tables.interval([1.0, 3.0, 5.0]) == "+3.0 [-2.0, 8.0]"
    assert tables.interval([1.0]) == "-"
    # One degree of freedom: 12.706 * 2.83 / sqrt(2) = 25.4
    assert tables.interval([1.0, None, 5.0]) == "+3.0 [-22.4, 28.4] (2 of 3)"


def test_runs_of_a_folder_with_a_space(
    tables: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two seeds of a victim; plain runs, heavy weight decay of 1 apart from them, and one run that measured nothing."""
    for seed in (1, 2):
        lab = Lab(tmp_path / "my study", seed)
        victim = lab.victim(lab.poison(), shares(ba1=0.6, asr1=0.99, ra1=0.01))
        epochs = [shares(ba1=0.6, asr1=0.99), shares(ba1=0.5 + seed / 50, asr1=0.04)]
        lab.defend(victim, "cleanclip", epochs[-1], epochs=epochs)
        lab.defend(victim, "cleanclip", epochs[-1], epochs=epochs, train__wd=1)
    lab.defend(victim, "ft", epochs[-1])
    tables.main(tmp_path / "my study")
    out, err = capsys.readouterr()
    assert "| MMCL | 1 | - | 60.0 | 99.0 | 1.0 |" in out
    cells = "- | - | 53.0 ± 1.4 (-7.0) | 53.0 ± 1.4 (-7.0) | 53.0 ± 1.4 (-7.0) | 53.0 ± 1.4 (-7.0) |"
    assert f"| MMCL | MMCL+SSL | 1 | 2 | {cells}" in out
    assert f"| MMCL | MMCL+SSL, weight decay 1 | 1 | 2 | {cells}" in out
    assert "| MMCL | MMCL+SSL | - | - | 4.0 ± 0.0 | 4.0 ± 0.0 |" in out
    assert err.count("left out") == 1
    assert "did not measure it" in err
    for name, wrong in (("nowhere", "does not exist"), ("bare", "no run of defend that measured")):
        Lab(tmp_path / "bare").poison()
        with pytest.raises(RunError, match=wrong):
            tables.main(tmp_path / name)
