"""The search: its parts by hand, and a backdoor that was wired into a model is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from clipdefend.inversion import FAMILIES
from clipdefend.inversion.collapse import collapse, goal_for
from clipdefend.inversion.model_scan import ModelScan
from clipdefend.inversion.scan_verdict import Evidence, score_of
from clipdefend.inversion.size_weight import SizeWeight
from clipdefend.inversion.trigger_search import SearchSettings, search
from wired_model import TARGET, images, unit, wired_model

QUICK = SearchSettings(steps=60, batch=16)


def test_collapse_is_the_mean_cosine_of_different_images() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    assert float(collapse(vectors)) == pytest.approx((0 + 0.6 + 0.8) / 3)  # each pair twice over six
    assert float(collapse(vectors[:1].expand(5, -1))) == pytest.approx(1)


def test_the_goal_is_a_share_of_the_way_to_one() -> None:
    assert goal_for(0.4, 0.85) == pytest.approx(0.91)


def test_the_weight_rises_after_successes_in_a_row_and_falls_after_failures() -> None:
    weight = SizeWeight(1.0, factor=2.0, patience=3, floor=0.5)
    steps = [
        True,
        True,
        False,
        True,
        True,
        True,
        False,
        False,
        False,
        False,
        False,
        False,
        False,
        False,
        False,
    ]
    # Two successes do not suffice; three double; then each three failures halve, down to the floor.
    expected = [1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]
    assert [weight.update(reached) for reached in steps] == expected


def test_the_smallest_trigger_that_reached_the_goal_is_kept() -> None:
    model = wired_model(unit(4, 16, 3))
    found = search(model, images(32), FAMILIES.build("patch"), QUICK)
    assert found.reached
    successes = [point["size"] for point in found.curve if point["collapse"] >= found.goal]
    assert found.size <= min(successes)
    assert [point["step"] for point in found.curve] == [*range(0, 60, 5), 59]


def test_equal_seeds_give_equal_bytes() -> None:
    model = wired_model()
    first, again, other = (
        search(model, images(16), FAMILIES.build("additive"), SearchSettings(steps=4, batch=8, seed=seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.parameters["field"], again.parameters["field"])
    assert first.curve == again.curve
    assert not torch.equal(first.parameters["field"], other.parameters["field"])


def test_a_wired_backdoor_is_found_with_its_target() -> None:
    texts = unit(6, 16, 3)
    scans = [
        ModelScan(
            model=model,
            texts=texts,
            images=images(32),
            held_out=images(48, seed=1),
            settings=QUICK,
            restarts=1,
        ).find("patch")
        for model in (wired_model(texts), wired_model())
    ]
    suspect, reference = scans
    assert suspect.nearest[0] == TARGET
    assert suspect.asr > 0.9
    corner = suspect.trigger.tensors["mask"][0, -6:, -6:].sum()
    assert float(corner) > 0.5 * float(suspect.trigger.tensors["mask"].sum())
    score = score_of(*({"patch": Evidence(each.size, each.asr, each.reached)} for each in scans))
    assert score is not None
    assert score > 2
    assert reference.collapse < suspect.collapse or reference.size > suspect.size


def test_what_is_kept_is_what_was_found() -> None:
    kept: dict[str, dict[str, torch.Tensor]] = {}

    def keep(facts: object, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        key = repr(facts)
        if key not in kept:
            kept[key] = make()
        return kept[key]

    def scan(seed: int) -> ModelScan:
        return ModelScan(
            model=wired_model(),
            texts=unit(4, 16, 3),
            images=images(16),
            held_out=images(16, seed=1),
            settings=SearchSettings(steps=3, batch=8, seed=seed),
            restarts=2,
            keep=keep,
        )

    done: list[int] = []
    first = scan(0).find("warp", done.append)
    again = scan(0).find("warp", done.append)
    assert sum(done) == 4 * 3
    assert len(kept) == 2
    assert (first.size, first.curve, first.asr) == (again.size, again.curve, again.asr)
    assert torch.equal(first.trigger.tensors["field"], again.trigger.tensors["field"])
    scan(1).find("warp")
    assert len(kept) == 4
