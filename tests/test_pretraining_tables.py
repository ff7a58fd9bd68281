"""``examples/pretraining_tables.py``: its figures by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from clipdefend.report.collect import Epoch

PLACE = Path(__file__).parents[1] / "examples" / "pretraining_tables.py"


@pytest.fixture(scope="module")
def tables() -> Any:
    spec = importlib.util.spec_from_file_location("pretraining_tables", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pretraining_tables"] = module  # which dataclasses look up
    spec.loader.exec_module(module)
    return module


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


def test_spreads_and_intervals(tables: Any) -> None:
    assert tables.spread([1.0, 3.0, 5.0]) == "3.0 ± 2.0"
    assert tables.spread([1.0, None, 5.0]) == "3.0 ± 2.8 (2 of 3)"
    assert tables.spread([None]) == "-"
    # 4.303 is the 97.5 % point of t with two degrees of freedom: 4.303 * 2 / sqrt(3) = 4.97
    assert tables.interval([1.0, 3.0, 5.0]) == "+3.0 [-2.0, 8.0]"
    assert tables.interval([1.0]) == "-"
