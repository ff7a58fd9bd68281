"""The share of each term in the gradient: by hand, in a training run, with micro-batches, over an interruption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clipdefend.errors import Interrupted
from clipdefend.objectives.objective import Objective, build_objective
from clipdefend.objectives.term import Embeddings, Term
from clipdefend.training.state import Progress
from clipdefend.training.term_shares import TermShares, gradient_norms, shares
from training_jobs import Watcher, equal, interrupt, log_of, train, weights


@dataclass(frozen=True, kw_only=True)
class Slope(Term):
    """slope x (sum of all images + sum of all captions), or of the captions alone."""

    slope: float = 1.0
    captions_alone: bool = False

    image_views = ("clean",)
    text_views = ("clean",)

    def loss(self, e: Embeddings) -> Tensor:
        images = 0.0 if self.captions_alone else e.image["clean"].sum()
        return self.slope * (images + e.text["clean"].sum()) * (1 + 0.0 * e.scale)


TERMS = Objective({"a": Slope(slope=3.0, weight=2.0), "b": Slope(slope=8.0, captions_alone=True)})
VECTORS = Embeddings(
    image={"clean": torch.ones(2, 4)}, text={"clean": torch.ones(2, 4)}, scale=torch.tensor(10.0)
)


def test_norms_by_hand() -> None:
    # a: 2 x 3 = 6 at each of 16 numbers, 6 sqrt(16) = 24; b: 8 at each of the 8 of the captions, 8 sqrt(8).
    norms = gradient_norms(TERMS, VECTORS, ("image", "text"))
    assert norms == pytest.approx({"a": 24.0, "b": 8 * 8**0.5})
    assert shares({"a": 24.0, "b": 8.0}) == {"a": 0.75, "b": 0.25}
    assert shares({"a": 0.0, "b": 0.0}) == {"a": 0.0, "b": 0.0}


def test_a_frozen_tower_has_no_part() -> None:
    assert gradient_norms(TERMS, VECTORS, ("image",)) == pytest.approx({"a": 6 * 8**0.5, "b": 0.0})
    assert gradient_norms(TERMS, VECTORS, ()) == {"a": 0.0, "b": 0.0}


def test_an_epochs_share_is_over_the_steps_that_a_term_takes_part_in() -> None:
    log = TermShares(1, Progress())
    assert log.add({"mmcl": 3.0, "fc": 1.0}) == {"share_mmcl": 0.75, "share_fc": 0.25}
    assert log.add({"mmcl": 12.0}) == {"share_mmcl": 1.0}
    found, warning = log.close(build_objective("cleanerclip"))
    assert found == {"share_mmcl": 15 / 16, "share_fc": 0.25}
    assert warning is None
    assert log.close(build_objective("cleanerclip")) == ({}, None)


def test_the_warning_names_the_term_and_what_to_change() -> None:
    log = TermShares(1, Progress())
    log.add({"mmcl": 99.5, "ssl": 0.5})
    warning = log.close(build_objective("cleanclip"))[1]
    assert warning is not None
    assert "ssl (0.5 %)" in warning
    assert "--batch-size" in warning
    assert "terms.ssl.temperature" in warning
    log.add({"mmcl": 99.5, "par": 0.5})
    other = log.close(build_objective("par", {"par": {"weight": 0.5}}))[1]
    assert other is not None
    assert "terms.par.weight=5" in other
    log.add({"mmcl": 99.0, "ssl": 1.0})
    assert log.close(build_objective("cleanclip"))[1] is None


def test_the_steps_with_sub_captions_are_counted_apart() -> None:
    """Every other step has sub-captions and every second one of a kind is measured."""
    progress = Progress(step=1)
    log, objective = TermShares(2, progress), build_objective("cleanerclip")
    due = []
    for step in range(8):
        subset = step % 2 == 1
        due.append(log.is_due(objective, subset=subset))
        progress.global_step += 1
        progress.extra_steps += subset
    assert due == [True, True, False, False, True, True, False, False]
    assert not TermShares(0, progress).is_due(objective, subset=True)
    assert not log.is_due(build_objective("ft"), subset=True)


def terms(folder: Path, event: str = "terms") -> list[dict[str, Any]]:
    return [record for record in log_of(folder) if record["event"] == event]


def test_measuring_changes_no_weight(tmp_path: Path) -> None:
    train(tmp_path / "off", method="cleanerclip", term_shares=0)
    train(tmp_path / "on", method="cleanerclip", term_shares=1)
    assert equal(weights(tmp_path / "off"), weights(tmp_path / "on"))
    assert terms(tmp_path / "off") == []
    measured = terms(tmp_path / "on")
    assert len(measured) == 10
    for record in measured:
        assert sum(value for name, value in record.items() if "share" in name) == pytest.approx(1)
    assert [record["epoch"] for record in terms(tmp_path / "on", "terms-epoch")] == [1, 2]


def test_micro_batches_have_the_shares_of_the_whole_batch(tmp_path: Path) -> None:
    still: dict[str, Any] = {"batch_norm": "eval", "lr": 1e-9, "term_shares": 1, "epochs": 1}
    train(tmp_path / "whole", **still)
    train(tmp_path / "parts", batch_size=2, accum_freq=2, **still)
    whole, parts = ([each["share_ssl"] for each in terms(tmp_path / name)] for name in ("whole", "parts"))
    assert parts == pytest.approx(whole, rel=1e-3)


def test_an_interrupted_epoch_has_the_same_shares(tmp_path: Path) -> None:
    train(tmp_path / "whole", term_shares=1)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", Watcher(3, interrupt), term_shares=1)
    train(tmp_path / "stopped", term_shares=1)
    assert log_of(tmp_path / "stopped") == log_of(tmp_path / "whole")


def test_a_saturated_term_is_warned_of(tmp_path: Path) -> None:
    """At a temperature of 1000 all logits are alike: the gradient is a thousandth."""
    console = Watcher()
    hot = build_objective("cleanclip", {"ssl": {"temperature": 1000.0}})
    train(tmp_path, console, objective=hot, term_shares=10)
    assert sum("comes from ssl" in line for line in console.warnings) == 2
