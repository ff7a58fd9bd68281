"""Recovery, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipdefend.evaluation.flat_metrics import hidden_image_warning, lift, recovery
from clipdefend.evaluation.tally import Tally


def test_recovery_is_the_share_of_the_clean_models_robust_accuracy() -> None:
    model = {"ra@1": 0.3, "ra@1_low": 0.2, "ra@5": 0.9, "ba@1": 0.8, "asr@1": 0.1, "n_triggered": 10}
    clean = {"ra@1": 0.4, "ra@1_low": 0.1, "ra@5": 0.6, "ba@1": 0.9, "asr@1": 0.2}
    assert recovery(model, clean) == {"recovery@1": pytest.approx(0.75), "recovery@5": pytest.approx(1.5)}


def test_recovery_of_what_the_clean_model_cannot_do_has_no_value() -> None:
    assert recovery({"ra@1": 0.3, "ra@5": 0.0}, {"ra@1": 0.0, "ra@5": 0.5, "ra@3": 0.4}) == {
        "recovery@5": 0.0
    }


def test_a_trigger_hides_the_image_when_ra_is_below_half_of_ba() -> None:
    assert hidden_image_warning({"ba@1": 0.8, "ra@1": 0.4}) is None
    warning = hidden_image_warning({"ba@1": 0.8, "ra@1": 0.39})
    assert warning is not None
    assert "RA@1 is 39.0 % at BA@1 80.0 %" in warning
    assert hidden_image_warning({"ba@1": 0.8}) is None
    assert hidden_image_warning({}) is None


def test_lift_is_a_mean_with_its_standard_error_over_the_images_that_asr_counts() -> None:
    """Rises 0.1 and 0.3 without the target's 0.9: mean 0.2, sd 0.1414, divided by sqrt 2 is 0.1."""
    tally = Tally(labels=np.array([0, 1, 0]), target=1)
    clean = torch.tensor([[0.5, 0.0], [0.5, 0.0], [0.5, 0.2]])
    triggered = torch.tensor([[0.5, 0.1], [0.5, 0.9], [0.5, 0.5]])
    tally.add(np.arange(3), clean, triggered)
    tally.gather()
    found = tally.metrics([1])
    assert (found["lift"], found["lift_se"]) == pytest.approx((0.2, 0.1))
    assert lift(np.empty(0)) == {}
    assert lift(np.array([0.5])) == {"lift": 0.5}
