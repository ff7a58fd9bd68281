"""Verdicts on bounds: the border, other k, a drop against a run, and values that are none."""

from __future__ import annotations

import math

import pytest

from clipdefend.config.gate_options import GatesConfig, parse_bounds
from clipdefend.errors import ConfigError
from clipdefend.evaluation.flat_metrics import flatten
from clipdefend.gates.verdict import judge
from clipdefend.metrics import Share

METRICS = {
    "ba@1": 0.5,
    "ba@1_low": 0.45,
    "ba@1_high": 0.55,
    "asr@1": 0.05,
    "asr@1_low": 0.03,
    "asr@1_high": 0.08,
    "asr@5": 0.3,
    "ra@1": 0.4,
    "recovery@1": 0.8,
    "n_clean": 400,
    "n_triggered": 390,
}


@pytest.mark.parametrize(
    ("flag", "k", "bound", "passed"),
    [
        ("--max-asr", 1, 0.05, True),
        ("--max-asr", 1, 0.0499, False),
        ("--max-asr", 5, 0.3, True),
        ("--max-asr", 5, 0.05, False),
        ("--min-ba", 1, 0.5, True),
        ("--min-ba", 1, 0.51, False),
        ("--min-ra", 1, 0.4, True),
        ("--min-ra", 1, 0.41, False),
        ("--min-recovery", 1, 0.8, True),
        ("--min-recovery", 1, 0.81, False),
        ("--max-asr", 3, 1.0, False),  # not measured
        ("--min-ba", 3, 0.0, False),
    ],
)
def test_a_bound_is_kept_up_to_its_border_and_never_without_a_value(
    flag: str, k: int, bound: float, passed: bool
) -> None:
    (gate,) = judge({flag: {k: bound}}, METRICS)
    assert gate.passed is passed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, True, "0.01"])
@pytest.mark.parametrize("flag", ["--max-asr", "--min-ba", "--min-ra", "--min-recovery", "--max-ba-drop"])
def test_what_is_not_a_number_passes_no_gate(flag: str, value: object) -> None:
    metrics = {f"{share}@1": value for share in ("asr", "ba", "ra", "recovery")}
    reference = ("victim", {"ba@1": 0.5})
    (gate,) = judge({flag: {1: 0.0 if flag.startswith("--min") else 1.0}}, metrics, reference)  # type: ignore[arg-type]
    assert not gate.passed
    assert gate.value is None
    assert "has no value" in gate.sentence


def test_an_attack_without_an_image_passes_no_gate_and_says_why() -> None:
    nothing = Share(0, 0, math.nan, math.nan, math.nan)
    (gate,) = judge({"--max-asr": {1: 1.0}}, flatten(asr={1: nothing}))
    assert not gate.passed
    assert gate.sentence.endswith("since every image is of the target class")


def test_a_sentence_names_value_interval_count_and_bound() -> None:
    missed, kept = judge({"--max-asr": {1: 0.01}, "--min-ba": {1: 0.4}}, METRICS)
    assert missed.sentence == "ASR@1 is 5.00 % [3.00, 8.00] (n = 390), above --max-asr 1.00 %"
    assert kept.sentence == "BA@1 is 50.00 % [45.00, 55.00] (n = 400), not below --min-ba 40.00 %"
    assert [missed.name, kept.name] == ["asr@1 <= 0.01", "ba@1 >= 0.4"]


def test_every_verdict_has_its_words() -> None:
    low, high = judge({"--min-ba": {1: 0.6}, "--max-asr": {1: 0.06}}, METRICS)
    assert low.sentence == "BA@1 is 50.00 % [45.00, 55.00] (n = 400), below --min-ba 60.00 %"
    assert high.sentence == "ASR@1 is 5.00 % [3.00, 8.00] (n = 390), not above --max-asr 6.00 %"


@pytest.mark.parametrize("end", ["ba@1_low", "ba@1_high"])
def test_half_an_interval_is_not_shown(end: str) -> None:
    metrics = {name: value for name, value in METRICS.items() if name != end}
    (gate,) = judge({"--min-ba": {1: 0.4}}, metrics)
    assert gate.sentence.startswith("BA@1 is 50.00 % (n = 400), not below")


@pytest.mark.parametrize(
    ("flag", "metrics"), [("--min-ba", {"n_triggered": 0}), ("--max-asr", {"n_triggered": 5})]
)
def test_only_an_attack_without_images_is_explained_by_the_target(
    flag: str, metrics: dict[str, float]
) -> None:
    (gate,) = judge({flag: {1: 0.5}}, metrics)
    assert gate.sentence == f"{'BA' if flag == '--min-ba' else 'ASR'}@1 has no value for {flag} 50.00 %"


def test_only_a_drop_is_compared_with_the_named_run() -> None:
    share, drop = judge(
        {"--min-ba": {1: 0.4}, "--max-ba-drop": {1: 0.2}}, METRICS, ("002-victim", {"ba@1": 0.6})
    )
    assert "002-victim" not in share.sentence
    assert "002-victim" in drop.sentence
    (missing,) = judge({"--max-ba-drop": {1: 0.2}}, {}, ("002-victim", {"ba@1": 0.6}))
    assert missing.sentence == "BA@1 has no value for --max-ba-drop 20.00 %"


