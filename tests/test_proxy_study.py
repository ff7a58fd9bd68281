"""``examples/proxy_study.py``: its figures by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from example_modules import load_example


@pytest.fixture(scope="module")
def study() -> Any:
    return load_example("proxy_study")


def test_ranks_share_the_mean_of_equals(study: Any) -> None:
    assert study.ranks([0.3, 0.1, 0.3, 0.9]) == [2.5, 1.0, 2.5, 4.0]


def test_rank_correlation(study: Any) -> None:
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 (0 + 1 + 1 + 0) / (4 (16 - 1)) = 0.8
    assert study.rank_correlation([1, 2, 3, 4], [0.1, 0.5, 0.2, 0.9]) == pytest.approx(0.8)
    assert study.rank_correlation([1, 2, 3], [30, 20, 10]) == pytest.approx(-1)
    assert math.isnan(study.rank_correlation([1, 1, 1], [1, 2, 3]))


def test_regret_is_what_the_choice_leaves_on_the_table(study: Any) -> None:
    assert study.regret([0.2, 0.1, 0.3], [0.05, 0.30, 0.40]) == pytest.approx(0.25)
    assert study.regret([0.1, 0.1, 0.3], [0.05, 0.25, 0.01]) == pytest.approx(0.14)  # the mean of two equals
    assert study.regret([0.5, 0.1], [0.9, 0.2]) == 0


def test_bootstrap_over_victims(study: Any) -> None:
    assert study.bootstrap([0.5, 0.5, math.nan]) == (0.5, 0.5)
    low, high = study.bootstrap([0.0, 1.0])  # the mean of two draws is 0, 0.5 or 1
    assert (low, high) == (0.0, 1.0)
    assert math.isnan(study.bootstrap([])[0])


def test_the_table_leaves_out_what_no_victim_has(study: Any) -> None:
    victims = [
        study.Victim("a", {"canary": [0.1, 0.2], "loss": [2, 1]}, [0.0, 0.5]),
        study.Victim("b", {"canary": [0.2, 0.1]}, [0.1, 0.3]),
    ]
    lines = study.table(victims).splitlines()
    # Correlations 1 and -1; regrets 0 and 20 points. Of the loss -1 and 50.
    assert lines[2] == "| canary | 2 | 0.00 [-1.00, 1.00] | 10.0 [0.0, 20.0] |"
    assert lines[3] == "| loss | 1 | -1.00 [-1.00, -1.00] | 50.0 [50.0, 50.0] |"
    assert len(lines) == 4
