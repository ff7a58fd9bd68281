"""Which evaluations are comparable: every fact, old manifests, digests of triggers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

from clipdefend.evaluation.setting import (
    ATTACK,
    IMAGES,
    EvaluationSetting,
    describe_differences,
    find_trigger_run,
    trigger_digest,
)
from report_runs import Lab, shares

SETTING = EvaluationSetting(
    data="eval",
    templates="simple",
    canvas="crop",
    protocol="all",
    target="banana",
    trigger="abc",
    n_clean=24,
    n_triggered=18,
)
METRICS = {"n_clean": 24, "ba@1": 0.5, "ba@1_low": 0.4, "asr@1": 0.9, "ra@1": 0.1, "n_triggered": 18}


def test_every_fact_is_compared() -> None:
    names = {field.name for field in dataclasses.fields(EvaluationSetting)}
    assert names == IMAGES.keys() | ATTACK.keys()
    assert not IMAGES.keys() & ATTACK.keys()


@pytest.mark.parametrize("name", [*IMAGES, *ATTACK])
def test_a_fact_that_differs_hides_what_depends_on_it(name: str) -> None:
    changes: dict[str, Any] = {name: 7 if name in ("quick", "n_clean", "n_triggered") else "other"}
    other = dataclasses.replace(SETTING, **changes)
    assert SETTING.differences(other, attack=True) == {name: (getattr(SETTING, name), changes[name])}
    assert bool(SETTING.differences(other, attack=False)) is (name in IMAGES)
    left = {"ba@1", "ba@1_low"} if name in ATTACK else set()
    assert set(SETTING.comparable(other, METRICS)) == left


def test_equal_settings_share_every_figure() -> None:
    assert SETTING.comparable(dataclasses.replace(SETTING), METRICS) == METRICS


def test_unknown_numbers_of_images_are_not_a_difference() -> None:
    assert not SETTING.differences(dataclasses.replace(SETTING, n_clean=None), attack=False)
    assert SETTING.differences(SETTING.with_counts({"n_clean": 23}), attack=False) == {"n_clean": (24, 23)}


def test_words_name_the_cause_and_not_the_counts_that_follow_from_it() -> None:
    assert describe_differences(["target", "n_triggered"]) == "another target"
    assert describe_differences(["n_clean"]) == "another number of images"


def test_a_training_run_and_its_evaluation_are_in_one_setting(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    poison = lab.poison(target="Red_Fish")
    victim = lab.victim(poison, shares(ba1=0.9, asr1=0.95))
    evaluation = lab.evaluate(victim, shares(ba1=0.9, asr1=0.95), target="red fish")
    settings = [EvaluationSetting.of(run, find_trigger_run(run)) for run in (victim, evaluation)]
    assert settings[0] == settings[1]
    assert settings[0].target == "red fish"
    assert (settings[0].n_clean, settings[0].n_triggered) == (200, 190)


def test_a_quick_evaluation_is_a_subset_and_a_training_runs_figures_are_not(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    poison, quick = lab.poison(), cast("dict[str, Any]", {"eval.quick": 50})
    defended = lab.defend(lab.victim(poison, shares(ba1=0.9)), "ft", shares(ba1=0.9), **quick)
    evaluation = lab.evaluate(defended, shares(ba1=0.9), **quick)
    assert EvaluationSetting.of(defended, poison).quick is None
    assert EvaluationSetting.of(evaluation, poison).quick == 50


def test_the_canvas_is_the_evaluations_own_else_the_attacks_else_unknown(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    poison = lab.poison(canvas="squash")
    victim = lab.victim(poison, shares(ba1=0.9))
    asked = lab.evaluate(victim, shares(ba1=0.9), canvas="crop")
    old = lab.evaluate(None, shares(ba1=0.9), checkpoint="x.pt")
    found = [EvaluationSetting.of(run, find_trigger_run(run)).canvas for run in (victim, asked, old)]
    assert found == ["squash", "crop", None]


def test_a_poison_run_that_is_gone_leaves_no_trigger(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    poison = lab.poison()
    victim = lab.victim(poison, shares(ba1=0.9, asr1=0.9))
    known = EvaluationSetting.of(victim, find_trigger_run(victim))
    poison.file.unlink()
    assert find_trigger_run(victim) is None
    lost = EvaluationSetting.of(victim, find_trigger_run(victim))
    assert known.trigger is not None
    assert lost.trigger is None


def test_the_trigger_that_an_evaluation_was_given_counts_before_that_of_the_model(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    own, given = lab.poison(), lab.poison("blended")
    victim = lab.victim(own, shares(ba1=0.9, asr1=0.95))
    evaluation = lab.evaluate(victim, shares(ba1=0.9, asr1=0.1), given)
    assert [run.trigger_run() for run in (victim, evaluation)] == [own, given]


def test_equal_triggers_have_equal_digests_whatever_was_poisoned(tmp_path: Path) -> None:
    one, again, other = (Lab(tmp_path / name) for name in ("one", "again", "other"))
    trigger = {"name": "blended", "params": {"alpha": 0.2}, "seed": 0}
    digests = [
        trigger_digest(lab.poison("blended", target=target, trigger={**trigger, "params": {"alpha": alpha}}))
        for lab, target, alpha in ((one, "banana", 0.2), (again, "dog", 0.2), (other, "banana", 0.1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_tensors_tell_triggers_apart(tmp_path: Path) -> None:
    digests = [trigger_digest(Lab(tmp_path / name).poison(tensors=name.encode())) for name in ("a", "b")]
    assert digests[0] != digests[1]