@pytest.mark.parametrize(
    ("before", "bound", "passed", "said"),
    [
        (0.6, 0.12, True, "10.00 points below the 60.00 % of 002-victim, within --max-ba-drop 12.00 %"),
        (0.6, 0.05, False, "10.00 points below the 60.00 % of 002-victim, more than --max-ba-drop 5.00 %"),
        (0.4, 0.0, True, "10.00 points above the 40.00 % of 002-victim, within --max-ba-drop 0.00 %"),
        (0.5, 0.0, True, "0.00 points below the 50.00 % of 002-victim, within --max-ba-drop 0.00 %"),
    ],
)
def test_a_drop_is_counted_from_the_named_run(before: float, bound: float, passed: bool, said: str) -> None:
    (gate,) = judge({"--max-ba-drop": {1: bound}}, METRICS, ("002-victim", {"ba@1": before}))
    assert gate.passed is passed
    assert gate.value == pytest.approx(before - 0.5)
    assert gate.sentence == f"BA@1 is 50.00 % [45.00, 55.00] (n = 400), {said}"
    assert gate.name == f"ba@1 drop <= {bound:g}"


def test_bounds_of_ra_and_recovery_name_the_triggered_images() -> None:
    missed, kept = judge({"--min-ra": {1: 0.5}, "--min-recovery": {1: 0.75}}, METRICS)
    assert missed.sentence == "RA@1 is 40.00 % (n = 390), below --min-ra 50.00 %"
    assert kept.sentence == "RECOVERY@1 is 80.00 % (n = 390), not below --min-recovery 75.00 %"
    assert [missed.name, kept.name] == ["ra@1 >= 0.5", "recovery@1 >= 0.75"]


def test_recovery_without_a_clean_model_passes_no_gate_and_says_what_to_give() -> None:
    (gate,) = judge({"--min-recovery": {1: 0.0}}, {"ra@1": 0.5, "n_triggered": 10})
    assert not gate.passed
    assert gate.sentence.endswith(
        "no RA of the clean model under this trigger is known: give it with --clean-checkpoint"
    )


def test_a_drop_over_other_numbers_of_images_passes_no_gate() -> None:
    (gate,) = judge({"--max-ba-drop": {1: 1.0}}, METRICS, ("002-victim", {"ba@1": 0.5, "n_clean": 399}))
    assert (gate.passed, gate.value) == (False, None)
    assert gate.sentence == (
        "BA@1 has no value for --max-ba-drop 100.00 %, since it was measured on 400 images here"
        " and on 399 in 002-victim"
    )
    (same,) = judge({"--max-ba-drop": {1: 0.0}}, METRICS, ("002-victim", {"ba@1": 0.5, "n_clean": 400}))
    assert same.passed


@pytest.mark.parametrize(("found", "passed"), [(0.58, True), (0.5799, False)])
def test_a_drop_equal_to_its_bound_is_within_it(found: float, passed: bool) -> None:
    """In floating point 0.6 - 0.58 is more than 0.02."""
    (gate,) = judge({"--max-ba-drop": {1: 0.02}}, {"ba@1": found}, ("002-victim", {"ba@1": 0.6}))
    assert gate.passed is passed


def test_a_named_run_without_the_value_passes_no_drop() -> None:
    (gate,) = judge({"--max-ba-drop": {1: 1.0}}, METRICS, ("002-victim", {"ba@1": math.nan}))
    assert not gate.passed
    assert gate.sentence == "BA@1 of 002-victim has no value for --max-ba-drop 100.00 %"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (0.05, {1: 0.05}),
        ("5e-2", {1: 0.05}),
        ("0.2@5", {5: 0.2}),
        ("0.05, 0.2@5 ,0.3@10", {1: 0.05, 5: 0.2, 10: 0.3}),
        ("0", {1: 0.0}),
    ],
)
def test_a_plain_number_is_of_k_1_and_others_name_theirs(given: float | str, found: dict[int, float]) -> None:
    assert parse_bounds(given, "--max-asr") == found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("5%", "--max-asr is '5%'; it takes a share"),
        ("nan", "it takes a share"),
        ("0.1@", "it takes a share"),
        ("0.1@0", "it takes a share"),
        ("@5", "it takes a share"),
        ("0.1@1.5", "it takes a share"),
        ("0.1,,0.2@5", "it takes a share"),
        ("0.1,2@5", "--max-asr is 2.0; it must be at least 0 and at most 1."),
        ("-0.1@5", "it must be at least 0"),
        ("0.1,0.2@1", "names k = 1 twice"),
    ],
)
def test_invalid_bounds_are_refused(given: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_bounds(given, "--max-asr")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_ba_drop": 0.1}, "--max-ba-drop and --against need each other"),
        ({"against": "002-victim"}, "--max-ba-drop and --against need each other"),
        ({"junit": "gates.xml"}, "--junit has nothing to report without a gate"),
    ],
)
def test_what_needs_another_flag_is_refused_without_it(values: dict[str, str | float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        GatesConfig(**values)  # type: ignore[arg-type]
