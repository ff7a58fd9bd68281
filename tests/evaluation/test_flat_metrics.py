"""Recovery, by hand."""

from __future__ import annotations

import pytest

from clipdefend.evaluation.flat_metrics import hidden_image, recovery


def test_recovery_is_the_share_of_the_clean_models_robust_accuracy() -> None:
    model = {"ra@1": 0.3, "ra@1_low": 0.2, "ra@5": 0.9, "ba@1": 0.8, "asr@1": 0.1, "n_triggered": 10}
    clean = {"ra@1": 0.4, "ra@1_low": 0.1, "ra@5": 0.6, "ba@1": 0.9, "asr@1": 0.2}
    assert recovery(model, clean) == {"recovery@1": pytest.approx(0.75), "recovery@5": pytest.approx(1.5)}


def test_recovery_of_what_the_clean_model_cannot_do_has_no_value() -> None:
    assert recovery({"ra@1": 0.3, "ra@5": 0.0}, {"ra@1": 0.0, "ra@5": 0.5, "ra@3": 0.4}) == {
        "recovery@5": 0.0
    }


def test_a_trigger_hides_the_image_when_ra_is_below_half_of_ba() -> None:
    assert hidden_image({"ba@1": 0.8, "ra@1": 0.4}) is None
    warning = hidden_image({"ba@1": 0.8, "ra@1": 0.39})
    assert warning is not None
    assert "RA@1 is 39.0 % at BA@1 80.0 %" in warning
    assert hidden_image({"ba@1": 0.8}) is None
    assert hidden_image({}) is None
