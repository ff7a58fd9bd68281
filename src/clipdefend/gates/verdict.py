"""A verdict on each bound. What has no value passes none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

Metrics = Mapping[str, float]
Bounds = Mapping[str, Mapping[int, float]]


SHARES = {
    "--max-asr": "asr",
    "--min-ba": "ba",
    "--min-ra": "ra",
    "--min-recovery": "recovery",
    "--max-ba-drop": "ba",
}
"""The metric of each bound; a flag that begins with --min is a lower bound."""


class Judged(Protocol):
    """The verdict of a gate, of any command, as it is reported."""

    @property
    def flag(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def passed(self) -> bool: ...
    @property
    def sentence(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One bound and what was measured.

    Attributes:
        flag: such as "--max-asr".
        metric: such as "asr@5".
        bound: a share.
        value: what is compared with the bound, a share or a drop of shares; None where there is none.
        passed: whether the bound is kept; never without a value.
        sentence: the verdict for people, with the interval and the number of images.
    """

    flag: str
    metric: str
    bound: float
    value: float | None
    passed: bool
    sentence: str

    @property
    def name(self) -> str:
        """Such as "asr@5 <= 0.05", the same whatever was measured."""
        drop = " drop" if self.flag == "--max-ba-drop" else ""
        return f"{self.metric}{drop} {'>=' if _is_lower(self.flag) else '<='} {self.bound:g}"


def judge(bounds: Bounds, metrics: Metrics, against: tuple[str, Metrics] | None = None) -> list[Gate]:
    """Reach a verdict on every bound.

    Args:
        bounds: flag -> k -> share.
        metrics: flat ones of the model: ``ba@1``, ``ba@1_low``, ``n_clean`` and so on.
        against: name and metrics of the run that ``--max-ba-drop`` compares with.
    """
    gates = []
    for flag, by_k in bounds.items():
        for k, bound in sorted(by_k.items()):
            metric = f"{SHARES[flag]}@{k}"
            other = against if flag == "--max-ba-drop" else None
            fault = _fault(flag, metric, bound, metrics, other)
            if fault is not None:
                gate = Gate(flag=flag, metric=metric, bound=bound, value=None, passed=False, sentence=fault)
            elif other is not None:
                gate = _judge_drop(flag, metric, bound, metrics, other)
            else:
                gate = _judge_share(flag, metric, bound, metrics)
            gates.append(gate)
    return gates


def _fault(
    flag: str, metric: str, bound: float, metrics: Metrics, against: tuple[str, Metrics] | None
) -> str | None:
    """Why a bound cannot be judged; None where it can."""
    limit = f"{flag} {_percent(bound)}"
    if _number(metrics, metric) is None:
        return f"{metric.upper()} has no value for {limit}{_why(metric, metrics)}"
    if against is None:
        return None
    name, others = against
    if _number(others, metric) is None:
        return f"{metric.upper()} of {name} has no value for {limit}"
    counts = metrics.get("n_clean"), others.get("n_clean")
    if None not in counts and counts[0] != counts[1]:
        return (
            f"{metric.upper()} has no value for {limit}, since it was measured on {counts[0]} images here and on"
            f" {counts[1]} in {name}"
        )
    return None


def _judge_drop(flag: str, metric: str, bound: float, metrics: Metrics, against: tuple[str, Metrics]) -> Gate:
    name, others = against
    found, reference = metrics[metric], others[metric]
    value = round(reference - found, 12)  # 0.6 - 0.58 is more than 0.02 in floating point
    passed = value <= bound
    sentence = (
        f"{metric.upper()} is {_described(metrics, metric, found)},"
        f" {100 * abs(value):.2f} points {'below' if value >= 0 else 'above'} the"
        f" {_described(others, metric, reference)} of {name}, {'within' if passed else 'more than'} {flag}"
        f" {_percent(bound)}"
    )
    return Gate(flag=flag, metric=metric, bound=bound, value=value, passed=passed, sentence=sentence)


def _judge_share(flag: str, metric: str, bound: float, metrics: Metrics) -> Gate:
    value = float(metrics[metric])
    side, passed = ("below", value >= bound) if _is_lower(flag) else ("above", value <= bound)
    sentence = (
        f"{metric.upper()} is {_described(metrics, metric, value)}, {'not ' if passed else ''}{side} {flag}"
        f" {_percent(bound)}"
    )
    return Gate(flag=flag, metric=metric, bound=bound, value=value, passed=passed, sentence=sentence)


def _is_lower(flag: str) -> bool:
    return flag.startswith("--min")


def _number(metrics: Metrics, name: str) -> float | None:
    """A metric; None where it is absent or not a finite number."""
    value = metrics.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _described(metrics: Metrics, metric: str, value: float) -> str:
    """Such as "12.00 % [10.12, 14.20] (n = 1965)"."""
    low, high = _number(metrics, f"{metric}_low"), _number(metrics, f"{metric}_high")
    n = _number(metrics, "n_clean" if metric.startswith("ba") else "n_triggered")
    interval = "" if low is None or high is None else f" [{100 * low:.2f}, {100 * high:.2f}]"
    return f"{_percent(value)}{interval}{'' if n is None else f' (n = {n:.0f})'}"


def _why(metric: str, metrics: Metrics) -> str:
    if not metric.startswith("ba") and metrics.get("n_triggered") == 0:
        return ", since every image is of the target class"
    if metric.startswith("recovery"):
        return ", since no RA of the clean model under this trigger is known: give it with --clean-checkpoint"
    return ""


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
