"""The score by hand, and the rule at its bounds."""

from __future__ import annotations

import pytest
import torch

from clipdefend.inversion.concentration import concentrate, library_triggers
from clipdefend.inversion.scan_verdict import Evidence, Thresholds, decide, family_ratio, score_of

BOUNDS = Thresholds(backdoored=2.0, clean=1.5, library=0.5, margin=0.05)


def test_the_score_by_hand() -> None:
    suspect = {"patch": Evidence(0.01, 1.0), "blend": Evidence(0.1, 0.25)}
    reference = {"patch": Evidence(0.04, 0.25), "blend": Evidence(0.05, 0.25)}
    assert family_ratio(suspect["patch"], reference["patch"]) == pytest.approx(4 * 1.5 / 0.75)
    assert score_of(suspect, reference) == pytest.approx((8 * 0.5) ** 0.5)


def test_a_family_that_neither_model_fell_for_does_not_count() -> None:
    found = {"patch": Evidence(0.01, 0.5), "warp": Evidence(0.2, 0.0, reached=False)}
    other = {"patch": Evidence(0.03, 0.5), "warp": Evidence(2.0, 0.0, reached=False)}
    assert score_of(found, other) == pytest.approx(3)
    assert score_of({"warp": found["warp"]}, {"warp": other["warp"]}) is None


@pytest.mark.parametrize(
    ("score", "word"),
    [
        (2.0, "backdoored"),
        (1.99, "cannot tell"),
        (1.51, "cannot tell"),
        (1.5, "clean"),
        (None, "cannot tell"),
    ],
)
def test_the_bounds_belong_to_the_verdicts(score: float | None, word: str) -> None:
    verdict = decide(score, thresholds=BOUNDS)
    assert verdict.word == word
    assert "at least 2, " in verdict.rule
    assert "at most 1.5;" in verdict.rule


def test_a_known_trigger_suffices_and_a_margin_counts_without_images() -> None:
    assert decide(1.0, library=("sig", 0.5), thresholds=BOUNDS).word == "backdoored"
    assert decide(1.0, library=("sig", 0.49), thresholds=BOUNDS).word == "clean"
    assert decide(None, margin=0.049, thresholds=BOUNDS).word == "backdoored"
    assert decide(None, margin=0.05, thresholds=BOUNDS).word == "cannot tell"


def test_concentration_leaves_out_images_that_were_there_before() -> None:
    clean = torch.eye(4)[[0, 1, 2, 2]]
    triggered = torch.eye(4)[[2, 2, 2, 1]]
    found = concentrate(clean, triggered)
    assert (found.target, found.count) == (2, 2)  # images 2 and 3 were of class 2
    assert found.share == 1.0
    assert concentrate(clean, triggered, 1).share == pytest.approx(1 / 3)


def test_the_library_holds_what_needs_no_training_once() -> None:
    names = [name for name, _ in library_triggers(32)]
    assert {"badnet", "sig", "wanet", "badnet (cleanclip)"} <= set(names)
    assert not {"badclip", "ssba"} & {name.split(" ")[0] for name in names}
    assert len(set(names)) == len(names)


def test_the_size_of_a_failed_search_is_no_evidence_for_its_side() -> None:
    """A trigger was found in the suspect alone: 1.2 / 1.5 does not count against that, 0.9 / 0.52 of ASR does."""
    found, missed = Evidence(1.5, 0.4), Evidence(1.2, 0.02, reached=False)
    assert family_ratio(found, missed) == pytest.approx(0.9 / 0.52)
    assert family_ratio(Evidence(0.6, 0.4), missed) == pytest.approx(2 * 0.9 / 0.52)
    # Found in the reference alone: that the suspect's search ended at a small size is no sign of a backdoor.
    assert family_ratio(Evidence(0.3, 0.0, reached=False), Evidence(1.2, 0.1)) == pytest.approx(0.5 / 0.6)
    assert family_ratio(Evidence(2.4, 0.0, reached=False), Evidence(1.2, 0.1)) == pytest.approx(
        0.5 * 0.5 / 0.6
    )
