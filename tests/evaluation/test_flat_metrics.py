"""Recovery, by hand."""

from __future__ import annotations

import pytest

from clipdefend.evaluation.flat_metrics import recovery


def test_recovery_is_the_share_of_the_clean_models_robust_accuracy() -> None:
    model = {"ra@1": 0.3, "ra@1_low": 0.2, "ra@5": 0.9, "ba@1": 0.8, "asr@1": 0.1, "n_triggered": 10}
    clean = {"ra@1": 0.4, "ra@1_low": 0.1, "ra@5": 0.6, "ba@1": 0.9, "asr@1": 0.2}
    assert recovery(model, clean) == {"recovery@1": pytest.approx(0.75), "recovery@5": pytest.approx(1.5)}


def test_recovery_of_what_the_clean_model_cannot_do_has_no_value() -> None:
    assert recovery({"ra@1": 0.3, "ra@5": 0.0}, {"ra@1": 0.0, "ra@5": 0.5, "ra@3": 0.4}) == {
        "recovery@5": 0.0
    }
